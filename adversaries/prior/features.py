"""Vectorised features of one agent's scene, in its own frame at the current step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adversaries.prior.config import (
    AGENT_FEATURES,
    CHUNK_POINTS,
    HISTORY,
    MAP_AHEAD,
    MAP_FEATURES,
    MAP_RADIUS,
    POSITION_SCALE,
    SPEED_SCALE,
    PriorConfig,
)
from adversaries.prior.goals import dense_goals
from adversaries.prior.roads import LIGHT_CAUTION, LIGHT_GREEN, LIGHT_RED, Roads, RoadsCache, light_states
from harness.errors import AdversaryError
from harness.geometry import to_frame
from scenarios.scenario import CURRENT_STEP, DT, Kind, Scenario

Floats = NDArray[np.float64]


class Features(NamedTuple):
    """What the network reads about one agent (or, with a leading batch dimension, about many).

    Attributes:
        agents: [A, AGENT_FEATURES] float32, the target first.
        agent_mask: [A] bool.
        map: [M, MAP_FEATURES] float32.
        map_mask: [M] bool.
        goals: [G, GOAL_FEATURES] float32.
        goal_points: [G, 2] float32, m, agent frame.
        goal_mask: [G] bool.
        speed: [] float32, along the heading, ≥ 0, m/s.
        pose: [3] float64 of the agent in the world.
    """

    agents: NDArray[np.float32]
    agent_mask: NDArray[np.bool_]
    map: NDArray[np.float32]
    map_mask: NDArray[np.bool_]
    goals: NDArray[np.float32]
    goal_points: NDArray[np.float32]
    goal_mask: NDArray[np.bool_]
    speed: NDArray[np.float32]
    pose: Floats


def _agent_rows(scenario: Scenario, agent: int, step: int, pose: Floats, limit: int) -> NDArray[np.float32]:
    """Rows [≤ limit, AGENT_FEATURES] of the agents present at `step`, the target first, then by distance."""
    first = max(step - HISTORY + 1, 0)
    window = slice(first, step + 1)
    present = np.flatnonzero(scenario.valid[:, step])
    gap = scenario.position[present, step, :2] - pose[:2]
    distance = np.hypot(gap[:, 0], gap[:, 1])
    distance[present == agent] = -1.0
    order = np.argsort(distance, kind="stable")
    order = order[distance[order] < MAP_RADIUS + MAP_AHEAD][:limit]
    chosen = present[order]
    count, length = len(chosen), step + 1 - first
    valid = scenario.valid[chosen, window]
    states = np.zeros((count, length, 7))
    states[..., :2] = to_frame(scenario.position[chosen, window, :2], pose) / POSITION_SCALE
    angle = scenario.heading[chosen, window] - pose[2]
    states[..., 2], states[..., 3] = np.cos(angle), np.sin(angle)
    turn = np.array([0.0, 0.0, pose[2]])
    states[..., 4:6] = to_frame(scenario.velocity[chosen, window], turn) / SPEED_SCALE
    states[..., 6] = 1.0
    # Invalid rows may hold anything, NaN included.
    states[~valid] = 0.0
    rows = np.zeros((count, AGENT_FEATURES), dtype=np.float32)
    # Scenes cut short at the front leave the earliest rows empty.
    rows[:, (HISTORY - length) * 7 : HISTORY * 7] = states.reshape(count, -1)
    kinds = scenario.kinds[chosen]
    rows[:, -6:-4] = scenario.size[chosen, step, :2] / np.array([5.0, 2.0])
    rows[:, -4] = kinds == Kind.VEHICLE
    rows[:, -3] = kinds == Kind.PEDESTRIAN
    rows[:, -2] = kinds == Kind.CYCLIST
    rows[:, -1] = chosen == scenario.ego
    return rows


def _map_rows(
    roads: Roads, lights: NDArray[np.intp], pose: Floats, config: PriorConfig
) -> tuple[NDArray[np.float32], Floats, Floats]:
    """Map tokens [n, MAP_FEATURES] and the cropped lane and edge vectors they come from, in the agent's frame."""
    focus = pose[:2] + MAP_AHEAD * np.array([np.cos(pose[2]), np.sin(pose[2])])
    to_focus = roads.chunk_centre - focus
    to_agent = roads.chunk_centre - pose[:2]
    far = np.hypot(to_focus[:, 0], to_focus[:, 1])
    rank = np.minimum(far, np.hypot(to_agent[:, 0], to_agent[:, 1]))
    is_lane = roads.chunk_lane >= 0
    kept: list[NDArray[np.intp]] = []
    for wanted, limit in ((is_lane, config.max_lanes), (~is_lane, config.max_edges)):
        index = np.flatnonzero(wanted & (far < MAP_RADIUS))
        kept.append(index[np.argsort(rank[index], kind="stable")[:limit]])
    chosen = np.concatenate(kept)
    lines = to_frame(roads.chunks[chosen], pose)
    turn = np.array([0.0, 0.0, pose[2]])
    rows = np.zeros((len(chosen), MAP_FEATURES), dtype=np.float32)
    width = 2 * CHUNK_POINTS
    rows[:, :width] = lines.reshape(len(chosen), width) / POSITION_SCALE
    rows[:, width : width + 2] = to_frame(roads.chunk_direction[chosen], turn)
    count = len(kept[0])
    rows[:count, width + 2] = 1.0
    rows[count:, width + 3] = 1.0
    if count:
        lane = roads.chunk_lane[kept[0]]
        light = lights[lane]
        rows[:count, width + 4] = light == LIGHT_RED
        rows[:count, width + 5] = light == LIGHT_CAUTION
        rows[:count, width + 6] = light == LIGHT_GREEN
        rows[:count, width + 7] = roads.speed_limit[lane] / 15.0
    return rows, lines[:count], lines[count:]


def extract(
    scenario: Scenario,
    agent: int,
    step: int = CURRENT_STEP,
    config: PriorConfig | None = None,
    cache: RoadsCache | None = None,
) -> Features:
    """Features of `agent` at `step`; nothing after `step` is read.

    Args:
        scenario: The scene.
        agent: Index of the target.
        step: Current step.
        config: Sizes; the default architecture if None.
        cache: Maps seen before; nothing is kept if None.

    Raises:
        AdversaryError: The agent is absent or not finite at `step`, or steps are not 0.1 s apart.
    """
    config = config or PriorConfig()
    if abs(scenario.dt - DT) > 0.05 * DT:
        raise AdversaryError(
            f"scenario {scenario.id}: {scenario.dt} s between steps; the motion prior was made for {DT} s. Resample it."
        )
    if not 0 <= agent < scenario.num_agents or not 0 <= step < scenario.num_steps:
        raise AdversaryError(
            f"scenario {scenario.id}: agent {agent} at step {step} does not exist "
            f"({scenario.num_agents} agents, {scenario.num_steps} steps)."
        )
    if not scenario.valid[agent, step]:
        raise AdversaryError(
            f"scenario {scenario.id}: agent {agent} ({scenario.agent_ids[agent]!r}) has no valid state at step {step}; "
            "the motion prior needs the current state. Choose another agent or step."
        )
    pose = np.array([*scenario.position[agent, step, :2], scenario.heading[agent, step]])
    velocity = scenario.velocity[agent, step]
    if not (np.isfinite(pose).all() and np.isfinite(velocity).all()):
        raise AdversaryError(f"scenario {scenario.id}: agent {agent} has a non-finite state at step {step}.")
    speed = max(float(velocity[0] * np.cos(pose[2]) + velocity[1] * np.sin(pose[2])), 0.0)
    roads = (cache or RoadsCache(1)).get(scenario)
    lights = light_states(scenario, roads, step)
    agent_rows = _agent_rows(scenario, agent, step, pose, config.max_agents)
    map_rows, lanes, edges = _map_rows(roads, lights, pose, config)
    goals = dense_goals(roads, lights, pose, speed, (lanes, edges), config)
    agents = np.zeros((config.max_agents, AGENT_FEATURES), dtype=np.float32)
    agents[: len(agent_rows)] = agent_rows
    tokens = np.zeros((config.max_map, MAP_FEATURES), dtype=np.float32)
    tokens[: len(map_rows)] = map_rows
    return Features(
        agents=agents,
        agent_mask=np.arange(config.max_agents) < len(agent_rows),
        map=tokens,
        map_mask=np.arange(config.max_map) < len(map_rows),
        goals=goals.features,
        goal_points=goals.points.astype(np.float32),
        goal_mask=goals.mask,
        speed=np.array(speed, dtype=np.float32),
        pose=pose,
    )

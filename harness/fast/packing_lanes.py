"""From the engine's scenes and a map to where vehicles may drive by themselves."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.engine.scene import Scene
from harness.engine.traffic import AHEAD, ASIDE
from harness.fast.lanes import WAY, Lanes
from harness.interfaces import HEADING, STATE, VX
from harness.traffic.lane_paths import AT_REST, POINTS, LaneIDMConfig, prepare_paths
from harness.traffic.rollouts import simulated_agents
from scenarios.scenario import CURRENT_STEP

Bools = NDArray[np.bool_]

_STRAYS: Final = 2.0
"""An ego that keeps others waiting is at most this far from its logged path, m."""
_FASTEST: Final = 40.0
"""It has driven no faster than this on average, m/s."""


def pack_lanes(scene: Scene, used: NDArray[np.intp], config: LaneIDMConfig) -> Lanes:
    """Where the vehicles of one scene may leave their logs, and how they may go on from there.

    Args:
        scene: The scene.
        used: [A] its agents that are packed.
        config: The drivers; their roads follow from `speed`, `lateral`, `branches` and `return_length`.

    Raises:
        ScenarioError: The scene ends before the step at which vehicles leave their logs.
    """
    scenario = scene.scenario
    simulated_agents(scenario)
    movable = scene.is_vehicle[used] & (used != (-1 if scenario.opponent is None else scenario.opponent))
    may_join = movable[:, None] & (_first_rows(scenario.valid[used]) | _later_rows(scene, used))
    steps, agents = np.nonzero(may_join.T)
    states = np.reshape([scenario.states(agent) for agent in used], (len(used), scene.steps, STATE))[agents, steps]
    poses, velocity = states[:, : HEADING + 1], states[:, VX:]
    paths = prepare_paths(scenario, poses, velocity, config)
    joins = np.full((scene.steps, len(used)), -1, np.int32)
    joins[steps, agents] = np.arange(len(steps))
    first_way = np.concatenate([[0], np.cumsum(paths.count)])
    place = np.repeat(np.arange(len(steps)), paths.count)
    branch = np.arange(len(place)) - first_way[place]
    ways = np.empty((len(place), POINTS, WAY))
    ways[..., :3], ways[..., 3] = paths.points[place, branch], paths.limit[place, branch]
    ways[..., :2] -= scene.origin
    standing = ~np.isfinite(paths.limit[:, 0, 0]) | (paths.limit[:, 0, 0] <= 0)
    half = np.array(scenario.box(scenario.ego)) / 2
    return Lanes(
        frame=np.concatenate([scene.origin, half])[None],
        joins=joins.ravel(),
        first_way=first_way.astype(np.int64),
        parked=(np.hypot(*velocity.T) < AT_REST) & standing,
        red=paths.red[place, branch],
        ways=ways,
    )


def _first_rows(valid: Bools) -> Bools:
    """[A, T] where agents leave their logs that need not wait: at step 10, or when they appear after it."""
    first = valid.copy()
    first[:, 1:] &= ~valid[:, :-1]
    first[:, :CURRENT_STEP] = False
    first[:, CURRENT_STEP] = valid[:, CURRENT_STEP]
    return first


def _later_rows(scene: Scene, used: NDArray[np.intp]) -> Bools:
    """[A, T] where agents may leave their logs that had to wait until then, because the ego was too close.

    Such an ego has been close to their logs at every step since they might have appeared. It is taken to be about where
    its own log leads.
    """
    ego, reach = scene.scenario.ego, math.hypot(AHEAD, ASIDE) + _STRAYS
    valid, route = scene.scenario.valid[used], scene.xy[ego, scene.scenario.valid[ego]]
    driven = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(route, axis=0).T))])
    may, waits = np.zeros(valid.shape, bool), np.zeros(len(used), bool)
    for step in range(scene.steps):
        may[:, step] = valid[:, step] & waits & (step > CURRENT_STEP)
        there = route[driven <= _FASTEST * scene.scenario.dt * step + _STRAYS]
        away = np.hypot(*(scene.xy[used, step, None] - there).transpose(2, 0, 1)).min(axis=1)
        appears = valid[:, step] & (waits | (~valid[:, step - 1] if step else True))
        waits = appears & (away < reach)
    return may

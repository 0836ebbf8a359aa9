"""Simulated scenes as episodes (for playback), as a file, and in a few numbers."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.files import JsonDict, write_arrays
from harness.interfaces import HEADING, STATE, VX, VY, Episode, Trajectory
from harness.metrics.collision import first_contact
from harness.traffic.rollouts import SimulatedScene
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

Floats = NDArray[np.float64]
START: Final = CURRENT_STEP + 1
"""First simulated step."""


def whole_states(scenario: Scenario, simulated: SimulatedScene, rollout: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Everybody's states [A, T, STATE] and validity [A, T]: the log up to step 10, one roll-out from there.

    Velocities of simulated steps are differences of positions.
    """
    agents, end = simulated.agents, START + simulated.steps
    states = np.zeros((scenario.num_agents, end, STATE))
    valid = np.zeros((scenario.num_agents, end), bool)
    for agent in range(scenario.num_agents):
        states[agent, :START] = scenario.states(agent)[:START]
    valid[:, :START] = scenario.valid[:, :START]
    states[agents, START:, : HEADING + 1] = simulated.states[rollout][..., [0, 1, 3]]
    moved = np.diff(states[agents, CURRENT_STEP:, :2], axis=1)
    states[agents, START:, VX : VY + 1] = moved / scenario.dt
    valid[agents, START:] = True
    return states, valid


def as_episode(scenario: Scenario, simulated: SimulatedScene, rollout: int, name: str, seed: int) -> Episode:
    """One roll-out as the record of an episode in which the traffic model drove the ego too."""
    states, valid = whole_states(scenario, simulated, rollout)
    ego = Trajectory(states[scenario.ego], valid[scenario.ego])
    speed = np.hypot(ego.states[START:, VX], ego.states[START:, VY])
    contact = ego_contact(scenario, states, valid)
    opponent = None
    if scenario.opponent is not None:
        opponent = Trajectory(states[scenario.opponent], valid[scenario.opponent])
    return Episode(
        scenario_id=scenario.id,
        policy=name,
        adversary="none",
        intensity=0.0,
        seed=seed,
        ego=ego,
        opponent=opponent,
        agents=states,
        agents_valid=valid,
        plan=None,
        steps=simulated.steps,
        reward=0.0,
        cost=0.0,
        route_completion=0.0,
        arrived=False,
        off_road=False,
        truncated=True,
        crash_contact=None,
        crash_geometry=contact,
        crash_opponent=None,
        mean_speed=float(speed.mean()),
        mean_jerk=float("nan"),
    )


def ego_contact(scenario: Scenario, states: Floats, valid: NDArray[np.bool_]) -> int | None:
    """First simulated step at which a contact of the ego with any vehicle begins, by boxes, or None."""
    others = np.flatnonzero((scenario.kinds == Kind.VEHICLE) & (np.arange(scenario.num_agents) != scenario.ego))
    ego, sizes = scenario.ego, _boxes(scenario)
    hits = first_contact(states[ego], valid[ego], sizes[ego], states[others], valid[others], sizes[others], START)
    found = hits[hits >= 0]
    return int(found.min()) if len(found) else None


def summary(scenario: Scenario, simulated: SimulatedScene) -> list[JsonDict]:
    """Numbers of every roll-out: ego contact (absolute step or None), agents in new contacts, distances driven."""
    sizes, agents = _boxes(scenario), simulated.agents
    pairs = np.array(list(combinations(agents.tolist(), 2)), dtype=np.intp).reshape(-1, 2)
    rows = []
    for rollout in range(simulated.rollouts):
        states, valid = whole_states(scenario, simulated, rollout)
        one, two = pairs.T
        # Who touches already at step 10 and goes on (a trailer, a rider's box) did not collide in the simulation.
        hits = first_contact(states[one], valid[one], sizes[one], states[two], valid[two], sizes[two], START)
        touched = np.unique(pairs[hits >= 0])
        driven = np.hypot(*np.moveaxis(np.diff(states[agents, CURRENT_STEP:, :2], axis=1), -1, 0)).sum(-1)
        ego = np.flatnonzero(agents == scenario.ego)
        rows.append(
            {
                "rollout": rollout,
                "ego_contact_step": ego_contact(scenario, states, valid),
                "agents_in_contact": len(touched),
                "ego_distance_m": float(driven[ego[0]]) if len(ego) else None,
                "mean_distance_m": float(driven.mean()),
            }
        )
    return rows


def save_rollouts(scenario: Scenario, simulated: SimulatedScene, path: Path) -> None:
    """Write roll-outs to a compressed NumPy archive without pickles.

    Arrays: `states` [R, A, S, 4] x, y, z (m), heading (rad), world frame; `agents` [A] index and `agent_ids` [A] name
    in the scene; `kinds` [A]; `sizes` [A, 2] length and width, m; `steps` [S] absolute; `dt`, s.
    """
    agents = simulated.agents
    arrays: JsonDict = {
        "states": simulated.states,
        "agents": agents,
        "agent_ids": np.array([scenario.agent_ids[agent] for agent in agents], dtype=np.str_),
        "kinds": scenario.kinds[agents],
        "sizes": _boxes(scenario)[agents],
        "steps": START + np.arange(simulated.steps),
        "dt": np.array(scenario.dt),
    }
    write_arrays(path, arrays)


def _boxes(scenario: Scenario) -> Floats:
    return np.array([scenario.box(agent) for agent in range(scenario.num_agents)]).reshape(-1, 2)

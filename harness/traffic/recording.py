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
from harness.traffic.slots import as_played
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

Floats = NDArray[np.float64]
START: Final = CURRENT_STEP + 1
"""First simulated step."""


def whole_states(scenario: Scenario, simulated: SimulatedScene, rollout: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Everybody's states [A, T, STATE] and validity [A, T]: the log up to step 10, one roll-out from there.

    Velocities of simulated steps are differences of positions. Those who entered in this roll-out are the last rows.
    """
    agents, end = simulated.agents, START + simulated.steps
    count = scenario.num_agents + len(simulated.newcomers_in(rollout))
    agents = agents[agents < count]
    states = np.zeros((count, end, STATE))
    valid = np.zeros((count, end), bool)
    for agent in range(scenario.num_agents):
        states[agent, :START] = scenario.states(agent)[:START]
    valid[: scenario.num_agents, :START] = scenario.valid[:, :START]
    poses = simulated.states[rollout, : len(agents)]
    states[agents, START:, : HEADING + 1] = poses[..., [0, 1, 3]]
    valid[agents, START:] = True if simulated.valid is None else simulated.valid[rollout, : len(agents)]
    velocity = np.diff(states[agents, CURRENT_STEP:, :2], axis=1) / scenario.dt
    if simulated.valid is not None:
        # Who has just come moves as in its next step.
        both = valid[agents, CURRENT_STEP:-1] & valid[agents, START:]
        velocity[~both] = 0.0
        first = both[:, 1:] & ~both[:, :-1]
        velocity[:, :-1][first] = velocity[:, 1:][first]
    states[agents, START:, VX : VY + 1] = velocity
    return states, valid


def as_episode(scenario: Scenario, simulated: SimulatedScene, rollout: int, name: str, seed: int) -> Episode:
    """One roll-out as the record of an episode in which the traffic model drove the ego too."""
    states, valid = whole_states(scenario, simulated, rollout)
    ego = Trajectory(states[scenario.ego], valid[scenario.ego])
    speed = np.hypot(ego.states[START:, VX], ego.states[START:, VY])[ego.valid[START:]]
    newcomers = simulated.newcomers_in(rollout)
    contact = ego_contact(as_played(scenario, newcomers), states, valid)
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
        mean_speed=float(speed.mean()) if len(speed) else 0.0,
        mean_jerk=float("nan"),
        newcomers=newcomers,
    )


def ego_contact(scenario: Scenario, states: Floats, valid: NDArray[np.bool_]) -> int | None:
    """First simulated step at which a contact of the ego with any vehicle begins, by boxes, or None."""
    others = np.flatnonzero((scenario.kinds == Kind.VEHICLE) & (np.arange(scenario.num_agents) != scenario.ego))
    ego, sizes = scenario.ego, _boxes(scenario)
    hits = first_contact(states[ego], valid[ego], sizes[ego], states[others], valid[others], sizes[others], START)
    found = hits[hits >= 0]
    return int(found.min()) if len(found) else None


def summary(scenario: Scenario, simulated: SimulatedScene) -> list[JsonDict]:
    """Numbers of every roll-out: ego contact (absolute step or None), agents in new contacts, distances driven.

    Where agents enter and leave: also how many have `entered` and `left`.
    """
    rows = []
    for rollout in range(simulated.rollouts):
        played = as_played(scenario, simulated.newcomers_in(rollout))
        states, valid = whole_states(scenario, simulated, rollout)
        agents, sizes = np.flatnonzero(valid[:, START:].any(1)), _boxes(played)
        pairs = np.array(list(combinations(agents.tolist(), 2)), dtype=np.intp).reshape(-1, 2)
        if simulated.valid is not None:
            pairs = _near(pairs, states, valid, sizes)
        one, two = pairs.T
        # Who touches already at step 10 and goes on (a trailer, a rider's box) did not collide in the simulation.
        hits = first_contact(states[one], valid[one], sizes[one], states[two], valid[two], sizes[two], START)
        touched = np.unique(pairs[hits >= 0])
        moved = np.hypot(*np.moveaxis(np.diff(states[:, CURRENT_STEP:, :2], axis=1), -1, 0))
        driven = np.where(valid[:, CURRENT_STEP:-1] & valid[:, START:], moved, 0.0).sum(-1)
        row: JsonDict = {
            "rollout": rollout,
            "ego_contact_step": ego_contact(played, states, valid),
            "agents_in_contact": len(touched),
            "ego_distance_m": float(driven[scenario.ego]) if scenario.ego in agents else None,
            "mean_distance_m": float(driven[agents].mean()) if len(agents) else 0.0,
        }
        if simulated.valid is not None:
            row |= {"entered": len(simulated.newcomers_in(rollout)), "left": int((~valid[agents, -1]).sum())}
        rows.append(row)
    return rows


def _near(pairs: NDArray[np.intp], states: Floats, valid: NDArray[np.bool_], sizes: Floats) -> NDArray[np.intp]:
    """Those of the pairs that could touch at some simulated step: most agents of a long roll-out never meet."""
    reach = np.hypot(*sizes.T) / 2
    kept = np.zeros(len(pairs), bool)
    for agent in np.unique(pairs[:, 0]):
        mine = np.flatnonzero(pairs[:, 0] == agent)
        others, steps = pairs[mine, 1], np.flatnonzero(valid[agent])
        steps = steps[steps >= CURRENT_STEP]
        gap = np.hypot(*np.moveaxis(states[others][:, steps, :2] - states[agent, steps, :2], -1, 0))
        kept[mine] = ((gap <= (reach[others] + reach[agent])[:, None]) & valid[others][:, steps]).any(1)
    return pairs[kept]


def save_rollouts(scenario: Scenario, simulated: SimulatedScene, path: Path) -> None:
    """Write roll-outs to a compressed NumPy archive without pickles.

    Arrays: `states` [R, A, S, 4] x, y, z (m), heading (rad), world frame; `agents` [A] index and `agent_ids` [A] name
    in the scene; `kinds` [A]; `sizes` [A, 2] length and width, m; `steps` [S] absolute; `dt`, s. Where agents enter
    and leave: `valid` [R, A, S], `kinds` [R, A] and `sizes` [R, A, 2], whose last rows are those who entered.
    """
    most = max((simulated.newcomers_in(rollout) for rollout in range(simulated.rollouts)), key=len)
    agents, longest = simulated.agents, as_played(scenario, most)
    arrays: JsonDict = {
        "states": simulated.states,
        "agents": agents,
        "agent_ids": np.array([longest.agent_ids[agent] for agent in agents], dtype=np.str_),
        "kinds": longest.kinds[agents],
        "sizes": _boxes(longest)[agents],
        "steps": START + np.arange(simulated.steps),
        "dt": np.array(scenario.dt),
    }
    if simulated.valid is not None:
        kinds = np.repeat(longest.kinds[None], simulated.rollouts, 0)
        sizes = np.repeat(_boxes(longest)[None], simulated.rollouts, 0)
        for rollout in range(simulated.rollouts):
            for row, kind, size in simulated.newcomers_in(rollout):
                kinds[rollout, row], sizes[rollout, row] = kind, size[:2]
        arrays |= {"valid": simulated.valid, "kinds": kinds, "sizes": sizes}
    write_arrays(path, arrays)


def _boxes(scenario: Scenario) -> Floats:
    return np.array([scenario.box(agent) for agent in range(scenario.num_agents)]).reshape(-1, 2)

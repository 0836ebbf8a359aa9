"""Who plays the adversary: the vehicle that the source marks, or the one in strongest conflict with the ego."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scenarios.scenario import CURRENT_STEP, Kind, Scenario

MIN_STEPS: Final = 30
"""A vehicle that is seen for less than 3 s after the history cannot act out an attack."""
MIN_PATH: Final = 3.0
"""A vehicle that travels less than this (m) is parked."""
NEAR: Final = 2.5
"""Two paths meet where their centre lines come this close, m: about a car's width plus a margin."""
CLOSING_SPEED: Final = 5.0
"""Metres of clearance that count as one second of time gap."""
MAX_CONFLICT: Final = 10.0
"""Weaker conflicts (s) are none: the two never come near each other."""


def select_opponent(scenario: Scenario) -> int | None:
    """Index of the vehicle that plays the adversary, or None if no vehicle qualifies.

    Where the source names exactly two objects of interest and the ego is one of them, it is the other
    (if that is a vehicle that is ever seen), as CAT and SAGE choose. Otherwise it is the vehicle with the
    smallest `conflict`.
    """
    marked = marked_opponent(scenario)
    if marked is not None:
        return marked
    candidates = suitable_vehicles(scenario)
    if len(candidates) == 0:
        return None
    scores = conflict(scenario, candidates)
    best = int(scores.argmin())
    return int(candidates[best]) if scores[best] <= MAX_CONFLICT else None


def marked_opponent(scenario: Scenario) -> int | None:
    """The other one of the two objects of interest, or None where the source does not say."""
    names = scenario.objects_of_interest
    ego = scenario.agent_ids[scenario.ego]
    if len(names) != 2 or ego not in names:
        return None
    other = names[0] if names[1] == ego else names[1]
    if other == ego or other not in scenario.agent_ids:
        return None
    index = scenario.agent_ids.index(other)
    return index if scenario.kinds[index] == Kind.VEHICLE and scenario.valid[index].any() else None


def suitable_vehicles(scenario: Scenario) -> NDArray[np.intp]:
    """Indices of vehicles, other than the ego, that are seen long enough and move."""
    valid = scenario.valid
    last_history = min(CURRENT_STEP, scenario.num_steps - 1)
    future = valid[:, last_history + 1 :].sum(1)
    needed = min(MIN_STEPS, max(scenario.num_steps - last_history - 1, 1))
    ok = (scenario.kinds == Kind.VEHICLE) & valid[:, last_history] & (future >= needed)
    ok &= path_lengths(scenario) >= MIN_PATH
    ok[scenario.ego] = False
    return np.flatnonzero(ok)


def path_lengths(scenario: Scenario) -> NDArray[np.float64]:
    """Distance that each agent travels between consecutive valid steps, [A], m."""
    steps = np.diff(scenario.position[..., :2], axis=1)
    both = scenario.valid[:, 1:] & scenario.valid[:, :-1]
    return np.where(both, np.hypot(steps[..., 0], steps[..., 1]), 0.0).sum(1)


def conflict(scenario: Scenario, agents: NDArray[np.intp]) -> NDArray[np.float64]:
    """How far each agent is from conflict with the ego, [len(agents)], s; smaller is stronger.

    The minimum, over every pair of a step of the ego and a step of the agent after the history, of the time
    between the two plus the clearance of the two places beyond 2.5 m at 5 m/s: where paths cross or join it is
    the time gap at that place (post-encroachment time), elsewhere how close the two come.
    """
    start = min(CURRENT_STEP, scenario.num_steps - 1)
    ego_rows = np.flatnonzero(scenario.valid[scenario.ego, start:]) + start
    ego = scenario.position[scenario.ego, ego_rows, :2]
    result = np.full(len(agents), np.inf)
    for row, agent in enumerate(agents):
        rows = np.flatnonzero(scenario.valid[agent, start:]) + start
        if len(rows) == 0 or len(ego_rows) == 0:
            continue
        places = scenario.position[agent, rows, :2]
        apart = np.maximum(places.min(0) - ego.max(0), ego.min(0) - places.max(0))
        if np.max(apart) > NEAR + CLOSING_SPEED * MAX_CONFLICT:
            continue  # The two paths never come within reach: spare the pairwise distances.
        gap = ego[:, None] - places[None]
        clearance = np.maximum(np.hypot(gap[..., 0], gap[..., 1]) - NEAR, 0.0)
        delay = np.abs(ego_rows[:, None] - rows[None]) * scenario.dt
        result[row] = (delay + clearance / CLOSING_SPEED).min()
    return result

"""Who plays the adversary: the vehicle that the source marks, or the one in strongest conflict with the ego.

Where pedestrians or cyclists are asked for, it is the one who needs the least of its kind's top speed to meet the ego.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

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
OpponentKind = Literal["vehicle", "pedestrian", "cyclist", "vulnerable"]
"""Who may play the adversary; `vulnerable` road users are pedestrians and cyclists."""
KINDS: Final[Mapping[OpponentKind, tuple[Kind, ...]]] = {
    "vehicle": (Kind.VEHICLE,),
    "pedestrian": (Kind.PEDESTRIAN,),
    "cyclist": (Kind.CYCLIST,),
    "vulnerable": (Kind.PEDESTRIAN, Kind.CYCLIST),
}
TOP_SPEED: Final[Mapping[Kind, float]] = {Kind.PEDESTRIAN: 2.533, Kind.CYCLIST: 30.0 / 3.6}
"""Top speeds, m/s: the mean maximum gait speed of men in their twenties, the fastest group of Bohannon ("Comfortable
and maximum walking speed of adults aged 20-79 years", Age and Ageing 26, 1997), and the design speed of shared paths,
30 km/h (AASHTO 1999), which 1 % of cyclists exceeded (FHWA-HRT-04-103, 2004). Runners are faster."""


def select_opponent(scenario: Scenario, kind: OpponentKind = "vehicle") -> int | None:
    """Index of who plays the adversary, or None if nobody of that kind qualifies.

    Of vehicles: where the source names exactly two objects of interest and the ego is one of them, it is the other
    (if that is a vehicle that is ever seen), as CAT and SAGE choose. Otherwise it is the vehicle with the
    smallest `conflict`. Of pedestrians and cyclists: the one with the smallest `effort`.

    Args:
        scenario: The scene.
        kind: Who may attack.
    """
    if kind != "vehicle":
        return _least_effort(scenario, KINDS[kind])
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
    return np.flatnonzero(_seen(scenario, (Kind.VEHICLE,)) & (path_lengths(scenario) >= MIN_PATH))


def _seen(scenario: Scenario, kinds: tuple[Kind, ...]) -> NDArray[np.bool_]:
    """Who, of these kinds and other than the ego, is there at the current step and for long enough after it, [A]."""
    valid = scenario.valid
    last_history = min(CURRENT_STEP, scenario.num_steps - 1)
    future = valid[:, last_history + 1 :].sum(1)
    needed = min(MIN_STEPS, max(scenario.num_steps - last_history - 1, 1))
    ok = np.isin(scenario.kinds, kinds) & valid[:, last_history] & (future >= needed)
    ok[scenario.ego] = False
    return ok


def _least_effort(scenario: Scenario, kinds: tuple[Kind, ...]) -> int | None:
    """Who, of these kinds, meets the ego with the least effort; None where nobody can, even at top speed."""
    candidates = np.flatnonzero(_seen(scenario, kinds))
    if len(candidates) == 0:
        return None
    efforts = effort(scenario, candidates)
    best = int(efforts.argmin())
    return int(candidates[best]) if efforts[best] <= 1.0 else None


def effort(scenario: Scenario, agents: NDArray[np.intp]) -> NDArray[np.float64]:
    """Share of its kind's top speed that each agent needs to meet the ego, [len(agents)]; above 1 it cannot.

    The minimum, over every later step of the logged ego, of the straight way from where the agent is at the current
    step to within 2.5 m of where the ego then is, over the time until then and `TOP_SPEED`. Where the agent itself goes
    in its log does not matter: somebody who waits at the kerb may step off it.

    Args:
        scenario: The scene.
        agents: Pedestrians and cyclists, there at the current step.
    """
    now = min(CURRENT_STEP, scenario.num_steps - 1)
    rows = np.flatnonzero(scenario.valid[scenario.ego, now + 1 :]) + now + 1
    if len(rows) == 0:
        return np.full(len(agents), np.inf)
    gap = scenario.position[scenario.ego, rows, :2] - scenario.position[agents, now, None, :2]
    way = np.maximum(np.hypot(gap[..., 0], gap[..., 1]) - NEAR, 0.0)
    top = np.array([TOP_SPEED[Kind(int(scenario.kinds[agent]))] for agent in agents])
    return np.asarray((way / ((rows - now) * scenario.dt)).min(1) / top)


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

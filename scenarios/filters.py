"""Which scenes an adversarial study should leave out, and why.

SAGE leaves a scene out if the logged opponent's track is too short or already violates the map; a scene
without an opponent cannot be attacked, and an ego that hardly moves ends its episode at once.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from scenarios.map_index import MapIndex, has_road_edges
from scenarios.opponents import MIN_STEPS
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

MIN_EGO_REACH: Final = 5.0
"""How far an ego must get from where it begins, m: about its own length. Of 400 WOMD scenes one ego stays nearer."""


def reject_reason(scenario: Scenario, *, as_published: bool = False) -> str | None:
    """Why the scene is unfit for attack studies, or None: the one rule of `--fit-only`, `list` and `import`.

    The opponent must be seen for `MIN_STEPS` steps after the history (3 s: SAGE does not say how short is too short; in
    the 400 WOMD scenes the shortest opponent lasts 67 steps), or as long as a scene lasts that is shorter than that.
    Road boundaries bind vehicles only: pedestrians and cyclists come from beyond them.

    Args:
        scenario: With its `opponent` set.
        as_published: See `opponent_violates_map`.
    """
    opponent = scenario.opponent
    if opponent is None:
        return "no opponent"
    valid = scenario.valid[opponent]
    current = min(CURRENT_STEP, scenario.num_steps - 1)
    if not valid[current]:
        return f"opponent is not there at step {current}"
    seen = int(valid[current + 1 :].sum())
    if seen < min(MIN_STEPS, max(scenario.num_steps - current - 1, 1)):
        return f"opponent track too short: {seen} steps after step {current}"
    if opponent_violates_map(scenario, as_published=as_published):
        return "logged opponent crosses a road boundary"
    return static_ego(scenario)


def static_ego(scenario: Scenario) -> str | None:
    """Why the ego counts as parked, or None.

    What counts is how far it gets from where it begins: the length of its path would grow with the noise of tracking.
    """
    rows = np.flatnonzero(scenario.valid[scenario.ego])
    way = scenario.position[scenario.ego, rows, :2] - scenario.position[scenario.ego, rows[:1], :2]
    reach = float(np.hypot(way[:, 0], way[:, 1]).max(initial=0.0))
    return f"ego hardly moves: {reach:.1f} m" if reach < MIN_EGO_REACH else None


def opponent_violates_map(scenario: Scenario, *, as_published: bool = False) -> bool:
    """Whether the logged box of an opponent that is a vehicle crosses a road boundary; never where the map has none.

    Args:
        scenario: With its `opponent` set.
        as_published: Mirror the box's heading, as SAGE's code does (its corners turn by minus the yaw). This
            reproduces SAGE's published skip list (of the first 400 scenes it skips 107: 99 of these and one
            more have a mirrored box on a boundary, but only 22 a true one).
    """
    opponent = scenario.opponent
    if opponent is None or scenario.kinds[opponent] != Kind.VEHICLE or not has_road_edges(scenario):
        return False
    rows = np.flatnonzero(scenario.valid[opponent])
    poses = scenario.states(opponent)[rows, :3]
    if as_published:
        poses[:, 2] *= -1.0
    return bool(MapIndex.of(scenario).boxes_cross_edges(poses, scenario.box(opponent)).any())

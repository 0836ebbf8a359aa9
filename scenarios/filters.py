"""Which scenes an adversarial study should leave out, and why.

SAGE leaves a scene out if the logged opponent's track is too short or already violates the map; a scene
without an opponent cannot be attacked, and an ego that hardly moves ends its episode at once.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from scenarios.map_index import MapIndex
from scenarios.opponents import path_lengths
from scenarios.scenario import CURRENT_STEP, Scenario

MIN_OPPONENT_STEPS: Final = 30
"""3 s: SAGE does not say how short is too short; in the 400 WOMD scenes the shortest opponent lasts 67 steps."""
MIN_EGO_PATH: Final = 5.0
"""Shortest way of an ego in the whole scene (9.1 s), m."""


def reject_reason(
    scenario: Scenario, *, min_opponent_steps: int = MIN_OPPONENT_STEPS, as_published: bool = False
) -> str | None:
    """Why the scene is unfit for attack studies, or None.

    Args:
        scenario: With its `opponent` set.
        min_opponent_steps: Steps after the history at which the opponent must be seen.
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
    if seen < min_opponent_steps:
        return f"opponent track too short: {seen} steps after step {current}"
    if opponent_violates_map(scenario, as_published=as_published):
        return "logged opponent crosses a road boundary"
    travelled = float(path_lengths(scenario)[scenario.ego])
    if travelled < MIN_EGO_PATH:
        return f"ego hardly moves: {travelled:.1f} m"
    return None


def opponent_violates_map(scenario: Scenario, *, as_published: bool = False) -> bool:
    """Whether the opponent's logged box crosses a road boundary at any step.

    Args:
        scenario: With its `opponent` set.
        as_published: Mirror the box's heading, as SAGE's code does (its corners turn by minus the yaw). This
            reproduces SAGE's published skip list (of the first 400 scenes it skips 107: 99 of these and one
            more have a mirrored box on a boundary, but only 22 a true one).
    """
    if scenario.opponent is None:
        return False
    rows = np.flatnonzero(scenario.valid[scenario.opponent])
    poses = scenario.states(scenario.opponent)[rows, :3]
    if as_published:
        poses[:, 2] *= -1.0
    return bool(MapIndex.of(scenario).boxes_cross_edges(poses, scenario.box(scenario.opponent)).any())

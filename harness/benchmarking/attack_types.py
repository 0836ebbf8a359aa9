"""What kind of encounter an attack was, as it was played: by the rules by which scenes are tagged."""

from __future__ import annotations

import numpy as np

from harness.interfaces import Trajectory
from harness.metrics.encounter import distances
from scenarios.scenario import Scenario
from scenarios.tagging.meetings import Motion, driven_path, meeting
from scenarios.tagging.way import ego_way


def attack_type(
    scenario: Scenario,
    ego: Trajectory,
    ego_size: tuple[float, float],
    other: Trajectory,
    size: tuple[float, float],
    start: int,
    contact: int | None,
) -> str | None:
    """How a vehicle that attacks met the ego, one of `scenarios.tagging.vocabulary.MEETINGS`.

    Judged before the contact, whose crash may turn both, or without one where the two are nearest.

    Args:
        scenario: The scene, for its lanes.
        ego, other: What both did, over the same steps.
        ego_size, size: Length and width, m.
        start: First step that an attack can change.
        contact: First step of contact, or None.

    Returns:
        None where the two are never there at once.
    """
    gaps = distances(ego, ego_size, other, size)
    gaps[:start] = np.nan
    if not np.isfinite(gaps).any():
        return None
    step = int(np.nanargmin(gaps)) if contact is None else contact
    before = step - 1 if contact is not None and ego.valid[step - 1] and other.valid[step - 1] else step
    mine, theirs = Motion(ego.states, ego.valid, ego_size), Motion(other.states, other.valid, size)
    changes = ego_way(scenario, mine, driven_path(mine)[1:-1]).changes
    return meeting(mine, theirs, (before, before), scenario.dt, changes, contact)

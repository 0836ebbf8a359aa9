"""When an attack becomes visible: the first perceptible deviation from what the vehicle would have done."""

from __future__ import annotations

from typing import Final

import numpy as np

from harness.geometry import wrap_angle
from harness.interfaces import Trajectory

VISIBLE_OFFSET: Final = 0.375
"""Lateral deviation (m): how far vehicles normally wander within their lane (UN R157, annex 4, appendix 3)."""
VISIBLE_ADVANCE: Final = 1.0
"""Longitudinal deviation (m); our reading: a quarter of a car's length."""
VISIBLE_SPEED: Final = 1.0
"""Deviation of the speed (m/s); our reading."""
VISIBLE_HEADING: Final = np.deg2rad(5.0)
"""Deviation of the heading (rad); our reading."""


def visible_step(logged: Trajectory, attacked: Trajectory, start: int = 0) -> int | None:
    """First step at which a vehicle perceptibly deviates from what it would have done, or None if it never does.

    Perceptible is, in the frame of the undisturbed motion, 0.375 m sideways, 1 m along, 1 m/s, or 5°. Where only the
    attacked vehicle is present it is visible as such; where only the logged one is, nobody can see anything.

    Args:
        logged: Benign motion (log, or an undisturbed run); `attacked` under attack. Both by absolute step.
        attacked: What it truly did.
        start: First step that counts (the first one that the attack could change).
    """
    steps = min(len(logged.valid), len(attacked.valid))
    calm, wild = logged.states[:steps], attacked.states[:steps]
    offset = wild[:, :2] - calm[:, :2]
    cos, sin = np.cos(calm[:, 2]), np.sin(calm[:, 2])
    along, across = cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0]
    speed = np.hypot(wild[:, 3], wild[:, 4]) - np.hypot(calm[:, 3], calm[:, 4])
    deviates = (
        (np.abs(across) > VISIBLE_OFFSET)
        | (np.abs(along) > VISIBLE_ADVANCE)
        | (np.abs(speed) > VISIBLE_SPEED)
        | (np.abs(wrap_angle(wild[:, 2] - calm[:, 2])) > VISIBLE_HEADING)
    )
    seen = attacked.valid[:steps] & (deviates | ~logged.valid[:steps])
    seen[:start] = False
    return int(seen.argmax()) if seen.any() else None

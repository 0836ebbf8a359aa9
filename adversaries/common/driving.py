"""How others go on as now, which controllers of cars have in common."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.geometry import wrap_angle
from harness.interfaces import HEADING, VX, VY

Floats = NDArray[np.float64]

HARDEST: Final = 9.0
"""No ego is expected to accelerate or brake harder, m/s²."""
SHARPEST: Final = 1.0
"""No ego is expected to turn faster, rad/s."""


def present_motion(before: Floats, now: Floats, dt: float) -> tuple[Floats, Floats]:
    """Acceleration (m/s²) and turn rate (rad/s) between two states [..., 5], within what a car can do."""
    speed_before, speed = (np.hypot(state[..., VX], state[..., VY]) for state in (before, now))
    push = np.clip((speed - speed_before) / dt, -HARDEST, HARDEST)
    turn = np.clip(wrap_angle(now[..., HEADING] - before[..., HEADING]) / dt, -SHARPEST, SHARPEST)
    return push, turn


def extrapolate(now: Floats, push: Floats, turn: Floats, steps: int, dt: float) -> Floats:
    """Go on as now: constant acceleration until standstill, constant curvature.

    Args:
        now: [..., 5].
        push: [...] m/s².
        turn: [...] rad/s at the present speed.
        steps: How far.
        dt: s.

    Returns:
        [..., steps, 5], the states 1 … `steps` steps from now.
    """
    speed = np.hypot(now[..., VX], now[..., VY])[..., None]
    time = dt * np.arange(1, steps + 1)
    paces = np.maximum(speed + np.asarray(push)[..., None] * time, 0.0)
    means = (np.concatenate([np.broadcast_to(speed, paces[..., :1].shape), paces[..., :-1]], -1) + paces) / 2
    # Heading goes with the way covered, so a car that brakes to a halt does not spin on the spot.
    ratio = np.divide(means, speed, out=np.zeros_like(means), where=speed > 0.5)
    turned = np.cumsum(np.asarray(turn)[..., None] * ratio * dt, -1)
    heading = now[..., HEADING][..., None] + turned
    middle = heading - np.diff(turned, prepend=0.0) / 2
    way = np.stack([means * np.cos(middle), means * np.sin(middle)], -1) * dt
    place = now[..., None, :2] + np.cumsum(way, -2)
    velocity = np.stack([paces * np.cos(heading), paces * np.sin(heading)], -1)
    return np.concatenate([place, wrap_angle(heading)[..., None], velocity], -1)

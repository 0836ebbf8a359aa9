"""How SEAL sees an encounter (the ego's track from the opponent's seat) and what it learns to foretell about it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.geometry import to_frame, wrap_angle
from harness.interfaces import HEADING, VX, VY

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Bools = NDArray[np.bool_]

SCALE: Final = 8.0
"""Metres at which closeness and deviation have changed by a factor e (SEAL's code: `exp(-x / 8)`)."""
HARDEST: Final = 9.0
"""No ego is expected to accelerate or brake harder, m/s²."""
SHARPEST: Final = 1.0
"""No ego is expected to turn faster, rad/s."""


def relative_track(ego: Floats, ego_valid: Bools, opponent: Floats, opponent_valid: Bools) -> Singles:
    """The ego's centre in the opponent's frame at every step; leading dimensions broadcast.

    Args:
        ego, opponent: [..., T, ≥3] x, y, heading.
        ego_valid, opponent_valid: [..., T].

    Returns:
        [..., T, 3] x ahead, y to the left (m), valid; zeros where either is invalid.
    """
    place = to_frame(ego[..., :2], opponent[..., :3])
    valid = np.broadcast_to(ego_valid & opponent_valid, place.shape[:-1])
    place = np.where(valid[..., None], place, 0.0)
    return np.concatenate([place, valid[..., None]], axis=-1).astype(np.float32)


def closeness(distance: Floats, contact: Bools) -> Floats:
    """1 for a contact, exp(-d / 8 m) for a closest approach of the centres at d."""
    return np.where(contact, 1.0, np.exp(-np.asarray(distance) / SCALE))


def deviation(expected: Floats, happened: Floats, valid: Bools) -> Floats:
    """How much the ego was made to change its way: 1 - exp(-Σ_t |expected - happened| / 8 m).

    Args:
        expected, happened: [..., T, ≥2], m.
        valid: [..., T] steps that count.
    """
    away = np.hypot(*np.moveaxis(expected[..., :2] - happened[..., :2], -1, 0))
    return np.asarray(1.0 - np.exp(-np.where(valid, away, 0.0).sum(-1) / SCALE))


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

"""How SEAL sees an encounter (the ego's track from the opponent's seat) and what it learns to foretell about it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.geometry import to_frame

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Bools = NDArray[np.bool_]

SCALE: Final = 8.0
"""Metres at which closeness and deviation have changed by a factor e (SEAL's code: `exp(-x / 8)`)."""


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

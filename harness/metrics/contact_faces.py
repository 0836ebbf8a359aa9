"""Which side of each vehicle was hit, from the exact moment of contact between two steps."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.geometry import boxes_overlap, wrap_angle

Floats = NDArray[np.float64]

Face = Literal["front", "left", "rear", "right"]

FACES: Final[tuple[Face, ...]] = ("front", "left", "rear", "right")
"""Faces in the order of their outward normals: 0°, 90°, 180°, 270° from the heading."""
BISECTIONS: Final = 20
"""Halvings of one step: the moment of contact is then known to a microsecond."""


def contact_faces(poses_a: Floats, size_a: ArrayLike, poses_b: Floats, size_b: ArrayLike) -> tuple[Face, Face, Floats]:
    """Sides of A and of B that met, and their poses at that moment.

    The box that separates last gives one face; the other box touches it with a corner, and of the two faces that meet
    in that corner the one that looks against the first face counts.

    Args:
        poses_a, poses_b: [2, 3] before the contact and in contact. If the boxes overlap already before, that moment is
            judged.
        size_a, size_b: [2] length and width, m.

    Returns:
        Face of A, face of B, poses [2, 3] of A and B.
    """
    first, second = np.asarray(size_a, dtype=np.float64), np.asarray(size_b, dtype=np.float64)
    low, high = 0.0, 1.0
    if bool(boxes_overlap(poses_a[0], first, poses_b[0], second)):
        high = 0.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if bool(boxes_overlap(_between(poses_a, middle), first, _between(poses_b, middle), second)):
            high = middle
        else:
            low = middle
    a, b = _between(poses_a, high), _between(poses_b, high)
    gap_a, face_a = _widest_gap(a, first, b, second)
    gap_b, face_b = _widest_gap(b, second, a, first)
    if gap_a >= gap_b:
        return FACES[face_a], _facing(b, a[2] + face_a * np.pi / 2), np.stack([a, b])
    return _facing(a, b[2] + face_b * np.pi / 2), FACES[face_b], np.stack([a, b])


def _between(poses: Floats, share: float) -> Floats:
    turn = float(wrap_angle(poses[1, 2] - poses[0, 2]))
    position = poses[0, :2] + share * (poses[1, :2] - poses[0, :2])
    return np.array([*position, poses[0, 2] + share * turn])


def _widest_gap(own: Floats, own_size: Floats, other: Floats, other_size: Floats) -> tuple[float, int]:
    """The face of `own` that is farthest from (or least within) the other box: gap in m, and the face."""
    angles = own[2] + np.arange(4) * np.pi / 2
    normals = np.stack([np.cos(angles), np.sin(angles)], -1)
    turn = other[2] - angles
    reach = other_size[0] / 2 * np.abs(np.cos(turn)) + other_size[1] / 2 * np.abs(np.sin(turn))
    gaps = normals @ (other[:2] - own[:2]) - reach - np.tile(own_size / 2, 2)
    face = int(gaps.argmax())
    return float(gaps[face]), face


def _facing(own: Floats, normal: float) -> Face:
    """The face of `own` that looks most against a direction (rad)."""
    return FACES[int(np.cos(own[2] + np.arange(4) * np.pi / 2 - normal).argmin())]

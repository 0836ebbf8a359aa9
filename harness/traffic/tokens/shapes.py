"""What a motion token is: half a second of poses, compared by the corners of a box of fixed size per agent kind."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.geometry import box_corners

Floats = NDArray[np.float64]

TOKEN_STEPS: Final = 5
"""Steps of 0.1 s in one token (Trajeglish and SMART: 0.5 s)."""
TOKEN_KINDS: Final = 3
"""Vehicle, pedestrian, cyclist: the first three of `scenarios.Kind`. Every other kind moves with vehicle tokens."""
KIND_SIZES: Final = np.array([[4.8, 2.0], [1.0, 1.0], [2.0, 1.0]])
"""Length and width (m) of the contour of vehicles, pedestrians and cyclists, as in CAT-K's vocabulary."""
KIND_NAMES: Final = ("vehicle", "pedestrian", "cyclist")


def token_kinds(kinds: NDArray[np.integer]) -> NDArray[np.int64]:
    """Token kind of each `scenarios.Kind`, any shape: its own value up to 2, else 0."""
    kinds = np.asarray(kinds, dtype=np.int64)
    return np.where(kinds < TOKEN_KINDS, kinds, 0)


def contours(poses: Floats, kinds: NDArray[np.int64]) -> Floats:
    """Corners [..., 4, 2] of the fixed-size boxes of `kinds` [...] at `poses` [..., 3]."""
    return box_corners(poses, KIND_SIZES[kinds])


def corner_distance(poses: Floats, others: Floats, size: Floats) -> Floats:
    """Mean distance [...] (m) between corresponding corners of boxes of one `size` [2] at two (broadcast) poses."""
    gap = box_corners(poses, size) - box_corners(others, size)
    return np.asarray(np.hypot(gap[..., 0], gap[..., 1]).mean(-1))


def half_diagonals(kinds: Tensor) -> Tensor:
    """Half length and half width [..., 2] of the contours of `kinds` [...]."""
    table = torch.as_tensor(KIND_SIZES / 2, dtype=torch.float32, device=kinds.device)
    return table[kinds]


def box_corners_torch(poses: Tensor, half: Tensor) -> Tensor:
    """Corners [..., 4, 2] as `harness.geometry.box_corners`, for tensors; `half` [..., 2] holds half sizes."""
    cos, sin = poses[..., 2].cos(), poses[..., 2].sin()
    ahead = torch.stack([cos, sin], -1) * half[..., :1]
    left = torch.stack([-sin, cos], -1) * half[..., 1:]
    centre = poses[..., :2]
    return torch.stack([centre + ahead + left, centre - ahead + left, centre - ahead - left, centre + ahead - left], -2)


def compose(base: Tensor, motion: Tensor) -> Tensor:
    """Pose [..., 3] reached from `base` [..., 3] by a `motion` [..., 3] given in its frame; headings not wrapped."""
    cos, sin = base[..., 2].cos(), base[..., 2].sin()
    x = base[..., 0] + cos * motion[..., 0] - sin * motion[..., 1]
    y = base[..., 1] + sin * motion[..., 0] + cos * motion[..., 1]
    return torch.stack([x, y, base[..., 2] + motion[..., 2]], -1)


def relative(pose: Tensor, base: Tensor) -> Tensor:
    """`pose` [..., 3] in the frame of `base` [..., 3], heading wrapped to [-π, π): the inverse of `compose`."""
    cos, sin = base[..., 2].cos(), base[..., 2].sin()
    dx, dy = pose[..., 0] - base[..., 0], pose[..., 1] - base[..., 1]
    turn = torch.remainder(pose[..., 2] - base[..., 2] + torch.pi, 2 * torch.pi) - torch.pi
    return torch.stack([cos * dx + sin * dy, cos * dy - sin * dx, turn], -1)


def separation(one: Tensor, half: Tensor, two: Tensor, other: Tensor) -> Tensor:
    """Largest gap [...] (m) between boxes at `one` and `two` [..., 3] along any of their axes; 0 or less: they overlap.

    Args:
        one: Poses; the arguments broadcast.
        half: Half lengths and widths [..., 2] of the first boxes.
        two: Poses.
        other: Half sizes of the second boxes.
    """
    offset = two[..., :2] - one[..., :2]
    turn = two[..., 2] - one[..., 2]
    cos, sin = turn.cos().abs(), turn.sin().abs()

    def apart(heading: Tensor, own: Tensor, far: Tensor) -> Tensor:
        c, s = heading.cos(), heading.sin()
        along = (c * offset[..., 0] + s * offset[..., 1]).abs()
        across = (c * offset[..., 1] - s * offset[..., 0]).abs()
        gap_along = along - own[..., 0] - (far[..., 0] * cos + far[..., 1] * sin)
        gap_across = across - own[..., 1] - (far[..., 0] * sin + far[..., 1] * cos)
        return torch.maximum(gap_along, gap_across)

    return torch.maximum(apart(one[..., 2], half, other), apart(two[..., 2], other, half))

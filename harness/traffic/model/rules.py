"""Scoring rules for test-time scaling: which of several roll-outs of a scene is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from harness.traffic.tokens.scene import SceneTokens
from harness.traffic.tokens.shapes import TOKEN_STEPS

Rule = Callable[[Tensor, SceneTokens], Tensor]
"""Scores roll-outs: states [R, A, S, 3] (x, y in m, heading in rad, frame of the scene) → [R], higher is better."""


def fewest_overlaps(states: Tensor, scene: SceneTokens) -> Tensor:
    """Minus the number of agents whose box overlaps another one's at any decision, overlaps at the start left out.

    Args:
        states: [R, A, S, 3].
        scene: Gives sizes.
    """
    poses = states[:, :, TOKEN_STEPS - 1 :: TOKEN_STEPS].transpose(1, 2)
    half = torch.as_tensor(scene.sizes[:, :2] / 2, device=states.device)
    start = torch.as_tensor(scene.poses[:, -1], device=states.device)[None, None]
    hit = overlaps(poses, half).any(1) & ~overlaps(start, half)[0, 0]
    return -hit.any(-1).sum(-1).float()


def overlaps(poses: Tensor, half: Tensor) -> Tensor:
    """Which pairs of boxes overlap, by separating axes: [..., A, A] for poses [..., A, 3] and half sizes [A, 2]."""
    offset = poses[..., None, :, :2] - poses[..., :, None, :2]
    turn = poses[..., None, :, 2] - poses[..., :, None, 2]
    cos, sin = turn.cos().abs(), turn.sin().abs()

    def apart(heading: Tensor, own: Tensor, other: Tensor) -> Tensor:
        c, s = heading.cos(), heading.sin()
        along = (c * offset[..., 0] + s * offset[..., 1]).abs()
        across = (c * offset[..., 1] - s * offset[..., 0]).abs()
        gap_along = along - own[..., 0] - (other[..., 0] * cos + other[..., 1] * sin)
        gap_across = across - own[..., 1] - (other[..., 0] * sin + other[..., 1] * cos)
        return torch.maximum(gap_along, gap_across)

    first, second = half[:, None], half[None]
    gap = torch.maximum(apart(poses[..., :, None, 2], first, second), apart(poses[..., None, :, 2], second, first))
    itself = torch.eye(half.shape[0], dtype=torch.bool, device=poses.device)
    return (gap <= 0.0) & ~itself


RULES: Final[dict[str, Rule | None]] = {"likelihood": None, "overlaps": fewest_overlaps}
"""By name; None stands for the model's own mean log-likelihood of the sampled tokens."""

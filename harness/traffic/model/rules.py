"""Scoring rules for test-time scaling: which of several roll-outs of a scene is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from harness.traffic.tokens.scene import SceneTokens
from harness.traffic.tokens.shapes import TOKEN_STEPS, separation

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
    gap = separation(poses[..., :, None, :], half[:, None], poses[..., None, :, :], half[None])
    itself = torch.eye(half.shape[0], dtype=torch.bool, device=poses.device)
    return (gap <= 0.0) & ~itself


RULES: Final[dict[str, Rule | None]] = {"likelihood": None, "overlaps": fewest_overlaps}
"""By name; None stands for the model's own mean log-likelihood of the sampled tokens."""

"""What a reward is compared with: baselines of G roll-outs of the same scene, and how far rewards spread.

Rewards are [S, G, A] of S scenes, G roll-outs, A agents (A is 1 where the scene shares one reward).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from harness.traffic.model.embeddings import mlp

_MEMORY: Final = 0.95
"""Decay per batch of the running mean reward."""


def leave_one_out(reward: Tensor) -> Tensor:
    """Mean reward [S, G, A] of the scene's other roll-outs: it knows how hard the scene is, but not this roll-out."""
    count = reward.shape[1]
    return (reward.sum(1, keepdim=True) - reward) / (count - 1)


def group_mean(reward: Tensor) -> Tensor:
    """Mean reward [S, 1, A] of all of the scene's roll-outs, this one included (GRPO)."""
    return reward.mean(1, keepdim=True)


def spread(reward: Tensor) -> Tensor:
    """Standard deviation [S, 1, A] of the reward over the scene's roll-outs."""
    return reward.std(1, keepdim=True, unbiased=False)


class Memory(nn.Module):
    """What a stage has to remember between batches (and over a resumption): running mean reward, and PPO's critic."""

    def __init__(self, hidden: int, critic: bool) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))
        self.mean: Tensor
        self.seen: Tensor
        self.critic = mlp(hidden, hidden, 1) if critic else None

    def expect(self, reward: Tensor) -> float:
        """The mean reward before this batch (its own at the first), then taking it in; NaN is left out."""
        now = reward.nanmean()
        before = self.mean.clone() if self.seen > 0 else now
        if not now.isnan():
            self.mean.copy_(before * _MEMORY + now * (1 - _MEMORY))
            self.seen += 1
        return float(before)

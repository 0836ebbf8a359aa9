"""How a network is fitted: what the loop has to know, whatever is learnt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class FitSettings:
    """What the loop does besides following the gradient; the defaults do nothing.

    Attributes:
        epochs: Last epoch; a learning rate that falls reaches its end there.
        rate: Peak of the learning rate.
        warmup: Updates of linear warm-up.
        final_rate: Share of the peak at the end of the cosine; 1 keeps the rate constant.
        clip: Largest gradient norm; 0 for any.
        average: Decay per update of the moving average of the weights, which is what is evaluated and kept; 0 for none.
        patience: Stop after this many epochs without a better evaluation; 0 for never.
        minutes: Stop after this much time and keep the best so far; 0 for no limit.
    """

    epochs: int
    rate: float
    warmup: int = 0
    final_rate: float = 1.0
    clip: float = 0.0
    average: float = 0.0
    patience: int = 0
    minutes: float = 0.0

    def rate_at(self, update: int, total: int) -> float:
        """Learning rate at an update: linear warm-up, then a cosine down to `final_rate` of the peak."""
        warm = min(1.0, (update + 1) / max(self.warmup, 1))
        done = min(update / max(total, 1), 1.0)
        share = self.final_rate + (1 - self.final_rate) * 0.5 * (1.0 + math.cos(math.pi * done))
        return self.rate * warm * share


def adamw(parameters: Sequence[nn.Parameter], rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves biases and gains alone; one fused step where the device has one."""
    matrices = [value for value in parameters if value.ndim > 1]
    vectors = [value for value in parameters if value.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    fused = {value.device.type for value in parameters} <= {"cpu", "cuda"}
    return torch.optim.AdamW(groups, lr=rate, fused=fused or None)

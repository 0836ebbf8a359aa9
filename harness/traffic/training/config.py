"""How traffic models are trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from harness.errors import ConfigError

FREE: Final = frozenset({"epochs", "minutes", "threads", "patience", "device"})
"""Fields of `LoopConfig` that may differ when a stage goes on."""


@dataclass(frozen=True)
class LoopConfig:
    """The training loop, the same for every stage; 0 takes the stage's own default."""

    epochs: int = 40
    """Passes; the learning rate reaches its end at the last."""
    scenes_per_epoch: int = 0
    """Scenes drawn per epoch; 0 for all."""
    batch: int = 4
    """Scenes per update."""
    learning_rate: float = 0.0
    """Peak of the cosine schedule (AdamW); 0: 1e-3 for cloning, 1e-4 for fine-tuning stages."""
    final_rate: float = 0.01
    """Share of the peak at the end (CAT-K: 1 % for cloning, 5 % for fine-tuning)."""
    weight_decay: float = 0.02
    """Weight decay of AdamW, on matrices only."""
    clip: float = 0.5
    """Gradients are scaled down to this norm (CAT-K)."""
    warmup: int = 100
    """Updates of linear warm-up."""
    average: float = 0.998
    """Decay per update of the moving average of the weights, which is what is validated and kept; 0 for none."""
    patience: int = 12
    """Stop after this many epochs without a better validation value."""
    minutes: float = 0.0
    """Stop after this much training time and keep the best so far; 0 for no limit."""
    seed: int = 0
    """Seed of everything random."""
    threads: int = 1
    """Torch threads; with one the result is the same on every run."""
    amp: bool = False
    """Whether to compute in bfloat16 where autocast allows it."""
    device: str = "auto"
    """`auto` takes a GPU where there is one."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range.
        """
        for name in ("epochs", "batch", "patience", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}.")
        if self.learning_rate < 0 or not 0 <= self.average < 1 or not 0 <= self.final_rate <= 1 or self.clip <= 0:
            raise ConfigError("learning_rate must be >= 0, average in [0, 1), final_rate in [0, 1], clip > 0.")


@dataclass(frozen=True)
class ReinforcementOptions:
    """Options of reinforcement stages."""

    rollouts: int = 8
    """Roll-outs per scene and update."""
    threshold: float = 0.0
    """MPO: the expected reward α. SMART-R1 uses 0.77, about the mean reward of its starting model over 32 roll-outs;
    0 takes the running mean over scenes, which plays the same part for other models and fewer roll-outs."""
    beta: float = 0.04
    """Weight of the divergence from the starting weights (SMART-R1)."""
    clip: float = 0.2
    """PPO, GRPO: clipping of the probability ratio."""
    updates: int = 2
    """PPO, GRPO: optimiser steps per sample."""
    preference: float = 0.1
    """DPO: its β."""
    collision: float = 1.0
    """GRBO: cost of a collision."""
    offroad: float = 1.0
    """GRBO: cost of leaving the road."""
    human: float = 0.1
    """GRBO: weight of the likelihood of logged tokens, beside the divergence."""


@dataclass(frozen=True)
class StageOptions:
    """Options of the objectives."""

    smoothing: float = 0.1
    """Cloning: label smoothing."""
    width: float = 0.1
    """Cloning: smoothing goes to motions within about this contour distance, m; 0 for evenly, as published."""
    frozen: bool = True
    """Fine-tuning: leave map encoder and embeddings as they are (CAT-K)."""
    k: int = 0
    """Closed-loop stages: candidates; 0 for the number that did best in CAT-K's table 5."""
    rl: ReinforcementOptions = field(default_factory=ReinforcementOptions)
    """Reinforcement stages."""

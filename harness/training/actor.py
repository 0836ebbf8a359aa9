"""What acts in training: the actor's layers as plain arrays, here or in a worker that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.errors import PolicyError

Floats32 = NDArray[np.float32]


@dataclass(slots=True)
class Actor:
    """A policy with Gaussian noise on its actions, once it has warmed up.

    Attributes:
        layers: Weight [out, in] and bias [out] of each layer, float32: rectified in between, and a tanh at the end.
        warmup: Steps of uniformly random actions.
        exploration: Standard deviation of the noise.
        updates: Updates that have made these layers.
    """

    layers: Sequence[tuple[Floats32, Floats32]]
    warmup: int
    exploration: float
    updates: int = 0

    def greedy(self, observation: Floats32) -> Floats32:
        """The policy's action [A] for an observation [O].

        Raises:
            PolicyError: It is not finite: training has diverged.
        """
        hidden = observation
        for weight, bias in self.layers[:-1]:
            hidden = np.maximum(hidden @ weight.T + bias, 0.0)
        weight, bias = self.layers[-1]
        action = np.tanh(hidden @ weight.T + bias)
        if not np.isfinite(action).all():
            raise PolicyError(
                f"the policy in training returned {action.tolist()} after {self.updates} updates: an observation is "
                "not finite, or training has diverged. Start again with a lower --td3.learning-rate."
            )
        return action

    def explore(self, observation: Floats32, step: int, rng: np.random.Generator) -> Floats32:
        """Action [A] for training at `step`: uniform while warming up, then the policy's with Gaussian noise."""
        actions = len(self.layers[-1][1])
        if step < self.warmup:
            return rng.uniform(-1.0, 1.0, actions).astype(np.float32)
        noise = rng.standard_normal(actions, np.float32) * np.float32(self.exploration)
        return np.clip(self.greedy(observation) + noise, -1.0, 1.0)

    def snapshot(self) -> Actor:
        """A copy that later updates do not change."""
        return replace(self, layers=[(weight.copy(), bias.copy()) for weight, bias in self.layers])

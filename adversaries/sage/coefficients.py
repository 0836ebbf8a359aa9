"""Coefficients of task arithmetic, a number per expert and layer, fitted on scenes.

Yang et al., "AdaMerging: Adaptive Model Merging for Multi-Task Learning" (ICLR 2024), learn a coefficient per task and
layer by gradient descent on unlabelled data, with the entropy of the output as a stand-in for the loss. Here the reward
of one sample of the policy is known exactly, a sum over all goals, so that it is climbed itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from adversaries.prior.network import to_batch
from adversaries.sage.landscape import Probe
from adversaries.sage.merging import Layers, join
from adversaries.sage.objectives import Values

Floats = NDArray[np.float64]

PREFERENCES: Final = (0.0, 0.5, 1.0)
"""μ whose rewards are climbed in turn, each at λ = μ."""
STEPS: Final = 24
"""Updates of a fit."""
RATE: Final = 0.1
"""Learning rate of Adam."""


def sample_reward(values: Values, preference: float) -> Floats:
    """R_μ [V] of listed futures, in which an infeasible one is worth as little as the scene's worst feasible one."""
    rewards = values.preference(preference, 1.0 - preference)
    feasible = values.feasible
    return np.where(feasible, rewards, rewards[feasible].min()) if feasible.any() else rewards


def fit_coefficients(
    probe: Probe, tasks: Sequence[Layers], scenes: Sequence[int], steps: int = STEPS
) -> tuple[Mapping[str, float], ...]:
    """By expert, a coefficient of every layer that raises the expected R_μ of one sample along the dial.

    All begin at 1, where task arithmetic is the straight line, and the number of updates is small: there are some
    thirty numbers per expert, and few scenes.

    Args:
        probe: The experts on prepared scenes.
        tasks: Task vectors of the adversarial and the realism expert by layer.
        scenes: Indices of the scenes that are fitted on.
        steps: Updates.
    """
    names = [name for name in tasks[0] if any(bool(task[name].any()) for task in tasks)]
    moved = torch.cat([torch.full_like(layer, float(name in names)) for name, layer in tasks[0].items()]).bool()
    sizes = torch.tensor([tasks[0][name].numel() for name in names])
    vectors = torch.stack([join(task)[moved] for task in tasks])
    batch = to_batch([probe.bank.entries[i].case for i in scenes])
    rewards = {
        mu: torch.as_tensor(np.stack([sample_reward(probe.tables[i], mu) for i in scenes]), dtype=torch.float32)
        for mu in PREFERENCES
    }
    chosen = torch.ones(len(tasks), len(names), requires_grad=True)
    optimiser = torch.optim.Adam([chosen], lr=RATE)
    module = probe.policy.module
    for step in range(steps):
        mu = PREFERENCES[step % len(PREFERENCES)]
        shares = torch.tensor([mu, 1.0 - mu])[:, None]
        scaled = (shares * chosen.repeat_interleave(sizes, dim=1) * vectors).sum(0)
        weights = probe.vectors.reference.clone().masked_scatter(moved, probe.vectors.reference[moved] + scaled)
        _, log_probs = functional_call(module, unflattened(module, weights), (batch,))
        loss = -(log_probs.exp() * rewards[mu]).sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return tuple(dict(zip(names, row, strict=True)) for row in chosen.detach().tolist())


def unflattened(module: nn.Module, weights: Tensor) -> dict[str, Tensor]:
    """A flat vector [P] by parameter, as views through which gradients flow."""
    named = dict(module.named_parameters())
    parts = weights.split([parameter.numel() for parameter in named.values()])
    return {name: part.view(own.shape) for (name, own), part in zip(named.items(), parts, strict=True)}

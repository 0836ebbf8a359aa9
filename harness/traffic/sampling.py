"""Choosing the next token: top-k with a temperature, CAT-K, Warm-K; and choosing among whole roll-outs.

Every function takes and returns tensors, and draws from the generator it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness.errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """How a roll-out chooses tokens."""

    method: Literal["top_k", "warm_k"] = "top_k"
    """Fresh top-k sampling, or Warm-K."""
    k: int = 5
    """Most probable tokens that may be chosen; 0 for all. SMART's code takes 5, CAT-K's submission 48: a model that
    learnt from few scenes puts too much into the tail, and scores best with few."""
    temperature: float = 1.0
    """Temperature, which divides the logits; 0 for the most probable token."""
    continuity: float = 0.5
    """Warm-K: weight of continuity, in nats per 0.1 m of contour distance to the motion before."""
    choices: int = 1
    """Test-time scaling: roll out this many times as often as asked for, and keep the best by the scoring rule."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range.
        """
        if self.k < 0 or self.temperature < 0 or self.continuity < 0 or self.choices < 1:
            raise ConfigError(f"sampling: k, temperature and continuity must be >= 0, choices >= 1; found {self}.")


def top_k(logits: Tensor, k: int) -> Tensor:
    """Logits [..., V] with all but the k largest at minus infinity; all of them where k is 0 or at least V."""
    if k <= 0 or k >= logits.shape[-1]:
        return logits
    kept, index = logits.topk(k, -1)
    return torch.full_like(logits, -torch.inf).scatter(-1, index, kept)


def draw(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One token [...] from logits [..., V]; the most probable one at temperature 0.

    By the Gumbel trick: the noise depends on the generator and the shape alone, so that two models (or two methods)
    with the same seed differ only where their logits do.
    """
    return perturbed(logits, temperature, generator).argmax(-1)


def drawn(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    """Even numbers from 0 to 1 on a device, drawn where the generator is."""
    return torch.rand(tuple(shape), generator=generator, device=generator.device).to(device)


def perturbed(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Logits [..., V] with the noise of `draw`: in their descending order tokens are drawn without replacement."""
    if temperature == 0:
        return logits
    uniform = drawn(logits.shape, generator, logits.device)
    # Two logarithms of every number cost more than finding the few that are not left out.
    place = (logits.flatten() > -torch.inf).nonzero()[:, 0]
    noise = -torch.log(-torch.log(uniform.flatten()[place].clamp(1e-20, 1 - 1e-7)))
    return (logits / temperature).flatten().index_add(0, place, noise).view(logits.shape)


def cat_k(logits: Tensor, distance: Tensor, known: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Closest among top-K: of the k most probable tokens, the one nearest to the log.

    Paper: CAT-K (Zhang et al. 2025), equation 1. Where the log is unknown, a sample of the policy, as in CAT-K's code.

    Args:
        logits: [..., V].
        distance: [..., V] contour distance (m) from where each token leads to where the log is next.
        known: [...] whether the log is known there.
        k: Candidates.
        generator: For the unknown.
    """
    kept = top_k(logits, k)
    nearest = distance.masked_fill(kept == -torch.inf, torch.inf).argmin(-1)
    if bool(known.all()):
        return nearest
    return torch.where(known, nearest, draw(kept, 1.0, generator))


def warm_k(logits: Tensor, continuity: Tensor, k: int, weight: float) -> Tensor:
    """Warm-K: logits [..., V] of top-k around the warm start that the motion before gives, else minus infinity.

    Paper: 'Post-Training and Test-Time Scaling of Generative Agent Behavior Models' (Seong et al. 2025); only its
    abstract is public ('a warm-started Top-K sampling strategy that balances consistency and diversity in motion
    selection'), so this is our reading. The plan of an agent that is moved by one token at a time is to go on as it
    did: its last motion, carried on. Half of the k candidates are the most probable tokens, the other half the most
    probable ones among the 4k nearest to that plan, and all are scored by the policy plus a bonus for continuity.

    Args:
        logits: [..., V].
        continuity: [..., V] contour distance (m) of each token from the previous motion.
        k: Candidates.
        weight: Nats per 0.1 m of that distance; 0 leaves the choice among candidates to the policy.
    """
    fresh = top_k(logits, max(k // 2, 1))
    near = min(4 * max(k, 1), logits.shape[-1])
    bound = continuity.kthvalue(near, -1, keepdim=True).values
    warm = top_k(logits.masked_fill(continuity > bound, -torch.inf), max(k - k // 2, 1))
    return torch.maximum(fresh, warm) - weight * continuity / 0.1


def keep_best(scores: Tensor, groups: int) -> Tensor:
    """Test-time scaling: of R roll-outs in `groups` equal groups (r belongs to group r mod groups), the best of each.

    Args:
        scores: [R].
        groups: Number of roll-outs wanted.

    Returns:
        [groups] indices.
    """
    table = scores.view(-1, groups)
    return table.argmax(0) * groups + torch.arange(groups, device=scores.device)

"""Hierarchical group-based preference optimisation: loss, one update, and what is being optimised.

Paper: section 3.2, eq. 4, algorithm 1; constants from appendix B.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from adversaries.sage.backbone import Backbone, Ints
from adversaries.sage.bank import Entry
from adversaries.sage.config import BETA, HgpoConfig, Recipe
from adversaries.sage.objectives import Values


def hgpo_loss(winner: Tensor, loser: Tensor, winner_ref: Tensor, loser_ref: Tensor, beta: float = BETA) -> Tensor:
    """Eq. 4: mean of -log σ(β (log π/π_ref of the winner - log π/π_ref of the loser)) over P pairs.

    Args:
        winner, loser: [P] log-probabilities under the policy (gradients flow).
        winner_ref, loser_ref: [P] log-probabilities of the same trajectories under the reference.
        beta: β.
    """
    return -F.logsigmoid(beta * ((winner - winner_ref) - (loser - loser_ref))).mean()


@dataclass(frozen=True, slots=True)
class GroupLoss:
    """Groups of a few scenes: the loss of their pairs (None without pairs), and the share that is ranked right."""

    loss: Tensor | None
    pairs: int
    accuracy: float
    groups: list[Values]


def group_loss(
    policy: Backbone, entries: Sequence[Entry], recipe: Recipe, config: HgpoConfig, rng: np.random.Generator
) -> GroupLoss:
    """Lines 7 to 15 of algorithm 1 for a few scenes: draw groups, judge and pair them.

    Groups come from the current policy. Policy and reference are evaluated on the same trajectories.
    """
    distribution = policy.distribution([entry.case for entry in entries])
    groups = distribution.sample(config.group, rng)
    judged = [entry.values(tokens) for entry, tokens in zip(entries, groups, strict=True)]
    chosen = [recipe.choose(values, rng, config.pairs, config.margin) for values in judged]
    winners = _side(groups, chosen, 0)
    losers = _side(groups, chosen, 1)
    count = sum(len(pairs) for pairs in chosen)
    if count == 0:
        return GroupLoss(None, 0, float("nan"), judged)
    ours = [torch.cat(distribution.log_prob(side)) for side in (winners, losers)]
    theirs = [
        torch.cat([entry.reference(tokens).to(ours[0].device) for entry, tokens in zip(entries, side, strict=True)])
        for side in (winners, losers)
    ]
    loss = hgpo_loss(ours[0], ours[1], theirs[0], theirs[1], config.beta)
    right = ((ours[0].detach() - theirs[0]) > (ours[1].detach() - theirs[1])).double().mean()
    return GroupLoss(loss, count, float(right), judged)


def _side(groups: Sequence[Ints], chosen: Sequence[NDArray[np.intp]], side: int) -> list[Ints]:
    return [tokens[pairs[:, side]] for tokens, pairs in zip(groups, chosen, strict=True)]

"""Hierarchical group-based preference optimisation: loss, one update, and what is being optimised.

Paper: section 3.2, eq. 4, algorithm 1; constants from appendix B.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from adversaries.sage.backbone import Backbone, Distribution, Ints
from adversaries.sage.bank import Entry
from adversaries.sage.config import BETA, HgpoConfig, Recipe
from adversaries.sage.objectives import Values

Floats = NDArray[np.float64]


def hgpo_loss(winner: Tensor, loser: Tensor, winner_ref: Tensor, loser_ref: Tensor, beta: float = BETA) -> Tensor:
    """Eq. 4: mean of -log σ(β (log π/π_ref of the winner - log π/π_ref of the loser)) over P pairs.

    Args:
        winner, loser: [P] log-probabilities under the policy (gradients flow).
        winner_ref, loser_ref: [P] log-probabilities of the same trajectories under the reference.
        beta: β.
    """
    return -F.logsigmoid(beta * ((winner - winner_ref) - (loser - loser_ref))).mean()


class PreferencePairs(NamedTuple):
    """Preference pairs of a few scenes.

    Attributes:
        groups: Per scene, token rows [K, L] of the candidates.
        judged: Per scene, their objectives.
        chosen: Per scene, indices [P, 2] of winners and losers among them.
    """

    groups: list[Ints]
    judged: list[Values]
    chosen: list[NDArray[np.intp]]

    @property
    def total(self) -> int:
        """Number of pairs of all scenes."""
        return sum(len(pairs) for pairs in self.chosen)

    def side(self, side: int) -> list[Ints]:
        """Token rows of the winners (0) or of the losers (1), per scene."""
        return [tokens[pairs[:, side]] for tokens, pairs in zip(self.groups, self.chosen, strict=True)]


def draw_pairs(
    distribution: Distribution,
    entries: Sequence[Entry],
    recipe: Recipe,
    config: HgpoConfig,
    rng: np.random.Generator,
    surprise: Floats | None = None,
) -> PreferencePairs:
    """Lines 7 to 14 of algorithm 1 for a few scenes: draw groups, judge and pair them.

    Args:
        distribution: The policy's, over the scenes' futures.
        entries: The scenes.
        recipe: What is preferred.
        config: Size of groups, number of pairs and margin.
        rng: Draws groups and pairs.
        surprise: Novelty by kind of encounter (`surprise.surprise`), for a recipe that gives weight to it.
    """
    groups = distribution.sample(config.group, rng)
    judged = [entry.values(tokens) for entry, tokens in zip(entries, groups, strict=True)]
    chosen = []
    for entry, rows, values in zip(entries, groups, judged, strict=True):
        novelty = 0.0 if surprise is None else surprise[entry.kinds(rows)]
        chosen.append(recipe.choose(values, rng, config.pairs, config.margin, novelty))
    return PreferencePairs(groups, judged, chosen)


def pair_log_probs(
    distribution: Distribution, entries: Sequence[Entry], pairs: PreferencePairs
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The arguments of `hgpo_loss`, [P] each: policy and reference are asked about the same trajectories."""
    sides = pairs.side(0), pairs.side(1)
    winner, loser = (torch.cat(distribution.log_prob(side)) for side in sides)
    winner_ref, loser_ref = (
        torch.cat([entry.reference(tokens).to(winner.device) for entry, tokens in zip(entries, side, strict=True)])
        for side in sides
    )
    return winner, loser, winner_ref, loser_ref


@dataclass(frozen=True, slots=True)
class GroupLoss:
    """Groups of a few scenes: the loss of their pairs (None without pairs), and the share that is ranked right."""

    loss: Tensor | None
    pairs: int
    accuracy: float
    groups: list[Values]


def group_loss(
    policy: Backbone,
    entries: Sequence[Entry],
    recipe: Recipe,
    config: HgpoConfig,
    rng: np.random.Generator,
    surprise: Floats | None = None,
) -> GroupLoss:
    """Lines 7 to 15 of algorithm 1 for a few scenes: the loss of pairs that are drawn from the current policy.

    Arguments are those of `draw_pairs`, with the policy instead of its distribution.
    """
    distribution = policy.distribution([entry.case for entry in entries])
    pairs = draw_pairs(distribution, entries, recipe, config, rng, surprise)
    if pairs.total == 0:
        return GroupLoss(None, 0, float("nan"), pairs.judged)
    winner, loser, winner_ref, loser_ref = pair_log_probs(distribution, entries, pairs)
    loss = hgpo_loss(winner, loser, winner_ref, loser_ref, config.beta)
    right = ((winner.detach() - winner_ref) > (loser.detach() - loser_ref)).double().mean()
    return GroupLoss(loss, pairs.total, float(right), pairs.judged)

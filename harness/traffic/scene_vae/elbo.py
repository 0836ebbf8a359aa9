"""What the scene autoencoder minimises: the negative evidence lower bound of a moment, its divergence weighted by β.

The likelihoods are those of Scenario Dreamer's code: Laplace for states and points, whose negative logarithm is the
absolute error, and categorical for kinds and relations. Each term is a mean over the elements of a moment, and a
moment that has none of a kind has no such term.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.traffic.scene_vae.config import VaeTraining
from harness.traffic.scene_vae.moments import LaneRelation, MomentBatch
from harness.traffic.scene_vae.network import DecodedMoments, Gaussians, SceneLatents


class ElboTerms(NamedTuple):
    """The terms of B moments, [B] each, unweighted.

    Attributes:
        objects: Mean absolute error of the scaled states.
        kinds: Cross-entropy of the kinds, nats.
        lanes: Mean absolute error of the scaled points.
        relations: Cross-entropy of the relations of every two lanes, nats.
        divergence: Kullback-Leibler divergence of the latents from the standard normal, of objects and lanes, nats.
    """

    objects: Tensor
    kinds: Tensor
    lanes: Tensor
    relations: Tensor
    divergence: Tensor

    def total(self, weights: VaeTraining) -> Tensor:
        """The loss of each moment [B]."""
        map_error = weights.lanes * self.lanes + weights.relations * self.relations
        return self.objects + self.kinds + map_error + weights.divergence * self.divergence


def standard_divergence(latents: Gaussians) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) [...] of diagonal Gaussians [..., D], nats."""
    mean, log_variance = latents
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(-1)


def elbo_terms(moments: MomentBatch, latents: SceneLatents, decoded: DecodedMoments) -> ElboTerms:
    """The terms of each moment."""
    # What a lane is to itself need not be learnt.
    pairs = moments.lane_there[:, :, None] & moments.lane_there[:, None] & (moments.relation != LaneRelation.SELF)
    kinds = F.cross_entropy(decoded.kinds.movedim(-1, 1), moments.kinds, reduction="none")
    relations = F.cross_entropy(decoded.relation.movedim(-1, 1), moments.relation, reduction="none")
    objects, lanes = (standard_divergence(part) for part in latents)
    return ElboTerms(
        objects=_mean((decoded.objects - moments.objects).abs().mean(-1), moments.there),
        kinds=_mean(kinds, moments.there),
        lanes=_mean((decoded.lanes - moments.lanes).abs().mean((-1, -2)), moments.lane_there),
        relations=_mean(relations, pairs),
        divergence=_mean(objects, moments.there) + _mean(lanes, moments.lane_there),
    )


def _mean(values: Tensor, there: Tensor) -> Tensor:
    """Mean [B] of values [B, ...] over the elements that exist; 0 where there are none."""
    kept = torch.where(there, values, torch.zeros_like(values)).flatten(1)
    return kept.sum(1) / there.flatten(1).sum(1).clamp(min=1)

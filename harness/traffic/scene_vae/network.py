"""The networks of the scene autoencoder: factorised attention of lanes and objects, to latents and back.

As in Scenario Dreamer's code: lanes attend to lanes, knowing how they are connected; objects attend to lanes and to one
another; each element has a Gaussian latent of its own, and is decoded from it in the same place, so that nothing has to
be matched. A latent of the map therefore depends on the map alone.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.traffic.model.embeddings import mlp
from harness.traffic.scene_vae.config import SceneVaeConfig
from harness.traffic.scene_vae.moments import KINDS, STATE, LaneRelation, MomentBatch

_RELATIONS: Final = len(LaneRelation)
_LARGEST: Final = 8.0
"""Bound of log-variances: standard deviations from .018 to 55."""


class Gaussians(NamedTuple):
    """Diagonal Gaussians.

    Attributes:
        mean: [..., D].
        log_variance: [..., D].
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def std(self) -> Tensor:
        """Standard deviations [..., D]."""
        return (0.5 * self.log_variance).exp()

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A sample [..., D], through which gradients pass (Kingma and Welling 2013)."""
        noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype)
        return self.mean + self.std * noise


class SceneLatents(NamedTuple):
    """Latents of B moments: of each object [B, O, D] and of each lane [B, L, E]."""

    objects: Gaussians
    lanes: Gaussians


class DecodedMoments(NamedTuple):
    """What latents of B moments are decoded to.

    Attributes:
        objects: [B, O, STATE].
        kinds: [B, O, KINDS] logits.
        lanes: [B, L, P, 2].
        relation: [B, L, L, len(LaneRelation)] logits.
    """

    objects: Tensor
    kinds: Tensor
    lanes: Tensor
    relation: Tensor


class _Attention(nn.Module):
    """Multi-head attention with its feed-forward block, both with a residual around them."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_source = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.query, self.key_value = nn.Linear(hidden, hidden), nn.Linear(hidden, 2 * hidden)
        self.out = nn.Linear(hidden, hidden)
        self.feed = nn.Sequential(
            nn.LayerNorm(hidden), nn.Linear(hidden, 4 * hidden), nn.ReLU(), nn.Linear(4 * hidden, hidden)
        )

    def forward(self, x: Tensor, source: Tensor, there: Tensor, bias: Tensor | None = None) -> Tensor:
        """New features [B, N, hidden].

        Args:
            x: [B, N, hidden] features that look.
            source: [B, M, hidden] features that are looked at.
            there: [B, M] which of them exist.
            bias: [B, N, M, heads] added to the scores.
        """
        batch, count, hidden = x.shape

        def split(values: Tensor) -> Tensor:
            return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        key, value = self.key_value(self.norm_source(source)).chunk(2, -1)
        some = there.any(1)[:, None]
        # Attention over nothing is undefined: look at anything, and forget it.
        mask = torch.zeros(there.shape, dtype=x.dtype).masked_fill(~(there | ~some), -torch.inf)[:, None, None]
        if bias is not None:
            mask = mask + bias.permute(0, 3, 1, 2)
        found = F.scaled_dot_product_attention(split(self.query(self.norm(x))), split(key), split(value), mask)
        found = found.transpose(1, 2).reshape(batch, count, hidden) * some[..., None]
        x = x + self.out(found)
        return x + self.feed(x)


class _Block(nn.Module):
    """Lanes to lanes, lanes to objects, objects to objects."""

    def __init__(self, config: SceneVaeConfig) -> None:
        super().__init__()
        self.lanes = _Attention(config.hidden, config.heads)
        self.map = _Attention(config.hidden, config.heads)
        self.objects = _Attention(config.hidden, config.heads)

    def forward(self, objects: Tensor, lanes: Tensor, moments: MomentBatch, bias: Tensor) -> tuple[Tensor, Tensor]:
        """New features of objects and lanes."""
        lanes = self.lanes(lanes, lanes, moments.lane_there, bias)
        objects = self.map(objects, lanes, moments.lane_there)
        return self.objects(objects, objects, moments.there), lanes


class SceneEncoder(nn.Module):
    """From moments to latents."""

    def __init__(self, config: SceneVaeConfig) -> None:
        super().__init__()
        self.object = mlp(STATE + KINDS, config.hidden, config.hidden)
        self.lane = mlp(2 * config.points, config.hidden, config.hidden)
        self.relations = nn.ModuleList(nn.Embedding(_RELATIONS, config.heads) for _ in range(config.layers))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.object_latent = nn.Linear(config.hidden, 2 * config.object_latent)
        self.lane_latent = nn.Linear(config.hidden, 2 * config.map_latent)

    def forward(self, moments: MomentBatch) -> SceneLatents:
        """Latents of every object and every lane; those of padding mean nothing."""
        kinds = F.one_hot(moments.kinds, KINDS).to(moments.objects.dtype)
        objects = self.object(torch.cat([moments.objects, kinds], -1))
        lanes = self.lane(moments.lanes.flatten(-2))
        for block, relation in zip(self.blocks, self.relations, strict=True):
            objects, lanes = block(objects, lanes, moments, relation(moments.relation))
        return SceneLatents(_gaussians(self.object_latent(objects)), _gaussians(self.lane_latent(lanes)))


def _gaussians(values: Tensor) -> Gaussians:
    mean, log_variance = values.chunk(2, -1)
    return Gaussians(mean, log_variance.clamp(-_LARGEST, _LARGEST))


class SceneDecoder(nn.Module):
    """From samples of latents to moments. How lanes are connected is decoded from pairs of them."""

    def __init__(self, config: SceneVaeConfig) -> None:
        super().__init__()
        hidden, pair = config.hidden, config.pair
        self.points = config.points
        self.object, self.lane = nn.Linear(config.object_latent, hidden), nn.Linear(config.map_latent, hidden)
        self.one, self.other = nn.Linear(hidden, pair), nn.Linear(hidden, pair)
        self.last_one, self.last_other = nn.Linear(hidden, pair), nn.Linear(hidden, pair)
        self.biases = nn.ModuleList(nn.Linear(pair, config.heads) for _ in range(config.layers))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.object_state, self.object_kind = mlp(hidden, hidden, STATE), mlp(hidden, hidden, KINDS)
        self.lane_points = mlp(hidden, hidden, 2 * config.points)
        self.relation = nn.Linear(pair, _RELATIONS)

    def forward(self, objects: Tensor, lanes: Tensor, moments: MomentBatch) -> DecodedMoments:
        """What the latents stand for.

        Args:
            objects: [B, O, D] samples.
            lanes: [B, L, E] samples.
            moments: Says which of them exist; nothing else is looked at.
        """
        objects, lanes = self.object(objects), self.lane(lanes)
        pairs = F.relu(self.one(lanes)[:, :, None] + self.other(lanes)[:, None])
        for block, bias in zip(self.blocks, self.biases, strict=True):
            objects, lanes = block(objects, lanes, moments, bias(pairs))
        pairs = F.relu(self.last_one(lanes)[:, :, None] + self.last_other(lanes)[:, None])
        return DecodedMoments(
            objects=self.object_state(objects),
            kinds=self.object_kind(objects),
            lanes=self.lane_points(lanes).unflatten(-1, (self.points, 2)),
            relation=self.relation(pairs),
        )


class SceneVaeNetwork(nn.Module):
    """Encoder and decoder.

    Args:
        config: Sizes.
    """

    def __init__(self, config: SceneVaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SceneEncoder(config)
        self.decoder = SceneDecoder(config)

    def forward(
        self, moments: MomentBatch, generator: torch.Generator | None = None
    ) -> tuple[SceneLatents, DecodedMoments]:
        """Latents, and what samples of them are decoded to."""
        latents = self.encoder(moments)
        samples = latents.objects.sample(generator), latents.lanes.sample(generator)
        return latents, self.decoder(*samples, moments)

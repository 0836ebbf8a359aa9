"""Features of relative poses, and small MLPs."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from harness.traffic.model import compiled
from harness.traffic.tokens.shapes import relative

_SOFT: Final = 0.5
"""Bearings fade out below this distance (m): the bearing of an agent that stands on the spot is noise."""
_SCALE: Final = 10.0
"""Unit of linear coordinate features, m."""
_OLDEST: Final = 6.0
"""Unit of age, tokens."""


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, LayerNorm, ReLU, linear."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def fourier(values: Tensor, bands: int) -> Tensor:
    """Sines and cosines [..., 2·bands] of `values` [...] (m) at wavelengths 1, 2, 4, … m."""
    frequency = 2 * math.pi / 2.0 ** torch.arange(bands, device=values.device, dtype=values.dtype)
    phase = values[..., None] * frequency
    return torch.cat([phase.sin(), phase.cos()], -1)


def relation_width(bands: int) -> int:
    """Features that `relation_features` makes."""
    return 6 * bands + 10


def relation_features(source: Tensor, query: Tensor, bands: int, elapsed: Tensor | None = None) -> Tensor:
    """What one pose is to another: Fourier features of offset and distance, bearing, turn and age.

    Args:
        source: [..., 3] poses that are looked at.
        query: [..., 3] poses that look; only relative quantities enter, so moving or turning both changes nothing.
        bands: Frequencies.
        elapsed: [...] tokens since the source, or None for 0.

    Returns:
        [..., relation_width(bands)].
    """
    local = relative(source, query)
    x, y, turn = local.unbind(-1)
    squared = x * x + y * y
    distance = (squared + 1e-9).sqrt()
    soft = (squared + _SOFT**2).sqrt()
    age = torch.zeros_like(x) if elapsed is None else elapsed.expand_as(x)
    cos, sin = turn.cos(), turn.sin()
    plain = [x / soft, y / soft, x / _SCALE, y / _SCALE, distance / _SCALE, cos, sin]
    plain += [cos * cos - sin * sin, 2 * sin * cos, age / _OLDEST]
    waves = fourier(torch.stack([x, y, distance], -1), bands).flatten(-2)
    return torch.cat([waves, torch.stack(plain, -1)], -1)


class Relation(nn.Module):
    """Embedding of relative poses, shared by all layers of one kind of edge."""

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        self.bands = bands
        self.net = nn.Sequential(nn.Linear(relation_width(bands), width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, source: Tensor, query: Tensor, elapsed: Tensor | None = None) -> Tensor:
        """[..., width] for poses [..., 3]; no gradient reaches the poses."""
        with torch.no_grad():
            features = relation_features(source, query, self.bands, elapsed)
        return self.net(features)

    def listed(self, source: Tensor, row: Tensor, pose: Tensor, start: Tensor, age: Tensor) -> Tensor:
        """[E, width] for E edges on the CPU; arguments as of `harness.traffic.model.compiled.listed_features`."""
        constants = (_SOFT, _SCALE, _OLDEST)
        return self.net(compiled.listed_features(source, row, pose, start, age, self.bands, constants))

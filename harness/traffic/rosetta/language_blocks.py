"""Layers of language models of Llama's kind, SmolLM2 and Qwen2.5 among them, over embeddings and with a past.

Sources: Touvron et al. 2023 (LLaMA, section 2.2: pre-normalisation, SwiGLU, rotary positions); Ainslie et al. 2023
(shared keys and values); Su et al. 2021 (rotary positions).

They are written here, because the library `transformers` would bring 178 MB of packages, double the time until the
first answer of a process, and leave the contract of sequence models untested wherever it is not installed, for the sake
of the few lines below. Where it is installed, tests compare these layers with its own (`-m language`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import ConfigError

_MOST: Final = {"hidden": 8_192, "feed": 65_536, "layers": 200, "heads": 256, "key_heads": 256, "size": 512}
"""Largest sizes of a stranger's model."""
_NUMBERS: Final = 100_000_000
"""Most numbers of one layer: Qwen2.5-3B, the largest model of the paper, has 77 million."""


class LongContext(NamedTuple):
    """How slow rotations are stretched for long texts (Llama 3.1).

    Attributes:
        factor: How much the slowest ones are stretched.
        low, high: Turns within the context below which a rotation is stretched wholly, and above which it is not.
        context: Length of the context that the rotations were made for, tokens.
    """

    factor: float
    low: float
    high: float
    context: float


@dataclass(frozen=True)
class LanguageShape:
    """Sizes of a language model.

    Attributes:
        hidden: Width of features.
        feed: Width of the feed-forward part.
        layers: Number of layers.
        heads: Attention heads.
        key_heads: Heads of keys and values; each serves `heads / key_heads` heads.
        size: Width of a head, even.
        period: Base of the rotations' wavelengths.
        epsilon: What norms add to a mean square before they divide by its root.
        bias: Whether queries, keys and values have biases (Qwen2.5).
        spread: Standard deviation of random weights, and of embeddings made for them.
        stretched: How slow rotations are stretched; None for not at all.
    """

    hidden: int
    feed: int
    layers: int
    heads: int
    key_heads: int
    size: int
    period: float
    epsilon: float
    bias: bool
    spread: float
    stretched: LongContext | None = None

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range, or heads that do not divide.
        """
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"language model: {name} is {getattr(self, name)}, expected 1 to {most}.")
        if self.heads % self.key_heads or self.size % 2:
            raise ConfigError(
                f"language model: {self.heads} heads must be a multiple of {self.key_heads} heads of keys, and their "
                f"width {self.size} even."
            )
        numbers = self.hidden * (3 * self.feed + 2 * self.size * (self.heads + self.key_heads))
        if numbers > _NUMBERS:
            raise ConfigError(f"language model: a layer has {numbers:,} numbers, up to {_NUMBERS:,} are built.")
        if not (self.period > 1 and 0 < self.epsilon < 1 and 0 < self.spread <= 1):
            raise ConfigError(f"language model: {self}: expected period > 1, epsilon and spread between 0 and 1.")


def rates(shape: LanguageShape) -> Tensor:
    """Angles [size / 2] by which a place turns its features, rad per place."""
    found = shape.period ** -(torch.arange(0, shape.size, 2, dtype=torch.float32) / shape.size)
    if (long := shape.stretched) is None:
        return found
    turns = long.context * found / (2 * math.pi)
    kept = ((turns - long.low) / (long.high - long.low)).clamp(0.0, 1.0)
    return found * (kept + (1.0 - kept) / long.factor)


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """Features [B, H, L, size] turned by angles [B, L, size / 2], rad; the first half is paired with the second."""
    cos, sin = (value[:, None].to(x.dtype) for value in (angles.cos(), angles.sin()))
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class LanguageBlock(nn.Module):
    """One layer: causal attention with rotary positions, and a gated feed-forward part.

    Args:
        shape: Sizes.
        dropout: Dropout of the outputs of both parts, in training only.
    """

    def __init__(self, shape: LanguageShape, dropout: float) -> None:
        super().__init__()
        self.shape = shape
        width, keys = shape.heads * shape.size, shape.key_heads * shape.size
        self.norm_in = nn.RMSNorm(shape.hidden, shape.epsilon)
        self.query = nn.Linear(shape.hidden, width, bias=shape.bias)
        self.key, self.value = (nn.Linear(shape.hidden, keys, bias=shape.bias) for _ in range(2))
        self.out = nn.Linear(width, shape.hidden, bias=False)
        self.norm_feed = nn.RMSNorm(shape.hidden, shape.epsilon)
        self.gate, self.up = (nn.Linear(shape.hidden, shape.feed, bias=False) for _ in range(2))
        self.down = nn.Linear(shape.feed, shape.hidden, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, mask: Tensor, angles: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One layer further.

        Args:
            x: [B, L, D] features.
            mask: [B, L, K] who sees whom of all K tokens so far.
            angles: [B, L, size / 2] of their places.
            past: Keys and values of the tokens before, [B, key_heads, K - L, size] each.

        Returns:
            New features, keys and values of all K tokens.
        """
        seen = self.norm_in(x)
        query, key, value = (
            part.unflatten(-1, (-1, self.shape.size)).transpose(1, 2)
            for part in (self.query(seen), self.key(seen), self.value(seen))
        )
        query, key = turned(query, angles), turned(key, angles)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        shared = self.shape.heads // self.shape.key_heads
        keys, values = (part.repeat_interleave(shared, 1) for part in (key, value))
        found = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask[:, None])
        x = x + self.dropout(self.out(found.transpose(1, 2).flatten(2)))
        seen = self.norm_feed(x)
        return x + self.dropout(self.down(F.silu(self.gate(seen)) * self.up(seen))), key, value

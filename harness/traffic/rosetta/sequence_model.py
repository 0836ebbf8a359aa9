"""The sequence model behind RosettaSim: a contract that language models can keep, and a small one without a past.

Paper: RosettaSim, section 4.2 (the model f of equations 3 to 8).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness import registry
from harness.errors import ConfigError, UnknownNameError
from harness.traffic.rosetta.attention import AttentionWatch, Look
from harness.traffic.rosetta.sequence import causal_mask


class Past(NamedTuple):
    """What a sequence model remembers of the beginning of a sequence. L tokens so far.

    Attributes:
        present: [B, L] which of them exist.
        layers: Keys and values of every layer, [B, heads, L, width] each.
    """

    present: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]


class SequenceModel(nn.Module, ABC):
    """What turns the embeddings of a sequence into features: causal, and blind to padding.

    A token's features depend on it and on the existing tokens before it alone, wherever padding stands. Given in parts,
    each with the `Past` of the part before, a sequence has the same features as given at once.
    `harness.checks.check_sequence_model` checks that.

    Attributes:
        width: Width D of embeddings and features.
    """

    width: int

    @abstractmethod
    def forward(self, embeddings: Tensor, present: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Features of tokens.

        Args:
            embeddings: [B, L, D].
            present: [B, L] which tokens exist.
            past: What is remembered of the tokens before these.

        Returns:
            [B, L, D], and the past of whatever follows.
        """

    @torch.no_grad()
    def attention(self, embeddings: Tensor, present: Tensor, look: Look) -> None:
        """Show how much each token of whole sequences takes from each, one layer after another.

        Here `forward` is watched for calls of `scaled_dot_product_attention`. A model that attends in another way and
        is to be analysed (`traffic_analysis attention`) overrides this.

        Args:
            embeddings: [B, L, D].
            present: [B, L] which tokens exist.
            look: Gets the weights [B, heads, L, L] of each layer, or [B, heads, E + L, E + L] where the model puts E
                tokens of its own first.

        Raises:
            ConfigError: Nothing could be watched.
        """
        with AttentionWatch(look) as watch:
            self(embeddings, present)
        if not watch.seen:
            raise ConfigError(
                f"sequence model {type(self).__name__}: its attention cannot be seen, as it never calls "
                "torch.nn.functional.scaled_dot_product_attention. Override SequenceModel.attention."
            )


class Block(nn.Module):
    """One pre-norm layer: causal attention and a feed-forward block.

    Args:
        width: Width of features.
        heads: Number of heads.
        dropout: Dropout of the outputs of both parts.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_in, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, mask: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New features [B, L, D], keys and values of all K tokens so far.

        `mask` [B, L, K] says who sees whom; None: everybody sees all.
        """
        count, length, width = x.shape
        parts = self.query_key_value(self.norm_in(x)).view(count, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=None if mask is None else mask[:, None])
        x = x + self.dropout(self.out(found.transpose(1, 2).reshape(count, length, width)))
        return x + self.dropout(self.feed(self.norm_feed(x))), key, value


class CausalTransformer(SequenceModel):
    """A small transformer that learns from scratch.

    It has no positions of its own: the sequence says by its embeddings who is who (equation 4), and what part a token
    belongs to.

    Args:
        width: Width of features.
        layers: Number of layers.
        heads: Attention heads.
        dropout: Dropout share, in training only.

    Raises:
        ConfigError: The width is no multiple of the heads.
    """

    def __init__(self, width: int = 128, layers: int = 6, heads: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        if min(width, layers, heads) < 1 or width % heads:
            raise ConfigError(f"sequence model: width {width} must be a multiple of heads {heads}, layers at least 1.")
        self.width = width
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, embeddings: Tensor, present: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Features [B, L, D] of embeddings [B, L, D]; see `SequenceModel`."""
        known = present if past is None else torch.cat([past.present, present], 1)
        # One more token of sequences without padding sees all: the usual case, token by token.
        alone = present.shape[1] == 1 and bool(known.all())
        mask = None if alone else causal_mask(known, known.shape[1] - present.shape[1])
        x, kept = embeddings, []
        for number, block in enumerate(self.blocks):
            x, key, value = cast(Block, block)(x, mask, None if past is None else past.layers[number])
            kept.append((key, value))
        return self.norm(x), Past(known, tuple(kept))


def make_sequence_model(name: str, *, width: int, layers: int, heads: int, dropout: float) -> SequenceModel:
    """A registered sequence model, untrained or as it comes.

    Args:
        name: Registered name; nothing else, as it may come from a stranger's file.
        width: Width that embeddings are made for.
        layers: Number of layers.
        heads: Attention heads.
        dropout: Dropout share, in training only.

    Raises:
        UnknownNameError: There is none of this name.
        ConfigError: It cannot be built like this, or is none.
    """
    known = registry.targets("sequence_model")
    if name not in known:
        raise UnknownNameError("sequence_model", name, known)
    made = registry.make("sequence_model", name, width=width, layers=layers, heads=heads, dropout=dropout)
    if not isinstance(made, SequenceModel) or made.width != width:
        raise ConfigError(f"sequence model {name!r}: expected a SequenceModel of width {width}, found {made!r:.80}.")
    return made

"""RosettaSim's network: SMART's scene encoder, the tokens of the structured sequence, and heads over its features.

Paper: RosettaSim, section 4.2. Differences, made for few scenes: tokens of places and headings share what is learnt
with their neighbours (an embedding of where they lie, plus a free one; the heads are tied to them); the motion head is
SMART's, and may see the agent's own features besides (`RosettaConfig.skip`); map pieces have layout tokens as agents
have, because SMART's features of them are relative and know nothing of the observer.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from harness.traffic.model.config import SmartConfig
from harness.traffic.model.embeddings import mlp
from harness.traffic.open.network import NewcomerNetwork, PlaceTokens, cell_features, yaw_features
from harness.traffic.rosetta.config import RosettaConfig
from harness.traffic.rosetta.sequence import PARTS, SequenceBatch
from harness.traffic.rosetta.sequence_model import make_sequence_model
from harness.traffic.tokens.layout import TYPES
from harness.traffic.tokens.shapes import TOKEN_KINDS
from harness.traffic.tokens.vocabulary import Vocabulary


def sinusoids(index: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding [..., width] of numbers [...] (Vaswani et al. 2017, section 3.5; equation 4)."""
    rate = torch.exp(torch.arange(0, width, 2, device=index.device) * (-math.log(1e4) / width))
    phase = index[..., None] * rate
    return torch.cat([phase.sin(), phase.cos()], -1)


class LayoutTables(NamedTuple):
    """Embeddings of all grid tokens [1961, D] and of all yaw tokens [120, D], and what the heads compare with."""

    grid: Tensor
    yaw: Tensor
    grid_keys: Tensor
    yaw_keys: Tensor


class RosettaNetwork(NewcomerNetwork):
    """The network. Its scene encoder is SMART's, so that weights of `train_traffic --stage bc` fit into it.

    Args:
        config: Sizes of the scene encoder.
        vocabulary: Motion and map tokens.
        rosetta: Sizes of the rest.
    """

    def __init__(self, config: SmartConfig, vocabulary: Vocabulary, rosetta: RosettaConfig) -> None:
        super().__init__(config, vocabulary)
        self.rosetta = rosetta
        hidden, width = config.hidden, rosetta.width
        self.agent_in, self.piece_in = mlp(hidden, width, width), mlp(hidden, width, width)
        self.motion_token = nn.Parameter(0.02 * torch.randn(width))
        self.start_token = nn.Parameter(0.02 * torch.randn(width))
        self.kind_token = nn.Embedding(TOKEN_KINDS, width)
        self.grid, self.yaw = PlaceTokens(cell_features(), width), PlaceTokens(yaw_features(), width)
        self.sequence = make_sequence_model(
            rosetta.sequence_model, width=width, layers=rosetta.layers, heads=rosetta.heads, dropout=rosetta.dropout
        )
        self.motion_out = mlp(width, hidden, hidden)
        if rosetta.skip:
            last = cast(nn.Linear, self.motion_out[-1])
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.type_head = mlp(width, width, TYPES)

    def set_dropout(self, share: float) -> None:
        """Another dropout share, of the sequence model too."""
        super().set_dropout(share)
        self.rosetta = replace(self.rosetta, dropout=share)

    # ---- tokens of the sequence

    def tables(self) -> LayoutTables:
        """Embeddings of layout tokens."""
        grid, yaw = self.grid.table(), self.yaw.table()
        return LayoutTables(grid, yaw, self.grid.key(grid), self.yaw.key(yaw))

    def agent_tokens(self, features: Tensor) -> Tensor:
        """Agents' and then their motion tokens [B, 2N, D] from the encoder's features [B, N, hidden] (equation 4)."""
        count, agents, _ = features.shape
        identity = sinusoids(torch.arange(agents, device=features.device), self.rosetta.width)
        motion = (self.motion_token + identity).expand(count, -1, -1)
        return torch.cat([self.agent_in(features) + identity, motion], 1)

    def map_tokens(self, features: Tensor, grid: Tensor, yaw: Tensor, tables: LayoutTables) -> Tensor:
        """Map tokens [B, M, D] from the encoder's features [B, M, hidden] and layout tokens [B, M]."""
        return self.piece_in(features) + tables.grid[grid.clamp(min=0)] + tables.yaw[yaw.clamp(min=0)]

    def layout_tokens(self, grid: Tensor, yaw: Tensor, tables: LayoutTables) -> Tensor:
        """Layout tokens [B, N, D] of agents (equation 6)."""
        identity = sinusoids(torch.arange(grid.shape[1], device=grid.device), self.rosetta.width)
        return tables.grid[grid.clamp(min=0)] + tables.yaw[yaw.clamp(min=0)] + identity

    def spawn_tokens(self, kind: Tensor, grid: Tensor, yaw: Tensor, agents: Tensor, tables: LayoutTables) -> Tensor:
        """The start token and three tokens of each newcomer (equation 7): [B, 3J + 1, D].

        Args:
            kind, grid, yaw: [B, J].
            agents: [B] number of agents that come before.
            tables: See `tables`.
        """
        number = agents[:, None] + torch.arange(kind.shape[1] + 1, device=kind.device)
        identity = sinusoids(number, self.rosetta.width)
        what, where = self.kind_token(kind.clamp(min=0)), tables.grid[grid.clamp(min=0)]
        parts = torch.stack([what, what + where, where + tables.yaw[yaw.clamp(min=0)]], 2)
        newcomers = (parts + identity[:, :-1, None]).flatten(1, 2)
        return torch.cat([self.start_token + identity[:, :1], newcomers], 1)

    def sequence_features(self, agents: Tensor, pieces: Tensor, batch: SequenceBatch, tables: LayoutTables) -> Tensor:
        """Features [B, L, D] of sequences, from the encoder's of agents [B, N, hidden] and pieces [B, M, hidden]."""
        present = (batch.agent >= 0).sum(1)
        parts = [
            self.agent_tokens(agents),
            self.map_tokens(pieces, batch.piece_grid, batch.piece_yaw, tables),
            self.layout_tokens(batch.grid, batch.yaw, tables),
            self.spawn_tokens(batch.kind, batch.new_grid, batch.new_yaw, present, tables),
        ]
        return self.sequence(torch.cat(parts, 1), batch.present)[0]

    # ---- heads

    def motion_logits(
        self,
        x: Tensor,
        agents: Tensor,
        kinds: Tensor,
        motion: Tensor,
        known: Tensor,
        table: Tensor | None = None,
    ) -> Tensor:
        """Logits [n, V] of the next motion (equation 5).

        Args:
            x: [n, D] features of motion tokens.
            agents: [n, hidden] the encoder's features of the same agents.
            kinds: [n].
            motion: [n, 3] what they have just done.
            known: [n] whether that is known: not of newcomers.
            table: [3, V, hidden] from the token head.
        """
        found = self.motion_out(x)
        return self.logits(found + agents if self.rosetta.skip else found, kinds, motion, table, known)

    def spawn_logits(self, x: Tensor, tables: LayoutTables) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of types [B, J + 1, 4], grid [B, J, 1961] and yaw tokens [B, J, 120] from features [B, 3J + 1, D]."""
        apart = x[:, 1:].unflatten(1, (-1, PARTS))
        before_types = torch.cat([x[:, :1], apart[:, :, 2]], 1)
        grid = self.grid.scores(apart[:, :, 0], tables.grid_keys)
        return self.type_head(before_types), grid, self.yaw.scores(apart[:, :, 1], tables.yaw_keys)

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

import numpy as np
import torch
from torch import Tensor, nn

from harness.traffic.model.batch import AgentBatch
from harness.traffic.model.config import SmartConfig
from harness.traffic.model.embeddings import fourier, mlp
from harness.traffic.model.network import Edges, Nodes, SmartNetwork
from harness.traffic.rosetta.config import RosettaConfig
from harness.traffic.rosetta.sequence import PARTS, SequenceBatch
from harness.traffic.rosetta.sequence_model import make_sequence_model
from harness.traffic.tokens.layout import TYPES, YAWS, grid_cells
from harness.traffic.tokens.shapes import KIND_SIZES, TOKEN_KINDS
from harness.traffic.tokens.vocabulary import Vocabulary

UNKNOWN_MOTION = -1
"""Token of newcomers at their first decision: nothing has led to where they are."""
_HEIGHTS = (1.6, 1.75, 1.7)
"""Heights of vehicles, pedestrians and cyclists that no training scene has told, m."""


def sinusoids(index: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding [..., width] of numbers [...] (Vaswani et al. 2017, section 3.5; equation 4)."""
    rate = torch.exp(torch.arange(0, width, 2, device=index.device) * (-math.log(1e4) / width))
    phase = index[..., None] * rate
    return torch.cat([phase.sin(), phase.cos()], -1)


class PlaceTokens(nn.Module):
    """Tokens that lie somewhere: their embeddings, and the scores of a head tied to them.

    Args:
        where: [C, F] features of where each lies.
        width: Width of embeddings.
    """

    def __init__(self, where: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("where", where, persistent=False)
        self.where: Tensor
        self.place, self.free = mlp(where.shape[1], width, width), nn.Parameter(torch.zeros(len(where), width))
        self.query, self.key = mlp(width, width, width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(len(where)))

    def table(self) -> Tensor:
        """Embeddings [C, D] of all tokens."""
        return self.place(self.where) + self.free

    def scores(self, x: Tensor, keys: Tensor) -> Tensor:
        """Logits [..., C] of features [..., D]; `keys` [C, D] are `key` of the table."""
        return self.query(x) @ keys.T / math.sqrt(x.shape[-1]) + self.bias


def _cell_features() -> Tensor:
    """What tells the cells of the grid apart: place and distance at wavelengths from 8 to 256 m."""
    cells = torch.as_tensor(grid_cells().copy(), dtype=torch.float32)
    away = torch.linalg.vector_norm(cells, dim=-1)
    waves = [fourier(part / 8.0, 6) for part in (cells[:, 0], cells[:, 1], away)]
    return torch.cat([*waves, cells / 75.0, away[:, None] / 75.0], -1)


def _yaw_features() -> Tensor:
    """What tells the yaw tokens apart: eight harmonics."""
    phase = torch.arange(YAWS)[:, None] * (2 * np.pi / YAWS) * torch.arange(1, 9)
    return torch.cat([phase.sin(), phase.cos()], -1)


class LayoutTables(NamedTuple):
    """Embeddings of all grid tokens [1961, D] and of all yaw tokens [120, D], and what the heads compare with."""

    grid: Tensor
    yaw: Tensor
    grid_keys: Tensor
    yaw_keys: Tensor


class RosettaNetwork(SmartNetwork):
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
        self.newcomer = nn.Parameter(0.02 * torch.randn(hidden))
        self.agent_in, self.piece_in = mlp(hidden, width, width), mlp(hidden, width, width)
        self.motion_token = nn.Parameter(0.02 * torch.randn(width))
        self.start_token = nn.Parameter(0.02 * torch.randn(width))
        self.kind_token = nn.Embedding(TOKEN_KINDS, width)
        self.grid, self.yaw = PlaceTokens(_cell_features(), width), PlaceTokens(_yaw_features(), width)
        self.sequence = make_sequence_model(
            rosetta.sequence_model, width=width, layers=rosetta.layers, heads=rosetta.heads, dropout=rosetta.dropout
        )
        self.motion_out = mlp(width, hidden, hidden)
        if rosetta.skip:
            last = cast(nn.Linear, self.motion_out[-1])
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.type_head = mlp(width, width, TYPES)
        known = np.column_stack([KIND_SIZES, _HEIGHTS])
        self.register_buffer("newcomer_sizes", torch.as_tensor(known, dtype=torch.float32))
        self.newcomer_sizes: Tensor

    # ---- the scene encoder

    def moving(self, token: Tensor, motion: Tensor, kinds: Tensor, table: Tensor) -> Tensor:
        """As SMART's; of newcomers, whose token is `UNKNOWN_MOTION`, the learnable embedding (section 4.2)."""
        known = super().moving(token.clamp(min=0), motion, kinds, table)
        return torch.where((token == UNKNOWN_MOTION)[:, None], self.newcomer.to(known.dtype), known)

    def past_edges(self, nodes: Nodes, pose: Tensor) -> Edges:
        """As SMART's, back to the last gap: who comes back is a newcomer, as in use, where its slot knows of nobody."""
        edges = super().past_edges(nodes, pose)
        return edges._replace(mask=edges.mask & (edges.rows >= 0).cumprod(1).bool())

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


def as_they_came(agents: AgentBatch, seen: Tensor) -> AgentBatch:
    """The agents as a model sees them in use: nobody before it is seen, newcomers without a motion.

    Args:
        agents: Everybody of the whole log.
        seen: [W, A, N + 1] who is seen at which moment.
    """
    here = seen[:, :, 1:]
    known = here & seen[:, :, :-1] & agents.valid
    return replace(
        agents,
        token=torch.where(known, agents.token, UNKNOWN_MOTION),
        motion=agents.motion * known[..., None],
        valid=here,
    )

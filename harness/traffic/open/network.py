"""What networks of traffic that comes and goes share: newcomers without a past, and tokens that lie somewhere."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from harness.traffic.model.batch import AgentBatch
from harness.traffic.model.config import SmartConfig
from harness.traffic.model.embeddings import fourier, mlp
from harness.traffic.model.network import SmartNetwork
from harness.traffic.tokens.layout import YAWS, grid_cells
from harness.traffic.tokens.shapes import KIND_SIZES
from harness.traffic.tokens.vocabulary import Vocabulary

UNKNOWN_MOTION: Final = -1
"""Token of newcomers at their first decision: nothing has led to where they are."""
_HEIGHTS: Final = (1.6, 1.75, 1.7)
"""Heights of vehicles, pedestrians and cyclists that no training scene has told, m."""


class NewcomerNetwork(SmartNetwork):
    """SMART's scene encoder, in which newcomers have come by no motion.

    Weights of `train_traffic --stage bc` fit into it.

    Args:
        config: Sizes of the scene encoder.
        vocabulary: Motion and map tokens.

    Attributes:
        newcomer_sizes: [3, 3] median length, width and height (m) of newcomers by token kind.
    """

    def __init__(self, config: SmartConfig, vocabulary: Vocabulary) -> None:
        super().__init__(config, vocabulary)
        self.newcomer = nn.Parameter(0.02 * torch.randn(config.hidden))
        known = np.column_stack([KIND_SIZES, _HEIGHTS])
        self.register_buffer("newcomer_sizes", torch.as_tensor(known, dtype=torch.float32))
        self.newcomer_sizes: Tensor

    def moving(self, token: Tensor, motion: Tensor, kinds: Tensor, table: Tensor) -> Tensor:
        """As SMART's; of newcomers, whose token is `UNKNOWN_MOTION`, a learnable embedding.

        Papers: RosettaSim, section 4.2; InfGen's code has an embedding for the beginning of a track, too.
        """
        known = super().moving(token.clamp(min=0), motion, kinds, table)
        return torch.where((token == UNKNOWN_MOTION)[:, None], self.newcomer.to(known.dtype), known)

    def _remembered(self, rows: Tensor) -> Tensor:
        """Those since the last gap: who comes back is a newcomer, as in use, where its slot knows of nobody."""
        return super()._remembered(rows).cumprod(1).bool()


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


class CellScores(nn.Module):
    """Scores of tokens that lie somewhere, by embeddings that another head has.

    Args:
        count: Number C of tokens.
        width: Width of embeddings.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.query, self.key = mlp(width, width, width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(count))

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """Logits [..., C] of features [..., D]; `table` [C, D] are the embeddings."""
        return self.query(x) @ self.key(table).T / math.sqrt(x.shape[-1]) + self.bias


def cell_features() -> Tensor:
    """What tells the cells of the grid apart: place and distance at wavelengths from 8 to 256 m."""
    cells = torch.as_tensor(grid_cells().copy(), dtype=torch.float32)
    away = torch.linalg.vector_norm(cells, dim=-1)
    waves = [fourier(part / 8.0, 6) for part in (cells[:, 0], cells[:, 1], away)]
    return torch.cat([*waves, cells / 75.0, away[:, None] / 75.0], -1)


def yaw_features() -> Tensor:
    """What tells the yaw tokens apart: eight harmonics."""
    phase = torch.arange(YAWS)[:, None] * (2 * np.pi / YAWS) * torch.arange(1, 9)
    return torch.cat([phase.sin(), phase.cos()], -1)


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

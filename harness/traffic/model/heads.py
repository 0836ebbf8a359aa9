"""What the model says about the next half second: token logits, or a Gaussian mixture for an ego policy."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.traffic.model.config import SmartConfig
from harness.traffic.model.embeddings import fourier, mlp
from harness.traffic.tokens.shapes import TOKEN_KINDS

_FINE: Final = 8.0
"""Token ends are magnified by this before Fourier features: their wavelengths start at 1/8 m."""
SCALE_POSITION: Final = 1.0
"""Fixed standard deviation of x and y, m (CAT-K's ego policy)."""
SCALE_DIRECTION: Final = 0.1
"""Fixed standard deviation of the heading's cosine and sine (likewise)."""


class TokenHead(nn.Module):
    """Scores tokens by the product of agent features with an embedding of each token's geometry.

    SMART's head is a plain linear layer over tokens. Here a token's embedding is an MLP of where it ends plus a free
    vector per token, used both as input and as output: with few scenes most tokens are rarely seen, and learn from
    their neighbours.
    """

    def __init__(self, config: SmartConfig, size: int) -> None:
        super().__init__()
        hidden = config.hidden
        self.bands = config.bands + 2
        self.geometry = mlp(2 * 2 * self.bands + 6, hidden, hidden)
        self.kind = nn.Embedding(TOKEN_KINDS, hidden)
        self.free = nn.Parameter(torch.zeros(TOKEN_KINDS, size, hidden))
        self.bias = nn.Parameter(torch.zeros(TOKEN_KINDS, size))
        self.query = mlp(hidden, hidden, hidden)
        self.key = nn.Linear(hidden, hidden)

    def table(self, motions: Tensor) -> Tensor:
        """Embeddings [3, V, hidden] of tokens [3, V, 6, 3]."""
        end = motions[:, :, -1]
        middle = motions[:, :, motions.shape[2] // 2]
        parts = [fourier(_FINE * end[..., k], self.bands) for k in range(2)]
        turn = 10.0 * end[..., 2:]
        parts += [end[..., :2] / 5.0, turn.sin(), turn.cos(), end[..., 2:], (2 * middle - end)[..., :1]]
        kinds = torch.arange(TOKEN_KINDS, device=end.device)
        return self.geometry(torch.cat(parts, -1)) + self.kind(kinds)[:, None] + self.free

    def forward(self, x: Tensor, kinds: Tensor, table: Tensor) -> Tensor:
        """Logits [N, V] of features [N, hidden]."""
        query = self.query(x) / math.sqrt(x.shape[-1])
        keys = self.key(table)
        logits = query.new_zeros(len(x), table.shape[1])
        for kind in range(TOKEN_KINDS):
            rows = (kinds == kind).nonzero()[:, 0]
            if len(rows):
                scores = query.index_select(0, rows) @ keys[kind].T + self.bias[kind]
                logits = logits.index_copy(0, rows, scores.to(logits.dtype))
        return logits


class Mixture(NamedTuple):
    """A mixture over the next pose in the agent's frame: logits [N, K], means [N, K, 4] (x, y, cos, sin)."""

    logits: Tensor
    means: Tensor

    def negative_log_likelihood(self, motion: Tensor) -> Tensor:
        """Of motions [N, 3]: [N]. Diagonal, with fixed scales (CAT-K §10.3: mean NLL of the whole mixture)."""
        scale = torch.tensor([SCALE_POSITION] * 2 + [SCALE_DIRECTION] * 2, device=motion.device, dtype=self.means.dtype)
        target = torch.cat([motion[:, :2], motion[:, 2:].cos(), motion[:, 2:].sin()], -1)
        normal = ((target[:, None] - self.means) / scale).square().sum(-1) / 2 + scale.log().sum()
        normal = normal + 2.0 * math.log(2 * math.pi)
        return -torch.logsumexp(self.logits.log_softmax(-1) - normal, -1)

    def poses(self) -> Tensor:
        """Mean motions [N, K, 3]: x, y, heading."""
        return torch.cat([self.means[..., :2], torch.atan2(self.means[..., 3], self.means[..., 2])[..., None]], -1)


class GmmHead(nn.Module):
    """Gaussian-mixture head over (x, y, cos, sin) after 0.5 s.

    Paper: CAT-K §10.3 (16 modes). The direction is normalised, so that it is one.
    """

    def __init__(self, hidden: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.net = mlp(hidden, hidden, modes * 5)

    def forward(self, x: Tensor, motion: Tensor) -> Mixture:
        """Mixture for features [N, hidden]; means are offsets from repeating the last `motion` [N, 3]."""
        raw = self.net(x).view(len(x), self.modes, 5)
        place = raw[..., 1:3] + motion[:, None, :2]
        turn = torch.stack([motion[:, 2].cos(), motion[:, 2].sin()], -1)
        direction = F.normalize(raw[..., 3:5] + turn[:, None], dim=-1, eps=1e-6)
        return Mixture(raw[..., 0], torch.cat([place, direction], -1))

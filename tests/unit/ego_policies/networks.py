"""Policies as people export them to TorchScript."""

import enum
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 4


class Out(NamedTuple):
    action: Tensor
    value: Tensor


class Mode(enum.Enum):
    NARROW = 1
    WIDE = 2


class Normalised(nn.Module):
    """Statistics, batch and layer norm, several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(SIZE))
        self.register_buffer("std", torch.ones(SIZE))
        self.net = nn.Sequential(nn.Linear(SIZE, 8), nn.LayerNorm(8), nn.ELU(), nn.BatchNorm1d(8), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Out:
        y = self.net(((x - self.mean) / self.std.clamp(min=1e-6)).clip(-5.0, 5.0))
        return Out(torch.tanh(y), y.sum(-1))


class Language(nn.Module):
    """Loops, branches, containers, errors, words, an enumeration, items that are set."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(SIZE, SIZE) for _ in range(2)])
        self.out, self.scale, self.mode = nn.Linear(SIZE, 2), 0.5, Mode.NARROW
        self.names: list[str] = ["a", "b"]
        self.table: dict[str, int] = {"a": 1}

    def helper(self, x: Tensor, factor: int = 2) -> Tensor:
        return x * factor

    def forward(self, x: Tensor, more: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        info: dict[str, Tensor] = {}
        for i, layer in enumerate(self.layers):
            x = F.silu(layer(x)) + x
            info[str(i)] = x
        if more is not None:
            x = x + more
        turns = 0
        while turns < 2 and bool(x.abs().max() > 0.0):
            x = x / (1.0 + x.norm())
            turns += 1
        parts: list[Tensor] = []
        for part in x.split(2, dim=-1):
            parts.append(part)
        x = torch.cat(parts, -1)
        if self.mode == Mode.NARROW and x.shape[0] != 1:
            raise ValueError(f"expected one row, found {x.shape}")
        assert x.dim() == 2, "must be 2-D"
        x[:, 0] = x[:, 0] * self.scale
        x[..., 1:] += 0.5
        print("words for the terminal", turns)
        return self.out(self.helper(x)), info


class Recurrent(nn.Module):
    """Remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.lstm, self.out = nn.GRUCell(SIZE, 8), nn.LSTM(8, 8), nn.Linear(8, 2)
        self.memory = torch.zeros(1, 8)

    def forward(self, x: Tensor) -> Tensor:
        self.memory = self.cell(x, self.memory)
        y, _ = self.lstm(self.memory[None])
        return self.out(y[0])


class Attention(nn.Module):
    """A transformer over the observation's numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Linear(1, 8), nn.Linear(8, 2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.unsqueeze(-1))
        mixed, _ = self.attention(tokens, tokens, tokens)
        return self.out(self.layer(mixed).mean(1))


class Convolution(nn.Module):
    """A convolution over the observation."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten())
        self.out = nn.Sequential(nn.Dropout(0.1), nn.Linear(8, 2), nn.Hardtanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.net(x[:, None]))


class Gaussian(nn.Module):
    """Draws its action."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(SIZE, 4)

    def forward(self, x: Tensor) -> Tensor:
        mean, log_std = self.head(x).chunk(2, -1)
        return torch.tanh(mean + torch.randn_like(mean) * log_std.clamp(-20, 2).exp())


class Mixed(nn.Module):
    """Embedding, groups, products, sorting, padding."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out, self.slope = nn.Embedding(10, SIZE), nn.Linear(8, 2), nn.PReLU()
        self.lstm, self.groups = nn.LSTM(SIZE, 4, num_layers=2, bidirectional=True), nn.GroupNorm(2, SIZE)
        self.register_buffer("index", torch.arange(4))

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(self.groups(self.slope(self.table(self.index).sum(0)[None] + x))[None])
        y = torch.where(y[0] > 0, y[0], -y[0])
        k = torch.einsum("bi,bj->bij", y, y).sum(-1)
        k = F.pad(k[torch.argsort(k[:, 0])], [0, 1]).roll(1, -1)[:, :8]
        z = self.out(k.to(torch.float32))
        z = torch.atan2(z, z.square() + 1.0).masked_fill(torch.isnan(z), 0.0)
        return torch.stack([z[:, 0], z[:, 1]], dim=1).view(-1, 2).contiguous()


NETWORKS = (Normalised, Language, Recurrent, Attention, Convolution, Gaussian, Mixed)

"""Tensors that the network reads: maps of several scenes end to end, and agents of several worlds side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.traffic.tokens.scene import CELL, SceneTokens
from harness.traffic.tokens.shapes import relative


@dataclass(frozen=True, slots=True, eq=False)
class MapBatch:
    """Maps of S scenes end to end: M pieces, C cells in all.

    Attributes:
        pose: [M, 3]; token, kind, light: [M].
        around: [M, K] neighbouring pieces, -1 for none.
        table: [C, L+E] pieces listed per cell, numbered within their scene; -1 for none.
        grid: [S, 4] corner x, y (m), cells in x, in y.
        first: [S] first cell of each scene; the last one before the next scene's is "off the grid".
        start: [S] first piece of each scene.
        lanes: Columns of the table that are lanes.
    """

    pose: Tensor
    token: Tensor
    kind: Tensor
    light: Tensor
    around: Tensor
    table: Tensor
    grid: Tensor
    first: Tensor
    start: Tensor
    lanes: int

    def to(self, device: torch.device | str) -> MapBatch:
        """The same on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "lanes"}
        return replace(self, **moved)

    def cells(self, place: Tensor, scene: Tensor) -> Tensor:
        """Cell [...] of places [..., 2] (m) in the maps of `scene` [...]."""
        grid = self.grid[scene]
        x = ((place[..., 0] - grid[..., 0]) / CELL).floor().long()
        y = ((place[..., 1] - grid[..., 1]) / CELL).floor().long()
        nx, ny = grid[..., 2].long(), grid[..., 3].long()
        inside = (x >= 0) & (y >= 0) & (x < nx) & (y < ny)
        return self.first[scene] + torch.where(inside, x * ny + y, nx * ny)

    def listed(self, cells: Tensor, scene: Tensor) -> Tensor:
        """Pieces [..., L+E] that are listed in cells [...] of the maps of `scene` [...], -1 for none."""
        found = self.table[cells]
        return torch.where(found >= 0, found + self.start[scene][..., None], -1)

    def select(self, scenes: NDArray[np.int64], begin: NDArray[np.int64]) -> MapBatch:
        """Maps of some of the scenes, in the given order, made on the device; cells are shared, not copied.

        Args:
            scenes: [n] their numbers.
            begin: [S + 1] first piece of every scene and the number of all pieces, on the host.
        """
        counts = begin[scenes + 1] - begin[scenes]
        start = np.cumsum(counts) - counts
        shift = np.repeat(start - begin[scenes], counts)
        # All indices in one go: every transfer has a price of its own.
        sent = np.concatenate([np.arange(len(shift)) - shift, shift, start, scenes])
        rows, back, first, chosen = _sent(sent, self.pose.device).split([len(shift)] * 2 + [len(scenes)] * 2)
        around = self.around[rows]
        return MapBatch(
            pose=self.pose[rows],
            token=self.token[rows],
            kind=self.kind[rows],
            light=self.light[rows],
            around=torch.where(around >= 0, around + back[:, None], -1),
            table=self.table,
            grid=self.grid[chosen],
            first=self.first[chosen],
            start=first,
            lanes=self.lanes,
        )


def _sent(values: NDArray[np.int64], device: torch.device) -> Tensor:
    """Numbers on a device, without waiting for what it is doing."""
    tensor = torch.as_tensor(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def join_maps(scenes: Sequence[SceneTokens], lanes: int) -> MapBatch:
    """Maps of scenes; `lanes` as in `SceneOptions`."""
    pieces = np.cumsum([0, *(len(s.map_pose) for s in scenes)])
    cells = np.cumsum([0, *(len(s.table) for s in scenes)])

    def shifted(values: np.ndarray, by: int) -> np.ndarray:
        return np.where(values >= 0, values.astype(np.int64) + by, -1)

    return MapBatch(
        pose=torch.as_tensor(np.concatenate([s.map_pose for s in scenes])),
        token=torch.as_tensor(np.concatenate([s.map_token for s in scenes])),
        kind=torch.as_tensor(np.concatenate([s.map_kind for s in scenes])),
        light=torch.as_tensor(np.concatenate([s.map_light for s in scenes])),
        around=torch.as_tensor(
            np.concatenate([shifted(s.map_around, int(n)) for s, n in zip(scenes, pieces, strict=False)])
        ),
        table=torch.as_tensor(np.concatenate([s.table for s in scenes])),
        grid=torch.as_tensor(np.stack([s.grid for s in scenes]), dtype=torch.float32),
        first=torch.as_tensor(cells[:-1]),
        start=torch.as_tensor(pieces[:-1]),
        lanes=lanes,
    )


@dataclass(frozen=True, slots=True, eq=False)
class AgentBatch:
    """Agents of W worlds (scenes or roll-outs), padded to A agents, over N tokens; in the frame of each scene.

    Attributes:
        scene: [W] whose map.
        kinds: [W, A] token kinds.
        sizes: [W, A, 3] length, width, height, m.
        token: [W, A, N] motion token that led to each pose.
        motion: [W, A, N, 3] the motion itself: the pose in the frame of the pose before.
        pose: [W, A, N, 3] pose at the end of each token.
        valid: [W, A, N]; False also where the agent is padding, and after the last token of the world's own scene.
    """

    scene: Tensor
    kinds: Tensor
    sizes: Tensor
    token: Tensor
    motion: Tensor
    pose: Tensor
    valid: Tensor

    def to(self, device: torch.device | str) -> AgentBatch:
        """The same on another device."""
        return AgentBatch(*(getattr(self, f.name).to(device) for f in fields(self)))

    def first(self, count: int) -> AgentBatch:
        """Only the first `count` tokens."""
        return replace(
            self,
            token=self.token[:, :, :count],
            motion=self.motion[:, :, :count],
            pose=self.pose[:, :, :count],
            valid=self.valid[:, :, :count],
        )

    def repeat(self, times: int) -> AgentBatch:
        """Every world `times` times, one after another."""
        return AgentBatch(*(getattr(self, f.name).repeat_interleave(times, 0) for f in fields(self)))

    def worlds(self, rows: slice) -> AgentBatch:
        """Only some worlds."""
        return AgentBatch(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class LogBatch:
    """What really happened, for training: [W, A, N+1] like `AgentBatch`, one more pose in front.

    Attributes:
        goal: [W, A, N+1, 3] logged poses at steps 0, 5, ….
        goal_valid: [W, A, N+1].
        trained: [W, A].
    """

    goal: Tensor
    goal_valid: Tensor
    trained: Tensor

    def to(self, device: torch.device | str) -> LogBatch:
        """The same on another device."""
        return LogBatch(self.goal.to(device), self.goal_valid.to(device), self.trained.to(device))

    def repeat(self, times: int) -> LogBatch:
        """Every world `times` times, one after another."""
        return LogBatch(*(getattr(self, f.name).repeat_interleave(times, 0) for f in fields(self)))


def _padded(parts: Sequence[np.ndarray], agents: int) -> Tensor:
    """Arrays [A, …] or [A, N, …] as [W, agents, …] or [W, agents, longest N, …], zero or False where one ends."""
    shape = list(parts[0].shape[1:])
    if len(shape) > 0:
        shape[0] = max(part.shape[1] for part in parts)
    out = np.zeros((len(parts), agents, *shape), dtype=parts[0].dtype)
    for row, part in enumerate(parts):
        out[row][tuple(slice(size) for size in part.shape)] = part
    return torch.as_tensor(out)


def join_agents(scenes: Sequence[SceneTokens]) -> tuple[AgentBatch, LogBatch]:
    """Agents of scenes, padded to the largest scene and to the longest: no token is valid after a scene's own last."""
    agents = max(1, max(len(s.agents) for s in scenes))
    pose = _padded([s.poses for s in scenes], agents)
    batch = AgentBatch(
        scene=torch.arange(len(scenes)),
        kinds=_padded([s.kinds for s in scenes], agents),
        sizes=_padded([s.sizes for s in scenes], agents),
        token=_padded([s.token for s in scenes], agents),
        motion=relative(pose[:, :, 1:], pose[:, :, :-1]),
        pose=pose[:, :, 1:],
        valid=_padded([s.token_valid for s in scenes], agents),
    )
    log = LogBatch(
        goal=_padded([s.goal for s in scenes], agents),
        goal_valid=_padded([s.goal_valid for s in scenes], agents),
        trained=_padded([s.trained for s in scenes], agents),
    )
    return batch, log


def join_worlds(parts: Sequence[AgentBatch]) -> AgentBatch:
    """Worlds of several batches of the same scenes, one after another; as many agents and tokens in each."""
    return AgentBatch(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(AgentBatch)))

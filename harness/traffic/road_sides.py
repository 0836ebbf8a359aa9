"""Which side of the road edges boxes are on, and by how much: the shield's own reading of the map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from harness.geometry import to_frame
from harness.traffic.tokens.shapes import box_corners_torch
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]

_CELL: Final = 3.0
"""Side of the cells that list the edges near them, m; longer on maps that would have more cells than `_MOST`."""
_MOST: Final = 1_000_000
"""Cells of a map, and points on its edges, at most: 3 km square."""
_BESIDE: Final = 30.0
"""The cells reach this far beyond the outermost edge, m; farther out nothing is known."""
_SPACING: Final = 1.5
"""Edges are found by points on them at most this far apart, m."""
_LISTED: Final = 12
"""Points listed per cell: the edge within 9 m of the nearest one where there is only one edge."""
_STRAIGHT: Final = 0.05
"""Points that leave a line by no more than this (m) are dropped: a fifth of a tyre's width."""
_QUERIES: Final = 1 << 20
"""Points times listed segments that are looked at together, to bound memory."""


class RoadSides:
    """The road edges of one map in the frame of a scene; the road is on their left, as WOMD draws them.

    The map is read from above: where one road crosses over another the edges of both count.

    Args:
        lines: Edges, each [n, 2] points in driving order, m.
        device: Where distances are computed.
    """

    def __init__(self, lines: Sequence[Floats], device: torch.device | str = "cpu") -> None:
        parts = [part for line in lines if (part := _segments(line)) is not None]
        stacked = np.concatenate(parts) if parts else np.zeros((0, 4, 2))
        self._start, self._delta, self._before, self._after = (
            torch.as_tensor(stacked[:, row], dtype=torch.float32, device=device) for row in range(4)
        )
        side, corner, cells, listed = _listing(stacked)
        self._side, self._corner = side, torch.as_tensor(corner, dtype=torch.float32, device=device)
        self._cells, self._listed = torch.as_tensor(cells, device=device), torch.as_tensor(listed, device=device)

    @classmethod
    def of(cls, scenario: Scenario, frame: Floats, device: torch.device | str = "cpu") -> RoadSides:
        """The edges of a scene in a frame [3] (world pose: m, rad)."""
        edges = (item.points[:, :2].astype(np.float64) for item in scenario.features if item.is_road_edge)
        return cls([to_frame(line, frame) for line in edges], device)

    def __len__(self) -> int:
        """Number of straight pieces."""
        return len(self._start)

    def distance(self, points: Tensor) -> Tensor:
        """Distance [...] (m) of points [..., 2] to the nearest edge: negative on the road, -inf where none is known."""
        flat = points.reshape(-1, 2)
        cell = ((flat - self._corner) / self._side).floor().long()
        known = ((cell >= 0) & (cell < self._cells)).all(-1)
        found = flat.new_full((len(flat),), -torch.inf)
        rows = (cell[:, 0] * self._cells[1] + cell[:, 1])[known]
        parts = zip(flat[known].split(_QUERIES // _LISTED), rows.split(_QUERIES // _LISTED), strict=True)
        signed = [self._signed(part, self._listed[row]) for part, row in parts]
        if signed:
            found[known] = torch.cat(signed)
        return found.view(points.shape[:-1])

    def beyond(self, poses: Tensor, half: Tensor) -> Tensor:
        """How far [...] (m) the outermost corner of boxes at [..., 3] with half sizes [..., 2] is off the road."""
        return self.distance(box_corners_torch(poses, half)).amax(-1)

    def _signed(self, points: Tensor, near: Tensor) -> Tensor:
        """Signed distance [P] of points [P, 2] to the nearest of the segments [P, L] listed for them."""
        start, delta = self._start[near], self._delta[near]
        offset = points[:, None] - start
        share = ((offset * delta).sum(-1) / delta.square().sum(-1)).clamp(0, 1)
        gap = offset - share[..., None] * delta
        nearest = gap.square().sum(-1).argmin(-1, keepdim=True)
        best, share = near.gather(1, nearest)[:, 0], share.gather(1, nearest)[:, :1]
        gap = gap[torch.arange(len(gap)), nearest[:, 0]]
        # At a corner the sign is that of the two edges' mean normal: the rule that is right on both sides of it.
        along = torch.stack([self._delta[best][:, 1], -self._delta[best][:, 0]], -1)
        normal = torch.where(share <= 0, self._before[best], torch.where(share >= 1, self._after[best], along))
        return torch.where((gap * normal).sum(-1) > 0, 1.0, -1.0) * gap.square().sum(-1).sqrt()


def _segments(line: Floats) -> Floats | None:
    """[n, 4, 2] start, extent, and normals (to the right) at start and end of a line's pieces; None without any."""
    line = line[np.append(True, np.hypot(*np.diff(line, axis=0).T) > 1e-3)[: len(line)]]
    if len(line) < 2:
        return None
    line = shapely.get_coordinates(shapely.simplify(shapely.linestrings(line), _STRAIGHT))
    delta = np.diff(line, axis=0)
    normal = np.stack([delta[:, 1], -delta[:, 0]], -1) / np.hypot(*delta.T)[:, None]
    closed = np.hypot(*(line[0] - line[-1])) < 1e-3
    before = np.concatenate([normal[-1:] if closed else normal[:1], normal[:-1]]) + normal
    after = np.concatenate([normal[1:], normal[:1] if closed else normal[-1:]]) + normal
    return np.stack([line[:-1], delta, before, after], 1)


def _listing(segments: Floats) -> tuple[float, Floats, NDArray[np.int64], NDArray[np.intp]]:
    """Side (m) and corner [2] of a grid's cells, their numbers [2], and the segments [C, L] near each (some twice)."""
    if not len(segments):
        return _CELL, np.zeros(2), np.zeros(2, np.int64), np.zeros((0, 1), np.intp)
    start, delta = segments[:, 0], segments[:, 1]
    lengths = np.hypot(*delta.T)
    count = np.ceil(lengths / max(_SPACING, lengths.sum() / _MOST)).astype(np.int64) + 1
    owner = np.repeat(np.arange(len(segments)), count)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    points = start[owner] + delta[owner] * (rank / (count[owner] - 1))[:, None]
    corner = points.min(0) - _BESIDE
    extent = points.max(0) + _BESIDE - corner
    side = max(_CELL, float(np.sqrt(extent.prod() / _MOST)))
    cells = np.ceil(extent / side).astype(np.int64)
    axes = [corner[k] + (np.arange(cells[k]) + 0.5) * side for k in range(2)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    index = cKDTree(points).query(centres, k=min(_LISTED, len(points)))[1].reshape(len(centres), -1)
    return side, corner, cells, owner[index]

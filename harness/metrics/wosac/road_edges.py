"""Signed distance to the nearest road edge. Torch; everything that depends on the map alone is kept between calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

Z_STRETCH: Final = 3.0
"""Heights count threefold in choosing the nearest edge: no association with the road above or below."""
CLOSED: Final = 1.0
"""Squared distance of its ends below which an edge is closed, m²."""
CELL: Final = (2.0, 2.0, 0.5)
"""Cell of the candidate table, m."""
_LIMIT: Final = 4_000_000
"""Distances computed at once."""


class RoadEdges:
    """The road edges of one map; edges run counter-clockwise around the road: left of an edge is on the road.

    For every visited cell of space the segments that can be the nearest of any point in it are found once, by the
    triangle inequality; a query then looks only at those. The table grows with use and is exact.
    """

    def __init__(
        self,
        polylines: Sequence[np.ndarray],
        *,
        cyclic_only_longest: bool = False,
        degenerate_segments: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        """Prepare the segments.

        Args:
            polylines: Each [N, 3], m, in the frame of the queries.
            cyclic_only_longest, degenerate_segments: See `Quirks`.
            device: Device of the queries.
        """
        lines = [np.asarray(line, dtype=np.float64) for line in polylines if len(line) > 1]
        closed = [bool(((line[0] - line[-1]) ** 2).sum() < CLOSED) for line in lines]
        if cyclic_only_longest:
            longest = max((len(line) for line in lines), default=0)
            closed = [flag and len(line) == longest for flag, line in zip(closed, lines, strict=True)]
        if not degenerate_segments:
            lines = [_without_repeats(line) for line in lines]
        kept = [(line, flag) for line, flag in zip(lines, closed, strict=True) if len(line) > 1]
        start = np.concatenate([np.zeros((0, 3)), *(line[:-1] for line, _ in kept)])
        delta = np.concatenate([np.zeros((0, 3)), *(np.diff(line, axis=0) for line, _ in kept)])
        prior, following = _neighbours([(len(line) - 1, flag) for line, flag in kept])
        as_tensor = lambda values: torch.as_tensor(values, device=device)  # noqa: E731
        self.start, self.delta = as_tensor(start).float(), as_tensor(delta).float()
        self._prior, self._following = as_tensor(prior), as_tensor(following)
        self._squared = self.delta[:, :2].square().sum(-1)
        # Along a sloping segment the height of the foot point changes with the query: its distance is not 1-Lipschitz.
        slope = self.delta[:, 2].abs() / self._squared.sqrt().clamp(min=1e-6)
        self._lipschitz = torch.where(self.delta[:, 2] == 0, 1.0, 1.0 + Z_STRETCH * slope)
        self._slots: dict[int, int] = {}
        self._offsets = torch.zeros(1, dtype=torch.int64, device=device)
        self._candidates = torch.zeros(0, dtype=torch.int64, device=device)

    def __len__(self) -> int:
        return len(self.start)

    def signed_distance(self, points: Tensor) -> Tensor:
        """Distance [...] (m, in the plane) of points [..., 3] to the nearest edge; negative: on the road side."""
        flat = points.reshape(-1, 3).float()
        slots = self._find_slots(flat)
        parts = []
        counts = self._offsets[1:] - self._offsets[:-1]
        size = counts[slots]
        total = size.cumsum(0)
        begin = 0
        while begin < len(flat):
            base = int(total[begin - 1]) if begin else 0
            end = max(begin + 1, int(torch.searchsorted(total, base + _LIMIT)))
            parts.append(self._query(flat[begin:end], slots[begin:end], size[begin:end]))
            begin = end
        found = torch.cat(parts) if parts else flat.new_zeros(0)
        return found.reshape(points.shape[:-1])

    def _query(self, points: Tensor, slots: Tensor, size: Tensor) -> Tensor:
        owner = torch.repeat_interleave(torch.arange(len(points), device=points.device), size)
        rank = torch.arange(len(owner), device=points.device) - (size.cumsum(0) - size)[owner]
        segment = self._candidates[self._offsets[slots][owner] + rank]
        distance = self._stretched(points[owner], segment)[0]
        best = distance.new_full((len(points),), torch.inf).scatter_reduce(0, owner, distance, "amin")
        # Of equally near segments the first one of the file: candidates are in that order.
        tied = distance == best[owner]
        first = torch.full((len(points),), len(self), device=points.device)
        first = first.scatter_reduce(0, owner[tied], segment[tied], "amin")
        return self._signed(points, first)

    def _signed(self, points: Tensor, segment: Tensor) -> Tensor:
        """Signed distance in the plane to given segments, with the sign rules at corners."""
        _, planar, ratio = self._stretched(points, segment)
        own = self._side(points, segment)
        result = own
        for neighbour, beyond, turn in (
            (self._prior[segment], ratio < 0, lambda other: _cross(self.delta[other], self.delta[segment])),
            (self._following[segment], ratio > 1, lambda other: _cross(self.delta[segment], self.delta[other])),
        ):
            side = self._side(points, neighbour)
            convex = turn(neighbour) > 0
            corner = torch.where(convex, torch.maximum(own, side), torch.minimum(own, side))
            result = torch.where(beyond, corner, result)
        return result * planar

    def _side(self, points: Tensor, segment: Tensor) -> Tensor:
        """-1 left of the segment (on the road), 1 right of it."""
        return _cross(points - self.start[segment], self.delta[segment]).sign()

    def _stretched(self, points: Tensor, segment: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distance with stretched height, distance in the plane, and unclamped place along the segment."""
        offset, delta, squared = points - self.start[segment], self.delta[segment], self._squared[segment]
        ratio = (offset[..., 0] * delta[..., 0] + offset[..., 1] * delta[..., 1]) / squared
        ratio = torch.where(squared > 0, ratio, 0.0)
        gap = offset - delta * ratio.clamp(0, 1)[..., None]
        planar = gap[..., 0] ** 2 + gap[..., 1] ** 2
        return (planar + (Z_STRETCH * gap[..., 2]) ** 2).sqrt(), planar.sqrt(), ratio

    def _find_slots(self, points: Tensor) -> Tensor:
        """Row of the candidate table for each point [P, 3]; missing rows are made."""
        cell = torch.tensor(CELL, device=points.device)
        index = (points / cell).floor().long().clamp(-(1 << 19), (1 << 19) - 1) + (1 << 19)
        keys, inverse = torch.unique((index[:, 0] << 40) | (index[:, 1] << 20) | index[:, 2], return_inverse=True)
        known = keys.tolist()
        new = [row for row, key in enumerate(known) if key not in self._slots]
        if new:
            fresh = keys[torch.tensor(new, device=keys.device)]
            parts = torch.stack([fresh >> 40, fresh >> 20 & 0xFFFFF, fresh & 0xFFFFF], -1) - (1 << 19)
            self._add((parts.float() + 0.5) * cell)
            base = len(self._slots)
            self._slots.update({known[row]: base + place for place, row in enumerate(new)})
        return torch.tensor([self._slots[key] for key in known], device=points.device, dtype=torch.int64)[inverse]

    def _add(self, centres: Tensor) -> None:
        """Candidates of cells around `centres` [C, 3]: every segment that some point of the cell may be nearest to."""
        width = torch.tensor(CELL, device=centres.device) * torch.tensor([1.0, 1.0, Z_STRETCH], device=centres.device)
        # 1 cm against rounding.
        reach = self._lipschitz * (width.square().sum().sqrt() / 2) + 0.01
        every = torch.arange(len(self), device=centres.device)
        sizes, members = [], []
        for chunk in centres.split(max(1, _LIMIT // 4 // max(len(self), 1))):
            distance = self._stretched(chunk[:, None], every)[0]
            limit = (distance + reach).amin(-1, keepdim=True)
            row, segment = (distance - reach <= limit).nonzero(as_tuple=True)
            sizes.append(torch.bincount(row, minlength=len(chunk)))
            members.append(segment)
        ends = torch.cat(sizes).cumsum(0) + self._offsets[-1]
        self._offsets = torch.cat([self._offsets, ends])
        self._candidates = torch.cat([self._candidates, *members])


def distance_off_road(edges: RoadEdges, poses: Tensor, sizes: Tensor) -> Tensor:
    """Signed distance to the road edge of the corner of a box that is farthest off the road, m; positive: off it.

    Args:
        edges: The road's.
        poses: [..., E, S, 4] x, y, z (m), heading (rad).
        sizes: [E, 3] length, width, height, m.

    Returns:
        [..., E, S].
    """
    half = (sizes / 2)[:, None]
    cos, sin = poses[..., 3].cos(), poses[..., 3].sin()
    ahead = torch.stack([cos, sin], -1) * half[..., :1]
    left = torch.stack([-sin, cos], -1) * half[..., 1:2]
    centre = poses[..., :2]
    corners = torch.stack(
        [centre + ahead + left, centre - ahead + left, centre - ahead - left, centre + ahead - left], -2
    )
    bottom = (poses[..., 2] - half[..., 2])[..., None, None].expand(*corners.shape[:-1], 1)
    return edges.signed_distance(torch.cat([corners, bottom], -1)).amax(-1)


def _cross(one: Tensor, two: Tensor) -> Tensor:
    return one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]


def _without_repeats(line: np.ndarray) -> np.ndarray:
    return line[np.concatenate([[True], np.hypot(*np.diff(line[:, :2], axis=0).T) > 1e-6])]


def _neighbours(lines: Sequence[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    """Index of the segment before and after each: itself at the ends of open lines."""
    prior, following, base = [], [], 0
    for count, closed in lines:
        index = base + np.arange(count)
        before, after = index - 1, index + 1
        before[0] = index[-1] if closed else index[0]
        after[-1] = index[0] if closed else index[-1]
        prior.append(before)
        following.append(after)
        base += count
    none = np.zeros(0, dtype=np.int64)
    return np.concatenate([none, *prior]), np.concatenate([none, *following])

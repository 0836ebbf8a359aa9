"""How far inside the drivable area points lie: a signed distance field that gradients flow through."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from harness.geometry import Floats
from scenarios.map_index import MapIndex

CELL: Final = 0.5
"""Grid spacing, m: distances between cells are interpolated, so kerbs are placed more finely than this."""
SAMPLING: Final = 0.25
"""Spacing of samples along road edges, m: every cell that an edge passes is found."""
MAX_CELLS: Final = 1500
"""Cells along one side of the grid (750 m): more than anybody drives in 8 s at 10 Hz."""


class DrivableField:
    """Signed distance to the nearest road edge over a rectangle: positive on the road.

    Boundaries and medians both count. Which side of an edge is the road is decided by the nearest lane, so the
    direction in which a map file draws its edges does not matter.
    """

    def __init__(self, index: MapIndex, low: Floats, high: Floats) -> None:
        """Build the field.

        Args:
            index: The map; it must have road edges within the rectangle (see `covers`).
            low, high: Corners [2] of the rectangle, m.
        """
        self._low = np.floor(low / CELL) * CELL
        shape = np.minimum(np.ceil((high - self._low) / CELL).astype(int) + 1, MAX_CELLS)
        self._grid = torch.from_numpy(_signed_distance(index, self._low, (int(shape[0]), int(shape[1]))))

    def distance(self, points: Tensor) -> Tensor:
        """Signed distance [...] (m) of points [..., 2] (world frame), bilinear; held outside of the rectangle."""
        place = (points - torch.from_numpy(self._low)) / CELL
        limit = torch.tensor(self._grid.shape, dtype=place.dtype) - 1.001
        place = torch.minimum(place.clamp_min(0.0), limit)
        cell = place.detach().long()
        rest = place - cell
        flat = cell[..., 0] * self._grid.shape[1] + cell[..., 1]
        grid = self._grid.reshape(-1)
        a, b = grid[flat], grid[flat + 1]
        c, d = grid[flat + self._grid.shape[1]], grid[flat + self._grid.shape[1] + 1]
        u, v = rest[..., 0], rest[..., 1]
        return (1 - u) * ((1 - v) * a + v * b) + u * ((1 - v) * c + v * d)


def drivable_field(index: MapIndex, points: Floats, margin: float) -> DrivableField | None:
    """The field around points [..., 2] with `margin` m on every side, or None where no road edge is near."""
    flat = points.reshape(-1, 2)
    low, high = flat.min(0) - margin, flat.max(0) + margin
    return DrivableField(index, low, high) if len(_near(_edges(index), low, high)) else None


def _edges(index: MapIndex) -> Floats:
    return np.concatenate([index.edge_segments, index.median_segments])


def _near(segments: Floats, low: Floats, high: Floats) -> Floats:
    """The segments [S, 2, 2] whose bounds meet the rectangle."""
    meets = (segments.max(1) >= low).all(-1) & (segments.min(1) <= high).all(-1)
    return segments[meets]


def _signed_distance(index: MapIndex, low: Floats, shape: tuple[int, int]) -> Floats:
    """Distances [X, Y] at the grid points `low` + `CELL` · (i, j)."""
    segments = _near(_edges(index), low, low + CELL * np.array(shape))
    owner = np.full(shape, -1, dtype=np.intp)
    for samples, segment in _samples(segments):
        cells = np.rint((samples - low) / CELL).astype(np.intp)
        inside = ((cells >= 0) & (cells < np.array(shape))).all(-1)
        owner[cells[inside, 0], cells[inside, 1]] = segment[inside]
    if (owner < 0).all():
        return np.full(shape, np.inf)
    nearest = distance_transform_edt(owner < 0, return_distances=False, return_indices=True)
    segment = owner[nearest[0], nearest[1]]
    i, j = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    points = low + CELL * np.stack([i, j], -1)
    start, delta = segments[segment, 0], (segments[:, 1] - segments[:, 0])[segment]
    relative = points - start
    ratio = (relative * delta).sum(-1) / np.maximum((delta**2).sum(-1), 1e-12)
    gap = relative - np.clip(ratio, 0.0, 1.0)[..., None] * delta
    left = delta[..., 0] * relative[..., 1] - delta[..., 1] * relative[..., 0] >= 0
    return np.hypot(gap[..., 0], gap[..., 1]) * np.where(left == _road_is_left(index, segments)[segment], 1.0, -1.0)


def _samples(segments: Floats) -> list[tuple[Floats, NDArray[np.intp]]]:
    """Points [N, 2] along the segments with the segment each belongs to [N]."""
    length = np.hypot(*(segments[:, 1] - segments[:, 0]).T)
    count = np.ceil(length / SAMPLING).astype(int) + 1
    segment = np.repeat(np.arange(len(segments)), count)
    rank = np.arange(len(segment)) - np.repeat(np.cumsum(count) - count, count)
    ratio = rank / np.maximum(count[segment] - 1, 1)
    points = segments[segment, 0] + ratio[:, None] * (segments[segment, 1] - segments[segment, 0])
    return [(points, segment)]


def _road_is_left(index: MapIndex, segments: Floats) -> NDArray[np.bool_]:
    """Per segment [S] whether the road lies on its left: where most of its polyline has its nearest lane.

    Left where there is no lane, which is WOMD's convention.
    """
    place = index.locate(segments.mean(1), max_distance=np.inf)
    # The lane's foot point: the middle less its offset to the left of the lane's heading.
    normal = np.stack([-np.sin(place.heading), np.cos(place.heading)], -1)
    towards = -place.offset[:, None] * normal
    delta = segments[:, 1] - segments[:, 0]
    left = (delta[:, 0] * towards[:, 1] - delta[:, 1] * towards[:, 0] >= 0) | (place.lane < 0)
    begins = np.concatenate([[True], (segments[1:, 0] != segments[:-1, 1]).any(-1)])
    polyline = np.cumsum(begins) - 1
    votes = np.bincount(polyline, np.where(left, 1.0, -1.0) * np.hypot(*delta.T))
    return votes[polyline] >= 0

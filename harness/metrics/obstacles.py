"""Everything that a simulated ego must not touch, step by step: the boxes of others and the road's edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from harness.geometry import boxes_overlap, segments_cross_boxes
from harness.interfaces import VX
from harness.metrics.collision import overlaps

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CELL: Final = 1.0
"""Resolution of the map of distances to road edges, m; interpolated, so that it errs by about 0.1 m near an edge."""
EDGE_SPACING: Final = 0.25
"""Distance between the points that stand for a road edge, m."""
LONG: Final = 1000.0
"""Road edges are cut to the map of distances where a segment is longer, m; published ones have up to 180 m."""
MAX_REACH: Final = 1000.0
"""Farthest that an ego is followed from its recorded way, m: at 70 m/s it takes 14 s. The map of distances has one
number per square metre."""
CIRCLES: Final = 5
"""Circles of half the width along a box that must stay clear of edges; a corner may overhang by 0.4 m."""


def extended(states: Floats, valid: Bools, steps: int, dt: float) -> tuple[Floats, Bools]:
    """Trajectories carried on to `steps` rows at constant velocity where the recording ends.

    Only agents present in the last step that shows anyone are carried on: one that left earlier stays away.

    Args:
        states: [A, T, 5]; `valid` [A, T].
        valid: Present.
        steps: Rows wanted; fewer than T cuts.
        dt: s.

    Returns:
        [A, steps, 5] and [A, steps].
    """
    count, recorded = valid.shape
    shown = np.flatnonzero(valid.any(0))
    last = int(shown[-1]) if len(shown) else 0
    out = np.zeros((count, steps, states.shape[-1]))
    present = np.zeros((count, steps), dtype=bool)
    kept = min(recorded, steps)
    out[:, :kept], present[:, :kept] = states[:, :kept], valid[:, :kept]
    if steps > last + 1 and len(shown):
        there = valid[:, last]
        clock = np.arange(1, steps - last) * dt
        out[there, last + 1 :] = states[there, None, last]
        out[there, last + 1 :, :2] += states[there, None, last, VX : VX + 2] * clock[:, None]
        present[there, last + 1 :] = True
    return out, present


@dataclass(frozen=True, slots=True)
class EdgeField:
    """Distance to the nearest road edge on a grid.

    Attributes:
        origin: [2] position of the first node, m.
        distance: [Nx, Ny], m.
    """

    origin: Floats
    distance: Floats

    @classmethod
    def around(cls, edges: Floats, low: Floats, high: Floats) -> EdgeField | None:
        """The field within the rectangle from `low` [2] to `high` [2]; None where no edge [S, 2, 2] is near it."""
        near = (edges.max(1) >= low).all(-1) & (edges.min(1) <= high).all(-1)
        if not near.any():
            return None
        points = _sampled(_cut(edges[near], low - 4 * CELL, high + 4 * CELL))
        if len(points) == 0:
            return None
        shape = np.ceil((high - low) / CELL).astype(int) + 2
        nodes = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1) * CELL + low
        # Far nodes only need to be known as far.
        found, _ = cKDTree(points).query(nodes.reshape(-1, 2), distance_upper_bound=4 * CELL)
        return cls(low, np.where(np.isfinite(found), found, 4 * CELL).reshape(shape))

    def crossed(self, poses: Floats, size: Floats) -> Bools:
        """Whether boxes [N] of `size` [2] at `poses` [N, 3] reach over an edge; never outside the field."""
        half_length, half_width = size / 2
        along = np.linspace(-1, 1, CIRCLES) * max(half_length - half_width, 0.0)
        x = poses[:, :1] + along * np.cos(poses[:, 2:3])
        y = poses[:, 1:2] + along * np.sin(poses[:, 2:3])
        return np.asarray((self._at(x, y) < half_width).any(-1))

    def _at(self, x: Floats, y: Floats) -> Floats:
        """Bilinear interpolation; far outside the grid."""
        u, v = (x - self.origin[0]) / CELL, (y - self.origin[1]) / CELL
        rows, columns = self.distance.shape
        inside = (u >= 0) & (v >= 0) & (u < rows - 1) & (v < columns - 1)
        i, j = np.where(inside, u, 0.0).astype(int), np.where(inside, v, 0.0).astype(int)
        a, b = u - i, v - j
        field = self.distance
        low = (1 - b) * field[i, j] + b * field[i, j + 1]
        high = (1 - b) * field[i + 1, j] + b * field[i + 1, j + 1]
        return np.where(inside, (1 - a) * low + a * high, 4 * CELL)


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What must not be touched.

    Attributes:
        poses: [K, H, 3] boxes of others by absolute step.
        present: [K, H].
        sizes: [K, 2], m.
        size: [2] the ego's length and width, m.
        edges: Road edges, or None.
    """

    poses: Floats
    present: Bools
    sizes: Floats
    size: Floats
    edges: EdgeField | None

    def hit(self, poses: Floats, step: int) -> Bools:
        """Whether the ego at `poses` [N, 3] touches anything at absolute `step`; [N]."""
        touched = np.zeros(len(poses), dtype=bool)
        if len(poses) == 0:
            return touched
        if self.edges is not None:
            touched |= self.edges.crossed(poses, self.size)
        centre = poses[:, :2]
        own = np.hypot(*self.size) / 2
        reaches = own + np.hypot(self.sizes[:, 0], self.sizes[:, 1]) / 2
        boxes = self.poses[:, step]
        slack = reaches[:, None]
        around = (boxes[:, :2] >= centre.min(0) - slack).all(-1) & (boxes[:, :2] <= centre.max(0) + slack).all(-1)
        for index in np.flatnonzero(self.present[:, step] & around):
            box, size, reach = boxes[index], self.sizes[index], reaches[index]
            squared = (centre[:, 0] - box[0]) ** 2 + (centre[:, 1] - box[1]) ** 2
            # Circles inscribed in both boxes decide most near pairs, circumscribed ones the far pairs.
            core = (min(self.size) + min(size)) / 2
            touched |= squared < core**2
            unsure = np.flatnonzero((squared <= reach**2) & ~touched)
            touched[unsure] = boxes_overlap(poses[unsure], self.size, box, size)
        return touched


def build_obstacles(
    ego: Floats,
    ego_size: ArrayLike,
    others: Floats,
    others_valid: Bools,
    other_sizes: Floats,
    window: tuple[int, int],
    steps: int,
    dt: float,
    edges: Floats | None,
    reach: float,
) -> Obstacles:
    """What an ego that leaves its recorded trajectory within `window` must not touch.

    What the recorded ego touched before the contact (an overlapping parked car, an edge it drove over) is left out:
    the ego was there, so it cannot be a wall.

    Args:
        ego: [T, 5] recorded, valid within the window.
        ego_size: [2] length and width, m.
        others: [A, T, 5]; `others_valid` [A, T]; `other_sizes` [A, 2].
        others_valid: Present.
        other_sizes: m.
        window: First step at which the ego may act, and the step of contact.
        steps: Steps that must be survived (absolute).
        dt: s.
        edges: Road edges [S, 2, 2] or None.
        reach: How far the ego may get from its recorded positions, m; at most `MAX_REACH` of it is looked at.
    """
    first, contact = window
    reach = min(reach, MAX_REACH)
    size = np.asarray(ego_size, dtype=np.float64)
    own = ego[first:contact]
    states, present = extended(others, others_valid, steps, dt)
    everyone = np.ones(len(own), dtype=bool)
    before = overlaps(states[:, first:contact], present[:, first:contact], other_sizes, own[None], everyone[None], size)
    low, high = own[:, :2].min(0) - reach, own[:, :2].max(0) + reach
    inside = ((states[..., :2] >= low) & (states[..., :2] <= high)).all(-1) & present
    keep = inside[:, first:].any(-1) & ~before.any(-1)
    field = None
    if edges is not None and len(edges):
        near = edges[(edges.max(1) >= low).all(-1) & (edges.min(1) <= high).all(-1)]
        if len(near):
            driven = segments_cross_boxes(near[None, :, 0], near[None, :, 1], own[:, None, :3], size).any(0)
            field = EdgeField.around(near[~driven], low, high)
    return Obstacles(states[keep, :, :3], present[keep], np.asarray(other_sizes)[keep], size, field)


def _cut(segments: Floats, low: Floats, high: Floats) -> Floats:
    """Segments [S, 2, 2], the long ones cut to the rectangle from `low` [2] to `high` [2], or left out beside it."""
    delta = segments[:, 1] - segments[:, 0]
    rows = np.flatnonzero(np.hypot(delta[:, 0], delta[:, 1]) > LONG)
    if len(rows) == 0:
        return segments
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = np.stack([low - segments[rows, 0], high - segments[rows, 0]]) / delta[rows]
    # Along an axis that a segment does not move on it is inside for all its length, or for none.
    ways = np.where(np.isnan(ways), np.array([-np.inf, np.inf])[:, None, None], ways)
    enter = np.clip(ways.min(0).max(-1), 0.0, 1.0)[:, None]
    leave = np.clip(ways.max(0).min(-1), 0.0, 1.0)[:, None]
    start = segments[rows, 0]
    cut = np.stack([start + enter * delta[rows], start + leave * delta[rows]], 1)
    kept = np.ones(len(segments), dtype=bool)
    kept[rows] = (enter < leave)[:, 0]
    out = segments.copy()
    out[rows] = cut
    return out[kept]


def _sampled(segments: Floats) -> Floats:
    """Points [N, 2] at most `EDGE_SPACING` apart on segments [S, 2, 2]."""
    lengths = np.hypot(*(segments[:, 1] - segments[:, 0]).T)
    counts: Sequence[int] = (np.ceil(lengths / EDGE_SPACING).astype(int) + 1).tolist()
    owner = np.repeat(np.arange(len(segments)), counts)
    place = np.concatenate([np.zeros(0), *(np.linspace(0.0, 1.0, n) for n in counts)])[:, None]
    return segments[owner, 0] * (1 - place) + segments[owner, 1] * place

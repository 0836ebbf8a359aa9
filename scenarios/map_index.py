"""A scene's road map as flat arrays with spatial indices, for queries over thousands of poses at once.

Everything is in the scenario's world frame, float64. Road edges answer "does this box cross the edge of the
road", lanes answer "which lane is this, how far along, and where does it lead".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from harness.caching import Lru
from harness.geometry import arc_lengths, box_corners, interpolate_polyline, segments_cross_boxes, wrap_angle
from scenarios.bounds import refuse_length
from scenarios.scenario import MapFeature, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BOUNDARY: Final = "ROAD_EDGE_BOUNDARY"
MEDIAN: Final = "ROAD_EDGE_MEDIAN"
SPACING: Final = 1.0
"""Distance between lane samples, m: on a 6 m curve the chord is off by 2 cm, less than mapping noise."""
NEIGHBOURS: Final = 12
"""Lane samples considered around a point when the heading matters: about four lanes at a junction."""
HEADING_WEIGHT: Final = 2.0
"""A lane that points the opposite way counts as twice this many metres further off."""
CACHE_SIZE: Final = 16
"""Indices kept by `MapIndex.of`; a WOMD map with its search trees takes about 3 MB."""

_CACHE: Lru[int, tuple[tuple[MapFeature, ...], MapIndex]] = Lru(CACHE_SIZE)


class LanePosition(NamedTuple):
    """Where points lie on lanes; each field has the shape [...] of the query.

    Attributes:
        lane: Index into `MapIndex.lane_ids`, -1 where no lane is near enough.
        along: Arc length of the foot point, m.
        offset: Lateral offset, m, left positive.
        heading: Lane heading at the foot point, rad.
        distance: Distance to the centre line, m (inf where there is no lane).
    """

    lane: NDArray[np.intp]
    along: Floats
    offset: Floats
    heading: Floats
    distance: Floats


class LaneVectors(NamedTuple):
    """Lane centre lines cut into vectors.

    Attributes:
        start, end: [N, 2], m.
        heading: [N], rad.
        lane: [N] index into `MapIndex.lane_ids`.
        along: [N] arc length of the start, m.
    """

    start: Floats
    end: Floats
    heading: Floats
    lane: NDArray[np.intp]
    along: Floats


class MapIndex:
    """Vectorised queries on one scene's map. Use `MapIndex.of(scenario)` to share it between callers.

    Attributes:
        edge_segments: [S, 2, 2] segments of ROAD_EDGE_BOUNDARY, m.
        median_segments: [M, 2, 2] segments of ROAD_EDGE_MEDIAN, m.
        lane_ids: Ids of the lanes that cars may use and that have at least two distinct points.
        lane_lines: Their centre lines, each [n, 2], repeated points removed.
        lane_lengths: [L], m.
        successors, predecessors: Lane indices per lane.
    """

    def __init__(self, scenario: Scenario) -> None:
        """Collect the arrays; the search trees are built on first use."""
        self.edge_segments = _segments(f for f in scenario.features if f.type == BOUNDARY)
        self.median_segments = _segments(f for f in scenario.features if f.type == MEDIAN)
        lanes = [(f, line) for f in scenario.features if f.is_vehicle_lane and len(line := _clean(f)) > 1]
        self.lane_ids = tuple(feature.id for feature, _ in lanes)
        self.lane_lines: tuple[Floats, ...] = tuple(line for _, line in lanes)
        self.lane_lengths = np.array([arc_lengths(line)[-1] for line in self.lane_lines])
        rank = {name: index for index, name in enumerate(self.lane_ids)}
        self.successors = _relations(lanes, rank, "exit", "entry")
        self.predecessors = _relations(lanes, rank, "entry", "exit")

    @classmethod
    def of(cls, scenario: Scenario) -> MapIndex:
        """The index of this scene, made once per map and kept for the most recent 16."""
        # The entry holds the features, so a live key cannot belong to another map.
        return _CACHE.get(id(scenario.features), lambda: (scenario.features, cls(scenario)))[1]

    def part(self, lanes: Sequence[int]) -> MapIndex:
        """The map of some lanes alone, without road edges: its trees are made faster. Indices count anew."""
        made = object.__new__(MapIndex)
        made.edge_segments = made.median_segments = np.zeros((0, 2, 2))
        made.lane_ids = tuple(self.lane_ids[lane] for lane in lanes)
        made.lane_lines = tuple(self.lane_lines[lane] for lane in lanes)
        made.lane_lengths = self.lane_lengths[list(lanes)]
        rank = {lane: index for index, lane in enumerate(lanes)}
        made.successors, made.predecessors = (
            tuple(tuple(rank[other] for other in related[lane] if other in rank) for lane in lanes)
            for related in (self.successors, self.predecessors)
        )
        return made

    # ---- road edges

    def boxes_cross_edges(self, poses: Floats, size: Floats | Sequence[float]) -> Bools:
        """Whether oriented boxes touch or cross a road boundary.

        Args:
            poses: [..., 3] or wider: x (m), y (m), heading (rad) first. NaN poses cross nothing.
            size: Length and width, m: [2] or [..., 2].

        Returns:
            [...] bool.
        """
        poses = np.asarray(poses, dtype=np.float64)[..., :3]
        shape = poses.shape[:-1]
        flat = poses.reshape(-1, 3)
        sizes = np.broadcast_to(np.asarray(size, dtype=np.float64), (*shape, 2)).reshape(-1, 2)
        crossed = np.zeros(len(flat), dtype=bool)
        usable = np.flatnonzero(np.isfinite(flat).all(-1))
        if len(usable) == 0 or self._edge_tree is None:
            return crossed.reshape(shape)
        corners = box_corners(flat[usable], sizes[usable])
        low, high = corners.min(-2), corners.max(-2)
        # The tree leaves the few pairs whose bounds meet; most boxes of a set of candidates meet no edge's.
        box, segment = self._edge_tree.query(shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1]))
        box = usable[box]
        segments = self.edge_segments[segment]
        hit = segments_cross_boxes(segments[:, 0], segments[:, 1], flat[box], sizes[box])
        crossed[box[hit]] = True
        return crossed.reshape(shape)

    @cached_property
    def _edge_tree(self) -> shapely.STRtree | None:
        return shapely.STRtree(shapely.linestrings(self.edge_segments)) if len(self.edge_segments) else None

    # ---- lanes

    def lane_vectors(self, spacing: float = 2.0) -> LaneVectors:
        """Every lane cut into vectors of about `spacing` m (at least one per lane).

        Raises:
            ScenarioError: The lanes are too long to be cut.
        """
        refuse_length(self.lane_lengths)
        parts = [
            _resample(line, length, spacing) for line, length in zip(self.lane_lines, self.lane_lengths, strict=True)
        ]
        if not parts:
            none = np.zeros((0, 2))
            return LaneVectors(none, none, np.zeros(0), np.zeros(0, dtype=np.intp), np.zeros(0))
        start = np.concatenate([points[:-1] for points, _ in parts])
        end = np.concatenate([points[1:] for points, _ in parts])
        delta = end - start
        lane = np.repeat(np.arange(len(parts)), [len(points) - 1 for points, _ in parts])
        along = np.concatenate([lengths[:-1] for _, lengths in parts])
        return LaneVectors(start, end, np.arctan2(delta[:, 1], delta[:, 0]), lane, along)

    @cached_property
    def _fine(self) -> LaneVectors:
        return self.lane_vectors(SPACING)

    @cached_property
    def _lane_tree(self) -> cKDTree | None:
        fine = self._fine
        return cKDTree((fine.start + fine.end) / 2) if len(fine.lane) else None

    def locate(self, points: Floats, headings: Floats | None = None, max_distance: float = 10.0) -> LanePosition:
        """The nearest lane of each point, preferring lanes that lead the same way where a heading is given.

        Args:
            points: [..., 2], m.
            headings: [...], rad, or None to go by distance alone.
            max_distance: Farther lanes are not considered, m.
        """
        points = np.asarray(points, dtype=np.float64)[..., :2]
        shape, flat = points.shape[:-1], points[..., :2].reshape(-1, 2)
        if self._lane_tree is None or len(flat) == 0:
            gone = np.full(shape, -1, dtype=np.intp)
            zero = np.zeros(shape)
            return LanePosition(gone, zero, zero, zero, np.full(shape, np.inf))
        fine = self._fine
        count = min(NEIGHBOURS if headings is not None else 3, len(fine.lane))
        usable = np.asarray(np.isfinite(flat).all(-1))
        _, near = self._lane_tree.query(np.where(usable[:, None], flat, 0.0), k=count)
        near = near.reshape(len(flat), count)
        foot, offset, distance = _project(flat[:, None], fine.start[near], fine.end[near])
        cost = distance
        if headings is not None:
            turn = fine.heading[near] - np.asarray(headings, dtype=np.float64).reshape(-1, 1)
            cost = distance + HEADING_WEIGHT * (1.0 - np.cos(turn))
        pick = np.where(np.isfinite(cost), cost, np.inf).argmin(-1)[:, None]

        def take(values: NDArray) -> NDArray:
            return np.take_along_axis(values, pick, -1)[:, 0].reshape(shape)

        chosen = take(near)
        far = ~((take(distance) <= max_distance) & usable.reshape(shape))
        return LanePosition(
            np.where(far, -1, fine.lane[chosen]),
            fine.along[chosen] + take(foot),
            take(offset),
            fine.heading[chosen],
            np.where(far, np.inf, take(distance)),
        )

    def lane_paths(self, lane: int, along: float, length: float, limit: int = 8) -> tuple[Floats, ...]:
        """Every way on from a place on a lane: centre lines [n, 2] of `length` m (shorter at dead ends).

        Branches are explored straightest first; at most `limit` are returned.
        """
        paths: list[Floats] = []
        self._extend([], lane, along, length, limit, paths)
        return tuple(paths)

    def lane_path(self, lane: int, along: float, length: float) -> Floats:
        """The straightest way on from a place on a lane: centre line [n, 2] of `length` m (shorter at a dead end)."""
        return self.lane_paths(lane, along, length, limit=1)[0]

    def _extend(
        self, so_far: list[Floats], lane: int, along: float, length: float, limit: int, paths: list[Floats]
    ) -> None:
        """Depth-first over successors, cutting at `length`."""
        line, total = self.lane_lines[lane], float(self.lane_lengths[lane])
        stop = min(total, along + length)
        piece = _cut(line, along, stop)
        done = [*so_far, piece]
        rest = length - (stop - along)
        # 64 pieces: a loop of zero-length lanes must end somewhere.
        nexts = self.straightest_first(lane) if rest > 0.5 and len(done) < 64 else ()
        if not nexts:
            joined = np.concatenate(done)
            keep = np.concatenate([[True], np.hypot(*np.diff(joined, axis=0).T) > 1e-6])
            paths.append(joined[keep] if keep.sum() > 1 else joined[:2])
            return
        for successor in nexts:
            if len(paths) >= limit:
                return
            self._extend(done, successor, 0.0, rest, limit, paths)

    def straightest_first(self, lane: int) -> tuple[int, ...]:
        """Successors of a lane, ordered by how little they turn from start to end."""
        return tuple(sorted(self.successors[lane], key=lambda index: abs(_turn(self.lane_lines[index]))))


def has_road_edges(scenario: Scenario) -> bool:
    """Whether the map says where the road ends; otherwise nothing that goes by road edges can be judged.

    nuScenes, nuPlan and some converters of Argoverse 2 draw no edges. "Never crossed" would then be true of everybody.
    """
    return any(feature.type == BOUNDARY and len(_clean(feature)) > 1 for feature in scenario.features)


def _clean(feature: MapFeature) -> Floats:
    """Points [n, 2] without repeats and without non-finite ones."""
    points = np.asarray(feature.points[:, :2], dtype=np.float64)
    points = points[np.isfinite(points).all(-1)]
    if len(points) < 2:
        return points
    return points[np.concatenate([[True], np.hypot(*np.diff(points, axis=0).T) > 1e-6])]


def _segments(features: Iterable[MapFeature]) -> Floats:
    """Segments [S, 2, 2] of polylines, and of polygons closed."""
    parts = []
    for feature in features:
        line = _clean(feature)
        if feature.closed and len(line) > 2:
            line = np.concatenate([line, line[:1]])
        if len(line) > 1:
            parts.append(np.stack([line[:-1], line[1:]], 1))
    return np.concatenate(parts) if parts else np.zeros((0, 2, 2))


def _relations(
    lanes: Sequence[tuple[MapFeature, Floats]], rank: dict[str, int], forward: str, backward: str
) -> tuple[tuple[int, ...], ...]:
    """Indices of related lanes; a relation that only one side of the map file mentions counts."""
    found: list[dict[int, None]] = [{} for _ in lanes]
    for index, (feature, _) in enumerate(lanes):
        for name in getattr(feature, forward):
            if name in rank:
                found[index][rank[name]] = None
        for name in getattr(feature, backward):
            if name in rank:
                found[rank[name]][index] = None
    return tuple(tuple(entries) for entries in found)


def _resample(line: Floats, length: float, spacing: float) -> tuple[Floats, Floats]:
    """Points at equal arc lengths, and those lengths."""
    count = max(1, round(length / spacing))
    along = np.linspace(0.0, length, count + 1)
    return interpolate_polyline(line, along)[0], along


def _project(points: Floats, start: Floats, end: Floats) -> tuple[Floats, Floats, Floats]:
    """Arc length on each segment, signed lateral offset and distance; all broadcast [...]."""
    delta = end - start
    length = np.maximum(np.hypot(delta[..., 0], delta[..., 1]), 1e-9)
    unit = delta / length[..., None]
    relative = points - start
    along = relative[..., 0] * unit[..., 0] + relative[..., 1] * unit[..., 1]
    offset = relative[..., 1] * unit[..., 0] - relative[..., 0] * unit[..., 1]
    beyond = np.maximum(np.maximum(-along, along - length), 0.0)
    return np.clip(along, 0.0, length), offset, np.hypot(offset, beyond)


def _cut(line: Floats, start: float, stop: float) -> Floats:
    """The part of a polyline between two arc lengths, end points included."""
    lengths = arc_lengths(line)
    inner = line[(lengths > start) & (lengths < stop)]
    ends = interpolate_polyline(line, np.array([start, stop]))[0]
    return np.concatenate([ends[:1], inner, ends[1:]])


def _turn(line: Floats) -> float:
    """Change of heading from the first to the last segment, rad."""
    first, last = line[1] - line[0], line[-1] - line[-2]
    return float(wrap_angle(np.arctan2(last[1], last[0]) - np.arctan2(first[1], first[0])))

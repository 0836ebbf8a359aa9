"""The road map of one scene, resampled once and queried per agent: map vectors and a lane graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adversaries.prior.cache import SceneCache
from adversaries.prior.config import CHUNK_LENGTH, CHUNK_POINTS
from scenarios.bounds import refuse_length
from scenarios.scenario import MapFeature, Scenario

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

LANE_SPACING: Final = 1.5
"""Distance between the lane points that goals are interpolated from, m."""
_GAP: Final = 1.0
"""Fictitious arc length between two polylines that are resampled together, m."""
_KMH: Final = 1 / 3.6
_MPH: Final = 0.44704


@dataclass(frozen=True, slots=True, eq=False)
class Roads:
    """Arrays of one map. L lanes, P lane points, C map vectors (chunks); world frame, float64.

    Attributes:
        chunks: [C, CHUNK_POINTS, 2] pieces of lanes (first) and road edges.
        chunk_centre: [C, 2].
        chunk_direction: [C, 2] unit vectors.
        chunk_lane: [C] lane index, -1 for road edges.
        points: [P, 2] lane points, lane after lane.
        headings: [P] rad.
        arc: [P] arc length from the start of the own lane, m.
        lane_of_point: [P].
        starts: [L + 1] offsets of lanes in `points`.
        successors: Per lane, indices of the lanes that follow.
        speed_limit: [L] m/s, 0 where unknown.
        lane_ids: Per lane, its id in the scene.
    """

    chunks: Floats
    chunk_centre: Floats
    chunk_direction: Floats
    chunk_lane: Ints
    points: Floats
    headings: Floats
    arc: Floats
    lane_of_point: Ints
    starts: Ints
    successors: tuple[tuple[int, ...], ...]
    speed_limit: Floats
    lane_ids: tuple[str, ...]

    @property
    def num_lanes(self) -> int:
        """Number of vehicle lanes."""
        return len(self.lane_ids)


class _Lines(NamedTuple):
    """Many polylines end to end, so that they are measured and resampled in one call."""

    points: Floats  # [N, 2], m
    sizes: Ints  # [n] points of each
    along: Floats  # [N] position on a common axis, m; strictly separate for each polyline
    lengths: Floats  # [n] m


def stack(polylines: Sequence[NDArray[np.floating]]) -> _Lines:
    """Measure polylines, each [N_i, ≥2] with N_i ≥ 2, m."""
    if not polylines:
        return _Lines(np.zeros((0, 2)), np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0))
    sizes = np.array([len(p) for p in polylines], dtype=np.intp)
    points = np.concatenate([p[:, :2] for p in polylines]).astype(np.float64)
    step = np.zeros(len(points))
    step[1:] = np.hypot(*np.diff(points, axis=0).T)
    first = np.cumsum(sizes) - sizes
    step[first] = 0.0
    lengths = np.add.reduceat(step, first)
    step[first[1:]] = _GAP
    return _Lines(points, sizes, np.cumsum(step), lengths)


def resample(lines: _Lines, counts: Ints) -> tuple[Floats, Floats]:
    """Resample polylines to `counts[i]` ≥ 2 evenly spaced points each.

    Returns:
        Points [sum(counts), 2] and their arc length [sum(counts)] on the own polyline, m.
    """
    begin = lines.along[np.cumsum(lines.sizes) - lines.sizes]
    index = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    offset = np.repeat(lines.lengths / (counts - 1), counts) * index
    query = np.repeat(begin, counts) + offset
    points = np.stack([np.interp(query, lines.along, lines.points[:, c]) for c in range(2)], -1)
    return points, np.asarray(offset, dtype=np.float64)


def _chunk(lines: _Lines) -> tuple[Floats, Ints]:
    """Cut polylines into pieces of at most `CHUNK_LENGTH`: [C, CHUNK_POINTS, 2] and the polyline of each."""
    if len(lines.sizes) == 0:
        return np.zeros((0, CHUNK_POINTS, 2)), np.zeros(0, dtype=np.intp)
    pieces = np.maximum(np.ceil(lines.lengths / CHUNK_LENGTH), 1).astype(np.intp)
    inner = CHUNK_POINTS - 1
    points, _ = resample(lines, pieces * inner + 1)
    base = np.concatenate([[0], np.cumsum(pieces * inner + 1)[:-1]])
    owner = np.repeat(np.arange(len(pieces)), pieces)
    order = np.arange(int(pieces.sum())) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    index = (base[owner] + order * inner)[:, None] + np.arange(CHUNK_POINTS)
    return points[index], owner


def _usable(features: list[MapFeature]) -> tuple[list[MapFeature], _Lines]:
    """The features that are lines (two points, finite, not all the same), and these lines."""
    features = [f for f in features if len(f.points) >= 2]
    lines = stack([f.points for f in features])
    good = np.isfinite(lines.lengths) & (lines.lengths > 0)
    if not good.all():
        features = [f for f, keep in zip(features, good, strict=True) if keep]
        lines = stack([f.points for f in features])
    return features, lines


def _speed_limit(feature: MapFeature) -> float:
    for key, factor in (("speed_limit_kmh", _KMH), ("speed_limit_mph", _MPH)):
        value = feature.extras.get(key)
        if isinstance(value, (int, float)) and 0 < value < 200:
            return float(value) * factor
    return 0.0


def build_roads(features: Sequence[MapFeature]) -> Roads:
    """Resample a map; lanes of bicycles and degenerate polylines are left out.

    Raises:
        ScenarioError: The map is too long to be resampled.
    """
    lanes, lane_lines = _usable([f for f in features if f.is_vehicle_lane])
    _, edge_lines = _usable([f for f in features if f.is_road_edge])
    refuse_length(np.concatenate([lane_lines.lengths, edge_lines.lengths]))
    lane_chunks, chunk_lane = _chunk(lane_lines)
    edge_chunks, _ = _chunk(edge_lines)
    chunks = np.concatenate([lane_chunks, edge_chunks])
    direction = chunks[:, -1] - chunks[:, 0]
    direction = direction / np.maximum(np.hypot(*direction.T)[:, None], 1e-6)
    if lanes:
        counts = np.maximum(np.ceil(lane_lines.lengths / LANE_SPACING), 1).astype(np.intp) + 1
        points, arc = resample(lane_lines, counts)
        starts = np.concatenate([[0], np.cumsum(counts)])
        owner = np.repeat(np.arange(len(lanes)), counts)
        # The last point of a lane has no segment of its own: it takes the heading of the one before.
        ahead = np.minimum(np.arange(len(points)) + 1, starts[1:][owner] - 1)
        delta = points[ahead] - points[np.maximum(ahead - 1, starts[:-1][owner])]
    else:
        points, arc, delta = np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2))
        starts, owner = np.zeros(1, dtype=np.intp), np.zeros(0, dtype=np.intp)
    index = {f.id: k for k, f in enumerate(lanes)}
    return Roads(
        chunks=chunks,
        chunk_centre=chunks[:, CHUNK_POINTS // 2],
        chunk_direction=direction,
        chunk_lane=np.concatenate([chunk_lane, np.full(len(edge_chunks), -1, dtype=np.intp)]),
        points=points,
        headings=np.arctan2(delta[:, 1], delta[:, 0]),
        arc=arc,
        lane_of_point=owner,
        starts=starts,
        successors=tuple(tuple(index[k] for k in f.exit if k in index) for f in lanes),
        speed_limit=np.array([_speed_limit(f) for f in lanes]),
        lane_ids=tuple(f.id for f in lanes),
    )


class RoadsCache:
    """The most recently used maps."""

    def __init__(self, size: int = 32) -> None:
        self._cache: SceneCache[Roads] = SceneCache(size)

    def get(self, scenario: Scenario) -> Roads:
        """The resampled map of a scene."""
        return self._cache.get(scenario, "roads", lambda: build_roads(scenario.features))


LIGHT_RED: Final = 1
LIGHT_CAUTION: Final = 2
LIGHT_GREEN: Final = 3


def light_states(scenario: Scenario, roads: Roads, step: int) -> Ints:
    """Traffic light of each lane at `step`: 0 none, 1 red, 2 yellow or unknown, 3 green; [L].

    Only the state at `step` is read, never a later one.
    """
    found = np.zeros(roads.num_lanes, dtype=np.intp)
    if not scenario.lights:
        return found
    index = {name: k for k, name in enumerate(roads.lane_ids)}
    for key, light in scenario.lights.items():
        lane = index.get(str(light.get("lane", key)))
        states = light.get("state", {}).get("object_state", ())
        if lane is None or step >= len(states) or not states[step]:
            continue
        name = str(states[step]).upper()
        if "STOP" in name or "RED" in name:
            found[lane] = LIGHT_RED
        elif "GO" in name or "GREEN" in name:
            found[lane] = LIGHT_GREEN
        else:
            found[lane] = LIGHT_CAUTION
    return found

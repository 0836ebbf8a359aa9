"""Dense goal candidates: where could this vehicle be in 8 s?

Two families. *Lane goals* are sampled along every lane that the lane graph makes reachable, each with the path that
leads there. *Fan goals* are end points of constant-curvature arcs (and of U-turns), so that moves off the lane
graph (car parks, driveways, evasion, cutting across) have candidates too; the first one is "stay".
"""

from __future__ import annotations

import heapq
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adversaries.prior.config import GOAL_FEATURES, POSITION_SCALE, WAYPOINTS, PriorConfig
from adversaries.prior.roads import Roads
from harness.geometry import to_frame, wrap_angle
from scenarios.scenario import DT, FUTURE_STEPS

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

DURATION: Final = FUTURE_STEPS * DT
"""Prediction horizon, s."""
START_DISTANCE: Final = 6.0
"""A lane is a start lane when it passes within this distance of the agent, m."""
START_ANGLE: Final = 1.2
"""A start lane points this close to the agent's heading, rad."""
MAX_STARTS: Final = 5
MAX_VISITS: Final = 48
"""Lanes that one agent's goals lie on, nearest along the graph first."""
MIN_SPACING: Final = 1.5
"""Smallest distance between lane goals, m."""
TOP_SPEED: Final = 35.0
"""Mean acceleration that reach allows falls linearly to zero at this speed, m/s."""
REACH_ACCELERATION: Final = 2.4
"""Largest mean acceleration over 8 s, m/s²: from rest it gives 77 m."""
FAN_TURNS: Final = (-3.0, -1.8, -1.1, -0.6, -0.3, -0.12, 0.0, 0.12, 0.3, 0.6, 1.1, 1.8, 3.0)
"""Total heading changes of the fan, rad. The widest are U-turns, which lane graphs lack."""
FAN_RADII: Final = (8.0, 20.0, *(np.inf,) * 9, 20.0, 8.0)
"""Largest radius of each turn, m (wider where speed asks for it): a longer path goes straight on after it."""
FAN_LATERAL: Final = 3.5
"""Lateral acceleration at the current speed that widens these radii, m/s²."""


class GoalSet(NamedTuple):
    """Goals of one agent, in its frame.

    Attributes:
        points: [G, 2] m.
        features: [G, GOAL_FEATURES] float32.
        mask: [G] bool, False for padding.
    """

    points: Floats
    features: NDArray[np.float32]
    mask: NDArray[np.bool_]


class _Paths(NamedTuple):
    """Goals with the path that leads to them: g goals, in the agent's frame."""

    points: Floats  # [g, 2]
    heading: Floats  # [g]
    length: Floats  # [g] path length, m
    waypoints: Floats  # [g, WAYPOINTS, 2]
    is_lane: Floats  # [g]
    offset: Floats  # [g] signed lateral gap from agent to lane at the start, m
    speed_limit: Floats  # [g] m/s, 0 unknown
    light: Ints  # [g] state of the first light on the path
    stop: Floats  # [g] distance to it, m


class _Visit(NamedTuple):
    lane: int
    path: Ints  # path from the start, as indices into roads.points
    arc: Floats  # distance along the path at those indices, m
    begin: float  # distance at which this lane begins, m
    light: int
    stop: float


def reach(speed: float) -> float:
    """How far a vehicle at `speed` (m/s) may plausibly get in 8 s, m."""
    gain = REACH_ACCELERATION * max(0.0, 1.0 - speed / TOP_SPEED)
    return max(speed * DURATION + 0.5 * gain * DURATION**2, 20.0)


def _start_points(roads: Roads, pose: Floats) -> Ints:
    """The nearest point of each start lane, as indices into `roads.points`."""
    gap = roads.points - pose[:2]
    distance = np.hypot(gap[:, 0], gap[:, 1])
    near = np.flatnonzero(distance < START_DISTANCE)
    if len(near) == 0:
        return near
    turn = np.abs(wrap_angle(roads.headings[near] - pose[2]))
    near, turn = near[turn < START_ANGLE], turn[turn < START_ANGLE]
    cost = distance[near] + 4.0 * turn
    order = np.argsort(cost, kind="stable")
    _, first = np.unique(roads.lane_of_point[near[order]], return_index=True)
    return near[order[np.sort(first)[:MAX_STARTS]]]


def _search(roads: Roads, lights: Ints, pose: Floats, limit: float) -> list[_Visit]:
    """Lanes reachable within `limit` metres, each once, by its shortest path."""
    queue: list[tuple[float, int, int, int]] = []
    for order, point in enumerate(_start_points(roads, pose)):
        gap, heading = pose[:2] - roads.points[point], roads.headings[point]
        # The agent stands between two lane points: distances count from its own foot point.
        passed = float(gap[0] * np.cos(heading) + gap[1] * np.sin(heading))
        heapq.heappush(queue, (-passed, order, int(point), -1))
    visits: list[_Visit] = []
    seen: set[int] = set()
    tick = len(queue)
    while queue and len(visits) < MAX_VISITS:
        begin, _, entry, parent = heapq.heappop(queue)
        lane = int(roads.lane_of_point[entry])
        if lane in seen:
            continue
        seen.add(lane)
        index = np.arange(entry, roads.starts[lane + 1])
        arc = begin + roads.arc[index] - roads.arc[entry]
        light, stop = (int(lights[lane]), begin) if parent >= 0 else (0, 0.0)
        if parent >= 0:
            before = visits[parent]
            if before.light:
                light, stop = before.light, before.stop
            # The last point of a lane is the first of its successor.
            index = np.concatenate([before.path[:-1], index])
            arc = np.concatenate([before.arc[:-1], arc])
        visits.append(_Visit(lane, index, arc, begin, light, stop))
        end = float(arc[-1])
        if end < limit:
            for successor in roads.successors[lane]:
                if successor not in seen:
                    heapq.heappush(queue, (end, tick, int(roads.starts[successor]), len(visits) - 1))
                    tick += 1
    return visits


def _lane_paths(roads: Roads, lights: Ints, pose: Floats, speed: float, config: PriorConfig) -> _Paths | None:
    limit = reach(speed)
    visits = [v for v in _search(roads, lights, pose, limit) if len(v.path) > 1]
    if not visits:
        return None
    begins = np.array([v.begin for v in visits])
    ends = np.minimum([v.arc[-1] for v in visits], limit)
    total = float(np.maximum(ends - begins, 0.0).sum())
    spacing = max(MIN_SPACING, total / max(config.lane_goals - len(visits), 1))
    # Goals sit at multiples of the spacing, so a lane that begins between two of them adds no near-duplicate.
    first = np.maximum(np.floor(begins / spacing).astype(np.intp) + 1, 1)
    counts = np.maximum(np.floor(ends / spacing).astype(np.intp) - first + 1, 0)
    owner = np.repeat(np.arange(len(visits)), counts)[: config.lane_goals]
    if len(owner) == 0:
        return None
    rank = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
    length = (first[owner] + rank) * spacing

    sizes = np.array([len(v.path) for v in visits])
    # All paths are interpolated in one call: each gets its own stretch of a common axis.
    shift = np.concatenate([[0.0], np.cumsum([v.arc[-1] + 10.0 for v in visits])[:-1]])
    axis = np.concatenate([v.arc for v in visits]) + np.repeat(shift, sizes)
    index = np.concatenate([v.path for v in visits])
    local = to_frame(roads.points[index], pose)
    fraction = np.arange(1, WAYPOINTS + 2) / (WAYPOINTS + 1)
    first_arc = np.array([v.arc[0] for v in visits])
    query = np.maximum(length[:, None] * fraction, first_arc[owner][:, None]) + shift[owner][:, None]
    points = np.stack([np.interp(query, axis, local[:, c]) for c in range(2)], -1)
    nearest = np.clip(np.searchsorted(axis, query[:, -1]), 0, len(axis) - 1)
    foot = shift + np.maximum(first_arc, 0.0)
    roots = np.stack([np.interp(foot, axis, local[:, c]) for c in range(2)], -1)[owner]
    heading = wrap_angle(roads.headings[index[nearest]] - pose[2])
    # The agent does not sit on the centre line: blend its own place into the path.
    waypoints = points[:, :-1] - roots[:, None] * ((1.0 - fraction[:-1]) ** 2)[:, None]
    lanes = np.array([v.lane for v in visits])[owner]
    return _Paths(
        points=points[:, -1],
        heading=heading,
        length=length,
        waypoints=waypoints,
        is_lane=np.ones(len(owner)),
        offset=roots[:, 1],
        speed_limit=roads.speed_limit[lanes],
        light=np.array([v.light for v in visits])[owner],
        stop=np.array([v.stop for v in visits])[owner],
    )


def _fan_paths(speed: float, config: PriorConfig) -> tuple[_Paths, NDArray[np.bool_]]:
    rings = (config.fan_goals - 1) // len(FAN_TURNS)
    # Rings are denser near the agent, where short moves differ more.
    lengths = reach(speed) * (np.arange(1, rings + 1) / rings) ** 1.3
    length = np.repeat(lengths, len(FAN_TURNS))
    wanted = np.tile(np.array(FAN_TURNS), rings)
    bound = config.max_curvature * 0.9 * length
    turn = np.clip(wanted, -bound, bound)
    # Of the turns that the turning radius cuts to the same arc, one is enough.
    mask = np.abs(wanted) <= np.maximum(bound, 0.35)
    length = np.concatenate([[0.0], length])
    turn = np.concatenate([[0.0], turn])
    fraction = np.arange(1, WAYPOINTS + 2) / (WAYPOINTS + 1)
    widest = np.maximum(np.array(FAN_RADII), speed**2 / FAN_LATERAL)
    radius = np.concatenate([[np.inf], np.tile(widest, rings)])
    with np.errstate(invalid="ignore"):
        curve = np.fmin(length, np.abs(turn) * radius)[:, None]  # inf · 0 is NaN: no limit
    along = length[:, None] * fraction
    bent = np.minimum(along, curve)
    half = turn[:, None] * bent / np.maximum(curve, 1e-9) / 2
    chord = bent * np.sinc(half / np.pi)
    rest = along - bent
    points = np.stack(
        [
            chord * np.cos(half) + rest * np.cos(turn)[:, None],
            chord * np.sin(half) + rest * np.sin(turn)[:, None],
        ],
        -1,
    )
    zeros = np.zeros(len(length))
    paths = _Paths(
        points[:, -1], turn, length, points[:, :-1], zeros, zeros, zeros, np.zeros(len(length), dtype=np.intp), zeros
    )
    return paths, np.concatenate([[True], mask])


def _nearest(points: Floats, others: Floats) -> tuple[Ints, Floats]:
    """Index of and distance to the nearest of `others` [M, 2] for points [N, 2]."""
    a, b = points.astype(np.float32), others.astype(np.float32)
    squared = (b * b).sum(-1) - 2.0 * (a @ b.T)
    index = squared.argmin(1)
    gap = points - others[index]
    return index, np.hypot(gap[:, 0], gap[:, 1])


def goal_features(paths: _Paths, speed: float, lane_chunks: Floats, edge_chunks: Floats) -> NDArray[np.float32]:
    """Features [g, GOAL_FEATURES] of goals.

    Args:
        paths: Goals and their paths, agent frame.
        speed: Speed of the agent, m/s.
        lane_chunks: [Cl, CHUNK_POINTS, 2] cropped lane vectors, agent frame, m.
        edge_chunks: [Ce, CHUNK_POINTS, 2] the same of road edges.
    """
    count = len(paths.length)
    out = np.zeros((count, GOAL_FEATURES), dtype=np.float32)
    xy = paths.points
    out[:, 0:2] = xy / POSITION_SCALE
    out[:, 2] = np.hypot(xy[:, 0], xy[:, 1]) / POSITION_SCALE
    out[:, 3] = paths.length / POSITION_SCALE
    out[:, 4], out[:, 5] = np.cos(paths.heading), np.sin(paths.heading)
    out[:, 6] = paths.is_lane
    out[:, 7] = paths.offset / 5.0
    out[:, 8] = np.clip(2.0 * (paths.length - speed * DURATION) / DURATION**2 / 5.0, -2.0, 2.0)
    out[:, 9] = paths.length / DURATION / 15.0
    out[:, 10] = 1.0
    if len(edge_chunks):
        out[:, 10] = np.minimum(_nearest(xy, edge_chunks.reshape(-1, 2))[1], 10.0) / 10.0
    out[:, 11], out[:, 12] = 0.0, 1.0
    off = np.flatnonzero(paths.is_lane == 0)
    if len(off):
        out[off, 11], out[off, 12] = 1.0, 0.0
        if len(lane_chunks):
            index, distance = _nearest(xy[off], lane_chunks.reshape(-1, 2))
            ahead = lane_chunks[:, -1] - lane_chunks[:, 0]
            ahead = ahead / np.maximum(np.hypot(ahead[:, 0], ahead[:, 1])[:, None], 1e-6)
            ahead = ahead[index // lane_chunks.shape[1]]
            gap = xy[off] - lane_chunks.reshape(-1, 2)[index]
            lateral = np.where(distance > 5.0, distance, np.abs(ahead[:, 0] * gap[:, 1] - ahead[:, 1] * gap[:, 0]))
            out[off, 11] = np.minimum(lateral, 10.0) / 5.0
            out[off, 12] = ahead[:, 0] * out[off, 4] + ahead[:, 1] * out[off, 5]
    out[:, 13] = paths.heading / np.pi
    known = paths.speed_limit > 0
    out[:, 14] = paths.speed_limit / 15.0
    out[:, 15] = np.where(known, (paths.length / DURATION - paths.speed_limit) / 10.0, 0.0)
    out[:, 16] = paths.light == 1
    out[:, 17] = paths.light >= 2
    out[:, 18] = np.where(paths.light > 0, paths.stop, 0.0) / POSITION_SCALE
    line = np.concatenate([np.zeros((count, 1, 2)), paths.waypoints, xy[:, None]], 1)
    step = np.diff(line, axis=1)
    angle = np.arctan2(step[..., 1], step[..., 0])
    span = np.maximum(paths.length, 3.0)[:, None] / (WAYPOINTS + 1)
    out[:, 19] = np.minimum((np.abs(wrap_angle(np.diff(angle, axis=1))) / span).max(1) * 5.0, 3.0)
    out[:, 20:] = paths.waypoints.reshape(count, -1) / POSITION_SCALE
    return out


def dense_goals(
    roads: Roads, lights: Ints, pose: Floats, speed: float, chunks: tuple[Floats, Floats], config: PriorConfig
) -> GoalSet:
    """All goal candidates of one agent, padded to `config.max_goals`.

    Args:
        roads: The map.
        lights: [L] light state per lane at the current step.
        pose: [3] of the agent, world frame.
        speed: m/s along its heading, ≥ 0.
        chunks: Cropped lane and edge vectors in the agent's frame.
        config: Sizes and limits.
    """
    points = np.zeros((config.max_goals, 2))
    features = np.zeros((config.max_goals, GOAL_FEATURES), dtype=np.float32)
    mask = np.zeros(config.max_goals, dtype=bool)
    fan, fan_mask = _fan_paths(speed, config)
    count = len(fan.length)
    parts = fan
    on_lanes = _lane_paths(roads, lights, pose, speed, config) if roads.num_lanes else None
    if on_lanes is not None:
        parts = _Paths(*(np.concatenate([a, b]) for a, b in zip(fan, on_lanes, strict=True)))
    total = len(parts.length)
    points[:total] = parts.points
    features[:total] = goal_features(parts, speed, *chunks)
    mask[:total] = True
    mask[:count] = fan_mask
    return GoalSet(points, features, mask)

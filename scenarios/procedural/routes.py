"""Routes through a road network, and where each pair of routes follows, merges with or crosses the other.

A route is one smooth curve from an entry of the map to an exit, lane changes included, so that traffic needs one
number per vehicle: how far along its route it is. All pairwise geometry is tabulated once per network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from harness.errors import GauntletError
from scenarios.procedural.roads import Lane, RoadMap

Floats = NDArray[np.float64]

SPACING: Final = 1.0
"""Distance between the points of a route, m."""
SMOOTHING: Final = 2.5
"""Standard deviation of the smoothing along a route, m: turns arcs into curves that a car can steer."""
SHORTEST_ROUTE: Final = 60.0
"""Shorter ways through the map carry no traffic, m."""
MAX_ROUTES: Final = 36
"""Most routes per map: the tables grow with the square."""
REACH: Final = 4.0
"""Beyond this distance a point does not count as near a route, m."""
CONFLICT_WIDTH: Final = 2.35
"""Two routes conflict where their centre lines are nearer than this, m (two cars' half widths and a margin)."""
MAX_ZONES: Final = 3
"""Most conflict zones kept per pair of routes."""
NONE, CROSS, MERGE = 0, 1, 2
"""Kinds of conflict zones."""
LATERAL_COMFORT: Final = 2.6
"""Lateral acceleration that sets the speed of curves, m/s² (about the comfort limit of drivers)."""
COMFORT_BRAKING: Final = 1.6
"""Deceleration towards a curve, m/s²."""


@dataclass(slots=True)
class Routes:
    """R routes of at most N points, and their pairwise tables. Padding repeats the last point."""

    points: Floats
    """[R, N, 2] m."""
    heading: Floats
    """[R, N] rad, unwrapped along each route."""
    curvature: Floats
    """[R, N] 1/m."""
    length: Floats
    """[R] m."""
    penalty: Floats
    """[R, N] s of precedence that a vehicle here gives away (turning, entering a roundabout, changing lanes)."""
    entry: NDArray[np.intp]
    """[R] lane on which the route enters the map."""
    turns: Floats
    """[R] rad, sum of absolute heading changes."""
    along: Floats
    """[R, R, N]: arc length on route a of the foot of point k of route b; -1 where farther than `REACH`."""
    lateral: Floats
    """[R, R, N]: distance of point k of route b from route a."""
    facing: Floats
    """[R, R, N]: cosine of the angle between route b at point k and route a at its foot."""
    zones: Floats
    """[R, R, MAX_ZONES, 4]: start and end on a, start and end on b."""
    zone_kind: NDArray[np.int8]
    """[R, R, MAX_ZONES]: `NONE`, `CROSS` or `MERGE`."""


def find_routes(roads: RoadMap, rng: np.random.Generator) -> Routes:
    """Routes from every entry of the map, drawn so that each entry has some, with lane changes here and there.

    Raises:
        GauntletError: No way through the map is long enough (draw another map).
    """
    found = [route for i, lane in enumerate(roads.lanes) if lane.leads_in for route in _from_entry(roads, i)]
    order = rng.permutation(len(found))
    chosen: list[list[tuple[int, str]]] = []
    by_entry: dict[int, int] = {}
    # Round-robin over entries: none is left without traffic when there are too many routes.
    for turn in range(1, len(found) + 1):
        for k in order:
            if len(chosen) < MAX_ROUTES and found[k] not in chosen and by_entry.get(found[k][0][0], 0) < turn:
                chosen.append(found[k])
                by_entry[found[k][0][0]] = by_entry.get(found[k][0][0], 0) + 1
    curves = [_curve(roads, route, rng) for route in chosen]
    long = [k for k, (points, _) in enumerate(curves) if len(points) >= SHORTEST_ROUTE / SPACING]
    if not long:
        raise GauntletError(f"procedural roads: no route of {SHORTEST_ROUTE} m through a {roads.kind} map")
    return _tabulate([curves[k] for k in long], np.array([chosen[k][0][0] for k in long], dtype=np.intp))


def _from_entry(roads: RoadMap, start: int) -> list[list[tuple[int, str]]]:
    """Lane sequences from one entry to any exit; each step says how the lane is reached (`on` or `change`)."""
    done: list[list[tuple[int, str]]] = []
    queue: list[list[tuple[int, str]]] = [[(start, "on")]]
    while queue and len(done) < 60:
        route = queue.pop(0)
        lane = roads.lanes[route[-1][0]]
        if lane.leads_out:
            done.append(route)
            continue
        seen = {i for i, _ in route}
        changes = sum(how == "change" for _, how in route)
        queue += [[*route, (i, "on")] for i in lane.successors if i not in seen]
        if route[-1][1] == "on" and changes < 1 + (not lane.successors):
            sides = [i for i in (lane.left, lane.right) if i is not None and i not in seen]
            queue += [[*route, (i, "change")] for i in sides if _may_change(lane, roads.lanes[i])]
    return done


def _may_change(lane: Lane, other: Lane) -> bool:
    """Lanes change where they must (a lane ends or begins), or along long straight stretches."""
    must = not lane.successors or (not other.predecessors and not other.leads_in)
    return must or (min(lane.length, other.length) > 38.0 and abs(lane.turn) < 0.3 and lane.block in "ISrR")


def _curve(roads: RoadMap, route: list[tuple[int, str]], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """One smooth curve [N, 2] along a lane sequence, and the precedence given away at each point [N]."""
    pieces: list[Floats] = []
    yields: list[Floats] = []
    for position, (index, how) in enumerate(route):
        lane = roads.lanes[index]
        changes_next = position + 1 < len(route) and route[position + 1][1] == "change"
        if changes_next:
            continue  # drawn together with the lane it changes to
        piece = _blend(roads.lanes[route[position - 1][0]], lane, rng) if how == "change" else lane.centre
        pieces.append(piece if not pieces else piece[1:])
        yields.append(np.full(len(pieces[-1]), 1.0 if how == "change" else _precedence(roads, lane)))
    points, give = np.concatenate(pieces), np.concatenate(yields)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    keep = np.concatenate([[True], np.diff(along) > 1e-6])
    along, points, give = along[keep], points[keep], give[keep]
    at = np.arange(0.0, along[-1], SPACING)
    even = np.stack([np.interp(at, along, points[:, 0]), np.interp(at, along, points[:, 1])], -1)
    return _smooth(even), give[np.clip(np.searchsorted(along, at), 0, len(give) - 1)]


def _smooth(points: Floats) -> Floats:
    """Gaussian smoothing along the curve; the ends are extended in point reflection so that they stay put."""
    pad = int(4 * SMOOTHING)
    if len(points) <= pad + 1:
        return points
    head = 2 * points[0] - points[pad:0:-1]
    tail = 2 * points[-1] - points[-2 : -pad - 2 : -1]
    padded = np.concatenate([head, points, tail])
    return gaussian_filter1d(padded, SMOOTHING / SPACING, axis=0)[pad:-pad]


def _blend(lane: Lane, other: Lane, rng: np.random.Generator) -> Floats:
    """A lane change: from the centre of `lane` to that of `other`, over 25–45 m where there is room."""
    guide = lane.centre if lane.length >= other.length else other.centre
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(guide, axis=0).T))])
    ours, theirs = _nearest(guide, lane.centre), _nearest(guide, other.centre)
    # The change must happen where both lanes exist.
    both = (np.hypot(*(guide - ours).T) < lane.width * 1.4) & (np.hypot(*(guide - theirs).T) < lane.width * 1.4)
    low, high = along[both][0] + 1.0, along[both][-1] - 1.0
    span = min(high - low, float(rng.uniform(25.0, 45.0)))
    begin = low + float(rng.uniform(0.0, max(high - low - span, 0.0)))
    ratio = np.clip((along - begin) / max(span, 1.0), 0.0, 1.0)
    weight = ratio**3 * (10 - 15 * ratio + 6 * ratio**2)  # quintic: no jump of acceleration
    ours, theirs = np.where((ratio < 1.0)[:, None], ours, 0.0), np.where((ratio > 0.0)[:, None], theirs, 0.0)
    return (1 - weight)[:, None] * ours + weight[:, None] * theirs


def _nearest(points: Floats, line: Floats) -> Floats:
    """Nearest points on a polyline, its end segments prolonged."""
    start, delta = line[:-1], np.diff(line, axis=0)
    squared = np.maximum((delta**2).sum(-1), 1e-12)
    ratio = ((points[:, None] - start) * delta).sum(-1) / squared
    low, high = np.zeros(len(start)), np.ones(len(start))
    low[0], high[-1] = -np.inf, np.inf
    feet = start + np.clip(ratio, low, high)[..., None] * delta
    best = ((points[:, None] - feet) ** 2).sum(-1).argmin(-1)
    return feet[np.arange(len(points)), best]


def _precedence(roads: RoadMap, lane: Lane) -> float:
    """Seconds of precedence that traffic on this lane gives away: left turns, right turns, roundabout entries."""
    if lane.block in "XT" and lane.turn > np.pi / 4:
        return 2.0
    if lane.block in "XT" and lane.turn < -np.pi / 4:
        return 1.0
    # The right-hand bend that leads into a roundabout's ring, which bends left.
    if lane.block == "O" and lane.turn < -0.5 and any(roads.lanes[i].turn > 0.1 for i in lane.successors):
        return 1.5
    if lane.block == "r" and lane.rank == 0 and not any(j is not None for j in (lane.left, lane.right)):
        return 0.5
    return 0.0


def _tabulate(curves: list[tuple[Floats, Floats]], entries: NDArray[np.intp]) -> Routes:
    """Pad the curves to arrays and fill the pairwise tables."""
    count, longest = len(curves), max(len(points) for points, _ in curves)
    points = np.stack([np.concatenate([p, np.repeat(p[-1:], longest - len(p), 0)]) for p, _ in curves])
    penalty = np.stack([np.concatenate([q, np.repeat(q[-1:], longest - len(q))]) for _, q in curves])
    heading, curvature = np.zeros((count, longest)), np.zeros((count, longest))
    for r, (curve, _) in enumerate(curves):
        tangent = np.gradient(curve, axis=0)
        angle = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
        heading[r] = np.concatenate([angle, np.repeat(angle[-1], longest - len(angle))])
        curvature[r, : len(curve)] = np.gradient(angle) / SPACING
    length = np.array([(len(curve) - 1) * SPACING for curve, _ in curves])
    turns = np.array([np.abs(np.diff(heading[r])).sum() for r in range(count)])
    along = np.full((count, count, longest), -1.0)
    lateral = np.full((count, count, longest), np.inf)
    facing = np.zeros((count, count, longest))
    # The padding is the last point again: it is looked up once.
    sizes = np.array([len(curve) for curve, _ in curves])
    place = (np.cumsum(sizes) - sizes)[:, None] + np.minimum(np.arange(longest), sizes[:, None] - 1)
    every = np.concatenate([curve for curve, _ in curves])
    for a, (curve, _) in enumerate(curves):
        distance, foot = (value[place] for value in cKDTree(curve).query(every, distance_upper_bound=REACH))
        near = np.isfinite(distance)
        foot = np.where(near, foot, 0)
        tangent = np.stack([np.cos(heading[a, foot]), np.sin(heading[a, foot])], -1)
        offset = points - curve[foot]
        shift = np.clip((offset * tangent).sum(-1), -SPACING / 2, SPACING / 2)
        along[a] = np.where(near, foot * SPACING + shift, -1.0)
        across = tangent[..., 0] * offset[..., 1] - tangent[..., 1] * offset[..., 0]
        beyond = np.maximum(np.abs((offset * tangent).sum(-1)) - SPACING, 0.0)
        lateral[a] = np.where(near, np.hypot(across, beyond), np.inf)
        facing[a] = np.cos(heading - heading[a, foot])
    zones, kinds = _zones(along, lateral, facing, length)
    return Routes(points, heading, curvature, length, penalty, entries, turns, along, lateral, facing, zones, kinds)


def _zones(along: Floats, lateral: Floats, facing: Floats, length: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """Conflict zones of every pair of routes."""
    count = len(length)
    zones = np.zeros((count, count, MAX_ZONES, 4))
    kinds = np.zeros((count, count, MAX_ZONES), dtype=np.int8)
    for a in range(count):
        for b in range(a + 1, count):
            size = int(length[a] / SPACING) + 1
            near = lateral[b, a, :size] < CONFLICT_WIDTH
            edges = np.flatnonzero(np.diff(np.concatenate([[False], near, [False]]).astype(np.int8)))
            kept = 0
            for first, last in zip(edges[::2], edges[1::2] - 1, strict=True):
                feet = along[b, a, first : last + 1]
                if first == 0 or feet.min() < 1.0 or kept == MAX_ZONES:
                    continue  # routes that start together only part
                together = facing[b, a, last] > 0.85
                lasting = last - first > 12 or last == size - 1 or feet.max() >= length[b] - 1.5
                if facing[b, a, first] > 0.97 and facing[b, a, last] > 0.97 and not lasting:
                    continue
                kind = MERGE if together and lasting else CROSS
                zones[a, b, kept] = first * SPACING, last * SPACING, feet.min(), feet.max()
                zones[b, a, kept] = feet.min(), feet.max(), first * SPACING, last * SPACING
                kinds[a, b, kept] = kinds[b, a, kept] = kind
                kept += 1
    return zones, kinds


def speed_profile(routes: Routes, road_speed: float) -> Floats:
    """Highest comfortable speed at every point of every route [R, N], m/s, braking for curves in time."""
    limit = np.sqrt(LATERAL_COMFORT / np.maximum(np.abs(routes.curvature), LATERAL_COMFORT / road_speed**2))
    squared = limit**2
    for k in range(squared.shape[1] - 2, -1, -1):
        squared[:, k] = np.minimum(squared[:, k], squared[:, k + 1] + 2 * COMFORT_BRAKING * SPACING)
    return np.sqrt(squared)

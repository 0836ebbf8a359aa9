"""What kind of road the ego's way leads over, and which rules of the road bind it there."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from harness.geometry import arc_lengths, interpolate_polyline, wrap_angle
from scenarios.map_index import MapIndex
from scenarios.scenario import Scenario
from scenarios.tagging.meetings import Motion
from scenarios.tagging.way import Way
from scenarios.values import related_ids

Floats = NDArray[np.float64]

CROSSING: Final = np.radians(30.0)
"""Lanes cross the way at this angle at least, rad; along the way lie neighbours and lanes that join."""
TURNING: Final = np.radians(45.0)
"""Lanes that turn away from one another by this lead to other roads, rad."""
JOINT: Final = 25.0
"""What lanes do so far before or after they meet counts, m: turns at junctions are that long."""
APART: Final = 1.5
"""Lanes that join come from places so far apart, m."""
LOOP: Final = 300.0
"""The longest way around a roundabout, m."""
ROUND: Final = 0.95
"""4π · area / length² of a roundabout at least: of a circle it is 1, of a square 0.79, of rounded blocks up to 0.9."""
CURVE: Final = np.radians(20.0)
"""Range of the ego's headings from which on a road is a curve, rad."""
COLOURS: Final[Mapping[str, str]] = {"GO": "green", "CAUTION": "yellow", "STOP": "red"}
"""What the ends of light states mean: of WOMD's, such as `LANE_STATE_ARROW_STOP`."""


def road_tags(scenario: Scenario, ego: Motion, way: Way) -> list[str]:
    """Values of the tag `road`."""
    index = MapIndex.of(scenario)
    found = []
    if is_crossed(index, way) or any(_forks(index, *joint) for joint in way.joints):
        found.append("junction")
    if any(_on_roundabout(index, lane) for lane in way.lanes):
        found.append("roundabout")
    if any(_merges(index, *joint) for joint in way.joints):
        found.append("merge")
    bends = not {"junction", "roundabout"} & set(found) and way.lanes
    if bends and np.ptp(np.unwrap(ego.states[ego.valid, 2])) >= CURVE:
        found.append("curve")
    return found or (["straight"] if way.lanes else [])


def is_crossed(index: MapIndex, way: Way) -> bool:
    """Whether a lane that is not of the way crosses it at `CROSSING` or more."""
    own_lanes = {index.lane_ids[lane] for lane in way.lanes}
    near = zip(way.near.lane_ids, way.near.lane_lines, strict=True)
    others = [line for name, line in near if name not in own_lanes]
    if len(way.line) < 2 or not others:
        return False
    met = shapely.intersects(shapely.LineString(way.line), [shapely.LineString(line) for line in others])
    lines = [others[other] for other in np.flatnonzero(met)]
    if not lines:
        return False
    start, end = (np.concatenate([line[part] for line in lines]) for part in (slice(None, -1), slice(1, None)))
    low, high = way.line.min(0), way.line.max(0)
    inside = ((np.maximum(start, end) >= low) & (np.minimum(start, end) <= high)).all(-1)
    start, end = start[inside], end[inside]
    own, other = np.diff(way.line, axis=0), end - start
    across = own[:, None, 0] * other[:, 1] - own[:, None, 1] * other[:, 0]
    lengths = np.hypot(*own.T)[:, None] * np.hypot(*other.T)
    # Who crosses at too small an angle, or is a point, is left out before the costlier question where.
    row, column = np.nonzero((np.abs(across) >= np.sin(CROSSING) * lengths) & (across != 0))
    a, b, offset, across = own[row], other[column], start[column] - way.line[row], across[row, column]
    ratio = (offset[:, 0] * b[:, 1] - offset[:, 1] * b[:, 0]) / across
    place = (offset[:, 0] * a[:, 1] - offset[:, 1] * a[:, 0]) / across
    return bool(((ratio >= 0) & (ratio <= 1) & (place >= 0) & (place <= 1)).any())


def _forks(index: MapIndex, lane: int, after: int) -> bool:
    """Whether a lane leaves or joins the way where `after` follows `lane`, and leads to another road."""
    ahead = _turn(index, after, 0.0, JOINT)
    leaving = (_turn(index, other, 0.0, JOINT) for other in index.successors[lane] if other != after)
    if any(abs(turn - ahead) >= TURNING for turn in leaving):
        return True
    behind = _turn_before(index, lane)
    joining = (_turn_before(index, other) for other in index.predecessors[after] if other != lane)
    return any(abs(turn - behind) >= TURNING for turn in joining)


def _merges(index: MapIndex, lane: int, after: int) -> bool:
    """Whether another lane joins the way where `after` follows `lane`, nearly along it."""
    if abs(_turn_before(index, lane)) >= TURNING:
        return False
    here = _before(index, lane)
    for other in index.predecessors[after]:
        if other != lane and abs(_turn_before(index, other)) < TURNING:
            there = _before(index, other)
            # Compared at equal distances from where they join.
            if np.hypot(*(here - there)) >= APART:
                return True
    return False


def _turn(index: MapIndex, lane: int, start: float, stop: float) -> float:
    """Change of heading of a lane between two arc lengths (m), rad."""
    length = float(index.lane_lengths[lane])
    ends = np.clip([start, stop], 0.0, length)
    _, (first, last) = interpolate_polyline(index.lane_lines[lane], ends)
    return float(wrap_angle(last - first))


def _turn_before(index: MapIndex, lane: int) -> float:
    """Change of heading of a lane over its last `JOINT` m, rad."""
    length = float(index.lane_lengths[lane])
    return _turn(index, lane, length - JOINT, length)


def _before(index: MapIndex, lane: int) -> Floats:
    """Where a lane is `JOINT` m before its end, or where it begins, [2] m."""
    line = index.lane_lines[lane]
    return interpolate_polyline(line, arc_lengths(line)[-1:] - JOINT)[0][0]


def _on_roundabout(index: MapIndex, lane: int) -> bool:
    """Whether the shortest loop through a lane is nearly a circle of at most `LOOP` m."""
    loop = _shortest_loop(index, lane)
    if not loop:
        return False
    points = np.concatenate([index.lane_lines[one] for one in loop])
    if len(points) < 4:
        return False
    ring = shapely.Polygon(points)
    return bool(4 * np.pi * ring.area >= ROUND * ring.length**2)


def _shortest_loop(index: MapIndex, lane: int) -> list[int]:
    """Lanes of the shortest way from a lane back to itself, or none within `LOOP` m."""
    heap = [(float(index.lane_lengths[lane]), lane)]
    best: dict[int, float] = {}
    came: dict[int, int] = {}
    while heap:
        length, one = heapq.heappop(heap)
        if length > LOOP:
            return []
        for after in index.successors[one]:
            if after == lane:
                loop = [one]
                while loop[-1] != lane:
                    loop.append(came[loop[-1]])
                return loop[::-1]
            total = length + float(index.lane_lengths[after])
            if total < best.get(after, np.inf):
                best[after], came[after] = total, one
                heapq.heappush(heap, (total, after))
    return []


def light_tags(scenario: Scenario, way: Way) -> list[str]:
    """Values of the tag `lights`: what lights of the way show before the ego comes to their lanes."""
    names = MapIndex.of(scenario).lane_ids
    since = {names[lane]: step for lane, step in zip(way.lanes, way.since, strict=True)}
    shown: set[str] = set()
    for name, light in scenario.lights.items():
        step = since.get(str(light.get("lane", name)))
        if step is not None:
            shown |= set(_colours(light, step))
    return [colour for colour in ("red", "yellow", "green") if colour in shown] or (["unlit"] if shown else [])


def _colours(light: Mapping[str, Any], until: int) -> Iterator[str]:
    """Colours of a light up to a step, `unlit` among them where they are not known."""
    yield "unlit"
    state = light.get("state")
    states = state.get("object_state", ()) if isinstance(state, Mapping) else ()
    for text in set(map(str, states[: until + 1])):
        colour = COLOURS.get(text.rpartition("_")[2])
        if colour is not None:
            yield colour


def rule_tags(scenario: Scenario, way: Way, roads: list[str], lit: bool, follows: bool) -> list[str]:
    """Values of the tag `rule`.

    Args:
        scenario: The scene.
        way: The ego's way.
        roads: Values of the tag `road`.
        lit: Whether the way has a light.
        follows: Whether the ego has somebody ahead.
    """
    names = MapIndex.of(scenario).lane_ids
    own = {names[lane] for lane in way.lanes}
    signed = any(own & set(_sign_lanes(f.extras)) for f in scenario.features if f.type == "STOP_SIGN")
    places = {"junction", "roundabout", "merge"} & set(roads)
    found = {
        "stop-sign": signed,
        "crosswalk": crosses_crosswalk(scenario, way.line),
        "right-of-way": bool(places) and not lit and not signed,
        "safe-distance": follows,
    }
    return [name for name, holds in found.items() if holds]


def _sign_lanes(extras: Mapping[str, Any]) -> tuple[str, ...]:
    """Lanes at which a sign stands; none where the file says it in another way."""
    with contextlib.suppress(ValueError):
        return related_ids(extras.get("lane"))
    return ()


def crosses_crosswalk(scenario: Scenario, line: Floats) -> bool:
    """Whether a line [N, 2] comes onto a crosswalk."""
    if len(line) < 2:
        return False
    low, high = line.min(0), line.max(0)
    near = []
    for feature in scenario.features:
        if feature.type == "CROSSWALK" and len(feature.points) > 2:
            points = np.asarray(feature.points[:, :2], dtype=np.float64)
            if np.isfinite(points).all() and ((points.max(0) >= low) & (points.min(0) <= high)).all():
                near.append(points)
    way = shapely.LineString(line)
    return any(shapely.Polygon(points).convex_hull.intersects(way) for points in near)

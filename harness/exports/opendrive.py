"""A scene's lanes as an ASAM OpenDRIVE 1.7 road network.

Every lane becomes a road of its own: its centre line is the reference line, with one lane that lies half to the
left and half to the right of it. What this cannot say: junctions (a lane that splits or merges is not linked there;
roads overlap), road edges, markings, crosswalks, signs and lights, and height (everything is at z = 0, as MetaDrive
simulates it). Vehicles that follow world positions need none of that; routing along the roads does.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.exports.lane_curves import Piece, clean, fit, point_headings, sample
from harness.exports.library import library
from harness.files import write_atomically
from harness.geometry import project_to_polyline
from scenarios.scenario import MapFeature, Scenario

Floats = NDArray[np.float64]

WIDTH: Final = 3.5
"""Width of a lane without neighbours, m (a common urban lane; recorded scenes give none that can be relied on)."""
WIDTHS: Final = (2.4, 5.0)
"""Distances between neighbouring centre lines that are taken for a lane's width, m."""
BIKE_WIDTH: Final = 1.5
"""Width of a bicycle lane, m."""
TOUCHING: Final = 0.1
"""Largest gap between a lane's end and its successor's start, m, that counts as a connection."""
ORIGIN_CODE: Final = "gauntlet.origin"
"""`userData` code of the header that says where (0, 0) lies in the source's coordinates, m."""


@dataclass(frozen=True, slots=True)
class LaneRoad:
    """One lane on its way into the network.

    Attributes:
        number: Road id.
        feature: The lane.
        pieces: Reference line, relative to the scene's origin.
        width: m.
        after: Id of the road that follows without a choice, or None.
    """

    number: int
    feature: MapFeature
    pieces: list[Piece]
    width: float
    after: int | None


def write_xml(root: ET.Element, path: Path) -> Path:
    """Write an indented XML document beside its place, then rename."""
    ET.indent(root, "  ")
    tree = ET.ElementTree(root)
    write_atomically(path, lambda beside: tree.write(beside, encoding="utf-8", xml_declaration=True))
    return path


def road_network(scenario: Scenario, origin: Floats) -> ET.Element:
    """The `OpenDRIVE` element of a scene.

    Raises:
        ConfigError: The library is missing.
    """
    xodr = library().xodr
    network = xodr.OpenDrive(scenario.id, revMinor="7")
    roads = lane_roads(scenario, origin)
    leaders = {road.after: road.number for road in roads if road.after is not None}
    for road in roads:
        network.add_road(_road(xodr, road, leaders.get(road.number)))
    root = network.get_element()
    _complete_header(root, roads, origin)
    return root


def lane_roads(scenario: Scenario, origin: Floats) -> list[LaneRoad]:
    """Every usable lane of a scene with its fitted reference line; linked ones meet without gap, kink or step."""
    lanes = [feature for feature in scenario.features if feature.is_lane]
    lines = {lane.id: clean(np.asarray(lane.points, dtype=np.float64)[:, :2] - origin) for lane in lanes}
    lanes = [lane for lane in lanes if len(lines[lane.id]) > 1]
    lines = {lane.id: lines[lane.id] for lane in lanes}
    followers = _links(lanes, lines)
    starts: dict[str, float] = {}
    ends: dict[str, float] = {}
    for before, after in followers.items():
        lines[after][0] = lines[before][-1]
        both = np.concatenate([lines[before][-2:], lines[after][1:2]])
        starts[after] = ends[before] = float(point_headings(both)[1])
    widths = _widths(lanes, lines, followers)
    numbers = {lane.id: number for number, lane in enumerate(lanes, start=1)}
    return [
        LaneRoad(
            numbers[lane.id],
            lane,
            fit(lines[lane.id], start=starts.get(lane.id), end=ends.get(lane.id)),
            widths[lane.id],
            numbers.get(followers.get(lane.id, "")),
        )
        for lane in lanes
    ]


def _links(lanes: list[MapFeature], lines: dict[str, Floats]) -> dict[str, str]:
    """Lanes that follow one another without a choice: the only successor, whose only predecessor this is."""
    pairs = {(lane.id, name) for lane in lanes for name in lane.exit if name in lines}
    pairs |= {(name, lane.id) for lane in lanes for name in lane.entry if name in lines}
    ahead, behind = Counter(before for before, _ in pairs), Counter(after for _, after in pairs)
    return {
        before: after
        for before, after in sorted(pairs)
        if before != after
        and ahead[before] == 1
        and behind[after] == 1
        and np.hypot(*(lines[before][-1] - lines[after][0])) < TOUCHING
    }


def _widths(lanes: list[MapFeature], lines: dict[str, Floats], followers: dict[str, str]) -> dict[str, float]:
    """Width of every lane, m: the distance to a neighbouring centre line where one is known, else a usual width.

    Linked lanes have the width of the narrowest among them, because the standard allows no step.
    """
    widths = {lane.id: _width(lane, lines) for lane in lanes}
    leaders = {after: before for before, after in followers.items()}
    # Chains from their heads on; what is left afterwards are rings, where any member may be the head.
    waiting = dict.fromkeys([*(lane.id for lane in lanes if lane.id not in leaders), *widths])
    seen: set[str] = set()
    for head in waiting:
        chain: list[str] = []
        name: str | None = head
        while name is not None and name not in seen:
            seen.add(name)
            chain.append(name)
            name = followers.get(name)
        widths |= dict.fromkeys(chain, min((widths[member] for member in chain), default=WIDTH))
    return widths


def _width(lane: MapFeature, lines: dict[str, Floats]) -> float:
    if not lane.is_vehicle_lane:
        return BIKE_WIDTH
    gaps = []
    for name in (*lane.left, *lane.right):
        if name in lines and name != lane.id:
            along, offset, _ = project_to_polyline(lines[lane.id], lines[name])
            # Only points beside the neighbour count, not those before its start or beyond its end.
            beside = (along > along.min()) & (along < along.max())
            if beside.any():
                gaps.append(float(np.median(np.abs(offset[beside]))))
    gaps = [gap for gap in gaps if WIDTHS[0] <= gap <= WIDTHS[1]]
    return round(min(gaps), 3) if gaps else WIDTH


def _road(xodr: Any, road: LaneRoad, before: int | None) -> Any:
    view = xodr.PlanView()
    for piece in road.pieces:
        if piece.cubic is None:
            shape = xodr.Line(piece.length)
        else:
            shape = xodr.ParamPoly3(*piece.cubic[0], *piece.cubic[1], prange="normalized", length=piece.length)
        view.add_fixed_geometry(shape, *(float(value) for value in piece.start))
    kind = xodr.LaneType.driving if road.feature.is_vehicle_lane else xodr.LaneType.biking
    lane = xodr.Lane(lane_type=kind, a=road.width)
    section = xodr.LaneSection(0, xodr.Lane(lane_type=xodr.LaneType.none))
    section.add_right_lane(lane)
    lanes = xodr.Lanes()
    lanes.add_lanesection(section)
    lanes.add_laneoffset(xodr.LaneOffset(a=road.width / 2))
    result = xodr.Road(road.number, view, lanes, name=road.feature.id)
    motorway = "FREEWAY" in road.feature.type
    result.add_type(xodr.RoadType.motorway if motorway else xodr.RoadType.town, 0, **_speed_limit(road.feature))
    if before is not None:
        result.add_predecessor(xodr.ElementType.road, before, xodr.ContactPoint.end)
        lane.add_link("predecessor", "-1")
    if road.after is not None:
        result.add_successor(xodr.ElementType.road, road.after, xodr.ContactPoint.start)
        lane.add_link("successor", "-1")
    return result


def _speed_limit(lane: MapFeature) -> dict[str, object]:
    limit = lane.extras.get("speed_limit_kmh")
    if isinstance(limit, int | float) and 0 < limit < 200:
        return {"speed": round(float(limit), 1), "speed_unit": "km/h"}
    return {}


def _complete_header(root: ET.Element, roads: list[LaneRoad], origin: Floats) -> None:
    """Bounds, and where the origin lies: as user data, because simulators apply `<offset>` to roads alone."""
    header = root.find("header")
    assert header is not None, "the library always writes a header"
    if roads:
        points = np.concatenate([sample(road.pieces) for road in roads])
        (west, south), (east, north) = points.min(0) - WIDTH, points.max(0) + WIDTH
        for side, value in {"north": north, "south": south, "east": east, "west": west}.items():
            header.set(side, f"{value:.2f}")
    ET.SubElement(header, "userData", code=ORIGIN_CODE, value=f"{origin[0]:.4f} {origin[1]:.4f}")

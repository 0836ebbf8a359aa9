"""The map of a scene in the form of WOMD's ScenarioDescription: lanes, road lines and road edges."""

from __future__ import annotations

from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, MultiPolygon, Polygon
from shapely.geometry.polygon import orient
from shapely.ops import linemerge, unary_union

from scenarios.procedural.roads import Lane, RoadMap

Floats = NDArray[np.float64]

SHOULDER: Final = 0.6
"""Paved strip between the outer lane border and the road edge, m (WOMD's edges lie 0.3–1 m outside)."""
LARGEST_FILLED_HOLE: Final = 150.0
"""Unpaved islands smaller than this are artefacts between turning lanes, m²; a roundabout's centre is larger."""
EDGE_SPACING: Final = 2.0
"""Distance between the points of a road edge, m (MetaDrive resamples to 2 m anyway)."""
LANE_SPACING: Final = 1.0
"""Distance between the points of a lane, m."""
SHORTEST_EDGE: Final = 1.0
"""Shorter pieces of road edge are dropped, m."""


def drivable_area(roads: RoadMap) -> Polygon | MultiPolygon:
    """The paved surface (shapely polygon or multipolygon): lanes, tapers and shoulders, small holes filled."""
    strips = [
        LineString(lane.centre).buffer(lane.width / 2 + 0.02, cap_style="flat")
        if lane.outline is None
        else Polygon(lane.outline).buffer(0.02)
        for lane in roads.lanes + roads.tapers
    ]
    # Growing and shrinking closes the hairlines between blocks; what remains grown is the shoulder.
    surface = unary_union(strips).buffer(SHOULDER + 0.5, join_style="mitre").buffer(-0.5, join_style="mitre")
    polygons = list(surface.geoms) if surface.geom_type == "MultiPolygon" else [surface]
    filled = [
        Polygon(p.exterior, [hole for hole in p.interiors if Polygon(hole).area > LARGEST_FILLED_HOLE])
        for p in polygons
    ]
    return unary_union(filled)


def road_edges(roads: RoadMap) -> list[Floats]:
    """Outer borders of the paved surface, open where roads leave the map.

    Returns:
        Polylines [N, 2], m, with the road on their left (as WOMD orients them).
    """
    area = drivable_area(roads)
    polygons = list(area.geoms) if area.geom_type == "MultiPolygon" else [area]
    openings = unary_union([gate for lane in roads.lanes for gate in _gates(lane)])
    edges: list[Floats] = []
    for polygon in polygons:
        polygon = orient(polygon.simplify(0.02), sign=1.0)
        for ring in (polygon.exterior, *polygon.interiors):
            pieces = LineString(ring.coords).difference(openings)
            if pieces.geom_type == "MultiLineString":
                # A ring starts somewhere: join the two pieces that meet there.
                pieces = linemerge(pieces)
            parts = list(pieces.geoms) if pieces.geom_type == "MultiLineString" else [pieces]
            edges += [_resample(np.asarray(p.coords), EDGE_SPACING) for p in parts if p.length >= SHORTEST_EDGE]
    return [_left_handed(edge, area) for edge in edges]


def _left_handed(edge: Floats, area: Polygon | MultiPolygon) -> Floats:
    """Turn an edge around if the road is not on its left (merging pieces may have turned it)."""
    delta = np.diff(edge, axis=0)
    normal = np.stack([-delta[:, 1], delta[:, 0]], -1) / np.maximum(np.hypot(*delta.T), 1e-9)[:, None]
    probe = (edge[:-1] + edge[1:]) / 2 + 0.3 * normal
    return edge if shapely.contains_xy(area, probe).mean() >= 0.5 else edge[::-1].copy()


def _gates(lane: Lane) -> list[Polygon]:
    """Where a lane leaves or enters the map: a box across its end, through which no edge may run."""
    gates = []
    if lane.leads_out:
        gates.append(_gate(lane.centre[-1], lane.direction(-1), lane.width))
    if lane.leads_in:
        gates.append(_gate(lane.centre[0], -lane.direction(0), lane.width))
    return gates


def _gate(end: Floats, outwards: Floats, width: float) -> Polygon:
    left = np.array([-outwards[1], outwards[0]])
    near, far = end - 0.2 * outwards, end + 2.0 * outwards
    reach = (width / 2 + SHOULDER - 0.05) * left
    return Polygon([near - reach, far - reach, far + reach, near + reach])


def _resample(points: Floats, spacing: float) -> Floats:
    """Evenly spaced points along a polyline, both ends kept."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(2, round(along[-1] / spacing) + 1)
    at = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(at, along, points[:, 0]), np.interp(at, along, points[:, 1])], -1)


def offset(points: Floats, lateral: float) -> Floats:
    """A polyline moved sideways, m, left positive."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
    return points + lateral * np.stack([-tangent[:, 1], tangent[:, 0]], -1)


def map_features(roads: RoadMap, speed_limit: float) -> dict[str, dict[str, object]]:
    """Features by id, as in WOMD's files: polylines [N, 3] float32 with z = 0.

    Args:
        roads: The network.
        speed_limit: m/s, of every lane.
    """
    features: dict[str, dict[str, object]] = {}
    for index, lane in enumerate(roads.lanes):
        features[str(index)] = _lane_feature(index, lane, roads, speed_limit)
    edges = road_edges(roads)
    for line_type, points in _road_lines(roads, edges):
        features[str(len(features))] = {"type": line_type, "polyline": _flat(points)}
    for points in edges:
        features[str(len(features))] = {"type": "ROAD_EDGE_BOUNDARY", "polyline": _flat(points)}
    return features


def _flat(points: Floats) -> NDArray[np.float32]:
    return np.concatenate([points, np.zeros((len(points), 1))], -1).astype(np.float32)


def _lane_feature(index: int, lane: Lane, roads: RoadMap, speed_limit: float) -> dict[str, object]:
    points = _resample(lane.centre, LANE_SPACING)
    return {
        "type": "LANE_SURFACE_STREET",
        "polyline": _flat(points),
        "speed_limit_kmh": float(speed_limit * 3.6),
        "speed_limit_mph": float(speed_limit * 3.6 / 1.609344),
        "interpolating": bool(lane.block in "XT" and abs(lane.turn) > np.pi / 8),
        "entry_lanes": [str(i) for i in lane.predecessors],
        "exit_lanes": [str(i) for i in lane.successors],
        "left_boundaries": [],
        "right_boundaries": [],
        "left_neighbor": _neighbour(points, lane.left, roads),
        "right_neighbor": _neighbour(points, lane.right, roads),
        "width": np.full((len(points), 2), lane.width / 2, dtype=np.float32),
    }


def _neighbour(points: Floats, other: int | None, roads: RoadMap) -> list[dict[str, object]]:
    """WOMD's record of a neighbour: its id, and which stretches of the two lanes run side by side."""
    if other is None:
        return []
    count = len(_resample(roads.lanes[other].centre, LANE_SPACING))
    # WOMD's files hold these numbers as strings.
    return [
        {
            "feature_id": str(other),
            "self_start_index": "0",
            "self_end_index": str(len(points) - 1),
            "neighbor_start_index": "0",
            "neighbor_end_index": str(count - 1),
            "boundaries": [],
        }
    ]


def _road_lines(roads: RoadMap, edges: list[Floats]) -> list[tuple[str, Floats]]:
    """Painted lines between lanes; those along the road edge are left to the edge."""
    border = unary_union([LineString(edge) for edge in edges])
    lines: list[tuple[str, Floats]] = []
    painted: list[LineString] = []
    for lane in roads.lanes:
        for side, (line, yellow) in enumerate(zip(lane.lines, lane.yellow, strict=True)):
            if "ROAD_LINE" not in line or lane.length < 2.0:
                continue
            points = offset(_resample(lane.centre, EDGE_SPACING), lane.width / 2 * (1 if side == 0 else -1))
            middle = LineString(points).interpolate(0.5, normalized=True)
            if middle.distance(border) < SHOULDER + 0.4 or any(middle.distance(other) < 0.3 for other in painted):
                continue
            painted.append(LineString(points))
            pattern = "BROKEN" if "BROKEN" in line else "SOLID"
            lines.append((f"ROAD_LINE_{pattern}_SINGLE_{'YELLOW' if yellow else 'WHITE'}", points))
    return lines

"""The road of CommonRoad scenarios: lanelets, signs and lights as map features and light states.

CommonRoad draws no road edges. They are the outline of the union of all lanelets that vehicles use, so that a bound
that runs inside another lanelet is no edge; neighbours that name one another have no edge between them, even if their
bounds lie apart; and where a lanelet begins or ends there is none across it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element

import numpy as np
import shapely
from numpy.typing import NDArray

from harness.errors import ScenarioError
from scenarios.bounds import MAX_POINTS, MAX_ROWS
from scenarios.importers.commonroad_xml import number, points, references, texts
from scenarios.importers.outlines import road_outlines
from scenarios.source_format import Description

Floats = NDArray[np.float64]

FREEWAY: Final = frozenset({"highway", "interstate", "mainCarriageWay", "accessRamp", "exitRamp"})
BIKE: Final = frozenset({"bicycleLane"})
WALK: Final = frozenset({"sidewalk", "crosswalk"})
"""Types of lanelets that are no road; a crosswalk is one of its own, over the road."""
ON_FOOT: Final = frozenset({"pedestrian", "bicycle"})
"""A lanelet for these users alone is none for cars."""
MARKS: Final = {
    "solid": "ROAD_LINE_SOLID_SINGLE_WHITE",
    "broad_solid": "ROAD_LINE_SOLID_SINGLE_WHITE",
    "dashed": "ROAD_LINE_BROKEN_SINGLE_WHITE",
    "broad_dashed": "ROAD_LINE_BROKEN_SINGLE_WHITE",
    "solid_solid": "ROAD_LINE_SOLID_DOUBLE_WHITE",
    "dashed_dashed": "ROAD_LINE_BROKEN_SINGLE_WHITE",
    "solid_dashed": "ROAD_LINE_SOLID_SINGLE_WHITE",
    "dashed_solid": "ROAD_LINE_SOLID_SINGLE_WHITE",
}
"""Road line by the marking of a bound; kerbs, unknown and unmarked bounds are not drawn as lines."""
STOP_SIGNS: Final = frozenset({"206", "R1-1", "r2"})
"""Stop signs of Germany (Zamunda has these, too), the USA and Spain."""
LIMIT_SIGNS: Final = frozenset({"274", "R2-1", "r301"})
"""Speed limits of the same."""
COLOURS: Final = {
    "red": "LANE_STATE_STOP",
    "redYellow": "LANE_STATE_STOP",
    "yellow": "LANE_STATE_CAUTION",
    "green": "LANE_STATE_GO",
}
KMH: Final = 3.6
GAP: Final = 0.1
"""Lanelets are drawn by hand: gaps of up to twice this width between them are no gaps in the road, m."""
HOLE: Final = 4.0
"""Smaller holes between lanelets that cross are no islands, m²."""
END: Final = 0.3
"""What of the outline is nearer to the begin or the end of a lanelet runs across it, m."""
MAX_LANELETS: Final = 5_000
"""A crossing has some dozens, a whole town 2,000. Each takes 2 ms."""


@dataclass(frozen=True, slots=True)
class Lanelet:
    """One lanelet.

    Attributes:
        id: As in the file.
        left, right: Bounds [N, 3], m.
        centre: Middle of both bounds [N, 3], m.
        types: Lanelet types.
        users: Who may use it; empty where the file does not say.
        marks: Marking of the left and the right bound.
        before, after: Ids of predecessors and successors.
        beside: Neighbour on the left and on the right: id, and whether it leads the same way.
        signs, lights: Ids of the signs and lights that count for it.
        stop_line: Its points [2, 3] or empty, m.
    """

    id: str
    left: Floats
    right: Floats
    centre: Floats
    types: frozenset[str]
    users: frozenset[str]
    marks: tuple[str, str]
    before: tuple[str, ...]
    after: tuple[str, ...]
    beside: Mapping[str, tuple[str, bool]]
    signs: tuple[str, ...]
    lights: tuple[str, ...]
    stop_line: Floats

    @property
    def kind(self) -> str:
        """MetaDrive type of its centre line; `CROSSWALK` for a crosswalk, empty for a sidewalk."""
        if self.types & WALK:
            return "CROSSWALK" if "crosswalk" in self.types else ""
        if self.types & BIKE or (self.users and self.users <= ON_FOOT):
            return "LANE_BIKE_LANE"
        return "LANE_FREEWAY" if self.types & FREEWAY else "LANE_SURFACE_STREET"


@dataclass
class LaneletMap:
    """Everything of a file that does not move; filled by `add`, then asked for `features` and `lights`."""

    lanelets: dict[str, Lanelet] = field(default_factory=dict)
    signs: dict[str, tuple[str, float | None, Floats]] = field(default_factory=dict)
    cycles: dict[str, tuple[Floats, tuple[str, ...], float]] = field(default_factory=dict)
    places: dict[str, Floats] = field(default_factory=dict)
    points: int = 0

    def add(self, element: Element) -> None:
        """Take a child of the file's root, if it is of the road.

        Raises:
            ScenarioError: It is broken, an id occurs twice, or there is more than any road has.
        """
        name = element.get("id") or ""
        if element.tag == "lanelet":
            if not name or name in self.lanelets or len(self.lanelets) == MAX_LANELETS:
                raise ScenarioError(f"lanelet {name!r}: has no id, occurs twice, or is one of over {MAX_LANELETS:,}.")
            lanelet = self.lanelets[name] = read_lanelet(element, name)
            self.points += len(lanelet.left) + len(lanelet.right)
            if self.points > MAX_POINTS:
                raise ScenarioError(f"lanelet {name!r}: the bounds have more than {MAX_POINTS:,} points together.")
        elif (element.tag == "trafficSign" and name in self.signs) or (
            element.tag == "trafficLight" and name in self.places
        ):
            raise ScenarioError(f"{element.tag} {name!r}: occurs twice.")
        elif element.tag == "trafficSign":
            value = element.find("trafficSignElement/additionalValue")
            limit = None if value is None else number(element, "trafficSignElement/additionalValue")
            code = (element.findtext("trafficSignElement/trafficSignID") or "").strip()
            self.signs[name] = (code, limit, points(_or_empty(element.find("position")), ""))
        elif element.tag == "trafficLight" and (element.findtext("active") or "true").strip() != "false":
            parts = element.findall("cycle/cycleElement")
            ends = np.cumsum([number(part, "duration") for part in parts])
            late = 0.0 if element.find("cycle/timeOffset") is None else number(element, "cycle/timeOffset")
            if len(parts) and ends[-1] > 0 and (np.diff(ends, prepend=0.0) >= 0).all():
                self.cycles[name] = (ends, tuple((part.findtext("color") or "").strip() for part in parts), late)
            self.places[name] = points(_or_empty(element.find("position")), "")

    def features(self) -> Description:
        """Map elements by id, in ScenarioNet's layout."""
        found: Description = {}
        for lanelet in self.lanelets.values():
            if lanelet.kind == "CROSSWALK":
                found[lanelet.id] = {"type": "CROSSWALK", "polygon": _area(lanelet)}
            elif lanelet.kind:
                found[lanelet.id] = self._lane(lanelet)
        found |= {name: {"type": kind, "polyline": line} for name, kind, line in self._lines()}
        users: dict[str, list[str]] = {}
        for lanelet in self._ways():
            for name in dict.fromkeys(lanelet.signs):
                users.setdefault(name, []).append(lanelet.id)
        for name, (code, _, where) in self.signs.items():
            lanes = users.get(name)
            if code in STOP_SIGNS and lanes:
                stop = self.lanelets[lanes[0]].centre[-1] if not len(where) else where[0]
                found[f"sign-{name}"] = {"type": "STOP_SIGN", "position": stop, "lane": lanes}
        for place, line in enumerate(self.edges()):
            found[f"edge-{place}"] = {"type": "ROAD_EDGE_BOUNDARY", "polyline": line}
        return found

    def lights(self, steps: int, first: int = 0) -> Description:
        """Light states per lane for `steps` time steps from step `first` on.

        Raises:
            ScenarioError: There are more than `MAX_ROWS` of them.
        """
        states: Description = {}
        lit = sum(bool(lanelet.lights) for lanelet in self._ways())
        if lit * steps > MAX_ROWS:
            raise ScenarioError(f"lights of {lit:,} lanelets times {steps:,} steps are more than {MAX_ROWS:,}.")
        for lanelet in self._ways():
            for name in lanelet.lights:
                if name not in self.cycles or lanelet.id in states:
                    continue
                ends, colours, late = self.cycles[name]
                phase = np.mod(np.arange(first, first + steps) - late, ends[-1])
                shown = np.searchsorted(ends, phase, side="right")
                stop = lanelet.stop_line.mean(0) if len(lanelet.stop_line) else lanelet.centre[-1]
                states[lanelet.id] = {
                    "type": "TRAFFIC_LIGHT",
                    "state": {"object_state": [COLOURS.get(colours[row], "LANE_STATE_UNKNOWN") for row in shown]},
                    "lane": lanelet.id,
                    "stop_point": stop,
                    "metadata": {
                        "track_length": steps,
                        "type": "TRAFFIC_LIGHT",
                        "object_id": lanelet.id,
                        "dataset": "commonroad",
                    },
                }
        return states

    def edges(self) -> list[Floats]:
        """Road edges [N, 3], the road on the left, m; see the module."""
        ways = list(self._ways())
        strips = [strip for lanelet in ways for strip in self._between(lanelet)]
        areas = [
            *(_area(lanelet)[:, :2] for lanelet in ways),
            *(np.concatenate([own, far[::-1]]) for own, far in strips),
        ]
        ends = [np.stack([own[row], far[row]]) for own, far in strips for row in (0, -1)]
        # Where a lanelet goes on in another, its end is inside of the road, or a step in its width.
        for lanelet in ways:
            for row, others in ((0, lanelet.before), (-1, lanelet.after)):
                if not any(name in self.lanelets for name in others):
                    ends.append(np.stack([lanelet.left[row, :2], lanelet.right[row, :2]]))
        across = shapely.linestrings(np.reshape(ends, (-1, 2, 2)))
        beside = shapely.STRtree(across)
        tall = any(lanelet.centre[:, 2].any() for lanelet in ways)
        ground = np.concatenate(
            [np.zeros((0, 3)), *(np.concatenate([lanelet.left, lanelet.right]) for lanelet in ways)]
        )
        tree = shapely.STRtree(shapely.points(ground[:, :2])) if tall else None
        edges = []
        for outline in road_outlines(areas, GAP):
            ring = shapely.Polygon(outline)
            if not ring.exterior.is_ccw and ring.area < HOLE:
                continue
            way = shapely.LineString(outline)
            near = np.sort(beside.query(way, predicate="dwithin", distance=2 * END))
            met = shapely.buffer(shapely.union_all(across[near]), END)
            rest = shapely.line_merge(shapely.difference(way, met), directed=True)
            for part in shapely.get_parts(rest):
                line = shapely.get_coordinates(shapely.simplify(part, 0.01))
                height = ground[tree.nearest(shapely.points(line)), 2] if tree is not None else np.zeros(len(line))
                if len(line) > 1:
                    edges.append(np.concatenate([line, height[:, None]], -1))
        return edges

    def _ways(self) -> Iterator[Lanelet]:
        """The lanelets that are road."""
        return (lanelet for lanelet in self.lanelets.values() if lanelet.kind.startswith("LANE_"))

    def _between(self, lanelet: Lanelet) -> Iterator[tuple[Floats, Floats]]:
        """Both bounds [N, 2] of the strips between a lanelet and the neighbours that it names, where they lie apart."""
        for side, (name, same) in lanelet.beside.items():
            other = self.lanelets.get(name)
            if other is not None and other.kind.startswith("LANE_"):
                own = lanelet.left if side == "left" else lanelet.right
                facing = other.right if (side == "left") == same else other.left
                facing = facing if same else facing[::-1]
                if not np.array_equal(own, facing):
                    yield own[:, :2], facing[:, :2]

    def _lane(self, lanelet: Lanelet) -> Description:
        beside = {
            f"{side}_neighbor": [lanelet.beside[side][0]]
            if side in lanelet.beside and lanelet.beside[side][1] and lanelet.beside[side][0] in self.lanelets
            else []
            for side in ("left", "right")
        }
        lane: Description = {
            "type": lanelet.kind,
            "polyline": lanelet.centre,
            "entry_lanes": [name for name in lanelet.before if name in self.lanelets],
            "exit_lanes": [name for name in lanelet.after if name in self.lanelets],
            **beside,
            "is_intersection": "intersection" in lanelet.types,
        }
        limits = [self.signs[name][1] for name in lanelet.signs if self.signs.get(name, ("",))[0] in LIMIT_SIGNS]
        known = [limit for limit in limits if limit is not None and limit > 0]
        if known:
            lane["speed_limit_kmh"] = min(known) * KMH
        if len(lanelet.stop_line):
            lane["stop_line"] = lanelet.stop_line
        return lane

    def _lines(self) -> Iterator[tuple[str, str, Floats]]:
        """Marked bounds, each once: neighbours share theirs."""
        seen: set[bytes] = set()
        for lanelet in self._ways():
            for side, mark, line in zip(("left", "right"), lanelet.marks, (lanelet.left, lanelet.right), strict=True):
                keys = {line.tobytes(), np.ascontiguousarray(line[::-1]).tobytes()}
                if mark in MARKS and not keys & seen:
                    seen |= keys
                    yield f"{lanelet.id}-{side}", MARKS[mark], line


def read_lanelet(element: Element, name: str) -> Lanelet:
    """A `lanelet` element.

    Raises:
        ScenarioError: A bound is missing or has fewer than two points.
    """
    left, right = (points(element.find(f"{side}Bound"), f"lanelet {name!r}: {side}Bound") for side in ("left", "right"))
    if min(len(left), len(right)) < 2:
        raise ScenarioError(f"lanelet {name!r}: a bound has fewer than two points.")
    beside = {
        side: (found.get("ref", ""), found.get("drivingDir") == "same")
        for side in ("left", "right")
        if (found := element.find(f"adjacent{side.capitalize()}")) is not None
    }
    stop = element.find("stopLine")
    return Lanelet(
        id=name,
        left=left,
        right=right,
        centre=(left + right) / 2 if len(left) == len(right) else _middle(left, right),
        types=frozenset(texts(element, "laneletType")),
        users=frozenset(texts(element, "userOneWay") + texts(element, "userBidirectional")),
        marks=tuple((element.findtext(f"{side}Bound/lineMarking") or "").strip() for side in ("left", "right")),  # type: ignore[arg-type]
        before=tuple(references(element, "predecessor")),
        after=tuple(references(element, "successor")),
        beside=beside,
        signs=tuple(references(element, "trafficSignRef")),
        lights=tuple(references(element, "trafficLightRef")),
        stop_line=np.zeros((0, 3)) if stop is None else points(stop, ""),
    )


def _middle(left: Floats, right: Floats) -> Floats:
    """Middle [N, 3] of bounds with different numbers of points, by their relative lengths."""
    count = max(len(left), len(right))
    return (_spread(left, count) + _spread(right, count)) / 2


def _spread(line: Floats, count: int) -> Floats:
    way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line[:, :2], axis=0).T))])
    at = np.linspace(0.0, way[-1], count)
    return np.stack([np.interp(at, way, column) for column in line.T], -1)


def _area(lanelet: Lanelet) -> Floats:
    return np.concatenate([lanelet.left, lanelet.right[::-1]])


def _or_empty(element: Element | None) -> Element:
    return Element("position") if element is None else element

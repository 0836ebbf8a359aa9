"""Obstacles of CommonRoad scenarios as tracks: what an agent is, its box, and its states.

A state gives the position of the shape's reference point; with a rectangle that has a centre of its own the box lies
aside of it. Velocities point along the heading. Headings or velocities that a file leaves out follow from the motion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScenarioError
from scenarios.importers.commonroad_xml import number, points, step

Floats = NDArray[np.float64]

KINDS: Final[Mapping[str, tuple[str, float]]] = {
    "car": ("VEHICLE", 1.5),
    "taxi": ("VEHICLE", 1.5),
    "parkedVehicle": ("VEHICLE", 1.5),
    "priorityVehicle": ("VEHICLE", 2.5),
    "truck": ("VEHICLE", 3.5),
    "bus": ("VEHICLE", 3.2),
    "motorcycle": ("CYCLIST", 1.6),
    "bicycle": ("CYCLIST", 1.75),
    "pedestrian": ("PEDESTRIAN", 1.75),
}
"""MetaDrive type and assumed height (m) by obstacle type; the files have no heights. The others are `OTHER`."""
SLOW: Final = 0.2
"""Below this speed the direction of motion says nothing of the heading, m/s."""


@dataclass(frozen=True, slots=True)
class Track:
    """One obstacle.

    Attributes:
        id: As in the file.
        kind: MetaDrive type.
        size: Length, width, height, m.
        steps: Time steps [N], ascending; one step that stands for all times where `static`.
        rows: x, y, heading, vx, vy per step [N, 5]; m, rad, m/s.
        static: Whether it is a static obstacle.
    """

    id: str
    kind: str
    size: tuple[float, float, float]
    steps: NDArray[np.int64]
    rows: Floats
    static: bool = False

    def between(self, first: int, last: int) -> Track:
        """The part from step `first` to step `last`, both included; steps keep their numbers."""
        inside = (self.steps >= first) & (self.steps <= last)
        return replace(self, steps=self.steps[inside], rows=self.rows[inside])

    def shifted(self, by: int) -> Track:
        """The same, some steps later."""
        return replace(self, steps=self.steps + by)

    def followed_by(self, other: Track) -> Track:
        """This track and what comes after it; id, kind and box are this one's."""
        steps, rows = np.concatenate([self.steps, other.steps]), np.concatenate([self.rows, other.rows])
        return replace(self, steps=steps, rows=rows)


def read_obstacle(element: Element, dt: float) -> Track:
    """The track of a `dynamicObstacle`, `staticObstacle` or (2018b) `obstacle` element.

    Args:
        element: The element.
        dt: Seconds between steps.

    Raises:
        ScenarioError: Its id, shape or states are missing or wrong.
    """
    name = element.get("id") or ""
    kind, height = KINDS.get((element.findtext("type") or "").strip(), ("OTHER", 1.5))
    states = [
        state for state in (element.find("initialState"), *element.iterfind("trajectory/state")) if state is not None
    ]
    if not name or not states:
        raise ScenarioError(f"{element.tag} {name!r}: id or initialState is missing.")
    static = element.tag == "staticObstacle" or element.findtext("role") == "static"
    when = np.array([0] if static else [step(state) for state in states], dtype=np.int64)
    if (np.diff(when) <= 0).any():
        raise ScenarioError(f"{element.tag} {name!r}: its time steps do not ascend.")
    place = np.array([_position(state) for state in states])
    seconds: Floats = when * np.float64(dt)
    heading = _column(states, "orientation", _headings(place, seconds))
    length, width, centre, turn = _box(element.find("shape"), name)
    heading = heading + turn
    cos, sin = np.cos(heading - turn), np.sin(heading - turn)
    moved = place + np.stack([cos * centre[0] - sin * centre[1], sin * centre[0] + cos * centre[1]], -1)
    way = _differences(place, seconds)
    ahead = _column(states, "velocity", np.sum(way * np.stack([cos, sin], -1), -1))
    aside = _column(states, "velocityY", np.zeros(len(states)))
    velocity = np.stack([cos * ahead - sin * aside, sin * ahead + cos * aside], -1)
    rows = np.concatenate([moved, heading[:, None], np.zeros_like(velocity) if static else velocity], -1)
    return Track(name, kind, (length, width, height), when, rows, static)


def _position(state: Element) -> tuple[float, float]:
    """The point of a state, or the centre of the area that it is somewhere in."""
    position = state.find("position")
    if position is None:
        raise ScenarioError(f"{state.tag}: position is missing.")
    for place in ("point", "rectangle/center", "circle/center"):
        if position.find(place) is not None:
            return number(position, f"{place}/x"), number(position, f"{place}/y")
    corners = points(position.find("polygon"), f"{state.tag}: position/point")
    if not len(corners):
        raise ScenarioError(f"{state.tag}: position has no point.")
    return float(corners[:, 0].mean()), float(corners[:, 1].mean())


def _column(states: list[Element], tag: str, otherwise: Floats) -> Floats:
    """One value per state [N], from the states or, where they lack it, from `otherwise`."""
    return np.array(
        [
            number(state, tag) if state.find(tag) is not None else other
            for state, other in zip(states, otherwise, strict=True)
        ]
    )


def _differences(place: Floats, seconds: Floats) -> Floats:
    """Velocity [N, 2] from positions, m/s."""
    return np.gradient(place, seconds, axis=0) if len(place) > 1 else np.zeros_like(place)


def _headings(place: Floats, seconds: Floats) -> Floats:
    """Direction of motion [N], rad; held while the agent hardly moves."""
    way = _differences(place, seconds)
    moving = np.hypot(way[:, 0], way[:, 1]) > SLOW
    if not moving.any():
        return np.zeros(len(place))
    last = np.maximum.accumulate(np.where(moving, np.arange(len(place)), -1))
    return np.arctan2(way[:, 1], way[:, 0])[np.where(last < 0, int(np.argmax(moving)), last)]


def _box(shape: Element | None, name: str) -> tuple[float, float, tuple[float, float], float]:
    """Length and width (m) of a shape, its centre (m) and its heading (rad) relative to the reference point."""
    if shape is None:
        raise ScenarioError(f"obstacle {name!r}: shape is missing.")
    rectangle, circle = shape.find("rectangle"), shape.find("circle")
    turn = 0.0
    if rectangle is not None:
        length, width = number(rectangle, "length"), number(rectangle, "width")
        turn = 0.0 if rectangle.find("orientation") is None else number(rectangle, "orientation")
        part = rectangle
    elif circle is not None:
        length = width = 2 * number(circle, "radius")
        part = circle
    else:
        corners = points(shape.find("polygon"), f"obstacle {name!r}: rectangle, circle or polygon")[:, :2]
        if len(corners) < 3:
            raise ScenarioError(f"obstacle {name!r}: polygon has fewer than three points.")
        low, high = corners.min(0), corners.max(0)
        length, width = float(high[0] - low[0]), float(high[1] - low[1])
        return length, width, (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2), 0.0
    centre = (0.0, 0.0) if part.find("center") is None else (number(part, "center/x"), number(part, "center/y"))
    return length, width, centre, turn

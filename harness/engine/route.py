"""The ego's logged path as the route to follow: progress, offsets and way points, one projection per step.

Same segments, arithmetic (float32 where the file is float32) and conventions as MetaDrive's `InterpolatingLine`
and `TrajectoryNavigation`, which project the ego four times per step in Python loops.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from metadrive.utils.interpolating_line import InterpolatingLine
from numpy.typing import NDArray

from harness.geometry import interpolate_polyline
from scenarios.scenario import DT

Floats = NDArray[np.float64]

SPACING: Final = 2
"""Metres between way points (`TrajectoryNavigation.DISCRETE_LEN`)."""
POINTS: Final = 10
"""Way points looked ahead, of which the first is skipped (`NUM_WAY_POINT`)."""
REACH: Final = 30.0
"""Distance at which way points are clipped, m (`NAVI_POINT_DIST`)."""
_SLACK: Final = 0.1
"""A point this close behind a segment's end still belongs to it, m (`InterpolatingLine.segment`)."""
_JUMP: Final = 100.0
"""A logged path ends where it jumps this far, m (`parse_full_trajectory`)."""
_SHORTEST: Final = 2.0
"""A shorter route leads nowhere, m: stock MetaDrive takes such an ego for parked, and it is less than half a car."""
_NEAR: Final = 30.0
"""How far along the route an ego may get in a step, and how far its position is looked for on one that goes on, m."""
_END: Final = 5.0
"""The map ends for an ego this far from the end of its way, m: its bumper is about there."""


class Route:
    """Geometry of one scene's route, relative to the scene's origin.

    A route may go on beyond the log. What is completed or paced is then still the logged part, and the ego does not
    arrive. Such a route may cross or repeat itself: a position is looked for near the last one alone.

    Attributes:
        length: m.
        logged: Length of the logged path, m: all of it, unless the route goes on beyond it.
        goes_on: Whether it goes on beyond the log.
        points: [N, 2] start points of the segments and the last end point, m.
    """

    def __init__(self, path: NDArray[np.floating], beyond: NDArray[np.floating] | None = None) -> None:
        """Take the ego's positions.

        Args:
            path: [T, 2] the logged ones, m, in the file's own precision, 0.1 s apart.
            beyond: [N, 2] where the route goes on, m; None: it ends with the log.
        """
        self.goes_on = beyond is not None
        gaps = np.hypot(*np.diff(path, axis=0).T)
        jumps = np.flatnonzero(gaps > _JUMP)
        path = path[: jumps[0]] if len(jumps) and jumps[0] > 0 else path
        line = InterpolatingLine(path)
        self.logged: float = line.length
        self._pace = self.logged / ((len(path) - 1) * DT) if len(path) > 1 else 0.0
        if beyond is not None:
            line = InterpolatingLine(np.concatenate([path, beyond]))
        properties = line.segment_property
        self.length: float = line.length
        self._start = line._start_points
        self._end = line._end_points
        delta = self._end - self._start
        self._unit = np.divide(delta, np.hypot(delta[:, 0], delta[:, 1]).reshape(-1, 1))
        self._direction = [segment["direction"] for segment in properties]
        self._lateral = [segment["lateral_direction"] for segment in properties]
        self._heading = [float(segment["heading"]) for segment in properties]
        ends = np.cumsum([segment["length"] for segment in properties])
        self._of_log = slice(int(np.searchsorted(ends, self.logged - _SLACK)) + 1 if self.goes_on else None)
        self._before = [0.0, *ends[:-1].tolist()]
        self._befores = np.array(self._before)
        self._ends = ends.astype(self._start.dtype)
        self._ends_slack = (ends + _SLACK).astype(self._start.dtype)
        self.points: Floats = np.vstack([self._start, self._end[-1:]]).astype(np.float64)
        count = int(self.length / SPACING)
        if self.goes_on:
            # Way points out of stock's line take time with the square of its length.
            marks = list(interpolate_polyline(self.points, np.append(np.arange(count) * SPACING, self.length))[0])
        else:
            marks = [line.position(index * SPACING, 0) for index in range(count)] + [line.position(self.length, 0)]
        # Repeating the last one lets every look-ahead be a plain slice.
        self._marks: Floats = np.asarray(marks + marks[-1:] * POINTS, dtype=np.float64)
        self._last_mark = len(marks) - 1

    @property
    def way_points(self) -> tuple[Floats, int]:
        """Way points [M, 2] every two metres (m), the last one repeated, and the row of the last one."""
        return self._marks, self._last_mark

    def segments(self) -> Floats:
        """[N, 14] start, end, unit vector, direction and right-hand side (2 each), heading (rad), and the lengths (m)
        before it, at which it ends for the heading, and at which it ends for the right-hand side.
        """
        pairs = [self._start, self._end, self._unit, self._direction, self._lateral]
        singles = [self._heading, self._before, self._ends, self._ends_slack]
        return np.column_stack([np.asarray(part, np.float64) for part in (*pairs, *singles)])

    @property
    def leads_somewhere(self) -> bool:
        """Whether there is a way to drive: a parked ego's log has none, so nothing of it can be completed."""
        return self.logged >= _SHORTEST

    def left(self, longitude: float, seconds: float) -> float:
        """What is to be driven in the time left, m: the rest of the way, or beyond the log at the log's mean speed."""
        return self._pace * seconds if self.goes_on else self.length - longitude

    def ends_at(self, longitude: float) -> bool:
        """Whether the map ends here: a route that goes on is longer than anybody drives, unless there is no more."""
        return self.goes_on and longitude > self.length - _END

    def project(self, x: float, y: float, last: float | None = None) -> tuple[float, float]:
        """Longitude along the route and lateral offset (right positive, MetaDrive's sign), m.

        Args:
            x, y: Where, m.
            last: Longitude a step ago, m, near which a route that goes on is searched; None where an episode begins,
                anywhere on the logged part.
        """
        part: slice = self._of_log
        if self.goes_on and last is not None:
            low, high = np.searchsorted(self._befores, (last - _NEAR, last + _NEAR))
            part = slice(max(int(low) - 1, 0), int(high) + 1)
        point = np.array([x, y])
        ahead = ((self._start[part] - point) * self._unit[part]).sum(axis=1)
        behind = ((point - self._end[part]) * self._unit[part]).sum(axis=1)
        along = np.maximum(np.maximum(ahead, behind), 0.0)
        offset = point - self._start[part]
        across = offset[:, 0] * self._unit[part, 1] - offset[:, 1] * self._unit[part, 0]
        nearest = int(np.argmin(np.hypot(along, across))) + (part.start or 0)
        start, direction, lateral = self._start[nearest], self._direction[nearest], self._lateral[nearest]
        dx, dy = x - start[0], y - start[1]
        longitude = self._before[nearest] + (dx * direction[0] + dy * direction[1])
        return longitude, dx * lateral[0] + dy * lateral[1]

    def heading_at(self, longitude: float) -> float:
        """Heading of the route, rad."""
        index = int(np.searchsorted(self._ends, longitude, side="right"))
        return self._heading[min(index, len(self._heading) - 1)]

    def lateral_at(self, longitude: float) -> NDArray[np.floating]:
        """Unit vector [2] pointing right of the route."""
        index = int(np.searchsorted(self._ends_slack, longitude, side="left"))
        return self._lateral[min(index, len(self._lateral) - 1)]

    def marks_ahead(self, longitude: float) -> Floats:
        """The nine way points [9, 2] after the next one, m."""
        first = min(max(int(longitude / SPACING) + 1, 0), self._last_mark)
        return self._marks[first + 1 : first + POINTS]


class Progress:
    """Where the ego is along a route, now and one step ago.

    It stands in for `TrajectoryNavigation` as `vehicle.navigation`.
    """

    def __init__(self) -> None:
        """Start without a route."""
        self.route: Route | None = None
        self._begun = False
        self.current_longitude = self.last_longitude = 0.0
        self.current_lateral = self.last_lateral = 0.0
        self.current_heading_theta_at_long = 0.0

    def begin(self, route: Route) -> None:
        """Forget the last episode."""
        self.route = route
        self._begun = False
        self.current_longitude = self.last_longitude = 0.0
        self.current_lateral = self.last_lateral = 0.0
        self.current_heading_theta_at_long = 0.0

    def update(self, x: float, y: float) -> None:
        """Project the ego's position (m, relative to the scene's origin)."""
        assert self.route is not None, "begin() gives the route"
        self.last_longitude, self.last_lateral = self.current_longitude, self.current_lateral
        last = self.last_longitude if self._begun else None
        self.current_longitude, self.current_lateral = self.route.project(x, y, last)
        self._begun = True
        self.current_heading_theta_at_long = self.route.heading_at(self.current_longitude)

    @property
    def reference_trajectory(self) -> Route:
        """The route, under its stock name."""
        assert self.route is not None, "begin() gives the route"
        return self.route

    @property
    def route_completion(self) -> float:
        """Longitude over the log's length; may pass 1 or be negative. NaN where the route leads nowhere."""
        route = self.reference_trajectory
        return float(self.current_longitude / route.logged) if route.leads_somewhere else math.nan

    def heading_error(self, heading: tuple[float, float]) -> float:
        """Cosine between the ego's heading and the route's right-hand side, mapped to [0, 1]."""
        right = self.reference_trajectory.lateral_at(self.current_longitude)
        size = math.hypot(right[0], right[1]) * math.hypot(*heading)
        if not size:
            return 0.0
        cosine = (heading[0] * right[0] + heading[1] * right[1]) / size
        return min(max(float(cosine), -1.0), 1.0) / 2 + 0.5

    def before_reset(self) -> None:
        """Nothing is left over between episodes."""

    def attach_to_world(self, engine: object) -> None:
        """Nothing is drawn."""

    def detach_from_world(self) -> None:
        """Nothing is drawn."""

    def destroy(self) -> None:
        """Release the route."""
        self.route = None

"""What the rules of fault ask of each vehicle in a contact: its movement, its lane, the other one in its path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.geometry import interpolate_polyline, project_to_polyline, to_frame, wrap_angle
from harness.interfaces import Trajectory
from harness.metrics.competent_driver import CompetentDriver
from harness.metrics.contact_faces import Face
from harness.metrics.ego_path import EgoPath, Sighting, ego_path, sightings
from scenarios.map_index import LanePosition

Floats = NDArray[np.float64]

Party = Literal["ego", "opponent", "both", "none"]

STANDING_SPEED: Final = 0.5
"""A slower vehicle stands, m/s."""
STANDING_TIME: Final = 1.0
"""A vehicle stands once it has been slow for this long, s."""
BRAKING_TIME: Final = 0.3
"""Braking is averaged over this time, s."""
TURN_WINDOW: Final = 6.0
"""A turn is looked for over this time, s: vehicles wait in the middle of it."""
LANE_AHEAD: Final = 15.0
"""Way ahead along the lane that is looked at, m."""
SAME_ROUTE: Final = 0.3
"""Ways on from a lane that the vehicle kept to equally well, within this many metres, cannot be told apart."""
SAME_WAY: Final = np.deg2rad(45.0)
"""Angle between headings (rad)."""
LANE_HALF: Final = 1.85
"""Half the width of a lane, m (3.7 m is a standard lane in the USA)."""
CLEARLY: Final = 0.5
"""A lane must be this much nearer (m) than another to be the one that a vehicle is on."""


class LaneMap(Protocol):
    """The part of `scenarios.map_index.MapIndex` that is needed here."""

    def locate(self, points: Floats, headings: Floats | None = None, max_distance: float = 10.0) -> LanePosition:
        """The nearest lane of each point, of those that lead the given way where headings are given."""
        ...

    def lane_paths(self, lane: int, along: float, length: float, limit: int = 8) -> tuple[Floats, ...]:
        """Every way on from a place on a lane."""
        ...


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One of the two vehicles of a contact, with what the rules of fault ask of it.

    Attributes:
        name: `ego` or `opponent`.
        face: Side that was hit.
        trajectory: What it did.
        path: Path of the vehicle over the window.
        size: Length and width, m.
        seen: The other one, in coordinates of this one's path, by absolute step.
        first, before: First and last step of the window; the contact follows.
        dt: s.
        lanes: The scene's lanes, or None.
    """

    name: Party
    face: Face
    trajectory: Trajectory
    path: EgoPath
    size: tuple[float, float]
    seen: list[Sighting | None]
    first: int
    before: int
    dt: float
    lanes: LaneMap | None

    @property
    def state(self) -> Floats:
        """Last state before the contact, [5]."""
        return self.trajectory.states[self.before]

    @property
    def begin(self) -> Floats:
        """State at the beginning of the window, [5]."""
        return self.trajectory.states[self.first]

    @property
    def speeds(self) -> Floats:
        """Speeds over the window, m/s."""
        return np.hypot(*self.trajectory.states[self.first : self.before + 1, 3:].T)

    @property
    def stands(self) -> bool:
        """Whether it has stood for `STANDING_TIME`."""
        rows = self.speeds[-round(STANDING_TIME / self.dt) :]
        return bool(len(rows) * self.dt >= STANDING_TIME - 1e-9 and (rows < STANDING_SPEED).all())

    @property
    def hardest_braking(self) -> float:
        """Largest deceleration over `BRAKING_TIME`, m/s²; never negative."""
        span = max(round(BRAKING_TIME / self.dt), 1)
        speed = self.speeds
        return float(((speed[:-span] - speed[span:]) / (span * self.dt)).max(initial=0.0))

    @property
    def oldest(self) -> int:
        """First step of the `TURN_WINDOW` before the contact at which the vehicle was there all the time."""
        step = self.before
        while step > 0 and self.trajectory.valid[step - 1] and self.before - step < round(TURN_WINDOW / self.dt):
            step -= 1
        return step

    def turn(self) -> float:
        """How far it turns, rad: what it has turned already, and what its lane turns over the next `LANE_AHEAD` m."""
        heading = np.unwrap(self.trajectory.states[self.oldest : self.before + 1, 2])
        turned = abs(float(heading[-1] - heading[0]))
        route = self.route()
        if route is None:
            return turned
        along, _, _ = project_to_polyline(self.state[None, :2], route[0])
        ahead = interpolate_polyline(route[0], along + LANE_AHEAD)[1]
        return max(turned, abs(float(wrap_angle(ahead[0] - heading[0]))))

    def route(self) -> tuple[Floats, float] | None:
        """The way on, from the lane where the window began, that the vehicle kept to best; None if it was on no lane.

        Returns:
            Centre line [n, 2], and how far the vehicle has moved left of it since (m).
        """
        begin, now = self.begin, self.state
        if self.lanes is None:
            return None
        place = self.lanes.locate(begin[None, :2], begin[None, 2])
        if not _leads(place, float(begin[2])) or place.distance[0] > LANE_HALF + CLEARLY:
            return None
        length = float(np.hypot(*(now[:2] - begin[:2]))) + LANE_AHEAD + 10.0
        back = max(float(place.along[0]) - 1.0, 0.0)
        found = []
        # Straightest first: a vehicle that may as well go straight on is not known to turn.
        for line in self.lanes.lane_paths(int(place.lane[0]), back, length):
            _, offset, _ = project_to_polyline(np.stack([begin[:2], now[:2]]), line)
            found.append((line, float(offset[1] - offset[0])))
        best = min((abs(moved) for _, moved in found), default=0.0)
        return next(((line, moved) for line, moved in found if abs(moved) <= best + SAME_ROUTE), None)

    def entered(self) -> int | None:
        """Step at which the other one came into this one's path to stay; None if it did not until the contact."""
        step = self.before
        while step >= self.first and (seen := self.seen[step]) is not None and seen.inside:
            step -= 1
        return None if step == self.before else step + 1

    def room(self, step: int) -> tuple[float, float]:
        """Time to collision with the other one at `step`, and the time that a competent driver needs, s."""
        seen, row = self.seen[step], step - self.path.start
        if seen is None:
            return 0.0, 0.0
        closing = float(self.path.speeds[row]) - seen.along
        distance = max(seen.rear - float(self.path.stations[row]) - self.size[0] / 2, 0.0)
        if closing <= 0:
            return float("inf"), 0.0
        return distance / closing, CompetentDriver().needed_time(closing)


def make_vehicle(
    name: Party,
    face: Face,
    own: Trajectory,
    own_size: ArrayLike,
    other: Trajectory,
    other_size: ArrayLike,
    span: tuple[int, int],
    dt: float,
    lanes: LaneMap | None,
) -> Vehicle:
    """Collect what the rules need; `span` is the first and the last step of the window."""
    first, before = span
    path = ego_path(own, first, before + 1)
    seen = sightings(path, own_size, other.states[: before + 1], other.valid[: before + 1], other_size)
    length, width = (float(value) for value in np.asarray(own_size))
    return Vehicle(name, face, own, path, (length, width), seen, first, before, dt, lanes)


def towards(own: Vehicle, other: Vehicle) -> float:
    """How far a vehicle moved over to the side on which the other one was when the window began, m; never negative."""
    return float(max(shift(own, other) * np.sign(aside(own, other)), 0.0))


def aside(own: Vehicle, other: Vehicle) -> float:
    """How far left of this one the other was when the window began, m."""
    begin = own.trajectory.states[own.first]
    return float(to_frame(other.trajectory.states[other.first, :2], np.array([*begin[:2], _straight(own, other)]))[1])


def shift(own: Vehicle, other: Vehicle) -> float:
    """Lateral movement (m, left positive) since the window began, relative to the lane (or a straight road).

    If the vehicle turned and no way on from its lane fits, the map lacks that turn, and the distance from the lane that
    it came to counts instead.
    """
    begin, now = own.begin, own.state
    straight = float(to_frame(now[:2], np.array([*begin[:2], _straight(own, other)]))[1])
    route = own.route()
    if own.lanes is None:
        return straight
    best = route[1] if route is not None else straight
    turned = abs(float(wrap_angle(now[2] - begin[2]))) > SAME_WAY / 2
    if turned and abs(best) > LANE_HALF:
        arrived = own.lanes.locate(now[None, :2], now[None, 2])
        if _leads(arrived, float(now[2])) and arrived.distance[0] < abs(best):
            return float(arrived.offset[0])
    return best


def _straight(own: Vehicle, other: Vehicle) -> float:
    """Direction of the road where no map tells it, rad: the first or last heading, whichever is more like the other's.

    A lane change may have begun before the window or may not have ended at the contact.
    """
    headings = own.trajectory.states[[own.first, own.before], 2]
    others = other.trajectory.states[[other.first, other.before], 2]
    # The other may go the opposite way: compare axes, not directions.
    off = np.abs(np.sin(headings[:, None] - others)).min(-1)
    return float(headings[off.argmin()])


def on_wrong_side(own: Vehicle) -> bool:
    """Whether the nearest lane leads the other way and none that leads its way is about as near."""
    if own.lanes is None:
        return False
    point, heading = own.state[None, :2], own.state[None, 2]
    there = own.lanes.locate(point, heading)
    against = own.lanes.locate(point, heading + np.pi)

    if not _leads(against, float(heading[0]) + np.pi) or against.distance[0] > LANE_HALF:
        return False
    return not _leads(there, float(heading[0])) or bool(there.distance[0] > against.distance[0] + CLEARLY)


def off_lanes(own: Vehicle, step: int) -> bool:
    """Whether, at `step`, a vehicle on a map with lanes is on none that leads its way."""
    if own.lanes is None:
        return False
    state = own.trajectory.states[step]
    place = own.lanes.locate(state[None, :2], state[None, 2], max_distance=30.0)
    if place.lane[0] < 0:
        return False
    return not _leads(place, float(state[2])) or bool(place.distance[0] > LANE_HALF + CLEARLY)


def _leads(place: LanePosition, way: float) -> bool:
    """Whether there is a lane and it leads about the given way (rad)."""
    return bool(place.lane[0] >= 0 and abs(wrap_angle(place.heading[0] - way)) <= SAME_WAY)

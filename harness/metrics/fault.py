"""Who is to blame for a contact: who was in whose path, who struck whom. Rules, not law; each has a name.

`kind`, and who is at fault:

- `hit_stopped`: the other had stood in its path for a while. The one that drove into it.
- `rear_end`: front against a vehicle that goes the same way and was long ahead, or came in with room. The follower.
- `cut_in`: the one ahead came into the follower's path too late for a competent driver (UN R157's CC driver would have
  needed more time). The one that came in.
- `hard_braking`: as `rear_end`, but the one ahead braked by 5 m/s² or more. Both.
- `cut_in_and_braked`: the one ahead came in within the last 3 s and then braked like that. The one that came in.
- `rear_end_lane_change`: the follower moved over behind the other and struck it. The follower.
- `side_swipe`: side by side, same way. The one that left its lane towards the other; both if both or neither did.
- `wrong_side`: one of the two was on a lane that leads the other way. That one.
- `head_on`: opposite ways. The one that moved over towards the other; both if both or neither did.
- `left_lane`: paths cross, one of them follows no lane. That one.
- `turned_across`: paths cross, one of them turns. The one that turns.
- `entered_late`: paths cross, the other was there at least 1 s before. The one that came later.
- `right_of_way`: paths cross, both arrive within 1 s. The one that has the other on its right (Uniform Vehicle Code
  §11-401). Traffic lights and signs are not considered.

The map is needed for `wrong_side` and `left_lane`, and to tell a bend from a lane change; without it all is straight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ConfigError
from harness.geometry import project_to_polyline, to_frame, wrap_angle
from harness.interfaces import Trajectory
from harness.metrics.competent_driver import CompetentDriver
from harness.metrics.contact_faces import Face, contact_faces
from harness.metrics.ego_path import EgoPath, Sighting, ego_path, sightings
from scenarios.map_index import LanePosition

Floats = NDArray[np.float64]

Party = Literal["ego", "opponent", "both", "none"]

WINDOW: Final = 3.0
"""What counts as "long before" a contact, s."""
STANDING_SPEED: Final = 0.5
"""m/s."""
STANDING_TIME: Final = 1.0
"""s."""
WANDERING: Final = 0.375
"""Lateral movement that is still normal, m (UN R157)."""
HARD_BRAKING: Final = 5.0
"""m/s² (UN R157: perceived as a risk)."""
BRAKING_TIME: Final = 0.3
"""Braking is averaged over this time, s."""
FIRST_COME: Final = 1.0
"""Who is this much earlier (s) at a crossing was there first."""
TURNING: Final = np.deg2rad(20.0)
"""Change of heading (rad) that makes a turn."""
STRAIGHT: Final = np.deg2rad(10.0)
"""Change of heading (rad) up to which a vehicle goes straight on."""
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
class Fault:
    """Who caused a contact.

    Attributes:
        party: At fault; `none` only where there is nothing to judge (either vehicle is absent).
        kind: Name of the rule, see the module.
        reason: In words, with the numbers that decided.
        ego_face, opponent_face: Sides that met.
    """

    party: Party
    kind: str
    reason: str
    ego_face: Face | None = None
    opponent_face: Face | None = None


@dataclass(frozen=True, slots=True)
class _Vehicle:
    """One of the two, with what the rules ask of it (over the last `WINDOW` seconds before the contact)."""

    name: Party
    face: Face
    trajectory: Trajectory
    path: EgoPath
    size: tuple[float, float]
    seen: list[Sighting | None]  # the other one, from this one's path
    first: int
    before: int
    dt: float
    lanes: LaneMap | None

    @property
    def state(self) -> Floats:
        return self.trajectory.states[self.before]

    @property
    def speeds(self) -> Floats:
        return np.hypot(*self.trajectory.states[self.first : self.before + 1, 3:].T)

    @property
    def stands(self) -> bool:
        rows = self.speeds[-round(STANDING_TIME / self.dt) :]
        return bool(len(rows) * self.dt >= STANDING_TIME - 1e-9 and (rows < STANDING_SPEED).all())

    @property
    def turn(self) -> float:
        heading = np.unwrap(self.trajectory.states[self.first : self.before + 1, 2])
        return float(heading[-1] - heading[0])

    @property
    def hardest_braking(self) -> float:
        span = max(round(BRAKING_TIME / self.dt), 1)
        speed = self.speeds
        return float(((speed[:-span] - speed[span:]) / (span * self.dt)).max(initial=0.0))

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


def fault(
    ego: Trajectory,
    ego_size: ArrayLike,
    opponent: Trajectory,
    opponent_size: ArrayLike,
    contact_step: int,
    dt: float = 0.1,
    lanes: LaneMap | None = None,
) -> Fault:
    """Who caused the contact at `contact_step`.

    Args:
        ego, opponent: What the two did.
        ego_size, opponent_size: [2] length and width, m.
        contact_step: First step at which the boxes overlap.
        dt: s.
        lanes: `MapIndex` of the scene, or None.

    Raises:
        ConfigError: There is no such step.
    """
    if not 0 <= contact_step < min(len(ego.valid), len(opponent.valid)):
        raise ConfigError(f"fault: contact_step {contact_step} lies outside the trajectories.")
    both = ego.valid & opponent.valid
    if contact_step == 0 or not both[contact_step] or not both[contact_step - 1]:
        return Fault("none", "unknown", "one of the two was not there before the contact")
    pair = [contact_step - 1, contact_step]
    own_face, other_face, _ = contact_faces(ego.states[pair, :3], ego_size, opponent.states[pair, :3], opponent_size)
    first = contact_step - 1
    while first > 0 and both[first - 1] and contact_step - first < round(WINDOW / dt):
        first -= 1
    span = (first, contact_step - 1)
    a = _vehicle("ego", own_face, ego, ego_size, opponent, opponent_size, span, dt, lanes)
    b = _vehicle("opponent", other_face, opponent, opponent_size, ego, ego_size, span, dt, lanes)
    party, kind, reason = _judge(a, b)
    return Fault(party, kind, reason, own_face, other_face)


def _vehicle(
    name: Party,
    face: Face,
    own: Trajectory,
    own_size: ArrayLike,
    other: Trajectory,
    other_size: ArrayLike,
    span: tuple[int, int],
    dt: float,
    lanes: LaneMap | None,
) -> _Vehicle:
    first, before = span
    path = ego_path(own, first, before + 1)
    seen = sightings(path, own_size, other.states[: before + 1], other.valid[: before + 1], other_size)
    length, width = (float(value) for value in np.asarray(own_size))
    return _Vehicle(name, face, own, path, (length, width), seen, first, before, dt, lanes)


_Verdict = tuple[Party, str, str]


def _judge(a: _Vehicle, b: _Vehicle) -> _Verdict:
    """The first rule that applies."""
    for mover, other in ((a, b), (b, a)):
        if other.stands and not mover.stands:
            return _against_standing(mover, other)
    angle = abs(float(wrap_angle(a.state[2] - b.state[2])))
    if angle <= SAME_WAY:
        return _same_way(a, b)
    if angle >= np.pi - SAME_WAY:
        return _opposite(a, b)
    return _crossing(a, b)


def _against_standing(mover: _Vehicle, other: _Vehicle) -> _Verdict:
    entered = mover.entered()
    if entered is not None and entered > mover.first and abs(_shift(other, mover)) > WANDERING:
        time, needed = mover.room(entered)
        if time < needed:
            return (
                other.name,
                "cut_in",
                f"the {other.name} stopped in the {mover.name}'s path {time:.1f} s ahead of it; "
                f"a competent driver needs {needed:.1f} s",
            )
    return mover.name, "hit_stopped", f"the {mover.name} drove into the {other.name}, which was standing"


def _same_way(a: _Vehicle, b: _Vehicle) -> _Verdict:
    """One behind the other, or side by side."""
    follower, leader = (a, b) if to_frame(b.state[:2], a.state[:3])[0] > 0 else (b, a)
    if follower.face != "front":
        return _sideways(a, b, "side_swipe", "side by side")
    moved, kept = _towards(leader, follower), _towards(follower, leader)
    entered = follower.entered()
    braking = leader.hardest_braking
    came_in = moved > WANDERING and moved >= kept and (entered is None or entered > follower.first)
    if came_in:
        time, needed = follower.room(entered if entered is not None else follower.before)
        says = f"the {leader.name} came into the {follower.name}'s path {time:.1f} s ahead of it"
        if time < needed:
            return leader.name, "cut_in", f"{says}; a competent driver needs {needed:.1f} s"
        if braking >= HARD_BRAKING:
            return leader.name, "cut_in_and_braked", f"{says} and then braked with {braking:.1f} m/s²"
        return follower.name, "rear_end", f"{says}, which was time enough ({needed:.1f} s)"
    if kept > WANDERING and abs(_aside(follower, leader)) > (follower.size[1] + leader.size[1]) / 2:
        return (
            follower.name,
            "rear_end_lane_change",
            f"the {follower.name} moved {kept:.1f} m over and struck the {leader.name} from behind",
        )
    if braking >= HARD_BRAKING:
        return "both", "hard_braking", f"the {leader.name} braked with {braking:.1f} m/s², the {follower.name} too late"
    return (
        follower.name,
        "rear_end",
        f"the {follower.name} struck the {leader.name}, which was ahead of it, from behind",
    )


def _opposite(a: _Vehicle, b: _Vehicle) -> _Verdict:
    wrong = [vehicle for vehicle in (a, b) if _on_wrong_side(vehicle)]
    if len(wrong) == 1:
        return wrong[0].name, "wrong_side", f"the {wrong[0].name} was on a lane that leads the other way"
    return _sideways(a, b, "head_on", "going opposite ways")


def _sideways(a: _Vehicle, b: _Vehicle, kind: str, how: str) -> _Verdict:
    """Whoever left its lane towards the other."""
    moved_a, moved_b = _towards(a, b), _towards(b, a)
    numbers = f"{how}: the {a.name} moved {moved_a:.1f} m and the {b.name} {moved_b:.1f} m towards the other"
    if moved_a > WANDERING >= moved_b:
        return a.name, kind, numbers
    if moved_b > WANDERING >= moved_a:
        return b.name, kind, numbers
    # Where both moved, twice as far is to blame alone.
    if moved_a > 2 * moved_b and moved_a > WANDERING:
        return a.name, kind, numbers
    if moved_b > 2 * moved_a and moved_b > WANDERING:
        return b.name, kind, numbers
    return "both", kind, numbers


def _crossing(a: _Vehicle, b: _Vehicle) -> _Verdict:
    stray = [vehicle for vehicle in (a, b) if _off_lanes(vehicle)]
    if len(stray) == 1:
        return stray[0].name, "left_lane", f"paths cross: the {stray[0].name} followed no lane"
    for turning, other in ((a, b), (b, a)):
        if abs(turning.turn) >= TURNING and abs(other.turn) <= STRAIGHT:
            return (
                turning.name,
                "turned_across",
                f"the {turning.name} turned by {np.rad2deg(abs(turning.turn)):.0f}° across the {other.name}'s path",
            )
    # A vehicle that never got into the other's path by the last step came last.
    inside_a, inside_b = b.entered(), a.entered()
    came_a = inside_a if inside_a is not None else a.before + 1
    came_b = inside_b if inside_b is not None else b.before + 1
    lead = (came_b - came_a) * a.dt
    if abs(lead) >= FIRST_COME - 1e-9:
        late, early = (b, a) if lead > 0 else (a, b)
        return (
            late.name,
            "entered_late",
            f"paths cross: the {early.name} was in the {late.name}'s path {abs(lead):.1f} s before",
        )
    b_on_right = to_frame(b.state[:2], a.state[:3])[1] < 0
    yields, has_way = (a, b) if b_on_right else (b, a)
    return (
        yields.name,
        "right_of_way",
        f"paths cross, both arrive within {FIRST_COME:.0f} s: the {has_way.name} came from the {yields.name}'s right",
    )


# ---- lanes


def _towards(own: _Vehicle, other: _Vehicle) -> float:
    """How far a vehicle moved over to the side on which the other one was when the window began, m; never negative."""
    return float(max(_shift(own, other) * np.sign(_aside(own, other)), 0.0))


def _aside(own: _Vehicle, other: _Vehicle) -> float:
    """How far left of this one the other was when the window began, m."""
    begin = own.trajectory.states[own.first]
    return float(to_frame(other.trajectory.states[other.first, :2], np.array([*begin[:2], _straight(own, other)]))[1])


def _shift(own: _Vehicle, other: _Vehicle) -> float:
    """Lateral movement (m, left positive) since the window began, relative to the lane (to `_straight` without one)."""
    begin, now = own.trajectory.states[own.first], own.state
    straight = float(to_frame(now[:2], np.array([*begin[:2], _straight(own, other)]))[1])
    if own.lanes is None:
        return straight
    place = own.lanes.locate(begin[None, :2], begin[None, 2])
    if place.lane[0] < 0 or abs(wrap_angle(place.heading[0] - begin[2])) > SAME_WAY or place.distance[0] > LANE_HALF:
        return straight
    length = float(np.hypot(*(now[:2] - begin[:2]))) + 2 * own.size[0] + 10.0
    back = max(float(place.along[0]) - 1.0, 0.0)
    shifts = []
    for line in own.lanes.lane_paths(int(place.lane[0]), back, length):
        _, offset, _ = project_to_polyline(np.stack([begin[:2], now[:2]]), line)
        shifts.append(float(offset[1] - offset[0]))
    return min(shifts, key=abs, default=straight)


def _straight(own: _Vehicle, other: _Vehicle) -> float:
    """Direction of the road where no map tells it, rad: the first or last heading, whichever is more like the other's.

    A lane change may have begun before the window or may not have ended at the contact.
    """
    headings = own.trajectory.states[[own.first, own.before], 2]
    others = other.trajectory.states[[other.first, other.before], 2]
    # The other may go the opposite way: compare axes, not directions.
    off = np.abs(np.sin(headings[:, None] - others)).min(-1)
    return float(headings[off.argmin()])


def _on_wrong_side(own: _Vehicle) -> bool:
    """Whether the nearest lane leads the other way and none that leads its way is about as near."""
    if own.lanes is None:
        return False
    point, heading = own.state[None, :2], own.state[None, 2]
    there = own.lanes.locate(point, heading)
    against = own.lanes.locate(point, heading + np.pi)

    def leads(place: LanePosition, way: float) -> bool:
        return bool(place.lane[0] >= 0 and abs(wrap_angle(place.heading[0] - way)) <= SAME_WAY)

    if not leads(against, float(heading[0]) + np.pi) or against.distance[0] > LANE_HALF:
        return False
    return not leads(there, float(heading[0])) or bool(there.distance[0] > against.distance[0] + CLEARLY)


def _off_lanes(own: _Vehicle) -> bool:
    """Whether a vehicle on a map with lanes is on none that leads its way."""
    if own.lanes is None:
        return False
    place = own.lanes.locate(own.state[None, :2], own.state[None, 2], max_distance=30.0)
    if place.lane[0] < 0:
        return False
    astray = abs(wrap_angle(place.heading[0] - own.state[2])) > SAME_WAY
    return bool(astray or place.distance[0] > LANE_HALF + CLEARLY)

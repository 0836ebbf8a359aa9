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
- `entered_road`: paths cross, one of them came from where there is no lane (UVC §11-404). That one.
- `left_lane`: paths cross, one of them no longer follows a lane. That one.
- `turned_across`: opposite ways or paths cross, one of them turns and the other does not. The one that turns.
- `entered_late`: paths cross, the other was there at least 1 s before. The one that came later.
- `right_of_way`: paths cross, both arrive within 1 s. The one that has the other on its right (Uniform Vehicle Code,
  UVC, §11-401). Traffic lights and signs are not considered.

The map is needed for `wrong_side`, `left_lane` and `entered_road`, and to tell a
bend from a lane change; without it all is straight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import ConfigError
from harness.geometry import to_frame, wrap_angle
from harness.interfaces import Trajectory
from harness.metrics.contact_faces import Face, contact_faces
from harness.metrics.contact_vehicle import (
    SAME_WAY,
    LaneMap,
    Party,
    Vehicle,
    aside,
    make_vehicle,
    off_lanes,
    on_wrong_side,
    shift,
    towards,
)

WINDOW: Final = 3.0
"""What counts as "long before" a contact, s."""
WANDERING: Final = 0.375
"""Lateral movement that is still normal, m (UN R157)."""
HARD_BRAKING: Final = 5.0
"""Deceleration that others perceive as a risk (UN R157), m/s²."""
FIRST_COME: Final = 1.0
"""Who is this much earlier (s) at a crossing was there first."""
TURNING: Final = np.deg2rad(20.0)
"""Change of heading (rad) that makes a turn, if the other one turns less than half as far."""


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
    a = make_vehicle("ego", own_face, ego, ego_size, opponent, opponent_size, span, dt, lanes)
    b = make_vehicle("opponent", other_face, opponent, opponent_size, ego, ego_size, span, dt, lanes)
    party, kind, reason = _judge(a, b)
    return Fault(party, kind, reason, own_face, other_face)


_Verdict = tuple[Party, str, str]


def _judge(a: Vehicle, b: Vehicle) -> _Verdict:
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


def _against_standing(mover: Vehicle, other: Vehicle) -> _Verdict:
    entered = mover.entered()
    if entered is not None and entered > mover.first and abs(shift(other, mover)) > WANDERING:
        time, needed = mover.room(entered)
        if time < needed:
            return (
                other.name,
                "cut_in",
                f"the {other.name} stopped in the {mover.name}'s path {time:.1f} s ahead of it; "
                f"a competent driver needs {needed:.1f} s",
            )
    return mover.name, "hit_stopped", f"the {mover.name} drove into the {other.name}, which was standing"


def _same_way(a: Vehicle, b: Vehicle) -> _Verdict:
    """One behind the other, or side by side."""
    follower, leader = (a, b) if to_frame(b.state[:2], a.state[:3])[0] > 0 else (b, a)
    if follower.face != "front":
        return _sideways(a, b, "side_swipe", "side by side")
    moved, kept = towards(leader, follower), towards(follower, leader)
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
    if kept > WANDERING and abs(aside(follower, leader)) > (follower.size[1] + leader.size[1]) / 2:
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


def _opposite(a: Vehicle, b: Vehicle) -> _Verdict:
    wrong = [vehicle for vehicle in (a, b) if on_wrong_side(vehicle)]
    if len(wrong) == 1:
        return wrong[0].name, "wrong_side", f"the {wrong[0].name} was on a lane that leads the other way"
    return _turned_across(a, b, 1.5 * TURNING) or _sideways(a, b, "head_on", "going opposite ways")


def _turned_across(a: Vehicle, b: Vehicle, least: float = TURNING) -> _Verdict | None:
    """Whether one turns across the path of the other, which does not; by `least` rad (bends count for little)."""
    for turning, other in ((a, b), (b, a)):
        angle = turning.turn()
        if angle >= least and other.turn() <= angle / 2:
            degrees = np.rad2deg(angle)
            says = f"the {turning.name} turns by {degrees:.0f}° across the {other.name}'s path"
            return turning.name, "turned_across", says
    return None


def _sideways(a: Vehicle, b: Vehicle, kind: str, how: str) -> _Verdict:
    """Whoever left its lane towards the other."""
    moved_a, moved_b = towards(a, b), towards(b, a)
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


def _crossing(a: Vehicle, b: Vehicle) -> _Verdict:
    entering = [vehicle for vehicle in (a, b) if off_lanes(vehicle, vehicle.oldest)]
    if len(entering) == 1:
        return entering[0].name, "entered_road", f"paths cross: the {entering[0].name} came from beside the road"
    stray = [vehicle for vehicle in (a, b) if off_lanes(vehicle, vehicle.before)]
    if len(stray) == 1:
        return stray[0].name, "left_lane", f"paths cross: the {stray[0].name} no longer followed a lane"
    turned = _turned_across(a, b)
    if turned is not None:
        return turned
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

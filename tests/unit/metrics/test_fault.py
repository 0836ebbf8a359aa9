"""Fault on hand-made contacts, with and without a map."""

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.interfaces import Trajectory
from harness.metrics.contact_faces import contact_faces
from harness.metrics.contact_vehicle import make_vehicle, shift
from harness.metrics.fault import Fault, fault
from scenarios.map_index import MapIndex
from tests.scenes import crossing, straight_road
from tests.unit.metrics.encounters import CAR, DT, contact, cut_in, drive


def judge(ego: Trajectory, other: Trajectory, lanes: MapIndex | None = None) -> Fault:
    found = fault(ego, CAR, other, CAR, contact(ego, other), DT, lanes)
    # Swapping the two must swap the verdict.
    swapped = fault(other, CAR, ego, CAR, contact(ego, other), DT, lanes)
    opposite = {"ego": "opponent", "opponent": "ego", "both": "both", "none": "none"}
    assert (swapped.party, swapped.kind) == (opposite[found.party], found.kind)
    assert (swapped.ego_face, swapped.opponent_face) == (found.opponent_face, found.ego_face)
    return found


def turned(trajectory: Trajectory, step: int, angle: float, radius: float) -> Trajectory:
    """From `step` on along an arc of `radius` m (left for positive `angle`, rad), then straight on."""
    states = trajectory.states.copy()
    for row in range(step + 1, len(states)):
        speed = float(np.hypot(*states[row - 1, 3:]))
        left = angle - (states[row - 1, 2] - states[step, 2])
        turn = np.sign(angle) * min(speed * DT / radius, abs(left))
        heading = states[row - 1, 2] + turn
        way = speed * DT * np.array([np.cos(heading - turn / 2), np.sin(heading - turn / 2)])
        states[row] = [*(states[row - 1, :2] + way), heading, speed * np.cos(heading), speed * np.sin(heading)]
    return Trajectory(states, trajectory.valid)


# ---- faces


@pytest.mark.parametrize(
    ("pose", "faces"),
    [
        ((6.0, 0.6, 0.0), ("front", "rear")),
        ((6.0, -0.6, np.pi), ("front", "front")),
        ((6.0, 0.0, np.pi / 2), ("front", "left")),
        ((6.0, 1.9, 0.0), ("front", "rear")),  # 0.1 m of overlap is still a rear-end
    ],
)
def test_faces_when_driving_east(pose: tuple[float, float, float], faces: tuple[str, str]) -> None:
    own = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    other = np.array([pose, pose])
    assert contact_faces(own, CAR, other, CAR)[:2] == faces
    assert contact_faces(other, CAR, own, CAR)[:2] == faces[::-1]


def test_faces_of_a_merging_vehicle() -> None:
    # Coming over by 20° from the left, beside: its right side against the other's left.
    own = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    other = np.array([[1.0, 3.4, -0.35], [2.0, 2.6, -0.35]])
    assert contact_faces(own, CAR, other, CAR)[:2] == ("left", "right")


def test_the_face_that_separates_last_decides() -> None:
    # Coming down on the left side of a car; turned by -143°, it comes with its own left side (normal -53°).
    own = np.zeros((2, 3))
    other = np.array([[2.54, 3.77, -2.5], [2.17, 2.06, -2.5]])
    assert contact_faces(own, CAR, other, CAR)[:2] == ("left", "left")
    assert contact_faces(other, CAR, own, CAR)[:2] == ("left", "left")


# ---- same way


def test_ego_runs_into_a_stopped_vehicle() -> None:
    found = judge(drive(0, 0, 0, 15), drive(60, 0, 0, 0))
    assert (found.party, found.kind) == ("ego", "hit_stopped")
    assert (found.ego_face, found.opponent_face) == ("front", "rear")


def test_rear_end_by_the_opponent() -> None:
    found = judge(drive(0, 0, 0, 10), drive(-30, 0, 0, 20))
    assert (found.party, found.kind) == ("opponent", "rear_end")
    assert (found.ego_face, found.opponent_face) == ("rear", "front")


def test_cut_in_with_and_without_room() -> None:
    # In the path after 1.5 of 3.5 m at 1.75 m/s (earlier, as it is turned): 0.5 or 2.7 s ahead; 10 m/s need 2.1 s.
    without = judge(drive(0, 0, 0, 20), cut_in(28, 10, begin=10))
    assert (without.party, without.kind) == ("opponent", "cut_in")
    with_room = judge(drive(0, 0, 0, 20), cut_in(50, 10, begin=10))
    assert (with_room.party, with_room.kind) == ("ego", "rear_end")
    assert "time enough" in with_room.reason


def test_hard_braking_ahead_is_shared_and_after_a_cut_in_it_is_not() -> None:
    ego = drive(0, 0, 0, 15)
    assert judge(ego, drive(12, 0, 0, 15, braking=(20, 7.0))).kind == "hard_braking"
    assert judge(ego, drive(12, 0, 0, 15, braking=(20, 3.0))).kind == "rear_end"
    checked = cut_in(12, 15, begin=10, duration=1.0)
    braked = drive(12, 0, 0, 15, braking=(24, 8.0))
    checked.states[:, [0, 3]] = braked.states[:, [0, 3]]
    found = judge(ego, checked)
    assert (found.party, found.kind) == ("opponent", "cut_in_and_braked")


def test_moving_over_behind_another_is_the_followers_fault() -> None:
    # The ego changes into the lane of a slower vehicle and strikes it.
    ego, other = cut_in(0, 20, begin=10, duration=1.5), drive(45, 0, 0, 10)
    found = judge(ego, other)
    assert (found.party, found.kind) == ("ego", "rear_end_lane_change")


def test_side_swipe() -> None:
    found = judge(drive(0, 0, 0, 15), cut_in(1.0, 15, begin=10))
    assert (found.party, found.kind) == ("opponent", "side_swipe")
    # Both come over equally.
    left, right = cut_in(0.5, 15, begin=10, y=4.0), cut_in(0.0, 15, begin=10, y=-4.0)
    assert judge(left, right).party == "both"


def test_bend_is_no_lane_change_where_the_map_says_so() -> None:
    # Both in the left turn of the crossing; the opponent, behind and outside, keeps to it: a plain rear-end.
    index = MapIndex.of(crossing())
    ego = turned(drive(-40, 0, 0, 6), 50, np.pi / 2, 10.0)
    other = turned(drive(-49.5, 0, 0, 9), 44, np.pi / 2, 10.0)
    found = judge(ego, other, index)
    assert (found.party, found.kind) == ("opponent", "rear_end")


# ---- opposite ways


def test_head_on_in_the_egos_lane() -> None:
    # Two lanes in the ego's direction: the opponent is on the wrong side whatever it did before.
    index = MapIndex.of(straight_road())
    found = judge(drive(0, 0, 0, 10), drive(80, 0.5, np.pi, 10), index)
    assert (found.party, found.kind) == ("opponent", "wrong_side")
    assert (found.ego_face, found.opponent_face) == ("front", "front")


def test_head_on_without_a_map_blames_who_moved_over() -> None:
    coming = cut_in(0, 10, begin=15, y=-3.5)  # east, from the right to y = 0
    turned_round = coming.states.copy()
    turned_round[:, 0] = 80 - coming.states[:, 0]
    turned_round[:, 1], turned_round[:, 2] = -coming.states[:, 1], coming.states[:, 2] + np.pi
    turned_round[:, 3:] *= -1
    found = judge(drive(0, 0, 0, 10), Trajectory(turned_round, coming.valid))
    assert (found.party, found.kind) == ("opponent", "head_on")
    assert judge(drive(0, 0, 0, 10), drive(80, 0.5, np.pi, 10)).party == "both"


# ---- crossing


def test_crossing_by_the_rules() -> None:
    index = MapIndex.of(crossing())
    # Together at the crossing; the opponent comes from the ego's right.
    same_time = judge(drive(-50, 0, 0, 10), drive(0, -51, np.pi / 2, 10), index)
    assert (same_time.party, same_time.kind) == ("ego", "right_of_way")
    # A slow opponent is in the ego's path for 1.3 s when it is struck.
    early = judge(drive(-50, 0, 0, 10), drive(0, -12.5, np.pi / 2, 2.7), index)
    assert (early.party, early.kind) == ("ego", "entered_late")
    assert (early.ego_face, early.opponent_face) == ("front", "left")


def test_turning_across_and_leaving_the_lanes() -> None:
    ego = drive(-50, 0, 0, 10)
    across = turned(drive(45, 3.5, np.pi, 9), 42, np.pi / 2, 6.0)
    found = judge(ego, across)
    assert (found.party, found.kind) == ("opponent", "turned_across")
    index = MapIndex.of(straight_road())
    veering = turned(drive(5, 3.5, 0, 9), 12, -np.deg2rad(70), 4.0)
    found = judge(drive(0, 0, 0, 10), veering, index)
    assert (found.party, found.kind) == ("opponent", "left_lane")


def test_turning_left_before_an_oncoming_vehicle() -> None:
    # The ego comes straight on from the east; the opponent turns left and is struck by 35° into its turn.
    ego = drive(50, 3.0, np.pi, 10)
    turning = turned(drive(-25, 0, 0, 6), 36, 0.6, 8.0)
    found = judge(ego, turning)
    assert (found.party, found.kind) == ("opponent", "turned_across")


def test_turn_that_is_still_ahead_shows_in_the_lane() -> None:
    # 17° into the left turn of the crossing (0.4 m off the way straight on): the lane goes on to 90°.
    index = MapIndex.of(crossing())
    vehicle, other = turned(drive(-40, 0, 0, 6), 50, np.pi / 2, 10.0), drive(0, 60, -np.pi / 2, 5)
    assert np.rad2deg(vehicle.states[55, 2]) == pytest.approx(17, abs=1)
    span = (30, 55)
    with_map = make_vehicle("ego", "front", vehicle, CAR, other, CAR, span, DT, index)
    assert with_map.turn() > np.deg2rad(80)
    assert abs(shift(with_map, with_map)) < 0.1
    without = make_vehicle("ego", "front", vehicle, CAR, other, CAR, span, DT, None)
    assert without.turn() == pytest.approx(vehicle.states[55, 2])
    # At the mouth of the junction nothing tells a turn from going straight on.
    assert make_vehicle("ego", "front", vehicle, CAR, other, CAR, (26, 51), DT, index).turn() < np.deg2rad(10)


def test_coming_from_beside_the_road() -> None:
    # Out of a driveway onto the right lane of a straight road.
    index = MapIndex.of(straight_road())
    opponent = turned(drive(20, -8, np.pi / 2, 3), 15, -np.deg2rad(30), 6.0)
    ego = drive(-17, 0, 0, 11)
    found = judge(ego, opponent, index)
    assert (found.party, found.kind) == ("opponent", "entered_road")
    assert judge(ego, opponent).kind in ("right_of_way", "turned_across")


def test_nothing_to_judge() -> None:
    ego, other = drive(0, 0, 0, 10), drive(2, 0, 0, 10)
    other.valid[:5] = False
    assert fault(ego, CAR, other, CAR, 5, DT).party == "none"
    with pytest.raises(ConfigError):
        fault(ego, CAR, other, CAR, 200, DT)

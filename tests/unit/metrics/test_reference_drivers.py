"""The reference drivers of UN R157 against their equations, and on encounters beyond the motorway."""

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.interfaces import Trajectory
from harness.metrics.competent_driver import CompetentDriver, competent_driver
from harness.metrics.ego_path import Sighting, ego_path, sightings
from harness.metrics.fuzzy_safety import FuzzyDriver, fuzzy_driver
from harness.metrics.reference_driver import ReferenceDriver, is_ahead, meets
from tests.unit.metrics.encounters import CAR, DT, contact, cut_in, drive

LENGTH = CAR[0]
DRIVERS = {"cc": competent_driver, "fsm": fuzzy_driver}


def cc(ego: Trajectory, other: Trajectory, start: int = 0) -> ReferenceDriver:
    return competent_driver(ego, CAR, other, CAR, DT, contact_step=contact(ego, other), start=start)


def fsm(ego: Trajectory, other: Trajectory, start: int = 0) -> ReferenceDriver:
    return fuzzy_driver(ego, CAR, other, CAR, DT, contact_step=contact(ego, other), start=start)


# ---- equations


def test_needed_distance_by_hand() -> None:
    # 10 m/s: reaction 11.5 m, ramp 6 - 12.655 · 0.6³/6 = 5.544 m, then (10 - 2.278)² / (2 · 7.593) = 3.927 m.
    model = CompetentDriver()
    assert model.reaction == pytest.approx(1.15)
    assert model.needed_distance(10.0) == pytest.approx(11.5 + 5.544 + 3.927, abs=0.002)
    assert model.needed_time(10.0) == pytest.approx(2.097, abs=0.001)
    # 1 m/s is lost within the ramp: 1.15 + t - jerk t³ / 6 with t = sqrt(2 / 12.655) = 0.3975 s.
    assert model.needed_distance(1.0) == pytest.approx(1.15 + 0.3975 - 12.655 * 0.3975**3 / 6, abs=1e-3)
    assert model.needed_distance(-3.0) == 0.0


def test_proactive_metric_by_hand() -> None:
    # 20 behind 10 m/s: safe 15 + 50 - 7.143 + 2 = 59.857 m, unsafe 15 + 33.333 - 7.143 = 41.190 m, both plus 2 m.
    model = FuzzyDriver()
    assert model.proactive(61.9, 20, 10) == 0.0
    assert model.proactive(52.524, 20, 10) == pytest.approx(0.5, abs=1e-3)
    assert model.proactive(43.1, 20, 10) == 1.0
    # Oncoming: the other's 7.143 m come on top.
    assert model.proactive(52.524 + 2 * 7.143, 20, -10) == pytest.approx(0.5, abs=1e-3)


def test_critical_metric_by_hand() -> None:
    model = FuzzyDriver()
    # 10 m/s faster: 7.5 + 100/8 = 20 m is safe, 7.5 + 100/12 = 15.833 m is not.
    assert model.critical(20.0, 20, 10, 0.0) == 0.0
    assert model.critical(17.917, 20, 10, 0.0) == pytest.approx(0.5, abs=1e-3)
    assert model.critical(15.8, 20, 10, 0.0) == 1.0
    # Braking with 5 (4 count): (20 - 1.5 - 10) 0.75 + 49/8 = 12.5 m.
    assert model.critical(12.5, 20, 10, -5.0) == 0.0
    assert model.critical(12.49, 20, 10, -5.0) > 0.0
    # Slower than the vehicle ahead within the reaction time: 1²/8 m.
    assert [model.critical(gap, 11, 10, -4.0) for gap in (0.13, 0.12)] == [0.0, 1.0]
    assert model.critical(0.1, 10, 12, 0.0) == 0.0


def test_braking_of_the_fuzzy_driver() -> None:
    model = FuzzyDriver()
    assert model.braking(0.5, 0.0) == 2.0
    assert model.braking(1.0, 0.5) == 5.0
    assert model.braking(1.0, 1.0) == 6.0


# ---- cut-ins on a straight lane


@pytest.mark.parametrize(("gap", "prevented"), [(20.5, False), (20.8, False), (21.15, True), (21.6, True)])
def test_cc_boundary_of_a_cut_in(gap: float, prevented: bool) -> None:
    # 20 m/s behind 10 m/s: 20.97 m at perception decide. 3.5 m within 2 s: 0.375 m are passed 0.3 s after step 10.
    ego, other = drive(0, 0, 0, 20), cut_in(gap + LENGTH + 13 * DT * 10, 10, begin=10)
    other.states[:, 2] = 0.0  # a turned box would be longer along the lane
    found = cc(ego, other)
    assert found.perceived_step == 13
    assert found.braking_step == 25
    assert found.kind == "cut-in"
    assert found.prevented is prevented


def test_cc_brakes_as_the_regulation_says() -> None:
    ego, other = drive(0, 0, 0, 20), cut_in(21.0 + LENGTH + 13, 10, begin=10)
    found = cc(ego, other)
    speed = found.trajectory.states[:, 3]
    # Perceived at 1.3 s; brakes from 2.45 s; full at 3.05 s, by when 2.278 m/s are lost.
    assert speed[24] == 20.0
    assert speed[25] == pytest.approx(20 - 12.655 * 0.05**2 / 2, abs=1e-4)
    assert np.interp(30.5, np.arange(len(speed)), speed) == pytest.approx(20 - 2.278, abs=0.02)
    assert (speed[40] - speed[41]) / DT == pytest.approx(7.593, abs=1e-3)
    assert speed[-1] == 0.0
    travelled = np.diff(found.trajectory.states[:, 0])
    np.testing.assert_allclose(travelled, (speed[1:] + speed[:-1]) / 2 * DT, atol=6e-3)


def test_cc_wandering_is_no_cut_in() -> None:
    # 0.3 m towards the ego is normal, whatever the distance.
    ego, other = drive(0, 0, 0, 20), cut_in(30, 10, begin=10, y=3.5)
    other.states[:, 1] = np.maximum(other.states[:, 1], 3.2)
    path = ego_path(ego, 0, 40)
    assert sightings(path, CAR, other.states, other.valid, CAR)[40].beside == pytest.approx(1.2)
    assert competent_driver(ego, CAR, other, CAR, DT, contact_step=40).perceived_step is None


def test_the_fuzzy_driver_anticipates() -> None:
    # A slow vehicle far ahead in the lane: the FSM brakes early and gently, the CC driver late and fully.
    ego, other = drive(0, 0, 0, 20), drive(110, 0, 0, 2)
    early, late = fsm(ego, other), cc(ego, other)
    assert early.prevented
    assert late.prevented
    assert early.braking_step + 10 < late.braking_step
    gentle = -np.diff(early.trajectory.states[:, 3]).min() / DT
    hard = -np.diff(late.trajectory.states[:, 3]).min() / DT
    assert gentle < 5.0
    assert hard > 7.0


def test_fuzzy_driver_reacts_after_three_quarters_of_a_second() -> None:
    ego, other = drive(0, 0, 0, 20), drive(70, 0, 0, 10)  # gap 65.5 m: unsafe below 61.857 m
    found = fsm(ego, other)
    assert found.perceived_step == 4
    assert found.braking_step == 4 + 8
    assert found.prevented


@pytest.mark.parametrize("name", DRIVERS)
def test_cut_in_without_room_is_not_preventable(name: str) -> None:
    ego, other = drive(0, 0, 0, 20), cut_in(17, 10, begin=10, duration=1.0)
    found = DRIVERS[name](ego, CAR, other, CAR, DT, contact_step=contact(ego, other))
    assert not found.prevented
    assert found.contact_step is not None
    assert found.contact_speed > 10.0


# ---- beyond cut-ins


@pytest.mark.parametrize("name", DRIVERS)
def test_stopped_vehicle_in_the_lane(name: str) -> None:
    ego, other = drive(0, 0, 0, 15), drive(80, 0, 0, 0)
    found = DRIVERS[name](ego, CAR, other, CAR, DT, contact_step=contact(ego, other))
    assert found.prevented
    assert found.kind == "lead"
    late = DRIVERS[name](ego, CAR, other, CAR, DT, contact_step=contact(ego, other), start=40)
    assert not late.prevented


@pytest.mark.parametrize("name", DRIVERS)
def test_rear_end_by_the_opponent_is_not_preventable_by_braking(name: str) -> None:
    ego, other = drive(0, 0, 0, 10), drive(-30, 0, 0, 20)
    found = DRIVERS[name](ego, CAR, other, CAR, DT, contact_step=contact(ego, other))
    assert not found.prevented
    assert found.perceived_step is None
    assert found.kind == "none"


@pytest.mark.parametrize("name", DRIVERS)
def test_head_on_is_perceived_but_not_preventable(name: str) -> None:
    ego, other = drive(0, 0, 0, 10), drive(100, 0, np.pi, 10)
    found = DRIVERS[name](ego, CAR, other, CAR, DT, contact_step=contact(ego, other))
    assert found.kind == "oncoming"
    assert not found.prevented
    assert found.contact_speed == pytest.approx(0.0, abs=1e-9)  # it stands by then, and is run into


@pytest.mark.parametrize("name", DRIVERS)
def test_crossing_vehicle(name: str) -> None:
    # Meets the ego's path at x = 60 when the ego gets there; the corridor is free again once it has passed.
    ego, other = drive(0, 0, 0, 12), drive(60, -28, np.pi / 2, 6)
    found = DRIVERS[name](ego, CAR, other, CAR, DT, contact_step=contact(ego, other))
    assert found.kind == "crossing"
    assert found.prevented
    # It comes out only 0.6 s before: nobody can react.
    sudden = Trajectory(other.states, np.arange(91) >= contact(ego, other) - 6)
    assert not DRIVERS[name](ego, CAR, sudden, CAR, DT, contact_step=contact(ego, other)).prevented


def test_vehicle_that_passes_in_time_is_no_conflict() -> None:
    ego, early = drive(0, 0, 0, 12), drive(60, -10, np.pi / 2, 10)
    for driver in DRIVERS.values():
        found = driver(ego, CAR, early, CAR, DT, contact_step=60)
        assert found.perceived_step is None
        assert found.prevented


def seen_at(x: float, y: float, heading: float, speed: float) -> Sighting:
    """A vehicle seen by an ego at x = 0 on a path along +x."""
    path = ego_path(drive(0, 0, 0, 10), 0, 5)
    other = drive(x, y, heading, speed)
    found = sightings(path, CAR, other.states[:1], other.valid[:1], CAR)[0]
    assert found is not None
    return found


def test_where_a_vehicle_is_on_the_path() -> None:
    start = float(ego_path(drive(0, 0, 0, 10), 0, 5).stations[0])
    behind, ahead = seen_at(-30, 0, 0, 10), seen_at(30, 3.0, np.pi, 8)
    assert (behind.rear - start, behind.centre - start) == pytest.approx((-32.25, -30.0))
    assert not is_ahead(behind, start)
    assert (ahead.rear - start, ahead.along, ahead.beside) == pytest.approx((27.75, -8.0, 1.0))
    assert ahead.direction == "oncoming"


def test_rule_of_meeting() -> None:
    start = float(ego_path(drive(0, 0, 0, 10), 0, 5).stations[0])
    # Crossing at x = 30: the ego's front is at its near side after 2.675 s, its rear at the far side after 3.325 s.
    # The vehicle's front is 2.25 m ahead of its centre; the corridor begins at y = -1.
    for distance, expected in ((3.25 + 3.4 * 5, True), (3.25 + 3.45 * 5, False), (3.25 + 2.0 * 5, True)):
        assert meets(seen_at(30, -distance, np.pi / 2, 5), start, 10.0, CAR) is expected
    # Within the corridor it has 1 + 2.25 - y metres to go: at 5 m/s from y = 1 on it is out after 0.45 s.
    assert not meets(seen_at(30, 1.0, np.pi / 2, 5), start, 10.0, CAR)
    assert meets(seen_at(30, 1.0, np.pi / 2, 0.7), start, 10.0, CAR)
    assert meets(seen_at(30, 1.0, np.pi / 2, 0.0), start, 10.0, CAR)
    # Moving away never meets; coming over faster than the ego only from alongside.
    assert not meets(seen_at(30, -5.0, -np.pi / 2, 5), start, 10.0, CAR)
    assert meets(seen_at(2, 3.0, -0.1, 15), start, 10.0, CAR)
    assert not meets(seen_at(12, 3.0, -0.1, 15), start, 10.0, CAR)


def test_hard_braking_ahead_is_perceived_at_once() -> None:
    # 15 m behind at equal speed: hard braking (6 m/s²) at step 20 is a risk though nothing closes yet.
    ego, other = drive(0, 0, 0, 15), drive(19.5, 0, 0, 15, braking=(20, 6.0))
    assert cc(ego, other).perceived_step == 21
    soft = drive(19.5, 0, 0, 15, braking=(20, 3.0))
    assert cc(ego, soft).perceived_step > 23


def test_path_follows_the_ego_through_a_bend() -> None:
    # Quarter circle of 30 m: a vehicle on the arc is inside the corridor, one straight on is not.
    angle = np.arange(60) * DT * 10 / 30
    states = np.column_stack(
        [30 * np.sin(angle), 30 - 30 * np.cos(angle), angle, 10 * np.cos(angle), 10 * np.sin(angle)]
    )
    path = ego_path(Trajectory(states, np.ones(60, bool)), 0, 60)
    np.testing.assert_allclose(np.diff(path.stations), 1.0, atol=0.01)
    on_arc = np.array([[30 * np.sin(1.0), 30 - 30 * np.cos(1.0), 1.0, 5 * np.cos(1.0), 5 * np.sin(1.0)]])
    seen = sightings(path, CAR, on_arc, np.ones(1, bool), CAR)[0]
    assert seen.inside
    assert seen.direction == "same"
    assert seen.centre - path.stations[0] == pytest.approx(30.0, abs=0.05)
    assert seen.along == pytest.approx(5.0, abs=0.05)
    straight = np.array([[25.0, 0.0, 0.0, 5.0, 0.0]])
    assert sightings(path, CAR, straight, np.ones(1, bool), CAR)[0].beside > 4.0


def test_standing_ego_and_invalid_ego() -> None:
    ego, other = drive(0, 0, 0, 0), drive(-20, 0, 0, 10)
    found = cc(ego, other)
    assert not found.prevented
    assert (found.trajectory.states[found.trajectory.valid][:, 0] == 0).all()
    ego.valid[3] = False
    with pytest.raises(ConfigError):
        competent_driver(ego, CAR, other, CAR, DT, contact_step=10)

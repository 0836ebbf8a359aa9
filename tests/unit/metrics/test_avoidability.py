"""Avoidability on scenes where the last moment can be worked out by hand."""

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.interfaces import Trajectory
from harness.metrics.avoidability import Avoidability, avoidability, visible_step
from harness.metrics.collision import first_overlap
from harness.metrics.competent_driver import competent_driver
from harness.metrics.compliance import off_road_steps
from harness.metrics.obstacles import extended
from harness.metrics.vehicle_model import EgoLimits
from tests.unit.metrics.encounters import CAR, DT, STEPS, contact, cut_in, drive, road

ONE_LANE, TWO_LANES = road(), road(left=5.5)


def judge(ego: Trajectory, *others: Trajectory, visible: int = 5, edges: np.ndarray | None = ONE_LANE) -> Avoidability:
    states, valid = np.stack([o.states for o in others]), np.stack([o.valid for o in others])
    sizes = np.array([CAR] * len(others))
    return avoidability(ego, CAR, states, valid, sizes, contact(ego, others[0]), visible, DT, edges)


def test_stopped_vehicle_until_braking_distance_is_gone() -> None:
    # Braking to 0.85 g within 0.6 s from 15 m/s takes 8.50 m of ramp, then 12.50² / (2 · 8.34) = 9.37 m: 17.87 m.
    # The gap is 55.5 - 1.5 k after k steps: 18.0 m at k = 25, 16.5 m at k = 26. Contact at step 37.
    found = judge(drive(0, 0, 0, 15), drive(60, 0, 0, 0))
    assert found.avoidable
    assert found.contact_step == 37
    assert found.unavoidable_from_step == 26
    assert found.seconds_before_impact == pytest.approx(1.1)
    assert found.witness_step == 25
    assert found.time_to_react(DT) == pytest.approx(2.0)
    assert "brakes" in found.manoeuvre


def test_too_late_is_unavoidable_but_room_beside_helps() -> None:
    ego, stopped = drive(0, 0, 0, 15), drive(60, 0, 0, 0)
    late = judge(ego, stopped, visible=30)
    assert not late.avoidable
    assert late.unavoidable_from_step is None
    assert late.seconds_before_impact is None
    assert late.witness is None
    assert late.time_to_react(DT) is None
    beside = judge(ego, stopped, visible=30, edges=TWO_LANES)
    assert beside.avoidable
    assert "left" in beside.manoeuvre
    # A car beside the stopped one closes the gap again.
    assert not judge(ego, stopped, drive(59, 3.5, 0, 0), visible=30, edges=TWO_LANES).avoidable


def test_monotone_in_time() -> None:
    ego, stopped = drive(0, 0, 0, 15), drive(60, 0, 0, 0)
    verdicts = [judge(ego, stopped, visible=step).avoidable for step in range(20, 37, 2)]
    assert verdicts == [True] * 3 + [False] * 6


@pytest.mark.parametrize("visible", [5, 20])
def test_head_on_in_the_only_lane_cannot_be_put_off_for_ever(visible: int) -> None:
    assert not judge(drive(0, 0, 0, 10), drive(80, 0, np.pi, 10), visible=visible).avoidable
    assert judge(drive(0, 0, 0, 10), drive(80, 0, np.pi, 10), visible=visible, edges=TWO_LANES).avoidable


def test_rear_end_by_a_faster_opponent_in_the_only_lane() -> None:
    assert not judge(drive(0, 0, 0, 10), drive(-20, 0, 0, 20)).avoidable


def test_cut_in_with_and_without_room() -> None:
    # 20 m/s behind a car of 12 m/s: the relative stop takes 0.6 · 8 - 0.5 + 5.5²/16.7 = 6.1 m.
    with_room = judge(drive(0, 0, 0, 20), cut_in(35, 12, begin=10), visible=12, edges=TWO_LANES)
    assert with_room.avoidable
    without = judge(drive(0, 0, 0, 20), cut_in(14, 12, begin=10, duration=0.5), visible=12, edges=ONE_LANE)
    assert not without.avoidable


def test_witness_is_feasible_and_free() -> None:
    ego, other = drive(0, 0, 0, 15), drive(30, -34.6, np.pi / 2, 15)
    found = judge(ego, other, edges=TWO_LANES)
    assert found.witness is not None
    assert found.witness_step is not None
    limits, witness = EgoLimits(), found.witness
    np.testing.assert_allclose(witness[0], ego.states[found.witness_step], atol=1e-9)
    speed = np.hypot(witness[:, 3], witness[:, 4])
    along, across = np.diff(speed) / DT, np.diff(witness[:, 2]) / DT * speed[:-1]
    assert np.hypot(along, across).max() < limits.friction * 1.05
    assert along.max() < limits.drive + 1e-6
    moving = speed[2:] > 1.0  # coming to a stand, the deceleration ends at once
    assert np.abs(np.diff(along))[moving].max() / DT < limits.jerk * 1.05
    np.testing.assert_allclose(
        np.hypot(*np.diff(witness[:, :2], axis=0).T), (speed[1:] + speed[:-1]) / 2 * DT, atol=0.01
    )
    steps = np.arange(found.witness_step, found.witness_step + len(witness))
    assert steps[-1] >= found.contact_step + 40
    there, present = extended(other.states[None], other.valid[None], steps[-1] + 1, DT)
    free = first_overlap(witness, np.ones(len(witness), bool), CAR, there[0, steps], present[0, steps], CAR)
    assert free == -1
    assert not off_road_steps(_Walls(), witness, np.ones(len(witness), bool), (4.0, 1.6)).any()


class _Walls:
    """Road edges at y = -2 and 5.5, for `off_road_steps`."""

    def boxes_cross_edges(self, poses: np.ndarray, size: tuple[float, float]) -> np.ndarray:
        half = size[0] / 2 * np.abs(np.sin(poses[:, 2])) + size[1] / 2 * np.abs(np.cos(poses[:, 2]))
        return (poses[:, 1] + half > 5.5) | (poses[:, 1] - half < -2.0)


def test_what_the_ego_itself_drove_over_is_no_wall() -> None:
    # A segment across the lane that the recorded ego crossed (a mapping error) is where a braking ego comes to a stand.
    ego, stopped = drive(0, 0, 0, 15), drive(60, 0, 0, 0)
    across = np.array([[[45.0, -1.5], [45.0, 1.5]]])
    assert judge(ego, stopped, edges=np.concatenate([ONE_LANE, across])).unavoidable_from_step == 26
    # A parked car drawn into the ego is left out too; the one it hits is not.
    parked = drive(45, 1.5, 0, 0)
    assert judge(ego, stopped, parked).unavoidable_from_step == 26


def test_deterministic_and_in_any_frame() -> None:
    ego, other = drive(0, 0, 0, 12), drive(40, 0, 0, 2)
    first, again = judge(ego, other), judge(ego, other)
    assert first.witness is not None
    np.testing.assert_array_equal(first.witness, again.witness)
    turn = 0.7
    cos, sin = np.cos(turn), np.sin(turn)

    def moved(points: np.ndarray) -> np.ndarray:
        return points @ np.array([[cos, sin], [-sin, cos]]) + [9000.0, -4000.0]

    def transformed(trajectory: Trajectory) -> Trajectory:
        states = trajectory.states.copy()
        states[:, :2], states[:, 2] = moved(states[:, :2]), states[:, 2] + turn
        states[:, 3:] = moved(trajectory.states[:, 3:]) - [9000.0, -4000.0]
        return Trajectory(states, trajectory.valid)

    elsewhere = judge(transformed(ego), transformed(other), edges=moved(ONE_LANE))
    assert elsewhere.unavoidable_from_step == first.unavoidable_from_step


def test_recording_that_ends_goes_on_at_constant_velocity() -> None:
    other = drive(40, 0, 0, 2)
    other.valid[30:] = False
    states, present = extended(other.states[None], other.valid[None], 120, DT)
    assert present.all()
    np.testing.assert_allclose(states[0, :91], drive(40, 0, 0, 2).states)
    gone, there = np.stack([other.states] * 2), np.stack([other.valid] * 2)
    there[0, 20:] = False
    assert extended(gone, there, 120, DT)[1].sum(1).tolist() == [20, 120]


def test_needs_a_valid_ego_and_a_visible_attack() -> None:
    ego, other = drive(0, 0, 0, 15), drive(60, 0, 0, 0)
    assert not judge(ego, other, visible=37).avoidable
    ego.valid[20] = False
    with pytest.raises(ConfigError, match="valid in steps 5 to 36"):
        avoidability(ego, CAR, other.states[None], other.valid[None], [CAR], 37, 5)


def test_visible_step_thresholds() -> None:
    log = drive(20, 3.5, 0, 10)
    # 3.5 m within 2 s: 0.375 m sideways is exceeded 0.22 s after step 10; the heading (9.9°) shows at once.
    assert visible_step(log, cut_in(20, 10, begin=10), 0) == 11
    slow_change = cut_in(20, 10, begin=10, duration=8.0)  # 2.5°, 0.44 m/s: 0.375 m after 0.86 s
    assert visible_step(log, slow_change, 0) == 19
    braking = drive(20, 3.5, 0, 10, braking=(30, 4.0))  # 1 m/s is exceeded after 0.3 s
    assert visible_step(log, braking, 0) == 33
    assert visible_step(log, log, 0) is None
    assert visible_step(log, braking, 40) == 40
    absent = Trajectory(log.states, np.arange(STEPS) >= 50)
    assert visible_step(absent, log, 11) == 11
    assert visible_step(log, absent, 11) is None


def test_what_a_competent_driver_prevents_is_avoidable() -> None:
    # Two models that know nothing of each other, on random encounters: braking in time is one of the manoeuvres.
    rng = np.random.default_rng(11)
    prevented = judged = 0
    while judged < 25:
        ego = drive(0, 0, 0, rng.uniform(4, 18))
        heading = rng.choice([0.0, rng.uniform(-np.pi, np.pi)])
        other = drive(rng.uniform(15, 50), rng.uniform(-20, 20) * (heading != 0), heading, rng.uniform(0, 10))
        step = int(first_overlap(ego.states, ego.valid, CAR, other.states, other.valid, CAR))
        if step < 20:
            continue
        judged += 1
        driver = competent_driver(ego, CAR, other, CAR, DT, contact_step=step, start=5)
        found = judge(ego, other, edges=None)
        prevented += driver.prevented
        assert found.avoidable or not driver.prevented
    assert prevented >= 5

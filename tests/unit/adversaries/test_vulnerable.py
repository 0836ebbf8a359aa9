"""`vulnerable`: aims, limits, the prior, and the choice, on scenes that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adversaries.vulnerable.adversary import VulnerableAdversary
from adversaries.vulnerable.motion import Aims, Whereabouts, all_aims, futures, log_density, turn_rate
from harness.errors import AdversaryError, ConfigError, UnknownNameError
from harness.interfaces import HEADING, VX, VY, Trajectory
from harness.metrics.collision import first_contact
from harness.metrics.road_users import HABITS, MOTION_LIMITS, MotionLimits, RoadUserHabits
from scenarios.scenario import Kind
from tests.scenes import Agent, kerbside, straight_road
from tests.unit.adversaries.fakes import context, line

LIMITS = MotionLimits(speed=3.0, acceleration=1.0, braking=2.0, lateral=2.0, radius=0.0, yaw_rate=np.pi)
ROUND = LIMITS._replace(radius=4.0)


def one(turn=0.0, speed=0.0, onset=0.0):
    return Aims(np.array([turn]), np.array([speed]), np.array([onset]))


def moved(start, aim, limits=LIMITS, count=30):
    return futures(start, aim, limits, 0.1, count)[0]


def at(intensity, scene, egos=()):
    return replace(context(scene, egos, opponent=scene.opponent), intensity=intensity)


# ---- motion


def test_who_stands_speeds_up_evenly_and_then_keeps_the_speed() -> None:
    states = moved(Whereabouts(2.0, 1.0, np.pi / 2, 0.0), one(speed=1.0))
    # 1 m/s² for a second: half a metre; then a metre a second.
    np.testing.assert_allclose(states[9], [2.0, 1.5, np.pi / 2, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(states[29, :2], [2.0, 3.5], atol=1e-12)


def test_braking_has_its_own_limit() -> None:
    states = moved(Whereabouts(0.0, 0.0, 0.0, 3.0), one(speed=1.0), count=20)
    assert states[9, VX] == pytest.approx(1.0)
    assert states[8, VX] == pytest.approx(1.2)
    assert states[9, 0] == pytest.approx(2.0)


def test_nothing_changes_before_the_onset() -> None:
    states = moved(Whereabouts(0.0, 0.0, 0.0, 2.0), one(turn=np.pi / 2, speed=0.0, onset=0.3), count=4)
    np.testing.assert_allclose(states[:3], [[0.2 * step, 0.0, 0.0, 2.0, 0.0] for step in (1, 2, 3)], atol=1e-12)
    assert 0 < states[3, HEADING] < np.pi / 2
    assert np.hypot(*states[3, VX:]) == pytest.approx(1.8)


def test_lateral_acceleration_bounds_the_turn() -> None:
    # At a constant 2 m/s, 2 m/s² allow 1 rad/s: a quarter turn in 1.6 s, on a circle of 2 m.
    states = moved(Whereabouts(0.0, 0.0, 0.0, 2.0), one(turn=np.pi / 2, speed=2.0), count=30)
    np.testing.assert_allclose(states[:15, HEADING], 0.1 * np.arange(1, 16), atol=1e-12)
    np.testing.assert_allclose(states[9, :2], [2 * np.sin(1.0), 2 * (1 - np.cos(1.0))], atol=2e-3)
    np.testing.assert_allclose(states[16:, HEADING], np.pi / 2, atol=1e-12)


def test_on_foot_one_turns_on_the_spot_and_on_wheels_one_does_not() -> None:
    start, aim = Whereabouts(0.0, 0.0, 0.0, 0.0), one(turn=np.pi)
    assert abs(moved(start, aim)[9, HEADING]) == pytest.approx(np.pi)
    np.testing.assert_array_equal(moved(start, aim, ROUND)[:, HEADING], 0.0)
    rate = turn_rate(np.array([[1.0, 8.0], [1.0, 8.0]]), ROUND)
    np.testing.assert_allclose(rate, [1.0 / 4.0, 2.0 / 8.0])
    assert turn_rate(np.array([[1.0], [8.0]]), ROUND) == pytest.approx(0.25)


def test_every_combination_of_aims() -> None:
    aims = all_aims(np.array([0.0, 1.0]), np.array([2.0, 3.0, 4.0]), np.array([0.0, 5.0]))
    assert {tuple(row) for row in np.column_stack(aims).tolist()} == {
        (turn, speed, onset) for turn in (0.0, 1.0) for speed in (2.0, 3.0, 4.0) for onset in (0.0, 5.0)
    }
    assert len(aims.turn) == 12


# ---- prior


def test_the_prior_in_numbers() -> None:
    habits, start = RoadUserHabits(speed=1.0, speed_spread=0.5, direction_spread=0.4), Whereabouts(0.0, 0.0, 0.0, 1.0)

    def value(aim, moving=True, start=start):
        return log_density(aim, start, moving, habits)[0]

    assert value(one(speed=1.0)) == pytest.approx(0.0)
    assert value(one(speed=1.5)) == pytest.approx(-0.5)
    assert value(one(turn=-0.8, speed=1.0)) == pytest.approx(-2.0)
    assert value(one(turn=-0.8, speed=1.0), moving=False) == pytest.approx(0.0), "who stands may set off anywhere"
    # Half keeps standing, half walks as people do; each is two spreads from the other.
    stands = start._replace(speed=0.0)
    for speed in (0.0, 1.0):
        assert value(one(speed=speed), False, stands) == pytest.approx(np.log(0.5 + 0.5 * np.exp(-2.0)))
    assert value(one(speed=1.0, onset=3.0)) == value(one(speed=1.0))


def test_limits_and_habits_are_those_of_the_sources() -> None:
    walker, rider = MOTION_LIMITS[Kind.PEDESTRIAN], MOTION_LIMITS[Kind.CYCLIST]
    assert walker.speed == 2.533
    assert walker.acceleration == walker.lateral == pytest.approx(0.23 * 9.81)
    assert rider.speed == pytest.approx(30 / 3.6)
    assert rider.yaw_rate == pytest.approx(rider.lateral / np.sqrt(rider.lateral * rider.radius))
    for kind, habits in HABITS.items():
        assert habits.speed + habits.speed_spread < MOTION_LIMITS[kind].speed


# ---- choice


@pytest.mark.parametrize("scene", [kerbside(), kerbside(origin=(2e4, -3e4), rotation=2.0)])
def test_it_steps_in_the_egos_way(scene) -> None:
    plan = VulnerableAdversary().plan(at(1.0, scene))
    box, ego = scene.box(scene.opponent), scene.box(0)
    hit = int(first_contact(plan.states, plan.valid, box, scene.states(0), scene.valid[0], ego, 11))
    assert hit == plan.info["expected_step"]
    # The ego reaches x = 40 - 2.25 - 0.4 m at step 37, and goes on to 40 + 2.65 at step 42; somebody who walks towards
    # it is met before, as far as 2.5 m/s for 2.6 s carry.
    assert 31 <= hit <= 43
    assert plan.info["meets_others"] is False
    assert plan.scores["reward"][0] == pytest.approx(10 * (1 - (hit - 10) / 80))


def test_without_intensity_it_goes_on() -> None:
    standing = VulnerableAdversary().plan(at(0.0, kerbside()))
    np.testing.assert_allclose(standing.states[11:, :2], [[40.0, -6.0]] * 80, atol=1e-9)
    assert standing.info["turn"] == 0.0
    walking = kerbside(heading=0.0, speed=1.36)
    plan = VulnerableAdversary().plan(at(0.0, walking))
    np.testing.assert_allclose(plan.states[:, :2], walking.states(walking.opponent)[:, :2], atol=1e-9)


@pytest.mark.parametrize("kind", [Kind.PEDESTRIAN, Kind.CYCLIST])
def test_more_intensity_is_more_danger_and_less_plausible(kind) -> None:
    scene = kerbside(kind=kind, speed=1.3, heading=0.3)
    plans = [VulnerableAdversary().plan(at(value, scene)) for value in (0.0, 0.3, 0.6, 0.9, 1.0)]
    for name, sign in (("reward", 1), ("log_prob", -1)):
        values = np.array([plan.scores[name][0] for plan in plans])
        assert (sign * np.diff(values) >= -1e-9).all()
        assert sign * (values[-1] - values[0]) > 1.0
    for plan, value in zip(plans, (0.0, 0.3, 0.6, 0.9, 1.0), strict=True):
        score = value * plan.scores["reward"] + (1 - value) * plan.scores["log_prob"]
        np.testing.assert_allclose(plan.scores["score"], score)
        assert (np.diff(plan.scores["score"]) <= 1e-12).all()


@pytest.mark.parametrize("kind", [Kind.PEDESTRIAN, Kind.CYCLIST])
def test_plans_keep_the_limits_of_the_kind(kind) -> None:
    limits = MOTION_LIMITS[kind]
    for y, heading in ((-6.0, 1.0), (-3.0, 3.0), (8.0, -2.0)):
        plan = VulnerableAdversary().plan(at(1.0, kerbside(kind=kind, y=y, heading=heading, speed=1.0)))
        future = plan.candidates[:, 10:, :]
        speed = np.hypot(future[..., VX], future[..., VY])
        gain = np.diff(speed, axis=-1) / 0.1
        yaw = np.abs(np.diff(np.unwrap(future[..., HEADING], axis=-1), axis=-1)) / 0.1
        assert speed.max() <= limits.speed + 1e-9
        assert gain.max() <= limits.acceleration + 1e-9
        assert -gain.min() <= limits.braking + 1e-9
        assert yaw.max() <= limits.yaw_rate + 1e-9
        assert (yaw * speed[:, 1:]).max() <= limits.lateral + 1e-9


def test_others_are_in_the_way_and_companions_are_not() -> None:
    open_way = VulnerableAdversary().plan(at(1.0, kerbside()))
    meets = int(open_way.info["expected_step"])
    place = open_way.states[(meets + 11) // 2, :2]
    wall = kerbside(extra=[Agent("parked", float(place[0]), float(place[1]), 0.0, 0.0, size=(1.0, 1.0, 1.5))])
    plan = VulnerableAdversary().plan(at(1.0, wall))
    box = wall.box(wall.opponent)
    hits = first_contact(plan.states, plan.valid, box, wall.states(2), wall.valid[2], wall.box(2), 11)
    assert hits == -1
    assert plan.info["meets_others"] is False
    assert not np.allclose(plan.states, open_way.states)
    friend = Agent("friend", 40.5, -6.0, 1.0, 0.0, Kind.PEDESTRIAN, (0.8, 0.8, 1.75))
    beside = VulnerableAdversary().plan(at(1.0, kerbside(extra=[friend])))
    np.testing.assert_allclose(beside.states, open_way.states)
    assert beside.info["meets_others"] is False
    crowd = [
        replace(friend, id=f"{x} {y}", x=40.0 + x, y=y - 6.0) for x in (-1.0, 0, 1.0) for y in (-1.0, 0, 1.0) if x or y
    ]
    # At 3 m/s it cannot stop within the 20 cm that it has.
    shut_in = VulnerableAdversary().plan(at(1.0, kerbside(y=-9.0, speed=3.0, extra=crowd)))
    assert shut_in.info["meets_others"] is True


def test_an_ego_that_stands_is_not_run_into() -> None:
    scene = kerbside(x=3.0, y=-4.0)
    waiting = Trajectory(line(0.0, 0.0, 0.0, 0.0), np.ones(91, dtype=bool))
    plan = VulnerableAdversary().plan(at(1.0, scene, [waiting]))
    assert plan.info["expects_contact"] is False
    assert plan.scores["reward"][0] < 1.0
    # The same place against an ego that comes by.
    assert VulnerableAdversary().plan(at(1.0, kerbside(x=30.0, y=-4.0))).info["expects_contact"]


def test_every_recent_drive_counts() -> None:
    scene = kerbside()
    drives = [Trajectory(line(x, 0.0, 0.0, 10.0), np.ones(91, dtype=bool)) for x in (0.0, 0.0, -400.0)]
    plan = VulnerableAdversary().plan(at(1.0, scene, drives))
    alone = VulnerableAdversary().plan(at(1.0, scene))
    np.testing.assert_allclose(plan.states, alone.states)
    assert plan.scores["reward"][0] == pytest.approx(alone.scores["reward"][0] * 2 / 3, abs=1e-6)


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(AdversaryError, match=r"the opponent is a vehicle.*--opponent vulnerable"):
        VulnerableAdversary().plan(at(1.0, straight_road()))
    with pytest.raises(ConfigError, match="candidates >= 1"):
        VulnerableAdversary(candidates=0)
    with pytest.raises(UnknownNameError):
        VulnerableAdversary("whatever")
    assert len(VulnerableAdversary(candidates=3).plan(at(1.0, kerbside())).candidates) == 3

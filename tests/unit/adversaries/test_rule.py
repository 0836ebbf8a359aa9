"""The Bézier attack, corrected and as written."""

import numpy as np
import pytest

from adversaries.none import NoAdversary
from adversaries.rule import RuleAdversary
from harness.errors import AdversaryError
from harness.interfaces import Trajectory
from harness.metrics.collision import first_overlap
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.fakes import context, line, log_of

ALL = np.ones(91, dtype=bool)


def test_none_leaves_the_scene_alone() -> None:
    assert NoAdversary().plan(context(straight_road())) is None


@pytest.mark.parametrize("protocol", ["corrected", "as-published"])
@pytest.mark.parametrize("scene", [straight_road(), crossing(), straight_road(origin=(2e4, -3e4), rotation=2.0)])
def test_it_always_meets_the_ego_that_it_was_built_for(protocol: str, scene) -> None:
    plan = RuleAdversary(protocol).plan(context(scene))
    size = scene.box(1)
    hit = first_overlap(plan.states, plan.valid, size, scene.states(0), scene.valid[0], size, 11)
    assert 11 <= hit <= plan.info["meeting_step"]


def test_corrected_rows_coincide_with_the_ego_from_the_meeting_on() -> None:
    scene = crossing()
    plan = RuleAdversary().plan(context(scene))
    meeting = plan.info["meeting_step"]
    assert meeting == 11 + 60
    np.testing.assert_allclose(plan.states[meeting:], scene.states(0)[meeting:], atol=1e-9)
    assert plan.valid.all()
    np.testing.assert_array_equal(plan.states[:11], scene.states(1)[:11])


def test_published_rows_run_one_step_ahead_of_the_ego() -> None:
    scene = crossing()
    plan = RuleAdversary("as-published").plan(context(scene))
    # 11 of history, 60 of the curve, ego rows 61 … 79 of 80: 90 rows.
    assert plan.valid.sum() == 90
    assert not plan.valid[90]
    np.testing.assert_allclose(plan.states[71:90, :2], scene.states(0)[72:91, :2])
    np.testing.assert_allclose(plan.states[11, :2], scene.states(1)[11, :2])
    # The last point of the curve is the ego's place of one step later.
    np.testing.assert_allclose(plan.states[70, :2], scene.states(0)[71, :2])


def test_corrected_motion_is_smooth_and_consistent() -> None:
    scene = crossing(opponent_delay=1.0)
    plan = RuleAdversary().plan(context(scene))
    moved = np.diff(plan.states[:, :2], axis=0) / 0.1
    mean_velocity = (plan.states[1:, 3:] + plan.states[:-1, 3:]) / 2
    assert np.abs(moved - mean_velocity).max() < 0.5
    speed = np.hypot(*plan.states[:, 3:].T)
    assert np.abs(np.diff(speed)).max() < 1.0  # under 10 m/s² at every step, the seams included
    travel = np.arctan2(moved[:, 1], moved[:, 0])
    off = (travel - plan.states[1:, 2] + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(off).max() < 0.1


def test_the_newest_trajectory_is_the_target() -> None:
    scene = straight_road()
    old, new = log_of(scene, 0), Trajectory(line(0, 0, 0, 4), ALL)
    plan = RuleAdversary().plan(context(scene, [old, new]))
    np.testing.assert_allclose(plan.states[-1, :2], [4 * 9.0, 0.0], atol=1e-9)


def test_after_a_short_ego_trajectory_the_opponent_brakes_in_line() -> None:
    scene = straight_road()
    plan = RuleAdversary().plan(context(scene, [log_of(scene, 0, until=40)]))
    assert plan.valid.all()
    assert plan.info["meeting_step"] == 11 + 22
    np.testing.assert_allclose(plan.states[40, :2], [40.0, 0.0], atol=1e-9)
    # From 10 m/s at 4 m/s²: 2.5 s and 12.5 m.
    np.testing.assert_allclose(plan.states[-1], [52.5, 0, 0, 0, 0], atol=1e-9)
    assert plan.states[50, 3] == pytest.approx(6.0)


def test_a_standing_ego_and_a_standing_opponent() -> None:
    scene = straight_road(opponent_speed=0.0)
    standing = Trajectory(line(5, 0, 0, 0), ALL)
    for protocol in ("corrected", "as-published"):
        plan = RuleAdversary(protocol).plan(context(scene, [standing]))
        assert np.isfinite(plan.states).all()
        np.testing.assert_allclose(plan.states[80, :2], [5.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("protocol", ["corrected", "as-published"])
def test_a_late_opponent_with_gaps_never_visits_the_origin(protocol: str) -> None:
    scene = straight_road(opponent_from=6, opponent_to=20, origin=(5000.0, 5000.0))
    plan = RuleAdversary(protocol).plan(context(scene))
    assert not plan.valid[:6].any()
    assert plan.valid[6:90].all()
    assert plan.states[plan.valid, 0].min() > 4900


def test_an_ego_of_three_steps_is_refused() -> None:
    scene = straight_road(steps=14)
    with pytest.raises(AdversaryError, match="at least 4"):
        RuleAdversary().plan(context(scene))


def test_a_fast_opponent_near_the_meeting_place_slows_down_and_never_reverses() -> None:
    # 25 m/s and only a few metres to go in six seconds: a plain cubic would overshoot and come back.
    scene = straight_road(opponent_speed=25.0, opponent_gap=0.0)
    standing = Trajectory(line(35, 3.5, 0, 0), ALL)
    plan = RuleAdversary().plan(context(scene, [standing]))
    x = plan.states[11:, 0]
    assert (np.diff(x) >= -1e-9).all()
    assert x.max() == pytest.approx(35.0)
    # Half-way in time a monotone motion still has some way to go.
    assert x[30] < 34.9

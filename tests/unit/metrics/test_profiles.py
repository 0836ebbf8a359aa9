"""Differences, headings and penalties of tracks with gaps."""

import numpy as np
import pytest

from harness.metrics.profiles import difference, hold, path_headings, profile
from harness.metrics.realism import SOFT_LIMITS, behavioural_penalty, kinematic_penalty, realism_of, soft_excess
from scenarios.scenario import Kind


def wiggle(steps: int = 60) -> np.ndarray:
    time = np.arange(steps) * 0.1
    x, y = 8 * time + np.sin(time), 2 * np.sin(0.7 * time)
    return np.column_stack([x, y, np.arctan2(np.gradient(y), np.gradient(x))])


def test_gradient_is_numpys_on_a_full_track() -> None:
    values = wiggle()[:, 0]
    found, defined = difference(values, np.ones(60, bool), 0.1, "gradient")
    assert defined.all()
    np.testing.assert_allclose(found, np.gradient(values, 0.1, edge_order=2), rtol=1e-12)


@pytest.mark.parametrize("kind", ["backward", "gradient"])
def test_differences_never_reach_across_a_gap(kind: str) -> None:
    values, valid = wiggle()[:, 0].copy(), np.ones(60, bool)
    valid[20:30] = False
    values[20:30] = 1e6
    found, defined = difference(values, valid, 0.1, kind)
    assert not defined[20:30].any()
    assert np.abs(found[defined]).max() < 20
    if kind == "gradient":
        np.testing.assert_allclose(found[30:], np.gradient(values[30:], 0.1, edge_order=2), rtol=1e-9)


def test_invalid_rows_do_not_change_the_penalties() -> None:
    states, valid = wiggle(), np.ones(60, bool)
    padded = np.concatenate([np.zeros((7, 3)), states, np.full((5, 3), np.nan)])
    mask = np.concatenate([np.zeros(7, bool), valid, np.zeros(5, bool)])
    for penalty in (kinematic_penalty, behavioural_penalty):
        for options in ({}, {"differences": "gradient"}, {"differences": "gradient", "headings": "path"}):
            assert penalty(padded, mask, 0.1, **options) == pytest.approx(penalty(states, valid, 0.1, **options))


def test_penalties_are_undefined_rather_than_zero_on_too_few_steps() -> None:
    valid = np.zeros(60, bool)
    valid[5:7] = True
    assert np.isnan(kinematic_penalty(wiggle(), valid))
    assert np.isfinite(behavioural_penalty(wiggle(), valid))
    valid[6] = False
    assert np.isnan(behavioural_penalty(wiggle(), valid))


def test_penalties_are_batched() -> None:
    batch = np.stack([wiggle(), wiggle()[::-1], wiggle() * 2.0])
    found = kinematic_penalty(batch)
    np.testing.assert_allclose(found, [kinematic_penalty(row) for row in batch])


def test_headings_that_wrap_cost_nothing() -> None:
    # Heading passes from +pi to -pi on a gentle bend: no yaw rate of 60 rad/s may appear.
    angle = np.pi - 0.2 + np.arange(41) * 0.01
    wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
    states = np.column_stack([np.cumsum(np.cos(angle)), np.cumsum(np.sin(angle)), wrapped])
    assert np.abs(profile(states, np.ones(41, bool), 0.1).yaw_rate).max() == pytest.approx(0.1)


def test_path_headings_follow_the_path_and_stop_pointing_east() -> None:
    north = np.column_stack([np.zeros(20), np.arange(20.0)])
    north[10:] = north[10]
    found = path_headings(north, np.ones(20, bool))
    np.testing.assert_allclose(found[:8], np.pi / 2)
    np.testing.assert_allclose(found[12:], 0.0, atol=1e-12)
    # The average over five steps: 90° × 4/5, 3/5, ... around the stop.
    np.testing.assert_allclose(found[8:12], np.pi / 2 * np.array([0.8, 0.6, 0.4, 0.2]), atol=1e-12)


def test_path_headings_unwrap_only_above_one_and_a_half_pi() -> None:
    angles = np.array([3.1, 3.1, -3.1, -3.1, -3.1, -3.1, -3.1, -3.1])
    path = np.concatenate([[[0, 0]], np.cumsum(np.column_stack([np.cos(angles), np.sin(angles)]), axis=0)])
    found = path_headings(path, np.ones(9, bool))
    assert found[0] == pytest.approx((3.1 * 4 + (2 * np.pi - 3.1)) / 5)
    assert found[-1] == pytest.approx(2 * np.pi - 3.1)


def test_hold_fills_gaps_and_the_beginning() -> None:
    values, valid = np.array([9.0, 1.0, 9.0, 2.0, 9.0]), np.array([False, True, False, True, False])
    np.testing.assert_array_equal(hold(values, valid), [1, 1, 1, 2, 2])


def test_soft_excess_does_not_overflow() -> None:
    assert soft_excess(np.array(5000.0), 7.0) == pytest.approx(4993.0)


def test_road_users_are_judged_by_the_limits_of_their_kind() -> None:
    states = np.zeros((91, 5))
    states[:, 0] = 0.1 * np.arange(91)  # 1 m/s, straight: what is left are the floors.
    valid = np.ones(91, dtype=bool)
    for kind, limits in ((Kind.PEDESTRIAN, (0.23 * 9.81, 0.23 * 9.81, np.pi)), (Kind.VEHICLE, (7.0, 6.0, 0.8))):
        kinematic, _ = realism_of(kind, states, valid, 0.1)
        assert kinematic == pytest.approx(5 * sum(np.log1p(np.exp(-limit)) for limit in limits))
    rider = SOFT_LIMITS[Kind.CYCLIST]
    assert rider == pytest.approx((0.25 * 9.81, 0.36 * 9.81, np.sqrt(0.36 * 9.81 / 3.1)))
    assert realism_of(Kind.CYCLIST, states, valid, 0.1)[0] == kinematic_penalty(states, valid, limits=rider)


def test_turning_on_the_spot_is_held_against_who_rides_and_not_against_who_walks() -> None:
    states = np.zeros((91, 5))
    states[:, 2] = 0.1 * np.arange(91)
    valid = np.ones(91, dtype=bool)
    assert np.isnan(realism_of(Kind.PEDESTRIAN, states, valid, 0.1)[1])
    assert realism_of(Kind.CYCLIST, states, valid, 0.1)[1] == behavioural_penalty(states, valid) > 100

"""Relative tracks, what the scorers foretell, and extrapolation: all worked out by hand."""

import numpy as np
import pytest

from adversaries.common.driving import extrapolate, present_motion
from adversaries.seal.tracks import closeness, deviation, relative_track
from tests.unit.adversaries.fakes import line


def test_the_ego_is_seen_from_the_opponents_seat() -> None:
    ego, opponent = line(0.0, 0.0, 0.0, 10.0), line(20.0, 5.0, np.pi / 2, 0.0)
    seen = np.arange(91) != 3
    track = relative_track(ego, seen, opponent[None], np.ones(91, bool))
    assert track.shape == (1, 91, 3)
    assert track.dtype == np.float32
    # The opponent faces +y: the ego starts 5 m behind it and 20 m to its left, and drives to its right.
    np.testing.assert_allclose(track[0, [0, 30, 90]], [[-5, 20, 1], [-5, -10, 1], [-5, -70, 1]], atol=1e-4)
    np.testing.assert_array_equal(track[0, 3], 0.0)


def test_targets() -> None:
    np.testing.assert_allclose(closeness(np.array([0.0, 8.0, np.inf]), np.zeros(3, bool)), [1, np.exp(-1), 0])
    assert closeness(np.array(5.0), np.array(True)) == 1.0
    went, came = line(0.0, 0.0, 0.0, 10.0), line(0.0, 2.0, 0.0, 10.0)
    assert deviation(went, went, np.ones(91, bool)) == 0.0
    # 2 m aside at four steps: 8 m in all.
    assert deviation(went, came, np.arange(91) < 4) == pytest.approx(1 - np.exp(-1))


def test_an_ego_goes_on_as_it_does() -> None:
    now = line(3.0, -2.0, 0.5, 10.0)[0]
    straight = extrapolate(now, np.array(0.0), np.array(0.0), 20, 0.1)
    np.testing.assert_allclose(straight, line(3.0, -2.0, 0.5, 10.0)[1:21], atol=1e-9)
    # Braking with 5 m/s² from 10 m/s: 10 m in 2 s, then it stands.
    braking = extrapolate(np.array([0.0, 0, 0, 10, 0]), np.array(-5.0), np.array(0.0), 40, 0.1)
    assert braking[19, 0] == pytest.approx(10.0)
    np.testing.assert_allclose(braking[20:], np.broadcast_to(braking[19], (20, 5)), atol=1e-9)
    # A quarter circle of radius 20 m at 10 m/s: π seconds.
    turning = extrapolate(np.array([0.0, 0, 0, 10, 0]), np.array(0.0), np.array(0.5), 32, 0.1)
    radius = np.hypot(turning[:, 0], turning[:, 1] - 20.0)
    np.testing.assert_allclose(radius, 20.0, atol=0.01)


def test_a_car_that_brakes_in_a_bend_does_not_spin_on_the_spot() -> None:
    path = extrapolate(np.array([0.0, 0, 0, 5, 0]), np.array(-5.0), np.array(0.5), 40, 0.1)
    # It covers 2.5 m at a curvature of 0.1 1/m.
    np.testing.assert_allclose(path[20:, 2], 0.25, atol=0.01)


def test_present_motion_is_measured_and_bounded() -> None:
    before, now = np.array([0, 0, 3.1, -10.0, 0]), np.array([0, 0, -3.1, -9.5, 0])
    push, turn = present_motion(before, now, 0.1)
    assert push == pytest.approx(-5.0)
    assert turn == pytest.approx((2 * np.pi - 6.2) / 0.1)
    push, _ = present_motion(now, np.zeros(5), 0.1)
    assert push == -9.0

"""Where others are expected to be: numbers that can be worked out by hand."""

import numpy as np
import pytest

from adversaries.common.forecasts import along_drive, go_on
from harness.interfaces import HEADING, VX, Trajectory
from tests.unit.adversaries.fakes import line

ALL = np.ones(91, bool)


def test_everybody_goes_on_at_the_present_speed_and_turn_rate():
    turning = line(0.0, 0.0, 0.0, 10.0)
    turning[:, HEADING] = 0.02 * np.arange(91)
    turning[:, VX:] = 10.0 * np.stack([np.cos(turning[:, HEADING]), np.sin(turning[:, HEADING])], -1)
    states = np.stack([line(3.0, 1.0, 0.5, 8.0), turning, line(5.0, 5.0, 1.0, 0.0), turning])
    valid = np.ones((4, 91), bool)
    valid[3, :18] = False
    ahead = go_on(states, valid, 20, 30, 0.1)
    np.testing.assert_allclose(ahead[0], states[0, 21:51], atol=1e-9)
    # 0.2 rad/s: 0.6 rad more after 3 s, and none for who has not been seen long enough.
    assert ahead[1, -1, HEADING] == pytest.approx(0.4 + 0.6)
    np.testing.assert_allclose(ahead[2], states[2, 21:51], atol=1e-9)
    assert ahead[3, -1, HEADING] == pytest.approx(0.4)


def test_who_drives_as_before_is_expected_where_it_was():
    drive = Trajectory(line(0.0, 0.0, 0.3, 10.0), ALL)
    np.testing.assert_allclose(along_drive(drive, drive.states[20], 20, 30, 0.1), drive.states[21:51], atol=1e-9)
    # A second late and half a metre beside: the same way from there on, moved.
    late = drive.states[20].copy()
    late[:2] += 0.5 * np.array([-np.sin(0.3), np.cos(0.3)])
    np.testing.assert_allclose(
        along_drive(drive, late, 30, 30, 0.1)[:, :2] - late[:2],
        drive.states[21:51, :2] - drive.states[20, :2],
        atol=1e-9,
    )


def test_the_difference_in_speed_is_kept_and_nobody_goes_backwards():
    drive = Trajectory(line(0.0, 0.0, 0.0, 10.0), ALL)
    slow, still = line(20.0, 0.0, 0.0, 6.0)[0], line(20.0, 0.0, 0.0, 0.0)[0]
    np.testing.assert_allclose(along_drive(drive, slow, 20, 30, 0.1), line(20.0, 0.0, 0.0, 6.0)[1:31], atol=1e-9)
    np.testing.assert_allclose(along_drive(drive, still, 20, 30, 0.1)[:, 0], 20.0)
    # The drive brakes from 10 m/s to a halt within 2 s (10 m); who is 2 m/s slower stops earlier and stays.
    braking = line(0.0, 0.0, 0.0, 10.0)
    speed = np.maximum(10.0 - 0.5 * np.arange(91), 0.0)
    braking[:, VX], braking[1:, 0] = speed, np.cumsum(0.05 * (speed[1:] + speed[:-1]))
    now = braking[0].copy()
    now[VX] = 8.0
    ahead = along_drive(Trajectory(braking, ALL), now, 0, 40, 0.1)
    assert ahead[:16, VX].tolist() == pytest.approx((speed[:16] - 0.25 - 2.0).clip(0).tolist())
    assert (np.diff(ahead[:, 0]) >= 0).all()
    assert ahead[-1, 0] == pytest.approx(sum((speed - 2.25).clip(0)) * 0.1)


def test_the_way_is_the_drives_whatever_the_speed():
    corner = line(0.0, 0.0, 0.0, 10.0)
    corner[31:, 0], corner[31:, 1] = 30.0, np.arange(1, 61)
    corner[31:, HEADING], corner[31:, VX:] = np.pi / 2, [0.0, 10.0]
    ahead = along_drive(Trajectory(corner, ALL), line(20.0, 0.0, 0.0, 5.0)[0], 20, 40, 0.1)
    # 10 m to the corner at 5 m/s take 2 s; 2 s more are 10 m up.
    np.testing.assert_allclose(ahead[19, :2], [30.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(ahead[39, :2], [30.0, 10.0], atol=1e-9)
    np.testing.assert_allclose(ahead[39, HEADING:], [np.pi / 2, 0.0, 5.0], atol=1e-9)


def test_a_drive_that_waits_is_joined_at_the_same_time():
    waiting = line(0.0, 0.0, 0.0, 0.0)
    waiting[50:, 0], waiting[50:, VX] = np.arange(41) * 0.5, 5.0
    ahead = along_drive(Trajectory(waiting, ALL), waiting[30], 30, 40, 0.1)
    np.testing.assert_allclose(ahead[:, 0], waiting[31:71, 0], atol=1e-9)


def test_beyond_a_drives_end_it_goes_straight_on_and_elsewhere_it_says_nothing():
    known = np.arange(91) <= 25
    drive = Trajectory(line(0.0, 0.0, 0.0, 10.0), known)
    np.testing.assert_allclose(along_drive(drive, drive.states[20], 20, 30, 0.1), drive.states[21:51], atol=1e-9)
    assert along_drive(drive, line(20.0, 4.1, 0.0, 10.0)[0], 20, 30, 0.1) is None
    assert along_drive(drive, line(20.0, 0.0, 0.9, 10.0)[0], 20, 30, 0.1) is None
    assert along_drive(Trajectory(drive.states, ~ALL), drive.states[20], 20, 30, 0.1) is None

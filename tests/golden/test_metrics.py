"""Values worked out by hand from the papers' formulas."""

import numpy as np
import pytest

from harness.metrics.adversarial import adversarial_reward
from harness.metrics.collision import AS_PUBLISHED, EVERY_STEP, first_overlap
from harness.metrics.intervals import wilson
from harness.metrics.realism import behavioural_penalty, kinematic_penalty

CAR = (4.0, 2.0)


def drive(x: float, y: float, heading: float, speed: float, steps: int = 91) -> np.ndarray:
    time = np.arange(steps) * 0.1
    vx, vy = speed * np.cos(heading), speed * np.sin(heading)
    return np.column_stack([x + vx * time, y + vy * time, np.full(steps, heading), *np.full((2, steps), [[vx], [vy]])])


ALL = np.ones(91, dtype=bool)


@pytest.mark.parametrize("differences", ["backward", "gradient"])
@pytest.mark.parametrize("headings", ["states", "path"])
@pytest.mark.parametrize("speed", [3.0, 10.0, 30.0])
def test_straight_constant_speed_is_the_floor(differences: str, headings: str, speed: float) -> None:
    # 5 [ln(1 + e^-7) + ln(1 + e^-6)] + 5 ln(1 + e^-0.8) and 5 ln(1 + e^-pi)
    states = drive(0, 0, 0.7, speed)
    options = {"differences": differences, "headings": headings}
    assert kinematic_penalty(states, ALL, 0.1, **options) == pytest.approx(1.872439, abs=1e-5)
    assert behavioural_penalty(states, ALL, 0.1, **options) == pytest.approx(0.211531, abs=1e-5)


def test_a_circle_pays_for_yaw_rate_and_lateral_acceleration() -> None:
    # 10 m/s at 1 rad/s. The chord speed is 2 r sin(0.05) / 0.1 with r = 10 m.
    angle = np.arange(21) * 0.1
    states = np.column_stack([10 * np.sin(angle), 10 - 10 * np.cos(angle), angle])
    speed = 200 * np.sin(0.05)
    soft = [np.log1p(np.exp(x)) for x in (-7.0, speed - 6.0, 1.0 - 0.8)]
    assert kinematic_penalty(states) == pytest.approx(5 * sum(soft), abs=1e-9)
    turn = 5 * np.log1p(np.exp(2.0 - np.pi)) + 3 * 1.0 / (speed + 0.01)
    assert behavioural_penalty(states) == pytest.approx(turn, abs=1e-9)


def test_spinning_in_place_costs_300_per_radian_per_second() -> None:
    states = np.column_stack([np.zeros(11), np.zeros(11), np.arange(11) * 0.05])
    expected = 5 * np.log1p(np.exp(0.5 - np.pi)) + 3 * 0.5 / 0.01
    assert behavioural_penalty(states) == pytest.approx(expected, rel=1e-9)


def test_braking_pays_for_deceleration() -> None:
    # -8 m/s² throughout; the backward speed differences by exactly 0.8 m/s per step.
    time = np.arange(21) * 0.1
    states = np.column_stack([20 * time - 4 * time**2, np.zeros(21), np.zeros(21)])
    expected = 5 * (np.log1p(np.exp(1.0)) + np.log1p(np.exp(-6))) + 5 * np.log1p(np.exp(-0.8))
    assert kinematic_penalty(states) == pytest.approx(expected, abs=1e-9)


def test_head_on_meets_at_the_step_that_arithmetic_gives() -> None:
    # Gap 100 m, closing 20 m/s; boxes touch when the centres are 4 m apart: 96 m / 20 m/s = 4.8 s.
    ego, other = drive(0, 0, 0, 10), drive(100, 0, np.pi, 10)
    assert first_overlap(ego, ALL, CAR, other, ALL, CAR) in (48, 49)  # 48 but for the last bit of the sum
    assert first_overlap(ego, ALL, CAR, drive(100.05, 0, np.pi, 10), ALL, CAR) == 49


def test_a_quick_crossing_falls_between_the_published_samples() -> None:
    # At 20 m/s a crossing car covers 10 m in the 0.5 s between samples, its own and the ego's extent is 6 m.
    ego = drive(0, 0, 0, 0.0)
    other = drive(0.0, -1.0 - 2.0 - 20 * 1.3, np.pi / 2, 20)  # nose reaches the ego's side at 1.3 s, leaves at 1.6 s
    hit = first_overlap(ego, ALL, CAR, other, ALL, CAR, 11, EVERY_STEP)
    assert hit in (13, 14)
    assert first_overlap(ego, ALL, CAR, other, ALL, CAR, 12, AS_PUBLISHED) == -1  # samples at 12 and 17


def test_contact_reward_falls_linearly_with_the_first_step() -> None:
    # First contact at absolute step 49; with start 11 that is the 39th of 80 steps.
    ego, other = drive(0, 0, 0, 10), drive(100.05, 0, np.pi, 10)
    arguments = (other, ALL, CAR, ego, ALL, CAR, 11)
    assert adversarial_reward(*arguments) == pytest.approx(10 * (1 - 39 / 80))
    assert adversarial_reward(*arguments, as_published=True) == pytest.approx(10 * (1 - 38 / 80))


def test_near_misses_pay_by_centre_distance() -> None:
    ego, other = drive(0, 0, 0, 10), drive(0, 5, 0, 10)
    assert adversarial_reward(other, ALL, CAR, ego, ALL, CAR, 11) == pytest.approx(np.exp(-1.0))
    far = drive(0, 25, 0, 10)
    assert adversarial_reward(far, ALL, CAR, ego, ALL, CAR, 11) == pytest.approx(np.exp(-5.0))
    assert adversarial_reward(far, ALL, CAR, ego, ALL, CAR, 11, as_published=True) == 0.0


def test_wilson_interval_of_a_known_case() -> None:
    # Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662.
    rate, low, high = wilson(81, 263)
    assert (rate, low, high) == (
        pytest.approx(81 / 263),
        pytest.approx(0.2553, abs=1e-4),
        pytest.approx(0.3662, abs=1e-4),
    )
    assert wilson(0, 20)[1] == 0.0
    assert wilson(20, 20)[2] == 1.0

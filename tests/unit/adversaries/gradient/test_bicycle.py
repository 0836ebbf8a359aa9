"""The bicycle model on motions that can be worked out by hand, and its gradients."""

import numpy as np
import pytest
import torch

from adversaries.gradient.bicycle import (
    BRAKE_GAIN,
    THROTTLE_GAIN,
    Bicycle,
    Start,
    accelerations,
    drive,
    integrate_speed,
    path_curvature,
)
from harness.geometry import wrap_angle

REST = Start(0.0, 0.0, 0.0, 0.0)
NONE = torch.zeros(80, dtype=torch.float64)


def test_straight_at_constant_speed():
    path = Bicycle().roll_out(Start(5.0, -2.0, np.pi / 2, 10.0), NONE, NONE)
    states = path.states().numpy()
    np.testing.assert_allclose(states[:, 0], 5.0, atol=1e-9)
    np.testing.assert_allclose(states[:, 1], -2.0 + np.arange(1, 81), atol=1e-9)
    np.testing.assert_allclose(states[-1, 2:], [np.pi / 2, 0.0, 10.0], atol=1e-9)


def test_full_throttle_from_rest_is_uniform_acceleration():
    path = Bicycle().roll_out(REST, NONE, NONE + 1.0)
    time = np.arange(1, 81) * 0.1
    np.testing.assert_allclose(path.speed.numpy(), THROTTLE_GAIN * time, atol=1e-9)
    np.testing.assert_allclose(path.points[:, 0].numpy(), THROTTLE_GAIN * time**2 / 2, atol=1e-9)


def test_braking_ends_at_a_stand_and_never_reverses():
    path = Bicycle().roll_out(Start(0.0, 0.0, 0.0, 5.0), NONE, NONE - 1.0)
    # 5 m/s at 4.952 m/s²: 1.0097 s, so the eleventh step is the first that ends at rest.
    assert path.speed[9] == pytest.approx(5.0 - BRAKE_GAIN)
    assert (path.speed[10:] == 0.0).all()
    np.testing.assert_allclose(path.points[10:].numpy(), path.points[10:11].numpy().repeat(70, 0), atol=1e-12)


def test_speed_is_the_sequential_recursion():
    gas = torch.from_numpy(np.random.default_rng(1).normal(scale=6.0, size=(7, 80)))
    speed = np.full(7, 3.0)
    for step, found in enumerate(integrate_speed(3.0, gas, 0.1).T):
        speed = np.maximum(0.0, speed + 0.1 * gas[:, step].numpy())
        np.testing.assert_allclose(found.numpy(), speed, atol=1e-12)


@pytest.mark.parametrize("steer", [0.5, -1.0])
def test_constant_steering_is_a_circle_of_the_radius_of_the_formula(steer):
    model = Bicycle()
    path = model.roll_out(Start(0.0, 0.0, 0.0, 4.0), NONE + steer, NONE)
    # β = atan(l_r / L · tan δ); R = l_r / sin β; the centre lies at R to the left of the direction of travel.
    slip = np.arctan(1.4178 / (1.4178 - 0.0908) * np.tan(0.3685 * steer))
    radius = 1.4178 / np.sin(slip)
    centre = radius * np.array([-np.sin(slip), np.cos(slip)])
    away = np.hypot(*(path.points.numpy() - centre).T)
    # Steps are chords of 0.4 m in the tangent's middle direction: off the circle by less than a centimetre.
    np.testing.assert_allclose(away, abs(radius), atol=0.01)
    np.testing.assert_allclose(path.heading[-1], 8.0 * 4.0 / radius, atol=1e-9)
    assert abs(Bicycle().slip(torch.tensor(1.0)).item()) == pytest.approx(0.3916, abs=1e-3)


def test_the_tightest_radius_is_that_of_kings_constants():
    model = Bicycle()
    assert model.rear / np.sin(model.slip(torch.tensor(1.0)).item()) == pytest.approx(3.71, abs=0.01)
    # A vehicle twice as long turns half as sharply.
    assert Bicycle.of_length(9.8, 0.1).rear == pytest.approx(2 * model.rear)


def test_velocity_points_along_the_course_and_heading_lags_by_the_slip():
    path = Bicycle().roll_out(Start(0.0, 0.0, 0.3, 6.0), NONE + 0.4, NONE)
    states = path.states().numpy()
    course = np.arctan2(states[:, 4], states[:, 3])
    np.testing.assert_allclose(wrap_angle(course - states[:, 2]), Bicycle().slip(torch.tensor(0.4)).item(), atol=1e-9)


def test_a_batch_is_its_members():
    rng = np.random.default_rng(0)
    steer, throttle = torch.from_numpy(rng.uniform(-1, 1, size=(2, 5, 80)))
    start = Start(1.0, 2.0, 0.5, 3.0)
    together = Bicycle().roll_out(start, steer, throttle).states()
    for row in range(5):
        torch.testing.assert_close(Bicycle().roll_out(start, steer[row], throttle[row]).states(), together[row])


def test_gradients_agree_with_finite_differences():
    rng = np.random.default_rng(3)
    steer, throttle = torch.from_numpy(rng.uniform(-0.4, 0.4, size=(2, 12)))
    start = Start(0.0, 0.0, 0.1, 8.0)

    def states(steer, throttle):
        return Bicycle().roll_out(start, steer, throttle).states()

    assert torch.autograd.gradcheck(states, (steer.requires_grad_(), throttle.requires_grad_()), atol=1e-6)


def test_a_standing_car_feels_the_throttle():
    throttle = NONE.clone().requires_grad_()
    path = Bicycle().roll_out(REST, NONE, throttle + 1e-3)
    path.points[-1, 0].backward()
    assert throttle.grad is not None
    assert (throttle.grad > 0).all()
    assert throttle.grad[0] > throttle.grad[-1]


def test_fitted_controls_repeat_a_drive():
    rng = np.random.default_rng(5)
    smooth = np.cumsum(rng.normal(scale=0.03, size=(2, 80)), axis=-1)
    start, model = Start(0.0, 0.0, 0.0, 9.0), Bicycle()
    steer, throttle = torch.from_numpy(smooth.clip(-0.3, 0.3))
    path = model.roll_out(start, steer, throttle)
    again = model.controls(start, path.speed, path.heading)
    torch.testing.assert_close(again[0], steer, atol=1e-9, rtol=0)
    torch.testing.assert_close(again[1], throttle, atol=1e-9, rtol=0)


def test_accelerations_and_curvatures_are_the_inverse_of_a_drive():
    start = Start(0.0, 0.0, 1.0, 6.0)
    gas, turn = NONE + 0.5, NONE + 0.02
    path = drive(start, gas, turn, 0.1)
    torch.testing.assert_close(accelerations(start, path.speed, 0.1), gas)
    torch.testing.assert_close(path_curvature(start, path.speed, path.heading, 0.1), turn)

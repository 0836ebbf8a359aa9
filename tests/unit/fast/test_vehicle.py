"""The car's physics, where it can be worked out by hand."""

import math

import numpy as np
import pytest
from metadrive.component.vehicle.vehicle_type import DefaultVehicle

from harness.engine.config import EGO_LENGTH, EGO_WIDTH, IDLE_BRAKE, SUBSTEPS, TICK
from harness.engine.ego import SETTLED_HEIGHT
from harness.fast import vehicle
from harness.fast.ground import POINT, bear
from harness.fast.vehicle import DT, OZ, QW, QZ, STATE, VX, VY, VZ, WHEEL, X, Y, Z
from harness.kernels import kernel


def car(x=0.0, y=0.0, heading=0.0, vx=0.0, vy=0.0):
    body = np.zeros(STATE)
    vehicle.place(body, x, y, heading, vx, vy)
    return body


def drive(body, steps, steering=0.0, throttle=0.0):
    """Steps of 0.1 s from an episode's start, with an engine of 800 N and a brake of 100 N s."""
    corners, wheels = np.zeros((4, POINT)), np.zeros((4, WHEEL))
    for step in range(steps):
        angle, force, brake = vehicle.controls(body, steering, throttle, 800.0, 100.0)
        for _ in range(vehicle.TICKS):
            vehicle.fall(body)
            if step < 3:
                bear(body, corners)
            vehicle.move(body)
            vehicle.push(body, angle, force, brake, wheels)
    return body


def heading(body):
    return 2 * math.atan2(body[QZ], body[QW]) + math.pi / 2


def test_the_constants_are_metadrives():
    assert (vehicle.LENGTH, vehicle.WIDTH) == (EGO_LENGTH, EGO_WIDTH)
    assert (vehicle.DT, vehicle.TICKS, vehicle.COASTING) == (TICK, SUBSTEPS, IDLE_BRAKE)
    stock = DefaultVehicle
    assert (vehicle.MASS, vehicle.RADIUS, vehicle.LATERAL) == (
        stock.MASS,
        stock.TIRE_RADIUS,
        stock.LATERAL_TIRE_TO_CENTER,
    )
    assert (vehicle.FRONT, -vehicle.REAR) == (stock.FRONT_WHEELBASE, stock.REAR_WHEELBASE)
    assert vehicle.MOUNT == pytest.approx(stock.TIRE_RADIUS - stock.CHASSIS_TO_WHEEL_AXIS)
    assert vehicle.STIFFNESS == stock.SUSPENSION_STIFFNESS
    assert pytest.approx(stock.SUSPENSION_LENGTH) == 100 * vehicle.TRAVEL


def test_a_car_in_the_air_falls_and_turns_freely():
    body = car(heading=0.3)
    body[Z], body[VX], body[OZ] = 100.0, 7.0, 0.5
    for _ in range(50):
        vehicle.fall(body)
        vehicle.move(body)
        vehicle.push(body, 0.0, 800.0, 0.0, np.zeros((4, WHEEL)))
    assert body[VZ] == pytest.approx(-9.81)
    assert body[Z] == pytest.approx(100 - 9.81 * DT**2 * 50 * 51 / 2)
    assert body[X] == pytest.approx(7.0)
    assert heading(body) == pytest.approx(0.3 + 0.5)


def test_a_parked_car_rises_onto_its_suspension_and_stays():
    body = drive(car(2.0, -1.0, 0.7), 60)
    assert body[Z] == pytest.approx(SETTLED_HEIGHT, abs=2e-3)
    assert np.hypot(body[X] - 2, body[Y] + 1) < 0.02
    assert np.abs(body[[VX, VY]]).max() < 0.02
    # The suspension pushes last in a tick; gravity takes it back first in the next.
    assert body[VZ] == pytest.approx(9.81 * DT, abs=0.01)


def test_engine_and_brake_act_as_their_forces_say():
    faster = drive(car(vx=5.0), 20, throttle=1.0)
    # Four wheels of 800 N each, two seconds.
    assert faster[VX] == pytest.approx(5 + 4 * 800 / vehicle.MASS * 2.0, rel=0.01)
    # The front right corner leaves the ground last.
    assert faster[VY] == pytest.approx(0.0, abs=0.01)
    # 100 N s a wheel and tick is more than the tyres hold: all of mu g.
    slower = drive(car(vx=20.0), 10, throttle=-1.0)
    assert (20 - slower[VX]) / 1.0 < 0.9 * 9.81 / vehicle.FORWARD_SHARE * 1.05


def test_steering_left_turns_left_and_mirrors_right():
    left, right = (
        drive(car(vx=8.0), 20, steering=0.3, throttle=0.1),
        drive(car(vx=8.0), 20, steering=-0.3, throttle=0.1),
    )
    assert left[Y] > 1.0
    assert (right[X], right[Y]) == pytest.approx((left[X], -left[Y]), abs=0.02)


def test_the_engine_stops_pulling_at_its_top_speed():
    assert vehicle.controls(car(vx=22.0), 0.0, 1.0, 800.0, 100.0)[1] == 800.0
    assert vehicle.controls(car(vx=22.3), 0.0, 1.0, 800.0, 100.0)[1] == 0.0
    angle, force, brake = vehicle.controls(car(), 0.5, -0.25, 800.0, 100.0)
    assert (angle, force, brake) == pytest.approx((math.radians(20), 0.0, 25.0))


@kernel
def halved(values):
    return values[0] / values[1]


def test_kernels_divide_by_zero_without_an_error_and_know_nan():
    assert halved(np.array([1.0, 0.0])) == math.inf
    assert math.isnan(halved(np.array([0.0, 0.0])))


def test_a_state_that_is_no_longer_finite_is_noticed():
    body = car()
    assert vehicle.stand(body)
    body[VY] = np.nan
    assert not vehicle.stand(body)

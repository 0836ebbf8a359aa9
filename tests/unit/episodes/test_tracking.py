"""Following a timed path, in a few lines of bicycle and in MetaDrive's wheel physics."""

import numpy as np
import pytest

from harness.checks.controller import VEHICLE, _bicycle
from harness.engine.scene import Body
from harness.engine.takeover import WheeledCar, vehicle_model
from harness.episodes.tracking import PathTracker
from harness.interfaces import HEADING, VX
from tests.unit.adversaries.fakes import line

STEPS = 91


def bend(speed=10.0, radius=20.0, first=20):
    """Straight along x until step `first`, then on a circle to the left."""
    path = line(0.0, 0.0, 0.0, speed, STEPS)
    angle = np.maximum(np.arange(STEPS) - first, 0) * 0.1 * speed / radius
    after = np.arange(STEPS) > first
    path[after, 0] = path[first, 0] + radius * np.sin(angle[after])
    path[after, 1] = radius * (1 - np.cos(angle[after]))
    path[:, HEADING] = np.angle(np.exp(1j * angle))
    path[:, VX:] = speed * np.stack([np.cos(angle), np.sin(angle)], -1)
    return path


def swerve():
    """3.5 m to the left within three seconds at 10 m/s, braking by 2 m/s² afterwards to 4 m/s."""
    time = np.arange(STEPS) * 0.1
    speed = np.clip(10.0 - 2.0 * (time - 4.0), 4.0, 10.0)
    path = np.zeros((STEPS, 5))
    path[1:, 0] = np.cumsum((speed[1:] + speed[:-1]) / 2 * 0.1)
    path[:, 1] = 3.5 * (1 - np.cos(np.pi * np.clip((time - 1.0) / 3.0, 0.0, 1.0))) / 2
    velocity = np.gradient(path[:, :2], 0.1, axis=0)
    path[:, HEADING], path[:, VX:] = np.arctan2(*velocity.T[::-1]), velocity
    return path


def errors(path, vehicle, step_on, start):
    """[n] distance from the path at every step."""
    tracker, own, gaps = PathTracker(path, STEPS - 1, vehicle, 0.1), start, []
    for step in range(STEPS - 1):
        own = step_on(own, tracker.act(step, own))
        gaps.append(np.hypot(*(own[:2] - path[step + 1, :2])))
    return np.array(gaps)


@pytest.mark.parametrize("body", [Body.SMALL, Body.MEDIUM, Body.LARGE, Body.TRUCK])
@pytest.mark.parametrize(("path", "limit"), [(line(0, 0, 0, 10), 0.05), (bend(), 0.45), (swerve(), 0.3)])
def test_wheel_physics_stay_near_the_path(body, path, limit):
    car = WheeledCar(body)
    car.place(path[0], 0.0)
    assert errors(path, vehicle_model(body), lambda _, action: car.step(*action), path[0]).max() < limit
    car.close()


def test_who_is_off_the_path_comes_back_in_place_and_in_time():
    path, start = line(0.0, 0.0, 0.0, 10.0), line(-3.0, 1.0, 0.0, 8.0)[0]
    gaps = errors(path, VEHICLE, lambda own, action: _bicycle(own, action, 0.1), start)
    assert gaps[0] > 3.0
    assert gaps[-1] < 0.1


def test_actions_are_those_of_the_geometry():
    tracker = PathTracker(line(0.0, 0.0, 0.0, 10.0), STEPS - 1, VEHICLE, 0.1)
    # On the path and in time: nothing to do.
    assert tracker.act(10, line(0.0, 0.0, 0.0, 10.0)[10]).tolist() == pytest.approx([0.0, 0.0], abs=1e-9)
    # A tenth of a metre behind: 0.1 m/s more within 0.1 s are 1 m/s², of 2.5 that the engine has.
    assert tracker.act(10, line(-0.1, 0.0, 0.0, 10.0)[10])[1] == pytest.approx(0.4)
    # A metre to its right: 2 · 1 / (4² + 1²) 1/m towards the first point of the path at 4 m, through the bicycle.
    curvature = 2.0 / 17.0
    grip = 0.9 * VEHICLE.grip / 100.0
    wheel = np.arctan(min(curvature, grip) * (VEHICLE.front_axle + VEHICLE.rear_axle))
    assert tracker.act(10, line(0.0, -1.0, 0.0, 10.0)[10])[0] == pytest.approx(wheel / VEHICLE.max_steering)
    slow = PathTracker(line(0.0, 0.0, 0.0, 5.0), STEPS - 1, VEHICLE, 0.1)
    # At 5 m/s it looks 2.5 m ahead: of points every half metre, the first from there on is 2.5 m ahead.
    wheel = np.arctan(2.0 * 0.2 / (2.5**2 + 0.2**2) * (VEHICLE.front_axle + VEHICLE.rear_axle))
    assert slow.act(10, line(0.0, -0.2, 0.0, 5.0)[10])[0] == pytest.approx(wheel / VEHICLE.max_steering)


def test_the_arc_begins_at_the_rear_axle_and_ends_where_the_paths_rear_axle_will_be():
    """The car is on the path, turned by 0.15 rad to its left: its rear axle is to the right of the path.

    Seen from there the path's rear axle is 3.99 m away four steps ahead, and five steps ahead first beyond the 4 m
    that it looks ahead at 10 m/s.
    """
    turned, axle = 0.15, VEHICLE.rear_axle
    own = line(0.0, 0.0, 0.0, 10.0)[10]
    own[HEADING] = turned
    along, aside = 5.0 - axle * (1.0 - np.cos(turned)), axle * np.sin(turned)
    assert np.hypot(along - 1.0, aside) < 4.0
    left = aside * np.cos(turned) - along * np.sin(turned)
    curvature = 2.0 * left / (along**2 + aside**2)
    assert abs(curvature) < 0.9 * VEHICLE.grip / 100.0, "its tyres hold"
    wheel = np.arctan(curvature * (VEHICLE.front_axle + VEHICLE.rear_axle))
    tracker = PathTracker(line(0.0, 0.0, 0.0, 10.0), STEPS - 1, VEHICLE, 0.1)
    assert tracker.act(10, own)[0] == pytest.approx(wheel / VEHICLE.max_steering)


def test_beyond_the_end_it_goes_straight_on():
    path = bend()
    tracker = PathTracker(path, 40, VEHICLE, 0.1)
    own = path[40].copy()
    for step in range(40, 60):
        own = _bicycle(own, tracker.act(step, own), 0.1)
    assert own[HEADING] == pytest.approx(path[40, HEADING], abs=0.03)
    np.testing.assert_allclose(own[:2], path[40, :2] + 2.0 * path[40, VX:], atol=0.4)
    standing = line(0.0, 0.0, 0.0, 0.0)
    assert PathTracker(standing, 90, VEHICLE, 0.1).act(50, standing[50]).tolist() == [0.0, 0.0]

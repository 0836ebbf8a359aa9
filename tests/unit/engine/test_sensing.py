"""Observations of scenes whose distances are known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from harness.engine.bodies import LidarWorld
from harness.engine.config import SENSORS, SensorPreset
from harness.engine.lines import LineWorld
from harness.engine.scene import Body
from harness.engine.sensing import Sensors, make_sensors
from scenarios.scenario import MapFeature
from tests.unit.engine.fakes import FakeEgo, FakeTraffic, quarter_circle, straight

PRESET = SensorPreset(lidar=4, others=2, side=4, lane_line=0)
"""Four rays each, so that every number has a direction: side rays begin at the left, lidar rays ahead."""
SIDE, DRIVING, OFFSET, WAY, OTHERS, LIDAR = (
    slice(0, 4),
    slice(4, 10),
    10,
    slice(11, 29),
    slice(33, 41),
    slice(41, 45),
)
LINE_FACE = 0.15 / 4


def walls(*heights: float, across: tuple[float, ...] = ()) -> LineWorld:
    """Road edges along x at these y, and along y at these x."""
    ends = [((-200.0, y, 0.0), (200.0, y, 0.0)) for y in heights] + [
        ((x, -200.0, 0.0), (x, 200.0, 0.0)) for x in across
    ]
    return LineWorld([MapFeature("edge", "ROAD_EDGE_BOUNDARY", np.array(points)) for points in ends], np.zeros(2))


def observe(ego: FakeEgo, *, lines: LineWorld | None = None, traffic: FakeTraffic | None = None) -> np.ndarray:
    lines = lines or walls()
    sensors = Sensors(PRESET)
    sensors.begin(SimpleNamespace(lines=lines), 90)
    seen = sensors.observe(ego, traffic or FakeTraffic(ego, []), 0)
    lines.close()
    return seen


@pytest.mark.parametrize("name", [name for name, preset in SENSORS.items() if not preset.route])
def test_an_observation_has_the_size_that_its_preset_says(name):
    ego, lines = FakeEgo(straight()), walls(5.0)
    sensors = make_sensors(SENSORS[name])
    sensors.begin(SimpleNamespace(lines=lines), 90)
    seen = sensors.observe(ego, FakeTraffic(ego, [(10, 0)]), 0)
    assert seen.shape == (SENSORS[name].size,)
    assert seen.dtype == np.float32
    lines.close()


def test_side_rays_measure_the_way_to_the_walls():
    # Left, behind, right, ahead, as parts of 50 m.
    rays = observe(FakeEgo(straight()), lines=walls(5.0, -2.0))[SIDE]
    assert rays == pytest.approx([(5 - LINE_FACE) / 50, 1, (2 - LINE_FACE) / 50, 1], abs=1e-5)


def test_side_rays_turn_with_the_car():
    # The car looks up (+y): the wall at y = 5 is ahead, the one at y = -2 behind, the one at x = 8 to the right.
    rays = observe(FakeEgo(straight(), theta=math.pi / 2), lines=walls(5.0, -2.0, across=(8.0,)))[SIDE]
    assert rays == pytest.approx([1] + [(metres - LINE_FACE) / 50 for metres in (2, 8, 5)], abs=1e-5)


def test_driving_state():
    ego = FakeEgo(straight(), speed=10.0)
    ego.action, ego.steering = (0.5, -1.0), 0.5
    ego.last_heading = (math.cos(0.05), math.sin(0.05))
    # Along the road 1/2; 36 km/h of 80; steering over 60; both actions; 0.05 rad in 0.1 s.
    expected = [0.5, 37 / 81, (0.5 / 60 + 1) / 2, 0.75, 0.0, 0.5]
    assert observe(ego)[DRIVING] == pytest.approx(expected, abs=1e-5)


def test_the_offset_from_the_route_stands_in_for_lane_line_rays():
    # 0.9 m to the right of the route, scaled by half a lane of 4.5 m.
    assert observe(FakeEgo(straight(), y=-0.9))[OFFSET] == pytest.approx((0.9 / 2.25 + 1) / 2)


def test_way_points_lie_ahead_in_the_cars_frame():
    ways = observe(FakeEgo(straight()))[WAY]
    ahead = (np.arange(4, 22, 2) / 30 + 1) / 2
    assert ways[0::2] == pytest.approx(ahead)
    assert ways[1::2] == pytest.approx(ahead)


def test_way_points_behind_the_car_are_behind():
    ways = observe(FakeEgo(straight(), theta=math.pi))[WAY]
    assert ways[0::2] == pytest.approx((1 - np.arange(4, 22, 2) / 30) / 2)


def test_way_points_of_a_curve_fall_back_by_the_cosine():
    ways = observe(FakeEgo(quarter_circle(50.0)))[WAY]
    arc = np.arange(4, 22, 2) / 50
    assert ways[0::2] == pytest.approx((50 * np.sin(arc) / 30 + 1) / 2, abs=2e-3)


def test_far_way_points_are_clipped_at_thirty_metres():
    # The car stands 100 m before the route and looks 60 degrees aside: every way point is 30 m · cos 60° ahead.
    ways = observe(FakeEgo(straight(), x=-100.0, theta=math.pi / 3))[WAY]
    assert ways == pytest.approx(np.full(18, (15 / 30 + 1) / 2))


def test_neighbours_are_sorted_by_distance_and_seen_in_the_cars_frame():
    ego = FakeEgo(straight(), theta=math.pi / 2, speed=10.0)
    traffic = FakeTraffic(ego, [(0, 20), (-10, 0)], velocity=[(0, 5), (0, 10)])
    # Nearest: 10 m to the left at equal speed. Then: 20 m ahead, 5 m/s slower.
    expected = [0.5, 0.6, 0.5, 0.5, 0.7, 0.5, (1 - 18 / 80) / 2, 0.5]
    assert observe(ego, traffic=traffic)[OTHERS] == pytest.approx(expected, abs=1e-6)


def test_people_and_far_vehicles_are_no_neighbours():
    ego = FakeEgo(straight())
    traffic = FakeTraffic(ego, [(5, 0), (80, 0)], body=[Body.PEDESTRIAN, Body.MEDIUM])
    assert observe(ego, traffic=traffic)[OTHERS] == pytest.approx(np.zeros(8))


def test_bullet_decides_at_the_rim_of_the_range():
    ego = FakeEgo(straight())
    # A car of 4.6 m whose rear is 49.9 m away.
    traffic = FakeTraffic(ego, [(52.2, 0)])
    assert not observe(ego, traffic=traffic)[OTHERS].any()
    traffic.lidar = SimpleNamespace(reached=lambda *_: {0})
    assert observe(ego, traffic=traffic)[OTHERS][0] == pytest.approx(1.0)


@pytest.mark.parametrize(("place", "ray"), [((20, 0), 0), ((0, 20), 1), ((-20, 0), 2), ((0, -20), 3)])
def test_lidar_measures_the_way_to_a_box_in_every_direction(place, ray):
    ego, lidar = FakeEgo(straight()), LidarWorld()
    # A medium car (4.6 m × 1.85 m) that looks along +x; a vehicle's node is turned by -90 degrees.
    lidar.update([0], [int(Body.MEDIUM)], [[*place, 0.54, -90.0, 0.0, 0.0]], {})
    rays = observe(ego, traffic=FakeTraffic(ego, [place], lidar=lidar))[LIDAR]
    lidar.close()
    expected = np.ones(4)
    expected[ray] = (20 - (2.3 if ray in (0, 2) else 0.925)) / 50
    assert rays == pytest.approx(expected, abs=2e-3)


def test_lidar_without_anybody_reads_its_range():
    assert observe(FakeEgo(straight()))[LIDAR] == pytest.approx(np.ones(4))

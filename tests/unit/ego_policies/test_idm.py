from dataclasses import replace

import numpy as np
import pytest

from ego_policies.following import IDMConfig, Leader, find_leader, idm_acceleration
from ego_policies.idm import IDMPolicy
from ego_policies.routes import curve_speed, prepare_route
from ego_policies.vehicle import pedal
from harness.errors import ConfigError
from harness.interfaces import EgoView
from tests.scenes import straight_road

CONFIG = IDMConfig()
STRAIGHT = np.stack([np.linspace(0.0, 200.0, 101), np.zeros(101)], -1)


def view(ego=(0.0, 0.0, 0.0, 10.0, 0.0), agents=(), sizes=None, route=STRAIGHT, limit=None):
    agents = np.array(agents, dtype=float).reshape(-1, 5)
    sizes = np.tile([4.5, 2.0], (len(agents), 1)) if sizes is None else np.array(sizes, dtype=float)
    return EgoView(10, 0.1, np.array(ego, dtype=float), (4.5, 2.0), route, agents, sizes, limit)


def leader(**kwargs):
    sight = view(**kwargs)
    return find_leader(sight, prepare_route(sight.route, sight.ego[2], sight.ego[:2]), CONFIG)


def test_free_road_acceleration_is_zero_at_the_desired_speed_and_full_at_rest():
    assert idm_acceleration(10.0, 10.0, None, CONFIG) == pytest.approx(0.0)
    assert idm_acceleration(0.0, 10.0, None, CONFIG) == pytest.approx(CONFIG.acceleration)


def test_following_at_equal_speed_matches_the_formula():
    # v = 5, v0 = 10: free term 1 - 0.0625; s* = 2 + 5 * 1.5 = 9.5; gap 19 gives (1/2)^2.
    expected = 2.0 * (1 - 0.0625 - 0.25)
    assert idm_acceleration(5.0, 10.0, Leader(19.0, 5.0), CONFIG) == pytest.approx(expected)


def test_approaching_term_matches_the_formula():
    approach = 10.0 * 6.0 / (2 * np.sqrt(2.0 * 3.0))
    wanted = 2.0 + 15.0 + approach
    expected = 2.0 * (1 - 1.0 - (wanted / 30.0) ** 2)
    assert idm_acceleration(10.0, 10.0, Leader(30.0, 4.0), CONFIG) == pytest.approx(expected)


def test_leader_in_lane_gives_the_bumper_gap_and_its_speed():
    found = leader(agents=[(30.0, 0.5, 0.0, 7.0, 0.0)])
    assert found.gap == pytest.approx(30.0 - 4.5)
    assert found.speed == pytest.approx(7.0)


@pytest.mark.parametrize("y", [2.4, -2.4])
def test_a_car_in_the_next_lane_is_no_leader(y):
    # Half widths 1 + 1 and a margin of 0.3: clear from 2.3 m on.
    assert leader(agents=[(30.0, y, 0.0, 7.0, 0.0)]) is None


def test_a_car_just_reaching_into_the_corridor_is_a_leader():
    assert leader(agents=[(30.0, 2.2, 0.0, 7.0, 0.0)]) is not None


def test_a_long_crossing_box_whose_corners_lie_on_both_sides_blocks():
    found = leader(agents=[(25.0, 1.0, np.pi / 2, 0.0, 8.0)], sizes=[(16.0, 2.5)])
    assert found.gap == pytest.approx(25.0 - 1.25 - 2.25)
    assert found.speed == pytest.approx(0.0, abs=1e-9)


def test_agents_behind_are_ignored_and_the_nearest_counts():
    found = leader(agents=[(-10.0, 0.0, 0.0, 9.0, 0.0), (50.0, 0.0, 0.0, 1.0, 0.0), (20.0, 0.0, 0.0, 3.0, 0.0)])
    assert found.speed == pytest.approx(3.0)


def test_an_oncoming_leader_counts_as_standing():
    assert leader(agents=[(30.0, 0.0, np.pi, -7.0, 0.0)]).speed == 0.0


def test_route_without_direction_follows_the_heading():
    route = prepare_route(np.zeros((91, 2)), np.pi / 2, np.zeros(2))
    assert route.shape == (2, 2)
    assert route[1] == pytest.approx([0.0, 50.0])


def test_route_drops_repeats_and_nan_and_runs_on():
    points = np.array([[0, 0], [0, 0], [0.1, 0], [np.nan, 0], [5, 0], [10, 0]], dtype=float)
    assert prepare_route(points, 0.0, np.zeros(2)) == pytest.approx(np.array([[0, 0], [5, 0], [10, 0], [60, 0]]))


def test_curve_speed_of_a_circle():
    angle = np.linspace(0.0, np.pi, 200)
    circle = 20.0 * np.stack([np.sin(angle), 1 - np.cos(angle)], -1)
    assert curve_speed(circle, 5.0, 20.0, 3.0) == pytest.approx(np.sqrt(3.0 * 20.0), rel=0.05)


def test_steers_back_to_the_route_and_brakes_for_a_wall():
    policy = IDMPolicy()
    policy.reset(straight_road(), np.random.default_rng(0))
    left_of_route = policy.act(np.zeros(1, np.float32), view(ego=(0.0, 1.0, 0.0, 10.0, 0.0)))
    assert left_of_route[0] < -0.01
    assert policy.act(np.zeros(1, np.float32), view())[0] == pytest.approx(0.0, abs=1e-6)
    braking = policy.act(np.zeros(1, np.float32), view(agents=[(10.0, 0.0, 0.0, 0.0, 0.0)]))
    assert braking[1] == pytest.approx(-9.0 / 22.0)
    assert braking.dtype == np.float32


def test_desired_speed_comes_from_config_then_limit_then_log():
    def throttle(policy, limit):
        policy.reset(straight_road(ego_speed=10.0), np.random.default_rng(0))
        return policy.act(np.zeros(1, np.float32), view(limit=limit))[1]

    # Holding the speed takes what rolling costs.
    assert throttle(IDMPolicy(), None) == pytest.approx(0.36 / 2.9)
    assert throttle(IDMPolicy(), 5.0) < -0.3
    assert throttle(IDMPolicy(IDMConfig(desired_speed=20.0)), 5.0) > 0.5


def test_pedal_of_an_acceleration():
    assert pedal(2.54, 9.0) == pytest.approx(1.0)
    assert pedal(0.0, 9.0) == pytest.approx(0.36 / 2.9)
    assert pedal(-0.36, 9.0) == pytest.approx(0.0)
    assert pedal(-4.4, 9.0) == pytest.approx(-0.2)
    assert pedal(-50.0, 9.0) == pytest.approx(-9.0 / 22.0)


def test_closed_loop_stops_behind_a_standing_car_and_stays_in_lane():
    """A point-mass bicycle driven by the policy's own action scale: it must come to rest 2 m behind the car."""
    policy = IDMPolicy(lane_changes=None)
    policy.reset(straight_road(ego_speed=12.0), np.random.default_rng(0))
    x, y, heading, speed = 0.0, 0.5, 0.1, 12.0
    for _ in range(300):
        ego = (x, y, heading, speed * np.cos(heading), speed * np.sin(heading))
        steer, throttle = policy.act(np.zeros(1, np.float32), view(ego=ego, agents=[(80.0, 0.0, 0.0, 0.0, 0.0)]))
        speed = max(speed + 0.1 * (float(throttle) * (2.9 if throttle > 0 else 22.0) - 0.36 * (throttle > 0)), 0.0)
        heading += 0.1 * speed * np.tan(float(steer) * np.deg2rad(40.0)) / 2.469
        x, y = x + 0.1 * speed * np.cos(heading), y + 0.1 * speed * np.sin(heading)
    gap = 80.0 - x - 4.5
    assert speed < 0.3
    assert 0.5 < gap < 4.0
    assert abs(y) < 0.1


def test_stops_where_the_log_ends_in_a_stop():
    scene = straight_road(ego_speed=10.0)
    velocity = scene.velocity.copy()
    velocity[0, -1] = 0.0
    stopping = replace(scene, velocity=velocity)

    def throttle(scenario, x):
        policy = IDMPolicy()
        policy.reset(scenario, np.random.default_rng(0))
        return policy.act(np.zeros(1, np.float32), view(ego=(x, 0.0, 0.0, 10.0, 0.0)))[1]

    # The route ends at x = 200: at 10 m/s and 3 m/s² braking begins 16.7 m before it.
    assert throttle(stopping, 180.0) == pytest.approx(throttle(scene, 180.0))
    assert throttle(stopping, 190.0) < 0.0 < throttle(scene, 190.0)


def test_impossible_constants_are_refused():
    with pytest.raises(ConfigError, match="time_headway"):
        IDMConfig(time_headway=0.0)

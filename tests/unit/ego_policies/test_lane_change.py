"""When the IDM driver leaves its route for a neighbour lane: two-lane roads along +x, lanes at y = 0 and y = 3.5."""

from dataclasses import replace

import numpy as np
import pytest

from ego_policies.following import IDMConfig
from ego_policies.idm import IDMPolicy
from ego_policies.lane_change import LaneChangeConfig, LaneChanger, segments_cross, shifted
from harness.interfaces import STATE, EgoView
from scenarios.scenario import MapFeature
from tests.scenes import LANE_WIDTH, straight_road

ROUTE = np.stack([np.linspace(0.0, 200.0, 101), np.zeros(101)], -1)
CAR = (4.5, 2.0)
STOPPED = (60.0, 0.0, 0.0, 0.0, 0.0)


def view(agents=(STOPPED,), x=10.0, y=0.0, speed=10.0, step=10, sizes=None):
    agents = np.array(agents, dtype=float).reshape(-1, STATE)
    sizes = np.tile(CAR, (len(agents), 1)) if sizes is None else np.array(sizes)
    return EgoView(step, 0.1, np.array([x, y, 0.0, speed, 0.0]), CAR, ROUTE, agents, sizes)


def decide(sight, scene=None):
    """Where the ego drives after one decision, m left of its route."""
    changer = LaneChanger(LaneChangeConfig(), IDMConfig())
    changer.begin(scene or straight_road(with_opponent=False))
    changer.path(sight, ROUTE, float(sight.ego[0]), 10.0)
    return changer.offset


def test_overtakes_a_stopped_car_where_the_neighbour_lane_is_free():
    assert decide(view()) == pytest.approx(LANE_WIDTH)


def test_stays_on_a_free_road_and_behind_traffic_as_fast_as_itself():
    assert decide(view(agents=[])) == 0.0
    assert decide(view(agents=[(40.0, 0.0, 0.0, 9.0, 0.0)])) == 0.0


@pytest.mark.parametrize(
    "other",
    [
        (12.0, LANE_WIDTH, 0.0, 10.0, 0.0),  # beside the ego
        (0.0, LANE_WIDTH, 0.0, 18.0, 0.0),  # closing in from 5.5 m behind
        (-20.0, LANE_WIDTH, 0.0, 25.0, 0.0),  # closing in from before the route's start
        (3.5, LANE_WIDTH, 0.0, 0.0, 0.0),  # standing 2 m behind the ego's bumper
        (16.0, LANE_WIDTH, 0.0, 0.0, 0.0),  # standing 1.5 m ahead of the ego's bumper
        (62.0, LANE_WIDTH, 0.0, 0.0, 0.0),  # both lanes are blocked
    ],
)
def test_does_not_change_into_an_occupied_lane(other):
    assert decide(view(agents=[STOPPED, other])) == 0.0


def test_changes_before_a_follower_that_has_room():
    # 10 m/s behind an equally fast ego with 25.5 m of gap: s* = 2 + 15 = 17, it loses 2 (17 / 25.5)² = 0.9 m/s².
    assert decide(view(agents=[STOPPED, (-20.0, LANE_WIDTH, 0.0, 10.0, 0.0)])) == pytest.approx(LANE_WIDTH)


def test_looks_far_back_before_it_pulls_out():
    """At 6 m/s with 20 m/s coming from 95.5 m: s* = 2 + 30 + 20 * 14 / 4.9 = 89, it would brake by 1.7 m/s²."""
    blocked, coming = (45.0, 0.0, 0.0, 0.0, 0.0), (-90.0, LANE_WIDTH, 0.0, 20.0, 0.0)
    assert decide(view(agents=[blocked], speed=6.0)) == pytest.approx(LANE_WIDTH)
    assert decide(view(agents=[blocked, coming], speed=6.0)) == 0.0


def test_does_not_pull_out_of_a_crawl():
    assert decide(view(speed=3.0)) == 0.0


def test_does_not_change_behind_somebody_hardly_faster():
    slow = (50.0, 0.0, 0.0, 3.0, 0.0)
    assert decide(view(agents=[slow, (70.0, LANE_WIDTH, 0.0, 5.0, 0.0)])) == 0.0
    assert decide(view(agents=[slow, (70.0, LANE_WIDTH, 0.0, 6.0, 0.0)])) == pytest.approx(LANE_WIDTH)


def test_needs_a_lane_that_leads_the_same_way():
    lone = straight_road(with_opponent=False)
    lone = replace(lone, features=tuple(f for f in lone.features if f.id != "left"))
    assert decide(view(), lone) == 0.0
    two_way = replace(
        lone,
        features=(
            *lone.features,
            replace(straight_road().features[1], points=straight_road().features[1].points[::-1]),
        ),
    )
    assert decide(view(), two_way) == 0.0


@pytest.mark.parametrize(
    "kind", ["ROAD_LINE_SOLID_SINGLE_WHITE", "ROAD_LINE_PASSING_DOUBLE_YELLOW", "ROAD_EDGE_BOUNDARY"]
)
def test_does_not_cross_a_solid_or_yellow_line_or_an_edge(kind):
    scene = straight_road(with_opponent=False)
    x = np.arange(20.0, 100.0, 5.0)
    line = MapFeature("line", kind, np.stack([x, 0 * x + 1.75, 0 * x], -1))
    assert decide(view(), replace(scene, features=(*scene.features, line))) == 0.0


def test_does_not_overtake_a_queue_in_which_its_own_log_waits():
    """The log drives up to x = 50 and stands: whoever stands at x = 60 waits as well."""
    scene = straight_road(with_opponent=False)
    position, velocity = scene.position.copy(), scene.velocity.copy()
    position[0, :, 0] = np.minimum(position[0, :, 0], 50.0)
    velocity[0, 50:] = 0.0
    assert decide(view(), replace(scene, position=position, velocity=velocity)) == 0.0


def test_does_not_overtake_people_or_crossing_cars():
    assert decide(view(sizes=[(0.8, 0.8)])) == 0.0
    assert decide(view(agents=[(60.0, 0.0, np.pi / 2, 0.0, 2.0)])) == 0.0


def test_returns_to_its_route_once_past():
    changer = LaneChanger(LaneChangeConfig(), IDMConfig())
    changer.begin(straight_road(with_opponent=False))
    changer.path(view(), ROUTE, 10.0, 10.0)
    changer.path(view(x=58.0, y=LANE_WIDTH, step=60), ROUTE, 58.0, 10.0)
    assert changer.offset == pytest.approx(LANE_WIDTH), "the stopped car is still beside"
    changer.path(view(x=70.0, y=LANE_WIDTH, step=72), ROUTE, 70.0, 10.0)
    assert changer.offset == 0.0


def test_the_shifted_path_moves_over_smoothly():
    path = shifted(ROUTE, 0.0, 3.5, 20.0, 30.0)
    at = {round(x): y for x, y in path}
    assert (at[20], at[35], at[50], at[90]) == pytest.approx((0.0, 1.75, 3.5, 3.5), abs=1e-9)
    assert np.abs(np.diff(path[:, 1])).max() < 1.6 * 3.5 / 30.0


def test_segments_cross():
    a, b = np.array([0.0, 0.0]), np.array([2.0, 2.0])
    assert segments_cross(a, b, np.array([0.0, 2.0]), np.array([2.0, 0.0]))
    assert not segments_cross(a, b, np.array([3.0, 2.0]), np.array([5.0, 0.0]))
    assert not segments_cross(a, b, np.array([0.0, 1.0]), np.array([2.0, 3.0]))


@pytest.mark.parametrize(("changes", "passes"), [(LaneChangeConfig(), True), (None, False)])
def test_closed_loop_passes_a_stopped_car(changes, passes):
    """A point-mass bicycle driven by the policy's own action scale gets past the car, or stops behind it."""
    policy = IDMPolicy(lane_changes=changes)
    policy.reset(straight_road(with_opponent=False), np.random.default_rng(0))
    x, y, heading, speed, closest = 0.0, 0.0, 0.0, 10.0, np.inf
    for step in range(150):
        sight = replace(view(x=x, y=y, step=step), ego=np.array([x, y, heading, speed, 0.0]))
        steer, throttle = policy.act(np.zeros(1, np.float32), sight)
        speed = max(speed + 0.1 * (float(throttle) * (2.9 if throttle > 0 else 22.0) - 0.36 * (throttle > 0)), 0.0)
        heading += 0.1 * speed * np.tan(float(steer) * np.deg2rad(40.0)) / 2.469
        x, y = x + 0.1 * speed * np.cos(heading), y + 0.1 * speed * np.sin(heading)
        closest = min(closest, max(abs(x - 60.0) - 4.5, abs(y) - 2.0))
    assert closest > 0.0, "the boxes must not meet"
    assert (x > 80.0) == passes
    if passes:
        assert abs(y) < 0.3, "back on the route"

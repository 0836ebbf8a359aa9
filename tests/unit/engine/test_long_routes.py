"""Routes that go on beyond the log."""

import numpy as np
import pytest

from harness.engine.config import REWARDS, EngineConfig
from harness.engine.rewards import judge
from harness.engine.route import Progress, Route
from harness.engine.scene import parse_scene, with_long_route
from harness.episodes.long_routes import MARGIN, SPACING, TOP_SPEED, beyond_the_log
from scenarios.scenario import MapFeature
from tests.scenes import Agent, crossing, lasting, make_scene, straight_road
from tests.unit.engine.fakes import FakeEgo, straight


def way(scene, metres=1000.0, seed=0):
    return beyond_the_log(scene, metres, np.random.default_rng(seed))


def test_the_way_follows_the_lane_to_where_the_map_ends_or_as_far_as_needed():
    scene = lasting(straight_road(), 40)
    points = way(scene)
    assert points[0] == pytest.approx((39.0 + SPACING, 0.0))
    assert points[-1] == pytest.approx((300.0, 0.0))
    assert np.diff(points[:, 0]).max() <= SPACING + 1e-9
    assert way(straight_road(), 50.0)[-1, 0] >= 90.0


def test_branches_are_drawn_and_the_same_seed_draws_the_same():
    scene = lasting(crossing(), 20)
    ends = {tuple(np.round(way(scene, seed=seed)[-1])) for seed in range(12)}
    assert ends == {(200.0, 0.0), (0.0, 200.0)}
    assert np.array_equal(way(scene, seed=5), way(scene, seed=5))


def test_the_way_comes_back_to_the_centre_of_the_lane():
    scene = make_scene([Agent("ego", 0.0, 1.0)], straight_road().features)
    points = way(scene)
    assert points[0, 1] == pytest.approx(np.exp(-SPACING / 15.0), abs=1e-6)
    assert points[-1, 1] == pytest.approx(0.0, abs=1e-3)


def test_the_way_is_longer_than_an_ego_can_drive_that_is_ahead_of_its_log():
    points = [np.stack([np.linspace(x, x + 50.0, 6), np.zeros(6), np.zeros(6)], -1) for x in np.arange(40) * 50.0]
    lanes = [
        MapFeature(f"{n}", "LANE_SURFACE_STREET", line, entry=(f"{n - 1}",)[: n > 0], exit=(f"{n + 1}",)[: n < 39])
        for n, line in enumerate(points)
    ]
    scene = parse_scene(make_scene([Agent("ego", 1.0, 0.0, speed=1.0)], lanes), static_vehicles=True, reserve=1)
    long = with_long_route(scene, 100, np.random.default_rng(0))
    # Ten seconds at 25 m/s, and a way to look at.
    assert long.route.length > 10 * TOP_SPEED + MARGIN


@pytest.mark.parametrize(("speed", "goes_on"), [(0.0, False), (10.0, True)])
def test_an_ego_that_is_parked_where_no_lane_is_has_no_way_that_ends(speed, goes_on):
    away = make_scene([Agent("ego", 0.0, 30.0, speed=speed)], straight_road().features)
    scene = parse_scene(away, static_vehicles=True, reserve=1)
    long = with_long_route(scene, 200, np.random.default_rng(0))
    assert long.route.goes_on == goes_on
    assert long.route.ends_at(long.route.length) == goes_on
    assert not long.route.ends_at(0.0)


@pytest.mark.parametrize("ego", [Agent("ego", 0.0, 30.0), Agent("ego", 50.0, 0.0, heading=np.pi)])
def test_without_a_lane_that_leads_on_there_is_no_way(ego):
    assert way(make_scene([ego], straight_road().features)).shape == (0, 2)


def long_route(length=60.0):
    """60 m in 3 s, then on to 160 m."""
    x = np.linspace(0.0, length, 31)
    ahead = np.arange(length + 4.0, length + 100.1, 4.0)
    return Route(np.stack([x, 0 * x], -1), np.stack([ahead, 0 * ahead], -1))


def test_what_is_completed_is_the_log_and_the_pace_is_its_own():
    route, progress = long_route(), Progress()
    assert (route.length, route.logged) == (pytest.approx(160.0), pytest.approx(60.0))
    progress.begin(route)
    progress.update(30.0, 0.0)
    assert progress.route_completion == pytest.approx(0.5)
    # 60 m in 3 s are 20 m/s.
    assert route.left(30.0, 2.0) == pytest.approx(40.0)
    assert Route(straight()).left(30.0, 2.0) == pytest.approx(70.0)
    assert not route.ends_at(154.0)
    assert route.ends_at(156.0)
    assert not Route(straight()).ends_at(100.0)
    marks, last = route.way_points
    assert marks[40] == pytest.approx((80.0, 0.0))
    assert marks[last] == pytest.approx((160.0, 0.0))


def test_on_a_loop_the_ego_stays_on_its_own_lap():
    angle = np.arange(0.0, 6 * np.pi, 0.1)
    circle = 30.0 * np.stack([np.cos(angle), np.sin(angle)], -1)
    route, progress = Route(circle[:40], circle[40:]), Progress()
    # An episode may begin anywhere on the log, which is 117 m long here.
    progress.begin(route)
    progress.update(*circle[38])
    progress.update(*circle[38])
    assert progress.current_longitude == pytest.approx(30.0 * angle[38], abs=0.6)
    progress.begin(route)
    for turn in np.arange(0.0, 6 * np.pi - 0.3, 0.05):
        progress.update(30.0 * np.cos(turn), 30.0 * np.sin(turn))
        assert progress.current_longitude == pytest.approx(30.0 * turn, abs=0.6)


@pytest.mark.parametrize("name", ["cat", "metadrive", "drive"])
def test_nobody_arrives_on_a_route_that_goes_on_and_the_end_of_the_map_has_its_own_word(name):
    ego = FakeEgo(straight())
    ego.last_action_taken = ego.action
    ego.navigation.begin(long_route())
    for x in np.arange(0.0, 157.0, 12.0):
        ego.move_to(x, 0.0)
    judged = judge(ego, EngineConfig(), REWARDS[name], 5.0)
    assert not judged.terminated
    assert not judged.info["arrive_dest"]
    assert judged.info["end_of_map"]
    assert judged.info["route_completion"] == pytest.approx(2.6)
    assert judged.reward > 0

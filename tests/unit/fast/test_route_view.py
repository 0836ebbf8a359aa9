"""The observation `route`, number by number, on a straight road."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from harness.engine.bodies import Present
from harness.engine.config import EngineConfig
from harness.engine.route_sensing import RouteSensors
from harness.engine.scene import parse_scene
from harness.fast import route_view
from harness.fast.vector import FastVectorEnv
from tests.scenes import Agent, straight_road
from tests.unit.engine.fakes import FakeEgo

YELLOW = "ROAD_LINE_SOLID_SINGLE_YELLOW"


@pytest.fixture(scope="module")
def scene():
    """A car 20 m ahead in the left lane, one 10 m behind that is faster, and a left edge that is yellow."""
    scenario = straight_road(extra=[Agent("behind", -10.0, 0.0, 0.0, 12.0)])
    features = tuple(
        replace(feature, type=YELLOW) if feature.id == "edge_left" else feature for feature in scenario.features
    )
    return parse_scene(replace(scenario, features=features), static_vehicles=False)


@pytest.fixture(scope="module")
def seen(scene):
    env = FastVectorEnv([scene], 1, EngineConfig(observation="route"))
    observation, _ = env.reset(options={"episodes": [(0, None)]})
    env.close()
    return observation[0]


def test_the_ego_and_its_route(seen):
    assert seen.shape == (route_view.SIZE,)
    # 10 m/s, straight, 90 m to go in 9 s.
    assert seen[:3] == pytest.approx((10 / 25, 0, 0), abs=1e-6)
    assert seen[3:10] == pytest.approx((0, 0, 0, 0, 0, 0, 1), abs=1e-6)
    assert seen[10:15] == pytest.approx((0.9, 1, 1, 10 / 25, 0), abs=1e-5)
    assert seen[17] == pytest.approx(0, abs=1e-6)
    ways = seen[18:40].reshape(11, 2)
    assert ways[:, 0] == pytest.approx(route_view.WAYS / 40, abs=1e-6)
    assert ways[:, 1] == pytest.approx(np.zeros(11), abs=1e-6)


def test_lines_by_colour(seen):
    yellow, white = seen[40:64], seen[64:88]
    # The first ray points left: the yellow edge 5.5 m away; the white one is 2 m to the right.
    assert yellow[0] == pytest.approx(1 - (5.5 - 0.0375) / 30, abs=1e-4)
    assert white[12] == pytest.approx(1 - (2 - 0.0375) / 30, abs=1e-4)
    assert yellow[12] == 0
    assert white[0] == 0
    assert yellow[2] == pytest.approx(1 - (5.5 - 0.0375) / math.cos(math.pi / 6) / 30, abs=1e-4)


def test_who_is_around(seen):
    rays, others = seen[88:124], seen[124:236].reshape(8, 14)
    assert rays[18] == pytest.approx(1 - (10 - 2.3) / 50, abs=1e-4)
    assert np.count_nonzero(rays) >= 2
    # The one behind comes closest: 10 m at 2 m/s are just the 5 s looked ahead.
    behind, ahead = others[0], others[1]
    assert behind == pytest.approx([1, -0.2, 0, 0, 1, 0.1, 0, 0.45, 0.5, 0, 0, 1, 0, 0.2], abs=1e-5)
    assert ahead[:7] == pytest.approx([1, 0.4, 3.5 / 50, 0, 1, 0, 0], abs=1e-5)
    assert not others[2:].any()


def test_room_along_the_route_and_beside_the_car(seen):
    corridor, beside = seen[236:248].reshape(6, 2), seen[248:]
    assert corridor[:, 0].tolist() == [1.0] * 6
    assert corridor[:, 1] == pytest.approx(np.full(6, (5.5 - 0.0375) / 10), abs=1e-4)
    room = (5.5 - 0.0375 - 1.852 / 2) / 5
    assert beside == pytest.approx([room, 1, room, 1], abs=1e-4)


def test_the_sensors_of_the_engine_see_the_same(scene, seen):
    ego = FakeEgo(scene.xy[0], speed=10.0)
    ego.last_action_taken = (0.0, 0.0)
    ego.chassis = SimpleNamespace(node=lambda: SimpleNamespace(getAngularVelocity=lambda: (0.0, 0.0, 0.0)))
    agents = np.array([1, 2])
    xy, distance = scene.xy[agents, 0], np.hypot(*scene.xy[agents, 0].T)
    present = Present(agents, xy, scene.theta[agents, 0], scene.velocity[agents, 0], scene.body[agents, 0], distance)
    sensors = RouteSensors()
    sensors.begin(scene, 90)
    assert sensors.observe(ego, SimpleNamespace(present=present), 0) == pytest.approx(seen, abs=1e-5)

"""What the driver on the observation `route` makes of observations that are written by hand."""

import numpy as np
import pytest

from ego_policies.route_follower import SIZE, RouteFollowerConfig, RouteFollowerPolicy, follow_route
from harness.engine.config import ROUTE_VIEW_SIZE
from harness.errors import ConfigError
from harness.fast import route_view


def observation(*, speed=10.0, needed=8.0, bend=0.0, others=()):
    """A car on its route, which bends by `bend` (1/m, left positive); others as (ahead, left, speed along, length)."""
    values = np.zeros(SIZE, np.float32)
    values[0], values[13] = speed / 25, needed / 25
    way = route_view.WAYS
    # On an arc the middle of a car moves askew of its heading: the rear axle, 1.417 m behind, does not.
    turned, askew = way * bend, np.arctan(1.4166 * bend)
    ahead, left = (np.sin(turned) / bend, (1 - np.cos(turned)) / bend) if bend else (way, 0 * way)
    ahead, left = np.cos(askew) * ahead - np.sin(askew) * left, np.sin(askew) * ahead + np.cos(askew) * left
    values[18:40] = np.column_stack([ahead, left]).ravel() / 40
    for place, (x, y, along, length) in enumerate(others):
        row = [1, x / 50, y / 50, 0, 1, (along - speed) / 20, 0, length / 10, 2 / 4, 0, 0, 0, 0, 0]
        values[124 + 14 * place : 138 + 14 * place] = row
    return values


def act(**options):
    return follow_route(observation(**options)[None])[0]


def test_the_layout_is_the_kernels():
    ways, rays = 18 + 2 * len(route_view.WAYS), 2 * route_view.LINE_RAYS + route_view.BODY_RAYS
    assert (SIZE, ways, ways + rays) == (ROUTE_VIEW_SIZE, 40, 124)
    assert (route_view.VEHICLES * route_view.VEHICLE, route_view.VEHICLE) == (236 - 124, 14)


def test_it_steers_into_bends_and_slows_down_for_them():
    assert act()[0] == pytest.approx(0.0, abs=1e-6)
    # A radius of 20 m: the wheels stand at about 2.469 / 20 rad, of 40° = 0.698 rad.
    assert act(bend=0.05)[0] == pytest.approx(0.123 / 0.698, abs=0.015)
    assert act(bend=-0.05)[0] == pytest.approx(-act(bend=0.05)[0], abs=1e-6)
    assert act(speed=12.0, needed=12.0, bend=0.05)[1] < -0.05 < act(speed=12.0, needed=12.0)[1]
    assert act(bend=0.005)[1] == pytest.approx(act()[1])


def test_speed_follows_what_is_needed():
    # 1.15 times 8 m/s and 1 m/s more are 10.2 m/s: 0.4 m/s² and what rolling takes, of 2.9.
    assert act()[1] == pytest.approx((0.4 + 0.36) / 2.9, abs=0.01)
    assert act(needed=15.0)[1] > 0.9
    assert act(needed=2.0)[1] < -0.1


def test_it_brakes_for_whoever_is_in_the_way_and_for_nobody_else():
    alone = act()
    assert act(others=[(14.0, 0.0, 2.0, 4.5)])[1] < -0.1
    assert act(others=[(14.0, 0.2, 2.0, 4.5), (30.0, -8.0, 0.0, 4.5)])[1] < -0.1
    for nobody in ((14.0, 4.0, 2.0, 4.5), (14.0, 0.0, 12.0, 4.5), (-14.0, 0.0, 8.0, 4.5)):
        assert act(others=[nobody]) == pytest.approx(alone)


def test_constants_and_observations_alone_decide():
    policy = RouteFollowerPolicy(RouteFollowerConfig(haste=2.0))
    assert policy.act(observation(), None)[1] > 0.9
    with pytest.raises(ConfigError, match=r"RouteFollowerConfig\.gain"):
        RouteFollowerConfig(gain=0.0)

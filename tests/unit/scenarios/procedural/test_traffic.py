"""Routes, conflict zones and the behaviour of traffic on hand-made roads."""

import numpy as np
import pytest

from scenarios.procedural.routes import CROSS, MERGE, find_routes, speed_profile
from scenarios.procedural.traffic import DT, Traffic, draw_drivers, poses
from scenarios.procedural.windows import SimulatedMotion, collides
from tests.unit.scenarios.procedural.hand_made import crossing_roads, drivers, merging_roads


def drive(routes, who, entry, start, duration=25.0, speed=10.0):
    profile = speed_profile(routes, 1.3 * speed)
    traffic = Traffic(routes, profile, speed, who, np.array(entry, dtype=float), np.array(start, dtype=float))
    return traffic.run(duration, 30)


def as_motion(routes, who, log):
    body = [poses(routes, who, log, v, slice(None)) for v in range(len(who.route))]
    size = np.stack([who.length, who.width, who.height], -1)
    return SimulatedMotion(*(np.stack([b[k] for b in body]) for k in range(3)), log.speed, log.present, size)


def routes_of(roads):
    routes = find_routes(roads, np.random.default_rng(0))
    # Routes are drawn in any order: sort by where they start.
    order = [int(np.flatnonzero(routes.entry == entry)[0]) for entry in (0, 1)]
    return routes, order


def test_crossing_routes_have_one_zone_around_the_crossing():
    routes, (east, north) = routes_of(crossing_roads())
    assert list(routes.zone_kind[east, north]) == [CROSS, 0, 0]
    a_in, a_out, b_in, b_out = routes.zones[east, north, 0]
    # Centre lines are nearer than 2.35 m from 98 m to 102 m on points 1 m apart.
    assert (a_in, a_out) == (98.0, 102.0)
    assert b_in <= 100.0 <= b_out
    assert routes.zones[north, east, 0] == pytest.approx([b_in, b_out, a_in, a_out])


def test_merging_routes_have_one_lasting_zone():
    routes, (main, slip) = routes_of(merging_roads())
    assert list(routes.zone_kind[main, slip]) == [MERGE, 0, 0]
    # At 10°, centre lines come within 2.35 m at 2.35 / sin 10° = 13.5 m before they join (smoothing aside).
    assert routes.zones[main, slip, 0, 0] == pytest.approx(150 - 13.5, abs=2.0)
    assert routes.zones[main, slip, 0, 1] > 290.0


def test_curves_limit_the_speed_in_time():
    routes, (main, _) = routes_of(merging_roads())
    routes.curvature[main, 100:120] = 0.1
    profile = speed_profile(routes, 15.0)
    assert profile[main, 110] == pytest.approx(np.sqrt(2.6 / 0.1))
    assert profile[main, 0] == pytest.approx(15.0)
    assert profile[main, 90] ** 2 == pytest.approx(2.6 / 0.1 + 2 * 1.6 * 10)


def test_a_lone_driver_keeps_the_desired_speed_and_leaves_at_the_end():
    routes, (east, _) = routes_of(crossing_roads())
    who = drivers([east])
    log = drive(routes, who, [0.0], [0.9])
    present = np.flatnonzero(log.present[0])
    assert log.speed[0, present[-1]] == pytest.approx(10.0, abs=0.3)
    assert present[-1] * DT == pytest.approx(200 / 10, abs=1.5)
    assert not log.present[0, -1]


def test_a_follower_settles_at_its_gap():
    routes, (main, _) = routes_of(merging_roads())
    who = drivers([main, main])
    who.eagerness[0] = 0.6  # the leader drives 6 m/s
    log = drive(routes, who, [-1.0, -1.0], [60.0, 1.0], duration=30.0)
    both = np.flatnonzero(log.present.all(0))
    gap = log.along[0, both] - log.along[1, both] - 4.5
    assert gap.min() > 2.0
    # IDM's equilibrium: (s0 + v T) / sqrt(1 − (v / v0)^4), with s0 = 2.2, T = 1.2, v = 6, v0 = 10.
    assert gap[-1] == pytest.approx((2.2 + 1.2 * 6) / np.sqrt(1 - 0.6**4), rel=0.2)


@pytest.mark.parametrize("delay", [0.0, 0.4, 1.5])
def test_drivers_who_would_meet_at_a_crossing_pass_one_after_the_other(delay):
    routes, (east, north) = routes_of(crossing_roads())
    who = drivers([east, north])
    blind = drive(routes, drivers([east]), [0.0], [0.9])
    log = drive(routes, who, [0.0, delay], [0.9, 0.9])
    assert not collides(as_motion(routes, who, log), 0, log.present.shape[1])
    # The one that comes later waits for the other, and not longer than it must.
    first = np.flatnonzero(log.along[0] > 100)[0]
    second = np.flatnonzero(log.along[1] > 100)[0]
    assert first == pytest.approx(np.flatnonzero(blind.along[0] > 100)[0], abs=2)
    assert 8 <= second - first <= 35
    assert np.diff(log.speed[1]).min() / DT > -4.0


@pytest.mark.parametrize("shift", [-1.0, 0.0, 1.0])
def test_merging_drivers_zip(shift):
    routes, (main, slip) = routes_of(merging_roads())
    who = drivers([main, slip, main])
    log = drive(routes, who, [0.0, 3.0 + shift, 3.0], [0.9, 0.9, 0.9], duration=32.0)
    motion = as_motion(routes, who, log)
    assert log.present.any(1).all()
    assert not collides(motion, 0, log.present.shape[1])


def test_poses_are_consistent():
    routes, (main, _) = routes_of(merging_roads())
    who = draw_drivers(np.array([main]), np.random.default_rng(2))
    log = drive(routes, who, [0.0], [1.0])
    rows = np.flatnonzero(log.present[0])
    position, heading, velocity = (x[rows] for x in poses(routes, who, log, 0, slice(None)))
    numeric = np.diff(position, axis=0) / DT
    assert np.abs(numeric - (velocity[1:] + velocity[:-1]) / 2).max() < 0.05
    # A car does not slip: it moves where it heads, but for the swing of its centre about the rear axle.
    slip = velocity[:, 1] * np.cos(heading) - velocity[:, 0] * np.sin(heading)
    assert np.abs(slip).max() < 0.3

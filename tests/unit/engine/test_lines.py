"""Lane lines as bodies: what rays meet, by the geometry of the lines."""

import numpy as np
import pytest
from metadrive.constants import CollisionGroup
from panda3d.core import LPoint3

from harness.engine.lines import LineWorld
from scenarios.scenario import MapFeature

SOLID = CollisionGroup.ContinuousLaneLine | CollisionGroup.Sidewalk
ANY = SOLID | CollisionGroup.BrokenLaneLine
QUARTER_WIDTH = 0.15 / 4
"""Half the thickness of a line's box: MetaDrive's line of 0.15 m, halved twice."""


def line(kind: str, *points: tuple[float, float]) -> MapFeature:
    return MapFeature("line", kind, np.array([(x, y, 0.0) for x, y in points]))


def hit(world: LineWorld, end: tuple[float, float], start: tuple[float, float] = (0.0, 0.0), mask=ANY) -> float:
    """Distance from `start` at which a ray to `end` meets a line, m; the full distance where it meets none."""
    ray = world.world.rayTestClosest(LPoint3(*start, 0.2), LPoint3(*end, 0.2), mask)
    return ray.getHitFraction() * np.hypot(end[0] - start[0], end[1] - start[1])


NO_SHIFT = np.zeros(2)


def test_a_ray_meets_an_edge_where_the_edge_is():
    world = LineWorld([line("ROAD_EDGE_BOUNDARY", (-20, 5), (20, 5))], NO_SHIFT)
    assert hit(world, (0, 50)) == pytest.approx(5 - QUARTER_WIDTH, abs=1e-4)
    # At 45 degrees the way is longer by the square root of two.
    assert hit(world, (30, 30)) == pytest.approx((5 - QUARTER_WIDTH) * np.sqrt(2), abs=1e-4)
    assert hit(world, (0, -50)) == 50
    world.close()


@pytest.mark.parametrize(("half", "end"), [(2, 2), (20, 18)])
def test_an_edge_ends_where_its_points_end(half, end):
    """Stock MetaDrive resamples lines longer than 4 m every 2 m and drops the last two metres."""
    world = LineWorld([line("ROAD_EDGE_BOUNDARY", (-half, 5), (half, 5))], NO_SHIFT)
    for x, meets in ((-half - 0.2, False), (-half + 0.2, True), (end - 0.2, True), (end + 0.2, False)):
        assert (hit(world, (x, 50), start=(x, 0)) < 5) == meets
    world.close()


def test_a_slanted_line_is_met_on_the_slant():
    world = LineWorld([line("ROAD_LINE_SOLID_SINGLE_WHITE", (0, 10), (10, 0))], NO_SHIFT)
    # x + y = 10: the origin is 10 / sqrt 2 away along the diagonal.
    assert hit(world, (20, 20)) == pytest.approx(10 / np.sqrt(2) - QUARTER_WIDTH, abs=1e-4)
    world.close()


def test_lines_are_relative_to_the_origin():
    world = LineWorld([line("ROAD_EDGE_BOUNDARY", (980, 505), (1020, 505))], np.array([1000.0, 500.0]))
    assert hit(world, (0, 50)) == pytest.approx(5 - QUARTER_WIDTH, abs=1e-4)
    world.close()


def test_side_rays_pass_through_broken_lines_only():
    broken = LineWorld([line("ROAD_LINE_BROKEN_SINGLE_WHITE", (0, 4), (40, 4))], NO_SHIFT)
    solid = LineWorld([line("ROAD_LINE_SOLID_SINGLE_YELLOW", (0, 4), (40, 4))], NO_SHIFT)
    assert hit(broken, (1, 9), start=(1, 0), mask=SOLID) == 9
    assert hit(broken, (1, 9), start=(1, 0), mask=ANY) < 4
    assert hit(solid, (1, 9), start=(1, 0), mask=SOLID) < 4
    broken.close()
    solid.close()


def test_every_second_segment_of_a_broken_line_is_a_gap():
    world = LineWorld([line("ROAD_LINE_BROKEN_SINGLE_WHITE", (0, 4), (40, 4))], NO_SHIFT)
    met = [hit(world, (x, 9), start=(x, 0)) < 9 for x in np.arange(1.0, 16.0, 2.0)]
    assert met == [True, False] * 4
    world.close()


def test_what_is_no_line_gives_no_body():
    lane = MapFeature("lane", "LANE_SURFACE_STREET", np.array([(-20.0, 5.0, 0.0), (20.0, 5.0, 0.0)]))
    point = line("ROAD_EDGE_BOUNDARY", (0, 5))
    world = LineWorld([lane, point], NO_SHIFT)
    assert world.segments == 0
    assert hit(world, (0, 50)) == 50
    world.close()


def test_a_closed_world_holds_nothing():
    world = LineWorld([line("ROAD_EDGE_BOUNDARY", (-20, 5), (20, 5))], NO_SHIFT)
    unused = LineWorld([line("ROAD_EDGE_BOUNDARY", (-20, 5), (20, 5))], NO_SHIFT)
    assert hit(world, (0, 50)) < 50
    for closed in (world, unused):
        closed.close()
        assert hit(closed, (0, 50)) == 50

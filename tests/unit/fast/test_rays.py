"""Rays against lines, and lines under the car."""

import math

import numpy as np
import pytest

from harness.engine.scene import Body
from harness.fast import traffic
from harness.fast.fleet import DRIVE
from harness.fast.packing import grid_of
from harness.fast.rays import cast, cast_fan, lines_under, meets_line
from harness.fast.scenes import (
    ALL_LINES,
    BROKEN,
    CONTINUOUS,
    HALF_WIDTH,
    LINE,
    WHITE,
    WHITE_LINES,
    YELLOW,
    YELLOW_LINES,
)
from harness.fast.sensing import cast_bodies


def line(x0, y0, x1, y1, kind=WHITE):
    length = math.hypot(x1 - x0, y1 - y0)
    return [(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / length, (y1 - y0) / length, length / 2, kind]


def world(*lines):
    return grid_of(*pieces(*lines))


def pieces(*lines):
    rows = np.array(lines, np.float64).reshape(-1, LINE + 1)
    return rows[:, :LINE], rows[:, LINE].astype(int)


meets = meets_line.py_func


def test_a_ray_meets_the_near_side_of_a_line():
    grid, cells, lines = world(line(-5, 10, 5, 10), line(-5, 20, 5, 20))
    assert cast(grid, cells, lines, 0.0, 0.0, 0.0, 1.0, 50.0, CONTINUOUS) * 50 == pytest.approx(10 - HALF_WIDTH)
    assert cast(grid, cells, lines, 0.0, 15.0, 0.0, -1.0, 50.0, CONTINUOUS) * 50 == pytest.approx(5 - HALF_WIDTH)
    assert cast(grid, cells, lines, 0.0, 0.0, 1.0, 0.0, 50.0, CONTINUOUS) == 1.0
    assert cast(grid, cells, lines, 0.0, 0.0, 0.0, 1.0, 9.0, CONTINUOUS) == 1.0


def test_broken_lines_count_where_they_are_asked_for():
    grid, cells, lines = world(line(-5, 10, 5, 10, BROKEN), line(-5, 20, 5, 20))
    assert cast(grid, cells, lines, 0.0, 0.0, 0.0, 1.0, 50.0, CONTINUOUS) * 50 == pytest.approx(20 - HALF_WIDTH)
    assert cast(grid, cells, lines, 0.0, 0.0, 0.0, 1.0, 50.0, ALL_LINES) * 50 == pytest.approx(10 - HALF_WIDTH)


def test_a_ray_that_starts_inside_sees_nothing_of_that_line():
    piece, _ = pieces(line(-5, 0, 5, 0))
    assert meets(piece, 0, 0.0, 0.0, 0.0, 1.0) == math.inf
    assert meets(piece, 0, 0.0, -0.06, 0.0, 1.0) == pytest.approx(0.06 - HALF_WIDTH)


def test_the_grid_finds_what_all_lines_together_give():
    rng = np.random.default_rng(4)
    ends = rng.uniform(-40, 40, (300, 2))
    ways, kinds = rng.normal(size=(300, 2)), rng.integers(3, size=300)
    every = [line(x, y, x + dx, y + dy, k) for (x, y), (dx, dy), k in zip(ends, ways, kinds, strict=True)]
    grid, cells, lines = world(*every)
    found = np.zeros(12, np.float32)
    hits = 0
    for x, y, angle in rng.uniform((-60, -60, 0), (60, 60, 2 * math.pi), (60, 3)):
        for first, end in (ALL_LINES, CONTINUOUS, YELLOW_LINES, WHITE_LINES):
            rows, _ = pieces(*(row for row in every if first <= row[5] < end))
            cast_fan(grid, cells, lines, x, y, math.cos(angle), math.sin(angle), 50.0, (first, end), found, 2, 10)
            assert not found[:2].any()
            for ray, share in enumerate(found[2:]):
                dx, dy = math.cos(angle + ray * math.pi / 5), math.sin(angle + ray * math.pi / 5)
                nearest = min(meets(rows, index, x, y, dx, dy) for index in range(len(rows)))
                assert share == pytest.approx(min(nearest / 50, 1.0), abs=1e-6)
                assert cast(grid, cells, lines, x, y, dx, dy, 50.0, (first, end)) == pytest.approx(share, abs=1e-6)
                hits += share < 1
    assert hits > 500


@pytest.mark.parametrize(("dx", "dy"), [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (-0.0, -1.0)])
def test_rays_along_the_grid(dx, dy):
    grid, cells, lines = world(
        line(-30, 30, 30, 30), line(30, 30, 30, -30), line(30, -30, -30, -30), line(-30, -30, -30, 30)
    )
    for x, y in ((0.0, 0.0), (grid[0] + 2 * grid[4], grid[1] + 3 * grid[4])):
        away = 30 - (x * dx + y * dy) - HALF_WIDTH
        assert cast(grid, cells, lines, x, y, dx, dy, 80.0, ALL_LINES) * 80 == pytest.approx(away)
        # From outside, through the whole grid, and away from it.
        assert cast(grid, cells, lines, x - 80 * dx, y - 80 * dy, dx, dy, 300.0, ALL_LINES) < 0.3
        assert cast(grid, cells, lines, x + 80 * dx, y + 80 * dy, dx, dy, 300.0, ALL_LINES) == 1


def test_a_ray_from_nowhere_ends():
    grid, cells, lines = world(line(-5, 10, 5, 10))
    for x, y in ((math.nan, 0.0), (0.0, math.inf)):
        assert cast(grid, cells, lines, x, y, 0.6, 0.8, 50.0, ALL_LINES) == 1.0
    assert cast(grid, cells, lines, 0.0, 0.0, math.nan, 1.0, 50.0, ALL_LINES) == 1.0


def test_no_lines_at_all():
    grid, cells, lines = world()
    assert cast(grid, cells, lines, 3.0, 1.0, 0.6, 0.8, 50.0, ALL_LINES) == 1.0
    assert lines_under(grid, cells, lines, 0.0, 0.0, 1.0, 0.0) == 0


def test_lines_under_the_car():
    half_length, half_width = 4.515 / 2, 1.852 / 2
    beside, ahead = half_width + HALF_WIDTH, half_length + 0.5
    grid, cells, lines = world(
        line(-5, beside - 0.01, 5, beside - 0.01, YELLOW), line(-5, -beside - 0.01, 5, -beside - 0.01, WHITE)
    )
    assert lines_under(grid, cells, lines, 0.0, 0.0, 1.0, 0.0) == 1 << YELLOW
    assert lines_under(grid, cells, lines, 0.0, -0.03, 1.0, 0.0) == 1 << WHITE
    assert lines_under(grid, cells, lines, 0.0, 0.0, 0.0, 1.0) == 1 << YELLOW | 1 << WHITE
    grid, cells, lines = world(line(ahead, -1, ahead, 1, BROKEN))
    assert lines_under(grid, cells, lines, 0.4, 0.0, 1.0, 0.0) == 0
    assert lines_under(grid, cells, lines, 0.6, 0.0, 1.0, 0.0) == 1 << BROKEN


def test_rays_against_bodies_meet_their_near_sides():
    drive, here, values = np.zeros(DRIVE), np.zeros((2, traffic.HERE)), np.zeros(4)
    # A car across the way ahead, and a pedestrian to the left.
    for row, (x, y, theta, body) in enumerate(
        [(20.0, 0.0, math.pi / 2, Body.MEDIUM), (0.0, 5.0, 0.0, Body.PEDESTRIAN)]
    ):
        here[row, [traffic.HERE_X, traffic.HERE_Y, traffic.HERE_THETA, traffic.HERE_BODY]] = x, y, theta, body
        here[row, traffic.HERE_DISTANCE] = math.hypot(x, y)
    cast_bodies(drive, here, 2, 4, 50.0, values, 0)
    assert values * 50 == pytest.approx([20 - 1.85 / 2, 5 - 0.35, 50, 50])
    cast_bodies(drive, here, 2, 4, 10.0, values, 0)
    assert values * 10 == pytest.approx([10, 5 - 0.35, 10, 10])

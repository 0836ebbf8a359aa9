"""Rays against lines, and lines under the car."""

import math

import numpy as np
import pytest

from harness.engine.scene import Body
from harness.fast import traffic
from harness.fast.fleet import DRIVE
from harness.fast.packing import grid_of
from harness.fast.rays import HALF_WIDTH, cast, lines_under, meets_line
from harness.fast.scenes import ALL_LINES, BROKEN, CONTINUOUS, WHITE, YELLOW
from harness.fast.sensing import cast_bodies


def line(x0, y0, x1, y1, kind=WHITE):
    length = math.hypot(x1 - x0, y1 - y0)
    return [(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / length, (y1 - y0) / length, length / 2, kind]


def world(*lines):
    lines = np.array(lines, np.float64)
    return *grid_of(lines), lines


def test_a_ray_meets_the_near_side_of_a_line():
    grid, cells, entries, lines = world(line(-5, 10, 5, 10), line(-5, 20, 5, 20))
    assert cast(grid, cells, entries, lines, 0.0, 0.0, 0.0, 1.0, 50.0, CONTINUOUS) * 50 == pytest.approx(
        10 - HALF_WIDTH
    )
    assert cast(grid, cells, entries, lines, 0.0, 15.0, 0.0, -1.0, 50.0, CONTINUOUS) * 50 == pytest.approx(
        5 - HALF_WIDTH
    )
    assert cast(grid, cells, entries, lines, 0.0, 0.0, 1.0, 0.0, 50.0, CONTINUOUS) == 1.0
    assert cast(grid, cells, entries, lines, 0.0, 0.0, 0.0, 1.0, 9.0, CONTINUOUS) == 1.0


def test_broken_lines_count_where_they_are_asked_for():
    grid, cells, entries, lines = world(line(-5, 10, 5, 10, BROKEN), line(-5, 20, 5, 20))
    assert cast(grid, cells, entries, lines, 0.0, 0.0, 0.0, 1.0, 50.0, CONTINUOUS) * 50 == pytest.approx(
        20 - HALF_WIDTH
    )
    assert cast(grid, cells, entries, lines, 0.0, 0.0, 0.0, 1.0, 50.0, ALL_LINES) * 50 == pytest.approx(10 - HALF_WIDTH)


def test_a_ray_that_starts_inside_sees_nothing_of_that_line():
    assert meets_line(np.array([line(-5, 0, 5, 0)]), 0, 0.0, 0.0, 0.0, 1.0) == math.inf
    assert meets_line(np.array([line(-5, 0, 5, 0)]), 0, 0.0, -0.06, 0.0, 1.0) == pytest.approx(0.06 - HALF_WIDTH)


def test_the_grid_finds_what_all_lines_together_give():
    rng = np.random.default_rng(4)
    ends = rng.uniform(-40, 40, (300, 2))
    lines = np.array(
        [line(x, y, x + dx, y + dy) for (x, y), (dx, dy) in zip(ends, rng.normal(size=(300, 2)), strict=True)]
    )
    grid, cells, entries = grid_of(lines)
    hits = 0
    for x, y, angle in rng.uniform((-60, -60, 0), (60, 60, 2 * math.pi), (300, 3)):
        dx, dy = math.cos(angle), math.sin(angle)
        nearest = min(meets_line(lines, index, x, y, dx, dy) for index in range(len(lines)))
        found = cast(grid, cells, entries, lines, x, y, dx, dy, 50.0, CONTINUOUS)
        assert found == pytest.approx(min(nearest / 50, 1.0), abs=1e-12)
        hits += found < 1
    assert hits > 100


def test_no_lines_at_all():
    grid, cells, entries = grid_of(np.zeros((0, 6)))
    assert cast(grid, cells, entries, np.zeros((0, 6)), 3.0, 1.0, 0.6, 0.8, 50.0, ALL_LINES) == 1.0
    assert lines_under(grid, cells, entries, np.zeros((0, 6)), 0.0, 0.0, 1.0, 0.0) == 0


def test_lines_under_the_car():
    half_length, half_width = 4.515 / 2, 1.852 / 2
    beside, ahead = half_width + HALF_WIDTH, half_length + 0.5
    grid, cells, entries, lines = world(
        line(-5, beside - 0.01, 5, beside - 0.01, YELLOW), line(-5, -beside - 0.01, 5, -beside - 0.01, WHITE)
    )
    assert lines_under(grid, cells, entries, lines, 0.0, 0.0, 1.0, 0.0) == YELLOW
    assert lines_under(grid, cells, entries, lines, 0.0, -0.03, 1.0, 0.0) == WHITE
    assert lines_under(grid, cells, entries, lines, 0.0, 0.0, 0.0, 1.0) == YELLOW | WHITE
    grid, cells, entries, lines = world(line(ahead, -1, ahead, 1, BROKEN))
    assert lines_under(grid, cells, entries, lines, 0.4, 0.0, 1.0, 0.0) == 0
    assert lines_under(grid, cells, entries, lines, 0.6, 0.0, 1.0, 0.0) == BROKEN


def test_rays_against_bodies_meet_their_near_sides():
    drive, here, values = np.zeros(DRIVE), np.zeros((2, traffic.HERE)), np.zeros(4)
    # A car across the way ahead, and a pedestrian to the left.
    for row, (x, y, theta, body) in enumerate(
        [(20.0, 0.0, math.pi / 2, Body.MEDIUM), (0.0, 5.0, 0.0, Body.PEDESTRIAN)]
    ):
        here[row, [traffic.HERE_X, traffic.HERE_Y, traffic.HERE_THETA, traffic.HERE_BODY]] = x, y, theta, body
        here[row, traffic.HERE_DISTANCE] = math.hypot(x, y)
    cast_bodies(drive, here, 2, 4, 50.0, values)
    assert values * 50 == pytest.approx([20 - 1.85 / 2, 5 - 0.35, 50, 50])
    cast_bodies(drive, here, 2, 4, 10.0, values)
    assert values * 10 == pytest.approx([10, 5 - 0.35, 10, 10])

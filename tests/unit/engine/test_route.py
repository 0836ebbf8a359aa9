"""Progress along routes whose geometry is known: a straight road and a quarter circle."""

import math

import numpy as np
import pytest

from harness.engine.route import Progress, Route
from tests.unit.engine.fakes import quarter_circle, straight


def test_a_straight_route_is_as_long_as_it_is_drawn():
    assert Route(straight(100.0)).length == pytest.approx(100.0)


@pytest.mark.parametrize(("point", "expected"), [((10, 3), (10, -3)), ((10, -3), (10, 3)), ((37.5, 0), (37.5, 0))])
def test_projection_gives_the_way_driven_and_the_offset_to_the_right(point, expected):
    assert Route(straight()).project(*point) == pytest.approx(expected)


def test_projection_goes_on_beyond_both_ends():
    route = Route(straight())
    assert route.project(-5, 0)[0] == pytest.approx(-5)
    assert route.project(130, -1) == pytest.approx((130, 1))


def test_the_nearer_leg_of_a_hairpin_is_meant():
    x = np.arange(0.0, 41.0, 2.0)
    there = np.stack([x, np.zeros_like(x)], -1)
    back = np.stack([x[::-1], np.full_like(x, 10.0)], -1)
    # On the way back +y is to the right, and 8 m lie 2 m short of the leg at 10 m.
    assert Route(np.concatenate([there, back])).project(20, 8) == pytest.approx((40 + 10 + 20, -2))


def test_a_quarter_circle_is_measured_along_the_arc():
    route = Route(quarter_circle(50.0))
    # Chords of two degrees (the first longer than 1 m is taken) are shorter than the arc by less than a thousandth.
    assert route.length == pytest.approx(50 * math.pi / 2, rel=1e-3)
    angle = 0.7
    inside = 40 * math.sin(angle), 50 - 40 * math.cos(angle)
    longitude, right = route.project(*inside)
    # Ten metres towards the centre of a left turn lie ten metres to the left.
    assert longitude == pytest.approx(50 * angle, abs=0.5)
    assert right == pytest.approx(-10, abs=0.01)
    assert route.heading_at(longitude) == pytest.approx(angle, abs=math.radians(2))
    assert route.lateral_at(longitude) == pytest.approx([math.sin(angle), -math.cos(angle)], abs=0.04)


def test_way_points_are_the_nine_after_the_next_one_every_two_metres():
    route = Route(straight())
    assert route.marks_ahead(11.0) == pytest.approx(np.stack([np.arange(14, 32, 2), np.zeros(9)], -1))


def test_way_points_repeat_the_end_of_the_route():
    ahead = Route(straight(100.0)).marks_ahead(90.0)
    assert ahead[:, 0] == pytest.approx([94, 96, 98, 100, 100, 100, 100, 100, 100])


def test_a_jump_in_the_log_ends_the_route():
    path = straight(20.0)
    torn = np.concatenate([path, path + np.array([500.0, 0.0])])
    # The point before the jump goes as well, as it does in stock MetaDrive.
    assert Route(torn).length == pytest.approx(18.0)


def test_a_parked_ego_has_a_route_of_ten_centimetres():
    assert Route(np.zeros((20, 2))).length == pytest.approx(0.1)


def test_float32_paths_stay_float32():
    assert Route(straight().astype(np.float32)).lateral_at(5.0).dtype == np.float32


def test_progress_remembers_the_step_before():
    progress = Progress()
    progress.begin(Route(straight(100.0)))
    progress.update(10.0, 1.0)
    progress.update(12.0, 3.0)
    assert (progress.last_longitude, progress.current_longitude) == pytest.approx((10, 12))
    assert (progress.last_lateral, progress.current_lateral) == pytest.approx((-1, -3))
    assert progress.route_completion == pytest.approx(0.12)


def test_beginning_again_forgets_the_last_episode():
    progress = Progress()
    progress.begin(Route(straight()))
    progress.update(50.0, 2.0)
    progress.begin(Route(straight()))
    assert progress.current_longitude == progress.last_longitude == progress.current_lateral == 0.0


@pytest.mark.parametrize(("heading", "expected"), [((1, 0), 0.5), ((0, 1), 0.0), ((0, -3), 1.0), ((0, 0), 0.0)])
def test_heading_error_is_half_along_the_road_and_one_towards_its_right(heading, expected):
    progress = Progress()
    progress.begin(Route(straight()))
    progress.update(10.0, 0.0)
    assert progress.heading_error(heading) == pytest.approx(expected)


def test_a_route_must_be_given_first():
    with pytest.raises(AssertionError, match="begin"):
        Progress().update(0.0, 0.0)

"""Geometry of motion tokens, and features of relative poses, by hand."""

import numpy as np
import pytest
import torch

from harness.geometry import box_corners
from harness.traffic.model.embeddings import fourier, relation_features, relation_width
from harness.traffic.tokens.shapes import (
    KIND_SIZES,
    box_corners_torch,
    compose,
    contours,
    corner_distance,
    half_diagonals,
    relative,
    token_kinds,
)
from scenarios.scenario import Kind

POSES = np.array([[1.0, 2.0, 0.0], [3.0, -1.0, np.pi / 2]])


def test_every_other_kind_moves_like_a_vehicle():
    kinds = np.array([Kind.VEHICLE, Kind.PEDESTRIAN, Kind.CYCLIST, Kind.CONE, Kind.OTHER])
    assert token_kinds(kinds).tolist() == [0, 1, 2, 0, 0]


def test_a_vehicles_contour_is_four_metres_eighty_by_two():
    corners = contours(POSES[:1], np.array([0]))[0]
    assert sorted(map(tuple, corners.tolist())) == [(-1.4, 1.0), (-1.4, 3.0), (3.4, 1.0), (3.4, 3.0)]


def test_corner_distance_is_the_shift_where_only_the_place_differs():
    assert corner_distance(POSES[0], POSES[0] + (3, 4, 0), KIND_SIZES[0]) == pytest.approx(5.0)


def test_corner_distance_of_a_half_turn_is_the_diagonal():
    assert corner_distance(POSES[0], POSES[0] + (0, 0, np.pi), np.array([4.0, 3.0])) == pytest.approx(5.0)


def test_corner_distance_is_the_mean_over_the_corners():
    # A square of 2 m, turned by 180 degrees about (1, 0): two corners change places, two end 4 m and 2 m away.
    moved = corner_distance(np.zeros(3), np.array([2.0, 0.0, np.pi]), np.array([2.0, 2.0]))
    assert moved == pytest.approx((2 + np.sqrt(20)) / 2)


def test_tensors_and_arrays_have_the_same_corners():
    half = half_diagonals(torch.tensor([0, 2]))
    assert half.tolist() == [[pytest.approx(2.4), 1.0], [1.0, 0.5]]
    ours = box_corners_torch(torch.as_tensor(POSES, dtype=torch.float32), half)
    assert ours.numpy() == pytest.approx(box_corners(POSES, KIND_SIZES[[0, 2]]), abs=1e-6)


def test_a_motion_is_made_in_the_frame_of_its_base():
    # From (3, -1) looking up, two metres ahead and one to the left.
    moved = compose(torch.tensor([3.0, -1.0, np.pi / 2]), torch.tensor([2.0, 1.0, 0.5]))
    assert moved.tolist() == pytest.approx([2.0, 1.0, np.pi / 2 + 0.5], abs=1e-6)


def test_relative_undoes_compose_and_wraps():
    base, motion = torch.tensor([3.0, -1.0, 3.0]), torch.tensor([2.0, 1.0, 0.5])
    assert relative(compose(base, motion), base).tolist() == pytest.approx([2.0, 1.0, 0.5], abs=1e-5)
    assert relative(torch.tensor([0.0, 0.0, 3.0]), torch.tensor([0.0, 0.0, -3.0]))[2] == pytest.approx(6 - 2 * np.pi)


def test_fourier_features_have_wavelengths_of_one_two_and_four_metres():
    # A quarter of each wavelength: the sine is 1, the cosine 0.
    values = fourier(torch.tensor([0.25, 0.5, 1.0]), 3)
    assert [values[band, band].item() for band in range(3)] == pytest.approx([1, 1, 1])
    assert [values[band, 3 + band].item() for band in range(3)] == pytest.approx([0, 0, 0], abs=1e-6)


def test_relation_features_of_a_known_pair():
    # Twenty metres ahead, turned left by 90 degrees, three tokens ago.
    features = relation_features(torch.tensor([20.0, 0.0, np.pi / 2]), torch.zeros(3), 2, torch.tensor(3.0))
    assert features.shape == (relation_width(2),)
    expected = [1.0, 0.0, 2.0, 0.0, 2.0, 0.0, 1.0, -1.0, 0.0, 0.5]
    assert features[-10:].tolist() == pytest.approx(expected, abs=1e-3)


def test_relation_features_do_not_change_when_everything_moves_and_turns():
    one, other = torch.tensor([4.0, 1.0, 0.3]), torch.tensor([-2.0, 5.0, 1.0])
    frame = torch.tensor([100.0, -50.0, 2.0])
    moved = relation_features(compose(frame, one), compose(frame, other), 3)
    assert torch.allclose(moved, relation_features(one, other, 3), atol=1e-3)

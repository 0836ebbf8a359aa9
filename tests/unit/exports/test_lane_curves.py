"""Curves through polylines: exact where they can be worked out by hand, close and smooth where not."""

import itertools

import numpy as np

from harness.exports.lane_curves import TOLERANCE, clean, fit, sample
from harness.geometry import project_to_polyline


def test_a_straight_polyline_is_one_line():
    (piece,) = fit(np.stack([np.linspace(0, 300, 151), np.full(151, 2.0)], -1))
    assert piece.cubic is None
    assert piece.length == 300.0
    np.testing.assert_allclose(piece.at(np.array([0.0, 0.5, 1.0])), [[0, 2], [150, 2], [300, 2]])


def test_a_quarter_circle_has_its_length_and_radius():
    angle = np.linspace(0, np.pi / 2, 40)
    pieces = fit(20 * np.stack([np.cos(angle), np.sin(angle)], -1))
    assert np.isclose(sum(piece.length for piece in pieces), 10 * np.pi, atol=0.03)
    assert np.abs(np.hypot(*sample(pieces).T) - 20).max() <= TOLERANCE
    assert len(pieces) <= 4


def test_pieces_meet_without_gap_and_kink_and_stay_close():
    x = np.arange(0, 200, 0.5)
    points = np.stack([x, 6 * np.sin(x / 15)], -1) + np.random.default_rng(0).normal(0, 0.003, (len(x), 2))
    pieces = fit(points)
    ends = np.linspace(0.0, 1.0, 2001)[[0, 1, -2, -1]]
    for before, after in itertools.pairwise(pieces):
        a, b = before.at(ends), after.at(ends)
        np.testing.assert_allclose(a[-1], b[0], atol=1e-9)
        turn = np.arctan2(*(a[-1] - a[-2])[::-1]) - np.arctan2(*(b[1] - b[0])[::-1])
        assert abs(turn) < 5e-3
    _, offset, _ = project_to_polyline(points, sample(pieces, 200))
    assert np.abs(offset).max() < TOLERANCE + 1e-3
    assert len(pieces) < len(points) / 5


def test_given_headings_are_kept():
    pieces = fit(np.array([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]]), start=0.02, end=-0.01)
    assert pieces[0].start[2] == 0.02
    end = np.diff(pieces[-1].at(np.array([0.9999, 1.0])), axis=0)[0]
    assert np.isclose(np.arctan2(end[1], end[0]), -0.01, atol=1e-3)


def test_useless_polylines_give_nothing():
    assert fit(np.zeros((5, 3))) == []
    assert fit(np.array([[1.0, 2.0]])) == []
    assert len(clean(np.array([[0.0, 0.0], [np.nan, 1.0], [1.0, 0.0], [1.0, 0.01], [2.0, 0.0]]))) == 3

"""Outlines of road surfaces: joined areas, and tangles that are refused before they are untangled."""

import time

import numpy as np
import pytest

from harness.errors import ScenarioError
from scenarios.importers import outlines
from scenarios.importers.outlines import road_outlines

SQUARE = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]])


def test_areas_that_meet_have_one_outline_with_the_road_on_the_left():
    (line,) = road_outlines([SQUARE, SQUARE + np.array([10.005, 0.0]), SQUARE[:2]])
    area = 0.5 * np.sum(line[:-1, 0] * line[1:, 1] - line[1:, 0] * line[:-1, 1])
    assert area == pytest.approx(200.0, abs=0.5)


def test_many_parts_have_one_outline_each(monkeypatch):
    apart = [SQUARE + np.array([20.0 * place, 0.0]) for place in range(4)]
    together = road_outlines(apart)
    monkeypatch.setattr(outlines, "MANY_PARTS", 2)
    one_by_one = road_outlines(apart)
    assert len(together) == len(one_by_one) == 4
    assert sorted(line.mean(0).round(3).tolist() for line in one_by_one) == sorted(
        line.mean(0).round(3).tolist() for line in together
    )


def test_a_bow_tie_is_untangled():
    assert len(road_outlines([SQUARE[[0, 2, 1, 3]]])) >= 1


def test_a_tangle_is_refused_at_once():
    corners = np.random.default_rng(0).uniform(0, 100, (300, 2))  # Untangling it takes a minute.
    start = time.perf_counter()
    with pytest.raises(ScenarioError, match="crosses itself more than 500 times"):
        road_outlines([corners])
    assert time.perf_counter() - start < 5


def test_areas_that_cross_too_often_or_have_too_many_corners_are_refused(monkeypatch):
    monkeypatch.setattr(outlines, "MAX_CROSSINGS", 1)
    with pytest.raises(ScenarioError, match="cross each other more than 1 times"):
        road_outlines([SQUARE, SQUARE + 5.0])
    monkeypatch.setattr(outlines, "MAX_MEETINGS", 19)  # Of neighbours on a border, and of each with its copy.
    with pytest.raises(ScenarioError, match="more than 19 pairs of their sides lie over each other"):
        road_outlines([SQUARE, SQUARE])
    monkeypatch.setattr(outlines, "MAX_AREAS", 1)
    with pytest.raises(ScenarioError, match="they are 2; at most 1"):
        road_outlines([SQUARE, SQUARE + 50.0])
    monkeypatch.undo()
    monkeypatch.setattr(outlines, "MAX_CORNERS", 7)
    with pytest.raises(ScenarioError, match="8 corners; at most 7"):
        road_outlines([SQUARE, SQUARE + 50.0])


def test_areas_that_are_none_are_refused():
    with pytest.raises(ScenarioError, match="cannot be joined"):
        road_outlines([SQUARE * np.nan])

"""The part of a scene that the page shows, by the geometry of a straight road."""

import numpy as np
import pytest

from harness.benchmarking.worker import kind_of
from harness.errors import AdversaryError, PolicyError, ScenarioError
from harness.report.html.encoding import unpack
from harness.report.html.overview import plot_cells, score_titles
from harness.report.html.scenes import MARGIN, frame_of, map_layers, scene_block
from tests.scenes import Agent, straight_road


def test_a_frame_leaves_the_same_margin_on_every_side():
    frame = frame_of(np.array([[0.0, 0.0], [40.0, 10.0]]))
    assert frame.origin.tolist() == [20, 5]
    assert frame.half.tolist() == [20 + MARGIN, 5 + MARGIN]
    assert frame.contains(np.array([[-MARGIN, 0.0], [-MARGIN - 0.1, 0.0]])).tolist() == [True, False]


def test_lines_are_clipped_to_the_frame_and_thinned():
    layers = map_layers(straight_road(median=True), frame_of(np.zeros((1, 2))))
    assert set(layers) == {"lane", "line", "edge", "median"}
    # A straight line of 201 points is two points; the road from -100 to 300 m ends at 120 m.
    assert layers["lane"]["n"] == [2, 2]
    points = np.reshape(unpack(layers["edge"]["xy"], columns=2), (-1, 2))
    assert sorted(points[:, 0].tolist()) == pytest.approx([-100, 120])
    assert points[:, 1].tolist() == pytest.approx([-2, -2])


def test_who_is_never_in_the_frame_has_no_track_but_ego_and_opponent_do():
    scene = straight_road(extra=[Agent("far", 5_000.0, 0.0)])
    block = scene_block(scene, frame_of(np.full((1, 2), 2_000.0)))
    assert [agent["log"] is None for agent in block["agents"]] == [False, False, True]
    assert (block["ego"], block["opponent"], block["steps"], block["dt"]) == (0, 1, 91, 0.1)


def test_undisturbed_drives_are_no_point_of_the_plot():
    cell = {"sut": "idm", "adversary": "cat", "n": 3, "columns": {}}
    assert plot_cells({"cells": [cell, {**cell, "adversary": "none"}]}) == [cell]


def test_every_score_has_one_title():
    names = [title["name"] for title in score_titles()]
    assert len(names) == len(set(names)) > 5
    assert all(title["title"] for title in score_titles())


@pytest.mark.parametrize(
    ("error", "word"),
    [(AdversaryError(), "adversary"), (PolicyError(), "policy"), (ScenarioError(), "scene"), (OSError(), "simulator")],
)
def test_a_failure_is_somebodys(error, word):
    assert kind_of(error) == word

"""Mirrored scenes: left and right are exchanged, and nothing else is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from harness.fast.library import packed_scenes
from harness.metrics.wosac import Scorer
from harness.traffic.baselines import LogSimulator
from scenarios.export import write_folder
from scenarios.indexing.facts import scene_facts, sketches_of, states_of
from scenarios.map_sketch import map_sketch
from scenarios.mirroring import WithMirrored, mirrored
from scenarios.scenario import LoadedScenes, MapFeature
from scenarios.store import ScenarioStore
from tests.scenes import crossing, straight_road
from tests.unit.traffic.scenes import traffic


def test_mirrored_scenes():
    scene = traffic()
    twice = mirrored(mirrored(scene))
    assert np.array_equal(twice.position, scene.position)
    assert mirrored(scene).position[1, 0, 1] == -scene.position[1, 0, 1]
    assert np.array_equal(twice.features[0].points, scene.features[0].points)


def test_mirrored_road_stays_between_its_edges():
    """A road edge has the road on its left, in the mirror too: who stays on the road in the log does so there."""
    scene = traffic(rotation=0.7)
    scores = [Scorer(seen).score_groups(LogSimulator().simulate(seen, 1, 0), 1) for seen in (scene, mirrored(scene))]
    straight, flipped = scores
    assert straight.off_road.any()
    assert not straight.off_road.all()
    assert torch.equal(straight.off_road, flipped.off_road)
    for name, value in straight.likelihoods.items():
        assert float(flipped.likelihoods[name]) == pytest.approx(float(value), abs=1e-6)


def test_mirrored_polygons_neighbours_and_lights():
    square = MapFeature("c", "CROSSWALK", np.array([[0.0, 1.0], [2.0, 1.0], [2.0, 3.0], [0.0, 3.0]]), True)
    lane = MapFeature("l", "LANE_SURFACE_STREET", np.array([[0.0, 1.0], [9.0, 2.0]]), left=("a",), right=("b",))
    light = {"lane": "l", "stop_point": np.array([4.0, 1.5, 0.0]), "state": {"object_state": ["LANE_STATE_GO"] * 91}}
    scene = dataclasses.replace(traffic(), features=(square, lane), lights={"l": light})
    seen = mirrored(scene)
    x, y = seen.features[0].points.T
    assert (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0  # counter-clockwise, as before
    assert seen.features[1].points.tolist() == [[0.0, -1.0], [9.0, -2.0]]
    assert (seen.features[1].left, seen.features[1].right) == (("b",), ("a",))
    assert seen.lights["l"]["stop_point"].tolist() == [4.0, -1.5, 0.0]
    assert scene.lights["l"]["stop_point"].tolist() == [4.0, 1.5, 0.0]


@pytest.fixture
def doubled(tmp_path):
    write_folder([straight_road(), dataclasses.replace(crossing(), id="second")], tmp_path)
    return WithMirrored(ScenarioStore(tmp_path))


def test_all_scenes_come_twice(doubled):
    assert len(doubled) == 4
    assert doubled.ids[2:] == tuple(f"{name}-mirrored" for name in doubled.ids[:2])
    for index, name in enumerate(doubled.ids):
        assert doubled[index].id == name
    for plain, flipped in ((0, 2), (1, 3)):
        assert np.array_equal(doubled[plain].position * [1, -1, 1], doubled[flipped].position)
        assert doubled[plain].opponent == doubled[flipped].opponent


def test_a_mirrored_scene_stays_the_same_one(doubled):
    assert doubled[3] is doubled[3]
    assert doubled[-1] is doubled[3]
    forgetful = WithMirrored(doubled.source, cache_scenes=0)
    assert forgetful[3] is not forgetful[3]


def test_what_is_known_of_mirrored_scenes(doubled):
    first, image = scene_facts(doubled, [1, 3])
    assert first == image
    assert first.agents == crossing().num_agents
    for index, sketch in zip([3, 0], sketches_of(doubled, [3, 0]), strict=True):
        assert np.array_equal(sketch, map_sketch(doubled[index]))
    states = list(states_of(doubled, range(4)))
    assert len(set(states)) == 4
    assert list(states_of(WithMirrored(LoadedScenes([crossing()])), range(2))) == ["", ""]


def test_mirrored_scenes_are_packed_under_names_of_their_own(doubled):
    for _ in range(2):  # The second time they come from the cache.
        packed = packed_scenes(doubled)
        assert packed.ids == doubled.ids
        scenes = packed.scenes
        begins = scenes.track_of
        for plain, flipped in ((0, 2), (1, 3)):
            there, image = (scenes.tracks[begins[k] : begins[k + 1]] for k in (plain, flipped))
            np.testing.assert_allclose(there[:, :2] * [1, -1], image[:, :2], atol=1e-6)
            np.testing.assert_allclose(there[:, 2], -image[:, 2], atol=1e-6)
            assert np.abs(there[:, 1]).max() > 1.0

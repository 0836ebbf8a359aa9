"""Map queries against hand-computed answers on the test roads."""

from dataclasses import replace

import numpy as np
import pytest

from adversaries.prior.roads import build_roads
from harness.errors import ScenarioError
from harness.geometry import boxes_overlap
from scenarios.map_index import MapIndex
from tests.scenes import crossing, straight_road

CAR = (4.5, 2.0)


def test_boxes_cross_edges_exactly_where_they_reach_them():
    index = MapIndex(straight_road())  # Edges at y = -2 and 5.5.
    poses = np.array([[0, 0, 0], [0, -0.99, 0], [0, -1.01, 0], [0, 4.49, 0], [0, 4.51, 0], [0, 20, 0], [0, -2.9, 0]])
    expected = [False, False, True, False, True, False, True]
    assert index.boxes_cross_edges(poses, CAR).tolist() == expected
    # Across the road the half length counts: 2.25 m.
    across = np.array([[0, 0.24, np.pi / 2], [0, 0.26, np.pi / 2]])
    assert index.boxes_cross_edges(across, CAR).tolist() == [True, False]


def test_a_turned_box_is_turned_the_right_way():
    index = MapIndex(straight_road())
    # Corners reach 2.25 sin a + cos a below the centre for either sign of a; only a skewed edge tells them apart.
    scene = straight_road(rotation=np.pi / 6)
    skewed = MapIndex(scene)
    for heading in (0.3, -0.3, 1.0, 2.5):
        for offset in np.linspace(-3, 3, 41):
            pose = np.array([20.0, offset, heading])
            cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
            turned = np.array([20 * cos - offset * sin, 20 * sin + offset * cos, heading + np.pi / 6])
            plain = bool(index.boxes_cross_edges(pose, CAR))
            assert plain == bool(skewed.boxes_cross_edges(turned, CAR))
            reach = 2.25 * abs(np.sin(heading)) + abs(np.cos(heading))
            assert plain == (offset - reach <= -2.0 or offset + reach >= 5.5)


def test_medians_are_no_road_edges():
    index = MapIndex(straight_road(median=True))
    assert len(index.median_segments) > 0
    assert not index.boxes_cross_edges(np.array([0.0, 5.0, 0.0]), CAR)
    assert index.boxes_cross_edges(np.array([0.0, -1.5, 0.0]), CAR)


def test_shapes_nan_and_maps_without_edges():
    index = MapIndex(straight_road(origin=(30000.0, -20000.0)))
    poses = np.tile([30000.0, -20002.0, 0.0, 1.0, 1.0], (3, 4, 1))
    poses[0, 0] = np.nan
    found = index.boxes_cross_edges(poses, CAR)
    assert found.shape == (3, 4)
    assert not found[0, 0]
    assert found.sum() == 11
    sizes = np.broadcast_to([4.5, 2.0], (3, 4, 2)).copy()
    sizes[2] = 0.01
    poses[2, :, 1] += 0.5
    assert not index.boxes_cross_edges(poses, sizes)[2].any()
    bare = MapIndex(straight_road(edges=False))
    assert len(bare.edge_segments) == 0
    assert not bare.boxes_cross_edges(poses, CAR).any()
    assert index.boxes_cross_edges(np.zeros((0, 3)), CAR).shape == (0,)


def test_agrees_with_brute_force_on_random_boxes():
    index = MapIndex(crossing())
    rng = np.random.default_rng(1)
    poses = np.concatenate([rng.uniform(-12, 12, (400, 2)), rng.uniform(-4, 4, (400, 1))], -1)
    segments = index.edge_segments
    middle = segments.mean(1)
    delta = segments[:, 1] - segments[:, 0]
    thin = np.concatenate([middle, np.arctan2(delta[:, 1], delta[:, 0])[:, None]], -1)
    lengths = np.stack([np.hypot(*delta.T), np.zeros(len(delta))], -1)
    sizes = np.broadcast_to(np.array(CAR), (400, 1, 2))
    brute = boxes_overlap(poses[:, None], sizes, thin[None], lengths[None]).any(1)
    assert 50 < brute.sum() < 350
    np.testing.assert_array_equal(index.boxes_cross_edges(poses, CAR), brute)


def test_distances_to_lanes():
    index = MapIndex(straight_road(median=True))
    points = np.array([[[0.0, 0.0], [10.0, 4.5]], [[0.3, -3.0], [250.2, 1.0]]])
    found = index.locate(points, max_distance=np.inf).distance
    np.testing.assert_allclose(found, [[0.0, 1.0], [3.0, 1.0]], atol=1e-9)


def test_locate_gives_lane_arc_length_offset_and_heading():
    index = MapIndex(straight_road(rotation=0.5, origin=(1e4, 2e4)))
    cos, sin = np.cos(0.5), np.sin(0.5)
    local = np.array([[0.0, 0.4], [50.25, 3.0], [-130.0, 0.0]])
    world = local @ np.array([[cos, sin], [-sin, cos]]) + [1e4, 2e4]
    found = index.locate(world)
    assert [index.lane_ids[lane] if lane >= 0 else None for lane in found.lane] == ["right", "left", None]
    np.testing.assert_allclose(found.along[:2], [100.0, 150.25], atol=1e-6)
    np.testing.assert_allclose(found.offset[:2], [0.4, -0.5], atol=1e-6)
    np.testing.assert_allclose(found.heading[:2], 0.5)
    assert np.isinf(found.distance[2])


def test_heading_decides_where_lanes_cross():
    index = MapIndex(crossing())
    at = np.zeros((2, 2))
    found = index.locate(at, np.array([0.0, np.pi / 2]))
    assert [index.lane_ids[lane] for lane in found.lane] == ["through", "up"]
    found = index.locate(np.array([[0.0, -30.0], [50.0, 50.0]]), np.full(2, np.pi / 2), 5.0)
    assert found.lane.tolist() == [index.lane_ids.index("south"), -1]


def test_successors_are_completed_from_both_sides():
    index = MapIndex(crossing())
    names = index.lane_ids
    west = index.lane_ids.index("west")
    assert [names[lane] for lane in index.successors[west]] == ["through", "turn"]
    assert {names[lane] for lane in index.predecessors[index.lane_ids.index("north")]} == {"up", "turn"}
    # "turn" names "west" as its entry; remove west's mention of it: the relation must survive.
    scene = crossing()
    object.__setattr__(scene.features[0], "exit", ("through",))
    again = MapIndex(scene)
    assert [names[lane] for lane in again.successors[west]] == ["through", "turn"]


def test_lane_paths_follow_branches_straightest_first():
    index = MapIndex(crossing())
    west = index.lane_ids.index("west")
    straight, turn = index.lane_paths(west, 170.0, 60.0)  # From (-30, 0).
    np.testing.assert_allclose(straight[0], [-30.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(straight[-1], [30.0, 0.0], atol=1e-9)
    # 20 m to the turn, a quarter circle of radius 10 m (as 15 chords), the rest north from (0, 10).
    chords = 15 * 2 * 10 * np.sin(np.pi / 60)
    np.testing.assert_allclose(turn[-1], [0.0, 10.0 + 60.0 - 20.0 - chords], atol=1e-6)
    np.testing.assert_array_equal(index.lane_path(west, 170.0, 60.0), straight)
    dead_end = index.lane_path(index.lane_ids.index("east"), 100.0, 500.0)
    np.testing.assert_allclose(dead_end[[0, -1]], [[110.0, 0.0], [200.0, 0.0]], atol=1e-9)


def test_lane_vectors_cover_the_lanes():
    index = MapIndex(crossing())
    vectors = index.lane_vectors(2.0)
    assert len(vectors.lane) == len(vectors.start) == len(vectors.heading)
    np.testing.assert_allclose(np.bincount(vectors.lane, np.hypot(*(vectors.end - vectors.start).T))[0], 190.0)
    assert np.hypot(*(vectors.end - vectors.start).T).max() < 3.0


def test_degenerate_maps_do_not_break():
    scene = straight_road()
    object.__setattr__(scene, "features", ())
    index = MapIndex(scene)
    assert index.lane_ids == ()
    assert index.locate(np.zeros((2, 2))).lane.tolist() == [-1, -1]
    assert np.isinf(index.locate(np.zeros(2), max_distance=np.inf).distance)
    assert len(index.lane_vectors().lane) == 0


def test_the_index_is_shared_between_copies_of_a_scene():
    scene = straight_road()
    assert MapIndex.of(scene) is MapIndex.of(scene.with_opponent(None))
    assert MapIndex.of(scene) is not MapIndex.of(straight_road())


def test_a_lane_too_long_to_be_cut_is_refused_before_anything_is_allocated():
    scene = straight_road()
    far = replace(scene.features[0], points=np.array([[0.0, 0.0], [2.0**63, 0.0]]))
    index = MapIndex(replace(scene, features=(far, *scene.features[1:])))
    with pytest.raises(ScenarioError, match="km of lines; at most 1,000 km"):
        index.locate(np.zeros((1, 2)))
    with pytest.raises(ScenarioError, match="km of lines; at most 1,000 km"):
        build_roads((far, *scene.features[1:]))

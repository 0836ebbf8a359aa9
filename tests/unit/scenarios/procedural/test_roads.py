"""Road networks and their features."""

import numpy as np
import pytest
import shapely
from shapely.geometry import LineString

from scenarios.procedural.features import SHOULDER, drivable_area, map_features, road_edges
from scenarios.procedural.roads import PLANS, build_map
from tests.unit.scenarios.procedural.hand_made import crossing_roads, lane


@pytest.mark.parametrize("kind", PLANS)
def test_lanes_are_connected_and_within_the_edges(kind):
    roads = build_map(kind, np.random.default_rng(5))
    lanes = roads.lanes
    assert any(x.leads_in for x in lanes)
    assert any(x.leads_out for x in lanes)
    for i, item in enumerate(lanes):
        for j in item.successors:
            assert np.hypot(*(lanes[j].centre[0] - item.centre[-1])) < 0.4
            assert i in lanes[j].predecessors
        if item.right is not None:
            assert lanes[item.right].left == i
    edges = road_edges(roads)
    border = shapely.unary_union([LineString(edge) for edge in edges])
    for item in lanes:
        # Half a lane's width and the shoulder from every edge, and no edge across any lane, map exits included.
        assert LineString(item.centre).distance(border) > item.width / 2 + SHOULDER - 0.15


def test_edges_of_a_straight_road_lie_a_shoulder_outside_and_leave_its_ends_open():
    roads = crossing_roads()
    roads.lanes = roads.lanes[:1]
    edges = road_edges(roads)
    assert len(edges) == 2
    lateral = sorted(float(np.median(edge[:, 1])) for edge in edges)
    assert lateral == pytest.approx([-1.75 - SHOULDER, 1.75 + SHOULDER], abs=0.05)
    for edge in edges:
        assert np.abs(edge[:, 0]).max() > 99.0
        # The road is on the left of its edge: the right-hand edge runs eastwards.
        assert np.sign(edge[-1, 0] - edge[0, 0]) == -np.sign(edge[0, 1])


def test_edges_of_a_crossing_are_four_corners():
    edges = road_edges(crossing_roads())
    assert len(edges) == 4
    area = drivable_area(crossing_roads())
    # Two strips of 200 m, the shoulders' ends included, less the square they share.
    width = 2 * (1.75 + SHOULDER)
    assert area.area == pytest.approx(2 * width * (200 + 2 * SHOULDER) - width**2, rel=0.01)


def test_roundabouts_keep_their_island():
    area = drivable_area(build_map("roundabout", np.random.default_rng(1)))
    assert len(area.interiors) >= 1


def _two_lane_map():
    for seed in range(20):
        roads = build_map("intersection", np.random.default_rng(seed))
        if any(item.rank == 1 for item in roads.lanes):
            return roads
    raise AssertionError("no map with two lanes a side among 20")


def test_features_are_in_womd_form():
    features = map_features(_two_lane_map(), 10.0)
    kinds = {feature["type"] for feature in features.values()}
    assert {"LANE_SURFACE_STREET", "ROAD_EDGE_BOUNDARY", "ROAD_LINE_SOLID_SINGLE_YELLOW"} <= kinds
    for feature in features.values():
        assert feature["polyline"].dtype == np.float32
        assert feature["polyline"].shape[1] == 3
        assert len(feature["polyline"]) >= 2
        for key in ("entry_lanes", "exit_lanes"):
            assert all(features[name]["type"] == "LANE_SURFACE_STREET" for name in feature.get(key, []))
    lanes = [feature for feature in features.values() if feature["type"].startswith("LANE")]
    assert any(feature["left_neighbor"] for feature in lanes)
    assert lanes[0]["speed_limit_kmh"] == pytest.approx(36.0)


def test_left_turns_start_from_the_left_lane():
    for seed in range(6):
        roads = build_map("intersection", np.random.default_rng(seed))
        for item in roads.lanes:
            turns = [roads.lanes[j].turn for j in item.successors if roads.lanes[j].block in "XT"]
            if len(turns) > 1 and any(abs(turn) < 0.5 for turn in turns) and item.rank > 0:
                assert max(turns) < 0.5


def test_hand_made_lane_is_what_it_says():
    item = lane((0, 0), (30, 40), 0)
    assert item.length == pytest.approx(50.0)
    assert item.turn == pytest.approx(0.0)
    assert item.direction(-1) == pytest.approx([0.6, 0.8])

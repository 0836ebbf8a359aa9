"""The map of an Argoverse 2 scene, without its library for tables."""

import numpy as np
import pytest

from harness.errors import ScenarioError
from scenarios.importers.argoverse2 import COLUMNS, EGO, to_description


def points(*rows: tuple[float, ...]) -> list[dict[str, float]]:
    return [dict(zip("xyz", row, strict=False)) for row in rows]


def lane(y: float, **others) -> dict:
    """A lane along x from 0 to 20 m, 4 m wide, 2 m high."""
    return {
        "centerline": points((0, y), (20, y)),
        "left_lane_boundary": points((0, y + 2, 2), (20, y + 2, 2)),
        "right_lane_boundary": points((0, y - 2, 2), (20, y - 2, 2)),
        "left_lane_mark_type": "DASHED_WHITE",
        "right_lane_mark_type": "DASHED_WHITE",
        "lane_type": "VEHICLE",
        "predecessors": [],
        "successors": [7],
        "is_intersection": False,
        **others,
    }


ARCHIVE = {
    "lane_segments": {"1": lane(0.0, left_neighbor_id=2), "2": lane(4.0, lane_type="BIKE", right_neighbor_id=1)},
    "pedestrian_crossings": {"3": {"edge1": points((0, 0), (0, 5)), "edge2": points((2, 0), (2, 5))}},
    "drivable_areas": {
        "4": {"area_boundary": points((0, -2), (10, -2), (10, 6), (0, 6))},
        "5": {"area_boundary": points((10, -2), (20, -2), (20, 6), (10, 6))},
    },
}


def table(ego: str = EGO) -> dict[str, np.ndarray]:
    """One agent at 10 m/s for three steps."""
    given = {
        "track_id": np.array([ego] * 3, dtype=object),
        "object_type": np.array(["vehicle"] * 3, dtype=object),
        "timestep": np.arange(3),
        "position_x": np.array([0.0, 1.0, 2.0]),
        "velocity_x": np.full(3, 10.0),
        "num_timestamps": np.full(3, 3),
        "scenario_id": np.array(["s"] * 3, dtype=object),
        "city": np.array(["x"] * 3, dtype=object),
        "focal_track_id": np.array([ego] * 3, dtype=object),
    }
    return {name: given.get(name, np.zeros(3)) for name in COLUMNS}


def test_the_map():
    features = to_description(table(), ARCHIVE)["map_features"]
    assert (features["1"]["type"], features["2"]["type"]) == ("LANE_SURFACE_STREET", "LANE_BIKE_LANE")
    assert (features["1"]["left_neighbor"], features["1"]["exit_lanes"]) == (["2"], ["7"])
    # Centre lines have no height of their own: that of the nearest boundary.
    assert features["1"]["polyline"][:, 2].tolist() == [2, 2]
    # Two lanes share a boundary: three lines, not four.
    assert len([name for name in features if name.endswith(("-left", "-right"))]) == 3
    assert features["crossing-3"]["polygon"][:, :2].tolist() == [[0, 0], [0, 5], [2, 5], [2, 0]]


def test_drivable_areas_that_meet_have_one_outline_with_the_road_on_its_left():
    features = to_description(table(), ARCHIVE)["map_features"]
    edges = [feature["polyline"] for name, feature in features.items() if name.startswith("edge-")]
    assert len(edges) == 1
    x, y = edges[0][:, 0], edges[0][:, 1]
    # The shoelace formula: positive means anticlockwise.
    assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2 == pytest.approx(160, abs=1)


def test_a_scene_without_an_ego_is_refused():
    with pytest.raises(ScenarioError):
        to_description(table("17"), ARCHIVE)


def test_two_rows_for_one_timestep_are_refused():
    twice = {**table(), "timestep": np.array([0, 1, 1])}
    with pytest.raises(ValueError, match="two rows for one timestep"):
        to_description(twice, ARCHIVE)

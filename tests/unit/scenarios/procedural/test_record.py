"""Which vehicles of a simulation are recorded, and what stands in the file about them."""

import numpy as np
import pytest

from scenarios.procedural.config import ProceduralConfig
from scenarios.procedural.record import describe
from scenarios.procedural.windows import RecordedWindow
from tests.unit.scenarios.procedural.hand_made import crossing_roads, straight_motion

CONFIG = ProceduralConfig()
START = 20


@pytest.fixture(scope="module")
def scene():
    # Ego eastwards, opponent northwards, one far away, one there for four steps only, one that leaves after 30.
    places = [(-40, 0), (0, -45), (2_000, 0), (-60, 0), (-80, 0)]
    motion = straight_motion(places, [(10, 0), (0, 10), (10, 0), (10, 0), (10, 0)], START + CONFIG.steps)
    motion.present[3] = False
    motion.present[3, START : START + 4] = True
    motion.present[4, START + 30 :] = False
    window = RecordedWindow(START, 0, 1, "crossing", 0.5, 20, 1.0)
    return describe("pg-1", crossing_roads(), motion, window, CONFIG, 7, 13.9, 12.5)


def test_ego_and_opponent_come_first_and_who_is_far_or_brief_is_left_out(scene):
    assert list(scene["tracks"]) == ["100", "101", "102"]
    assert scene["metadata"]["sdc_id"] == "100"
    assert scene["metadata"]["objects_of_interest"] == ["100", "101"]


def test_tracks_begin_at_the_window_and_are_zero_where_nobody_is(scene):
    # Two seconds into the simulation the ego has come 20 m.
    assert scene["tracks"]["100"]["state"]["position"][0].tolist() == pytest.approx([-20, 0, 0])
    left = scene["tracks"]["102"]["state"]
    assert left["valid"].sum() == 30
    assert not left["position"][30:].any()
    assert not left["length"][30:].any()
    assert left["length"][0] == pytest.approx(4.5)


def test_numbers_about_the_objects(scene):
    summary = scene["metadata"]["object_summary"]
    assert summary["102"]["moving_distance"] == pytest.approx(29.0, abs=1e-3)
    assert (summary["102"]["valid_length"], summary["102"]["continuous_valid_length"]) == (30, 30)
    assert scene["metadata"]["number_summary"]["num_moving_objects"] == 3


def test_the_smallest_distance_is_that_of_the_paths(scene):
    # Ego at x = -20 + 10 t, opponent at y = -25 + 10 t: nearest at t = 2.25 s (between two steps: 2.2 or 2.3 s).
    gap = np.hypot(-20 + 10 * 2.3, -25 + 10 * 2.3)
    assert scene["metadata"]["smallest_distance_m"] == pytest.approx(gap)
    assert scene["metadata"]["speed_limit_ms"] == 13.9

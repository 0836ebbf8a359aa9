"""Choice of windows: which interactions are found, with which time gap."""

import numpy as np
import pytest

from scenarios.procedural.config import ProceduralConfig
from scenarios.procedural.windows import choose_windows, collides
from tests.unit.scenarios.procedural.hand_made import straight_motion

CONFIG = ProceduralConfig(warm_up=0.0, duration=9.1)


def found(motion, seed=0):
    return choose_windows(motion, CONFIG, np.random.default_rng(seed))


def test_a_crossing_with_its_time_gap():
    # Eastwards at 10 m/s through the origin at 4 s; northwards at 10 m/s at 6 s.
    motion = straight_motion([(-40, 0), (0, -60)], [(10, 0), (0, 10)], 91)
    windows = found(motion)
    assert {w.interaction for w in windows} == {"crossing"}
    # Paths count as meeting within 1.8 m: one is past the crossing, the other before it, each by up to 1.2 m.
    assert windows[0].gap == pytest.approx(2.0, abs=0.3)
    assert {windows[0].ego, windows[0].opponent} == {0, 1}


def test_crossings_long_apart_do_not_count():
    assert found(straight_motion([(-20, 0), (0, -75)], [(10, 0), (0, 10)], 91)) == []


def test_collisions_are_rejected():
    motion = straight_motion([(-40, 0), (0, -40)], [(10, 0), (0, 10)], 91)
    assert collides(motion, 0, 91)
    assert found(motion) == []


def test_near_misses_are_not_collisions():
    # Side by side, 1.9 m wide, centres 2.0 m apart.
    assert not collides(straight_motion([(0, 0), (0, 2.0)], [(10, 0), (10, 0)], 91), 0, 91)
    assert collides(straight_motion([(0, 0), (0, 1.8)], [(10, 0), (10, 0)], 91), 0, 91)


def test_boxes_turn_with_their_heading():
    def diagonal(dx, dy):
        return collides(straight_motion([(0, 0), (dx, dy)], [(5, 5), (5, 5)], 5), 0, 5)

    ahead, beside = 4.6 / np.sqrt(2), 2.0 / np.sqrt(2)
    # 4.5 m long and 1.9 m wide: free nose to tail at 4.6 m and side by side at 2 m, not at 4.4 m or 1.8 m.
    assert not diagonal(ahead, ahead)
    assert not diagonal(-beside, beside)
    assert diagonal(ahead * 4.4 / 4.6, ahead * 4.4 / 4.6)
    assert diagonal(-beside * 0.9, beside * 0.9)


def test_an_ego_must_drive():
    # The northbound car crawls: it may be the opponent, never the ego.
    windows = found(straight_motion([(-40, 0), (0, -9)], [(10, 0), (0, 1.6)], 91))
    assert all(w.ego == 0 for w in windows)


def test_oncoming_traffic_is_found_in_some_simulations():
    motion = straight_motion([(-40, 0), (40, 3.5)], [(10, 0), (-10, 0)], 91)
    names = {w.interaction for seed in range(20) for w in found(motion, seed)}
    assert names == {"oncoming"}
    assert any(not found(motion, seed) for seed in range(20))


def test_egos_are_distinct():
    motion = straight_motion([(-40, 0), (0, -60), (30, -62)], [(10, 0), (0, 10), (0, 10)], 91)
    windows = found(motion)
    assert len({w.ego for w in windows}) == len(windows) > 1

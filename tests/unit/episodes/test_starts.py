"""Where episodes of training begin."""

import numpy as np
import pytest

from harness.episodes.starts import beginnings, draw_start
from harness.errors import ConfigError
from harness.fast.packing import pack, settled_scenes
from tests.scenes import straight_road
from tests.sources import ListSource


def test_an_episode_begins_where_the_ego_is_and_has_a_way_to_go():
    road = straight_road()
    path, there = road.position[road.ego, :, :2], road.valid[road.ego].copy()
    assert beginnings(path, there, 40, None).tolist() == list(range(41))
    assert beginnings(path, there, 90, None).tolist() == list(range(73))
    assert beginnings(path, there, 90, 50).tolist() == list(range(41))
    assert beginnings(path, there, 90, 5).tolist() == [0]
    there[10:20] = False
    assert beginnings(path, there, 21, None).tolist() == [*range(10), 20, 21]
    # It waits for three seconds, then drives 60 m; or it is parked.
    waiting = np.concatenate([np.repeat(path[:1], 30, axis=0), path[:61]])
    assert beginnings(waiting, np.ones(91, bool), 90, None)[-1] in (30 + 47, 30 + 48)
    assert beginnings(path * 0, there, 90, None)[0] == 0
    packed = pack(settled_scenes(ListSource([road, straight_road(ego_speed=6.0)])))
    assert [steps.tolist() for steps in packed.beginnings(40, None)] == [list(range(41))] * 2
    with pytest.raises(ConfigError, match="-1"):
        beginnings(path, there, -1, None)


def test_each_step_is_as_likely_and_a_single_one_costs_no_draw():
    rng = np.random.default_rng(0)
    drawn = [draw_start(np.array([0, 4, 9]), rng) for _ in range(300)]
    assert min(drawn.count(step) for step in (0, 4, 9)) > 80
    before = rng.bit_generator.state
    assert draw_start(np.array([0]), rng) == 0
    assert rng.bit_generator.state == before

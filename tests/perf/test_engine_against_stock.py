"""Against stock `ScenarioEnv` on the same scenes with the same actions: equal numbers, in less time."""

import dataclasses
import os

import numpy as np
import pytest

from harness.engine import EngineConfig, GauntletEnv
from harness.engine.stock import StockProcess, drive
from harness.performance.against_stock import measure_differences, measure_speed
from harness.performance.config import PerfConfig
from harness.performance.sample import spread
from scenarios import open_source
from scenarios.scenario import Kind
from tests.scenes import LANE_WIDTH, Agent, crossing, straight_road
from tests.sources import ListSource


def scenes():
    """Cars of all bodies (the truck's bottoms out), a pedestrian, a late car, a leader that is run into, a slider.

    No two neighbours are at equal distance: stock orders those by the hash of an object.
    """
    mixed = [
        Agent("small", -23.0, LANE_WIDTH, 0.0, 9.0, size=(3.8, 1.7, 1.5)),
        Agent("van", 35.0, LANE_WIDTH, 0.0, 8.0, size=(5.8, 2.1, 2.0)),
        Agent("truck", 14.0, -5.0, -0.1, 7.0, size=(8.0, 2.5, 3.0)),
        Agent("walker", 25.0, -3.0, 1.5, 1.2, kind=Kind.PEDESTRIAN, size=(0.6, 0.6, 1.7)),
        Agent("late", 60.0, 0.0, 0.0, 6.0, first=12, last=70),
    ]
    return [
        straight_road(extra=mixed, origin=(512.0, -256.0)),
        crossing(opponent_delay=0.0),
        straight_road(opponent_offset=0.0, opponent_gap=9.0, opponent_speed=3.0, scene_id="leader"),
        slider(),
    ]


def slider():
    """A car beside the ego slides into it; without what its tyres do within a step it would touch one step early."""
    scene = straight_road(opponent_gap=0.5, opponent_offset=3.55, scene_id="slider")
    velocity, position = scene.velocity.copy(), scene.position.copy()
    velocity[1, :, 1] = -0.8
    position[1, :, 1] -= 0.08 * np.arange(scene.num_steps)
    return dataclasses.replace(scene, velocity=velocity, position=position)


def test_equal_to_stock_on_synthetic_scenes():
    result = measure_differences(scenes(), PerfConfig(horizon=60))
    assert result["observation_numbers_compared"] > 5_000
    assert result["contacts"] >= 2, "the comparison of contacts needs some"
    assert result["contact_disagreements"] == 0
    assert result["max_observation_difference"] <= 1e-4
    assert result["max_reward_difference"] <= 1e-4


def test_settling_is_what_makes_them_equal():
    """Without the wheel simulation the lidar differs: this test fails if the comparison compares nothing."""
    picked = scenes()[:1]
    stock = StockProcess(picked, "exact", 40)
    theirs = stock.run([0])[0]
    stock.close()
    env = GauntletEnv(ListSource(picked), EngineConfig(settle=False))
    ours = drive(env, 0, 40, lambda: env.reset(options={"scenario": 0})[0])
    env.close()
    assert np.abs(ours["observations"] - theirs["observations"]).max() > 1e-4


def test_faster_than_stock():
    result = measure_speed(scenes(), PerfConfig(blocks=2, horizon=40))
    # Three cars a scene: far below what dense scenes gain, but a lost optimisation shows.
    assert result["step_ratio"] > 1.5
    assert result["reset_ratio"] > 3.0


@pytest.mark.womd
@pytest.mark.skipif("GAUNTLET_WOMD" not in os.environ, reason="GAUNTLET_WOMD names no folder of WOMD scenes")
def test_equal_to_stock_on_real_scenes():
    source = open_source(os.environ["GAUNTLET_WOMD"])
    result = measure_differences(spread(source, 8), PerfConfig())
    assert result["contact_disagreements"] == 0
    assert result["max_reward_difference"] <= 1e-4
    assert result["max_observation_difference"] <= 1e-4

"""Without sensors everything but the observation stays the same."""

import numpy as np

from harness.engine import EngineConfig, GauntletEnv
from tests.scenes import crossing, straight_road
from tests.sources import ListSource


def drive(observation):
    env = GauntletEnv(ListSource([straight_road(opponent_gap=12.0), crossing()]), EngineConfig(observation=observation))
    rows = []
    try:
        for scene in (0, 1):
            seen, info = env.reset(seed=3, options={"scenario": scene})
            assert seen.shape == env.observation_space.shape
            for step in range(30):
                seen, reward, *_, info = env.step(np.array([0.3 * np.sin(step), 0.8]))
                assert seen in env.observation_space
                rows.append([reward, info["cost"], info["crash_contact"], info["crash_geometry"], *env.view().ego])
    finally:
        env.close()
    return np.array(rows, dtype=float)


def test_a_blind_environment_simulates_the_same():
    np.testing.assert_array_equal(drive("none"), drive("cat"))

"""SAC, TD3 and PPO of Stable-Baselines3 must learn a trivial driving task on the fast engine."""

from __future__ import annotations

import numpy as np
import pytest

from harness.envs.fast import FastEnv
from harness.training.sb3_config import SACConfig, SB3Config, SB3PPOConfig, SB3TD3Config
from harness.training.sb3_learners import SB3Learner
from tests.scenes import straight_road
from tests.sources import ListSource

N = 32
REPLAYED = {"hidden": 64, "batch_size": 128, "buffer_size": 20_000, "warmup": 2_000, "updates": 16}
CASES: dict[str, tuple[SB3Config, int]] = {
    "sac": (SACConfig(**REPLAYED), 16_000),
    "td3": (SB3TD3Config(**REPLAYED), 16_000),
    "sb3-ppo": (SB3PPOConfig(hidden=64, minibatch=512), 80_000),
}


def completion(learner: SB3Learner, env: FastEnv) -> float:
    """Mean share of the route that the deterministic policy drives."""
    observations, _ = env.reset(seed=0)
    found: list[float] = []
    for _ in range(90):
        observations, _, _, _, info = env.step(learner.act(observations))
        found.extend(info["route_completion"][info["final"]])
    return float(np.mean(found))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_ego_learns_to_drive(name: str) -> None:
    config, steps = CASES[name]
    env, apart = (FastEnv(count, ListSource([straight_road()]), observation="route") for count in (N, 2))
    learner = SB3Learner(env, config, total_steps=steps, seed=0)
    rewards = []
    while learner.steps_done < steps:
        rewards.append(learner.round()["reward"])
    assert completion(learner, apart) > 0.9
    quarter = len(rewards) // 4
    assert np.mean(rewards[-quarter:]) > 2 * np.mean(rewards[:quarter])

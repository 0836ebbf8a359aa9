"""Training rate: environment steps with one TD3 update each, as `train_ego` does them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from harness.engine.config import EngineConfig
from harness.engine.env import GauntletEnv
from harness.performance.config import PerfConfig
from harness.training.config import TD3Config
from harness.training.learner import Learner
from scenarios.scenario import LoadedScenes, Scenario

WARM_UP: Final = 600
"""Environment steps before the clock starts."""
HORIZON: Final = 50
"""Steps per episode."""


def measure_training(scenes: Sequence[Scenario], config: PerfConfig) -> dict[str, float]:
    """Environment steps per second with one TD3 update each: `train_steps_per_s`."""
    env = GauntletEnv(LoadedScenes(scenes), EngineConfig(horizon=HORIZON, seed=config.seed))
    # Nothing else runs while this is measured.
    td3 = TD3Config(warmup=WARM_UP, threads=min(2, os.cpu_count() or 1))
    total = WARM_UP + config.train_steps
    learner = Learner(env.observation_space, env.action_space, td3, 2 * total, config.seed)  # type: ignore[arg-type]
    rng = np.random.default_rng(config.seed)
    step, begin = 0, 0.0
    try:
        for place in range(len(scenes)):  # Parsing scenes is no training.
            env.reset(options={"scenario": place})
        while step < total:
            observation, _ = env.reset()
            learner.memory.begin(observation)
            done = False
            while not done and step < total:
                action = learner.explore(observation, step, rng)
                if step > WARM_UP:
                    learner.update(rng)
                elif step == WARM_UP:
                    begin = time.perf_counter()
                observation, reward, terminated, truncated, _ = env.step(action)
                learner.memory.add(action, reward, terminated, observation)
                done = terminated or truncated
                step += 1
            learner.flush(rng)
            learner.memory.end()
        return {"train_steps_per_s": config.train_steps / (time.perf_counter() - begin)}
    finally:
        env.close()

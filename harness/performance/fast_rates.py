"""Rates of the fast engine: environment steps on one core, and of PPO on it, end to end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Final

import numpy as np

from harness import registry
from harness.engine.config import EngineConfig, ObservationName
from harness.engine.env import GauntletEnv
from harness.engine.stock import drive
from harness.episodes.attacks import plan_attack
from harness.fast.library import packed_scenes
from harness.fast.plays import Finished, Play
from harness.fast.scenes import PackedScenes
from harness.fast.vector import FastVectorEnv
from harness.performance.config import PerfConfig
from scenarios.scenario import LoadedScenes, Scenario

ENVIRONMENTS: Final = 512
"""Environments side by side."""
THREADS: Final = 2
"""Threads in training, of the kernels and of the matrix products."""
STEPS: Final = 90
"""Steps of every environment in a block."""
ATTACKER: Final = "cat"
"""Who plans the attacks."""


class RotatingEpisodes:
    """The same plays again and again."""

    def __init__(self, plays: Sequence[Play]) -> None:
        """Begin with the first one."""
        self._plays = itertools.cycle(plays)

    def draw(self, count: int) -> Sequence[Play]:
        """Give the next ones."""
        return list(itertools.islice(self._plays, count))

    def finished(self, episode: Finished) -> None:
        """Nothing is learnt."""


def plays_of(scenes: Sequence[Scenario], config: PerfConfig) -> list[Play]:
    """Every scene as recorded, and attacked where that is possible."""
    adversary, plays = registry.make("adversary", ATTACKER), []
    for place, scene in enumerate(scenes):
        plays.append(Play(place))
        if scene.opponent is not None:
            attack = plan_attack(adversary, scene, np.random.default_rng(config.seed), on_error="tell")
            plays += [] if attack.plan is None else [Play(place, attack.plan, 1.0)]
    return plays


def measure_fast_speed(scenes: Sequence[Scenario], config: PerfConfig) -> dict[str, float]:
    """Environment steps per second of processor time on one core: resets, contacts and attacks are included.

    Blocks of MetaDrive, as tuned, and of the fast engine alternate, so that whatever else the machine does hits both.

    Returns:
        `fast_steps_per_s` (all rays of the preset `cat`), `fast_ratio` (to MetaDrive), `fast_metadrive_steps_per_s` and
        `fast_route_steps_per_s` (the other presets), and `fast_no_line_rays_steps_per_s` (`cat` without them).
    """
    packed, plays = packed_scenes(LoadedScenes(scenes), traffic=config.fast_traffic), plays_of(scenes, config)
    presets: tuple[ObservationName, ...] = ("cat", "metadrive", "route")
    engines = {f"{preset}_": _fast(packed, preset, plays, config) for preset in presets}
    engines["no_line_rays_"] = _fast(packed, "cat", plays, config)
    rules = engines["no_line_rays_"].rules
    engines["no_line_rays_"].rules = rules._replace(side=0, lane_line_rays=0)
    rows: dict[str, list[float]] = {name: [] for name in engines}
    tuned = []
    with closing(
        GauntletEnv(LoadedScenes(scenes), EngineConfig(horizon=config.horizon, traffic=config.fast_traffic))
    ) as env:
        for place in range(len(scenes)):  # Parsing scenes is not stepping.
            env.reset(options={"scenario": place})
        for block in range(config.fast_blocks):
            begun = time.process_time()
            place = block % len(scenes)
            steps = drive(env, place, config.horizon, lambda at=place: env.reset(options={"scenario": at})[0])["steps"]
            tuned.append((time.process_time() - begun) / steps)
            for name, engine in engines.items():
                rows[name].append(_block(engine, config.seed + block))
    for engine in engines.values():
        engine.close()
    found = {f"fast_{name}steps_per_s": 1 / float(np.median(times)) for name, times in rows.items()}
    found["fast_steps_per_s"] = found.pop("fast_cat_steps_per_s")
    found["fast_ratio"] = float(np.median(np.array(tuned) / rows["cat_"]))
    return found


def _fast(
    packed: PackedScenes, observation: ObservationName, plays: Sequence[Play], config: PerfConfig
) -> FastVectorEnv:
    options = EngineConfig(horizon=config.horizon, observation=observation, traffic=config.fast_traffic)
    env = FastVectorEnv(packed, ENVIRONMENTS, options, episodes=RotatingEpisodes(plays))
    env.reset()
    # Kernels are compiled, or read from the cache.
    env.step(np.zeros((ENVIRONMENTS, 2), np.float32))
    return env


def _block(env: FastVectorEnv, seed: int) -> float:
    """Processor time of a step of one environment, s."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(STEPS, ENVIRONMENTS, 2)).astype(np.float32) * np.array([0.1, 0.3], np.float32)
    begun = time.process_time()
    for action in noise:
        env.step(action + np.array([0.0, 0.2], np.float32))
    return (time.process_time() - begun) / (STEPS * ENVIRONMENTS)


def measure_fast_training(scenes: Sequence[Scenario], config: PerfConfig) -> dict[str, float]:
    """Environment steps per second of PPO with its updates, on two threads: `fast_train_steps_per_s`."""
    import torch

    from harness.training.config import PPOConfig
    from harness.training.ppo import PPO

    threads = torch.get_num_threads()
    options = EngineConfig(horizon=config.horizon, observation="route", reward="drive")
    torch.set_num_threads(THREADS)
    try:
        with closing(FastVectorEnv(packed_scenes(LoadedScenes(scenes)), ENVIRONMENTS, options, threads=THREADS)) as env:
            learner = PPO(env, PPOConfig(), total_steps=100 * config.fast_train_steps, seed=config.seed)
            learner.round()
            first, begun = learner.steps_done, time.perf_counter()
            while learner.steps_done - first < config.fast_train_steps:
                learner.round()
            return {"fast_train_steps_per_s": (learner.steps_done - first) / (time.perf_counter() - begun)}
    finally:
        torch.set_num_threads(threads)

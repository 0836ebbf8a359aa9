"""The fast engine against MetaDrive: how far they agree, on any scenes, by drivers that do what drivers should not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

import numpy as np

from harness import registry
from harness.engine.config import EngineConfig, ObservationName
from harness.engine.env import GauntletEnv
from harness.episodes.attacks import plan_attack
from harness.episodes.policies import load_policy
from harness.errors import ConfigError
from harness.fast.library import packed_scenes
from harness.fast.made_for import measuring
from harness.fast.scenes import PackedScenes
from harness.fast.vector import FastVectorEnv
from harness.interfaces import EgoPolicy
from harness.performance.agreement import compare, compare_outcomes, line_rays
from harness.performance.config import PerfConfig
from harness.performance.drivers import DRIVERS, TRAINED
from harness.performance.sample import spread
from harness.performance.sequences import (
    PolicyOutcome,
    SequenceTask,
    drive_in_metadrive,
    outcome_in_fast,
    outcome_in_metadrive,
    repeat_in_fast,
)
from scenarios.scenario import LoadedScenes, Scenario, ScenarioSource

ATTACKER: Final = "cat"
"""Who plans the attacks."""
Agreement = dict[str, float | dict[str, dict[str, float]]]
"""Numbers of `compare` and `compare_outcomes` with `fast_` before their names, and `fast_by_driver`."""


def measure_fast_agreement(source: ScenarioSource, config: PerfConfig, tell: Callable[[str], None]) -> Agreement:
    """Drive `config.fast_sample` sequences in MetaDrive and again in the fast engine.

    Drivers take turns, and every other round of them is attacked. With a policy, its own drives in each engine are
    compared as well, on as many scenes, every other one attacked.

    Args:
        source: The scenes.
        config: How many, by whom, seen how.
        tell: Takes a line where there is no policy.

    Raises:
        ConfigError: The policy looks at more than an observation, or the fast engine does not play the traffic.
    """
    policy = _policy(config, tell)
    observation: ObservationName = config.fast_observation if policy is None else policy.observation  # type: ignore[assignment]
    options = EngineConfig(
        horizon=config.horizon,
        observation=observation,
        reward="drive" if observation == "route" else "cat",
        traffic=config.fast_traffic,
    )
    scenes = spread(source, config.fast_sample)
    drivers = DRIVERS if policy is None else (*DRIVERS, TRAINED)
    tasks = plan_tasks(scenes, drivers, config, options)
    own = plan_tasks(scenes, (TRAINED,), config, options) if policy is not None else []
    with measuring():
        packed = packed_scenes(LoadedScenes(scenes), traffic=config.fast_traffic)
        with closing(GauntletEnv(LoadedScenes(scenes), options)) as env:
            ones = [drive_in_metadrive(env, task, config.horizon, policy) for task in tasks]
            outcomes = [outcome_in_metadrive(env, task, policy) for task in own if policy is not None]
        twos = repeat_in_fast(packed, options, tasks, ones)
        rays = line_rays(observation)
        found = compare(ones, twos, rays) | {"attacked": sum(task.plan is not None for task in tasks)}
        if policy is not None:
            found |= compare_outcomes(outcomes, _fast_outcomes(packed, options, scenes, own, policy))
    by_driver = {}
    for driver in drivers:
        rows = [number for number, task in enumerate(tasks) if task.driver == driver]
        if rows:
            by_driver[driver] = compare([ones[row] for row in rows], [twos[row] for row in rows], rays)
    return {**{f"fast_{name}": value for name, value in found.items()}, "fast_by_driver": by_driver}


def plan_tasks(
    scenes: Sequence[Scenario], drivers: Sequence[str], config: PerfConfig, options: EngineConfig
) -> list[SequenceTask]:
    """`config.fast_sample` sequences: scenes and drivers take turns, every other round of the drivers is attacked."""
    adversary = registry.make("adversary", ATTACKER)
    tasks = []
    for number in range(config.fast_sample):
        place, plan = number % len(scenes), None
        seed = (config.seed, number)
        if number // len(drivers) % 2 and scenes[place].opponent is not None:
            size = options.ego_box_in(scenes[place], replay=False)
            rng = np.random.default_rng(seed)
            plan = plan_attack(adversary, scenes[place], rng, ego_size=size, on_error="tell").plan
        tasks.append(SequenceTask(place, drivers[number % len(drivers)], plan, seed))
    return tasks


def _policy(config: PerfConfig, tell: Callable[[str], None]) -> EgoPolicy | None:
    if not config.fast_sut:
        tell("no --fast-sut: a trained policy's drives and outcomes are not compared")
        return None
    policy = load_policy(config.fast_sut)
    if policy.privileged or policy.control != "action":
        raise ConfigError(
            f"--fast-sut {config.fast_sut}: it looks at more than an observation, which is all that the fast engine "
            "shows; give a trained policy, such as td3:FILE."
        )
    return policy


def _fast_outcomes(
    packed: PackedScenes,
    options: EngineConfig,
    scenes: Sequence[Scenario],
    tasks: Sequence[SequenceTask],
    policy: EgoPolicy,
) -> list[PolicyOutcome]:
    source = LoadedScenes(scenes)
    with closing(FastVectorEnv(packed, 1, options)) as env:
        return [outcome_in_fast(env, source, task, policy) for task in tasks]

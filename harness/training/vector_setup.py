"""From a configuration to the parts of a run on the fast engine."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, Protocol

import torch

from harness.commands.runs import RunDirectory
from harness.engine.config import EngineConfig
from harness.episodes.ego_buffer import EgoBuffer
from harness.episodes.escapes import precondition_of
from harness.episodes.protocol import protocol_of
from harness.episodes.rules import RuledEnv
from harness.episodes.schedules import CurriculumSchedule
from harness.fast.episodes import AttackedEpisodes
from harness.fast.library import playable_scenes
from harness.fast.scenes import PackedScenes
from harness.fast.vector import FastVectorEnv
from harness.interfaces import Adversary, EgoPolicy
from harness.specs import build as build_component
from harness.training.co_training import CoTraining
from harness.training.config import TrainConfig
from harness.training.evaluation import Evaluator
from harness.training.ppo import PPO
from harness.training.sb3_config import SB3Config
from harness.training.setup import (
    check_disjoint,
    evaluation_env,
    make_adversary,
    scenes_of,
    training_scenes,
    write_scene_list,
)
from harness.training.validation import Validator
from harness.training.vector_learner import VectorLearner
from harness.training.vector_loop import VectorParts
from scenarios.scenario import ScenarioSource
from scenarios.selection import LeftOut
from scenarios.splits import Subset

_LOG: Final = logging.getLogger(__name__)


class CountedNumbers(Protocol):
    """Passes numbers on, and may count them for whoever waits."""

    def __call__(self, items: Iterable[int], description: str) -> Iterable[int]:
        """Pass on; the description says what is done."""
        ...


def _untracked(items: Iterable[int], description: str) -> Iterable[int]:
    return items


def build_vector(config: TrainConfig, run: RunDirectory, track: CountedNumbers = _untracked) -> VectorParts:
    """Open and pack the scenes, and build everything else; MetaDrive starts with the final evaluation.

    Args:
        config: The run's.
        run: Its folder.
        track: Sees scenes and first episodes go by, and is told what is done with them.

    Raises:
        GauntletError: Unknown names, unusable data or weights, overlapping splits.
    """
    torch.set_num_threads(config.threads)
    curriculum = build_component("curriculum", config.curriculum)
    adversary = make_adversary(config.adversary, config)
    shared = config.eval_adversary == config.adversary and config.co_train is None
    eval_adversary = adversary if shared else make_adversary(config.eval_adversary, config)
    train, val, test = _parts_of_data(config)
    unfit: list[LeftOut] | None = None if config.on_error == "raise" else []
    train = training_scenes(train, config)
    packing = partial(track, description="packing scenes")
    packed, train = playable_scenes(train, traffic=config.traffic, watch=packing, left_out=unfit)
    validator = None
    if val is not None:
        chosen_on, val = playable_scenes(val, traffic=config.traffic, watch=packing, left_out=unfit)
        validator = _validator(config, chosen_on, val, eval_adversary)
    for scene, reason in unfit or ():
        _LOG.warning("scene %s is left out: %s", scene, reason)
    write_scene_list(run, train, test, val)
    env, episodes = _training(config, packed, train, adversary, CurriculumSchedule(curriculum, config.steps))
    if adversary is not None:
        episodes.counted = partial(track, description="planning first attacks")
    co_training = None
    if (every := config.co_train) is not None:
        co_training = CoTraining(adversary, episodes, every=every, updates=config.co_train_updates, seed=config.seed)
    examiner = _Examiner(config, test, eval_adversary)

    def close() -> None:
        env.close()
        if validator is not None:
            validator.close()
        examiner.close()

    return VectorParts(
        env,
        episodes,
        _learner(config, env),
        validator,
        examiner.evaluator,
        test,
        env.options.ego_box,
        close,
        co_training,
    )


def _parts_of_data(config: TrainConfig) -> tuple[ScenarioSource, ScenarioSource | None, ScenarioSource]:
    """Training, validation and test scenes, which share none."""
    train = scenes_of(config, config.train_split, config.train_scenes)
    test = scenes_of(config, config.test_split, config.test_scenes)
    check_disjoint(train, test)
    if config.val_split is None:
        return train, None, test
    val = scenes_of(config, config.val_split, config.val_scenes)
    check_disjoint(val, test)
    if config.val_split == config.train_split:
        held = set(val.ids)
        train = Subset(train, [index for index, name in enumerate(train.ids) if name not in held])
    check_disjoint(train, val)
    return train, val, test


def _training(
    config: TrainConfig,
    packed: PackedScenes,
    train: ScenarioSource,
    adversary: Adversary | None,
    schedule: CurriculumSchedule,
) -> tuple[FastVectorEnv, AttackedEpisodes]:
    options = EngineConfig(
        horizon=config.train_horizon,
        observation=config.observation,
        reward=config.reward,
        traffic=config.traffic,
        seed=config.seed,
    )
    episodes = AttackedEpisodes(
        train,
        adversary=adversary,
        scheduler=schedule,
        buffer=EgoBuffer(config.ego_drives, remember=config.remember),
        protocol=protocol_of(config.protocol),
        ego_size=options.ego_box,
        starts=packed.beginnings(config.start_steps, config.train_horizon) if config.start_steps else None,
        precondition=precondition_of(config.attacks),
        seed=config.seed,
    )
    return FastVectorEnv(packed, config.environments, options, episodes=episodes, threads=config.threads), episodes


def _validator(
    config: TrainConfig, packed: PackedScenes, val: ScenarioSource, adversary: Adversary | None
) -> Validator:
    options = EngineConfig(
        horizon=config.eval_horizon,
        observation=config.observation,
        reward=config.reward,
        crash_vehicle_done=config.eval_crash_ends,
        traffic=config.traffic,
    )
    return Validator(
        packed,
        val,
        options,
        adversary,
        intensity=config.eval_intensity,
        seed=config.seed,
        protocol=protocol_of(config.protocol),
        threads=config.threads,
    )


def _learner(config: TrainConfig, env: FastVectorEnv) -> VectorLearner:
    shared: dict[str, Any] = {
        "total_steps": config.steps,
        "seed": config.seed,
        "observation": config.observation,
    }
    if config.algorithm == "ppo":
        return PPO(env, config.ppo, **shared)
    # Imported here: Stable-Baselines3 takes a second.
    from harness.training.sb3_learners import SB3Learner

    chosen: dict[str, SB3Config] = {"td3": config.sb3_td3, "sac": config.sac, "sb3-ppo": config.sb3_ppo}
    return SB3Learner(env, chosen[config.algorithm], **shared)


class _Examiner:
    """Evaluates on test scenes in MetaDrive, which starts when it is first needed."""

    def __init__(self, config: TrainConfig, test: ScenarioSource, adversary: Adversary | None) -> None:
        self._config, self._test, self._adversary = config, test, adversary
        self._env: RuledEnv | None = None

    def evaluator(self, policy: EgoPolicy) -> Evaluator:
        """The two-stage evaluation of a policy."""
        if self._env is None:
            self._env = evaluation_env(self._config, self._test, self._config.seed)
        return Evaluator(
            self._env,
            policy,
            self._adversary,
            range(len(self._test)),
            intensity=self._config.eval_intensity,
            seed=self._config.seed,
            protocol=protocol_of(self._config.protocol),
            also_at=self._config.eval_also_at,
        )

    def close(self) -> None:
        """Stop MetaDrive."""
        if self._env is not None:
            self._env.close()

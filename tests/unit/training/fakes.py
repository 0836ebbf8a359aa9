"""Training runs on the fake driving task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.commands.runs import RunDirectory
from harness.episodes.protocol import protocol_of
from harness.episodes.rules import EndRules, RuledEnv
from harness.executors import WorkerSetup
from harness.training.config import TD3Config, TrainConfig
from harness.training.crew_trainer import CrewTrainer
from harness.training.evaluation import Evaluator
from harness.training.learner import LivePolicy
from harness.training.loop import Parts, Trainer
from harness.training.rounds import Watcher
from harness.training.setup import make_learner
from tests.unit.training.fake_driving import TRAIN, FakeAdversary, FakeEnv, FakeSource

__all__ = ["FakeAdversary", "FakeEnv", "FakeSource", "make_trainer", "tiny_config"]


def tiny_config(**changes: Any) -> TrainConfig:
    """A run of seconds."""
    td3 = {"warmup": 100, "batch_size": 32, "hidden": 32, "buffer_size": 5000, "precision": "float32"}
    td3 |= changes.pop("td3", {})
    defaults = {"steps": 600, "eval_every": 200, "checkpoint_every": 200, "train_horizon": 30, "eval_horizon": 40}
    return TrainConfig(**{**defaults, **changes}, td3=TD3Config(**td3))


def make_trainer(
    config: TrainConfig,
    run: RunDirectory,
    env: FakeEnv | None = None,
    watcher: Watcher | None = None,
    adversary: Any = None,
    folder: Path | None = None,
) -> Trainer:
    """A trainer on the fake task: three training scenes, two test scenes; `folder` is for `fake_worker`."""
    from harness import registry

    ruled = RuledEnv(env or FakeEnv(FakeSource(5)), EndRules(config.train_horizon, crash_ends=False))
    learner = make_learner(config, ruled)
    if adversary is None and config.adversary != "none":
        adversary = FakeAdversary()
    evaluator = Evaluator(
        ruled,
        LivePolicy(learner, "cat"),
        FakeAdversary(),
        [3, 4],
        intensity=config.eval_intensity,
        seed=config.seed,
        protocol=protocol_of(config.protocol),
    )
    curriculum = registry.make("curriculum", config.curriculum)
    parts = Parts(ruled, learner, evaluator, adversary, curriculum, TRAIN)
    if config.workers > 1:
        setup = WorkerSetup("tests.unit.training.fake_driving:fake_worker", {"config": config, "folder": folder})
        return CrewTrainer(config, run, parts, setup, watcher)
    return Trainer(config, run, parts, watcher)

"""Training with two workers against one: end to end, as `train_ego` does it, with one update per step."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from harness.commands.runs import RunDirectory
from harness.episodes.rules import RuledEnv
from harness.executors import WorkerSetup
from harness.performance.config import PerfConfig
from harness.performance.training import WARM_UP
from harness.specs import build as build_component
from harness.training.checkpoint import TrainingProgress
from harness.training.config import TD3Config, TrainConfig
from harness.training.crew_trainer import CrewTrainer
from harness.training.episode_worker import EpisodeWorker
from harness.training.evaluation import Evaluator
from harness.training.learner import LivePolicy
from harness.training.loop import Parts, Trainer
from harness.training.rounds import TrainingLoop, Watcher
from harness.training.setup import engine_over, make_learner
from scenarios.scenario import LoadedScenes, Scenario

ROUNDS: Final = 3
"""Runs of either kind, in turn: what slows the machine down slows both."""
NEVER: Final = 10**9
"""Steps that no run has."""


class RateWatcher(Watcher):
    """Times a training run between its warm-up and a number of steps after it, and stops it then.

    Attributes:
        watched: The run.
    """

    def __init__(self, first: int, steps: int) -> None:
        """Begin to count at the first round that ends at step `first` or later."""
        self._first, self._steps = first, steps
        self._marks: list[tuple[int, float]] = []
        self.watched: TrainingLoop | None = None

    def step(self, progress: TrainingProgress) -> None:
        """Note how far the run is."""
        if progress.step < self._first:
            return
        self._marks.append((progress.step, time.perf_counter()))
        if self.watched is not None and progress.step - self._marks[0][0] >= self._steps:
            self.watched.stop_requested = True

    @property
    def rate(self) -> float:
        """Steps per second."""
        (first, begun), (last, now) = self._marks[0], self._marks[-1]
        return (last - first) / (now - begun)


def measure_workers(scenes: Sequence[Scenario], config: PerfConfig) -> dict[str, float]:
    """Rates of TD3 on MetaDrive with the options of `train_ego` (one thread), medians of runs in turn.

    Evaluations and checkpoints are left out, and every scene is parsed before.

    Returns:
        `workers_train_steps_per_s` with two workers, and `workers_train_ratio` to one process that does all.
    """
    train = TrainConfig(
        steps=NEVER,
        eval_every=NEVER,
        checkpoint_every=NEVER,
        adversary="none",
        seed=config.seed,
        td3=TD3Config(warmup=WARM_UP),
    )
    engine = warm_engine(scenes, train)
    try:
        runs = [tuple(_speed(engine, scenes, train, n, config.worker_steps) for n in (1, 2)) for _ in range(ROUNDS)]
    finally:
        engine.close()
    ratio = statistics.median(two / one for one, two in runs)
    return {"workers_train_steps_per_s": statistics.median(two for _, two in runs), "workers_train_ratio": ratio}


def warm_engine(scenes: Sequence[Scenario], config: TrainConfig) -> RuledEnv:
    """An engine that has every scene parsed: that is no training."""
    engine = engine_over(LoadedScenes(scenes), config)
    for place in range(len(scenes)):
        engine.reset(options={"scenario": place})
    return engine


def build(scenes: Sequence[Scenario], config: TrainConfig) -> EpisodeWorker:
    """Target of `harness.executors.crew.WorkerSetup`: a worker on scenes that come along."""
    return EpisodeWorker(warm_engine(scenes, config), range(len(scenes)), None, config)


def _speed(engine: RuledEnv, scenes: Sequence[Scenario], config: TrainConfig, workers: int, steps: int) -> float:
    """Steps per second of one training run, over so many steps."""
    config = replace(config, workers=workers)
    learner = make_learner(config, engine)
    evaluator = Evaluator(engine, LivePolicy(learner, config.observation), None, [], intensity=0.0, seed=config.seed)
    curriculum = build_component("curriculum", config.curriculum)
    parts = Parts(engine, learner, evaluator, None, curriculum, range(len(scenes)))
    watcher = RateWatcher(WARM_UP, steps)
    with (
        tempfile.TemporaryDirectory() as folder,
        RunDirectory.create(Path(folder) / "run", "perf", asdict(config)) as run,
    ):
        if workers == 1:
            watcher.watched = Trainer(config, run, parts, watcher)
        else:
            setup = WorkerSetup("harness.performance.workers:build", {"scenes": list(scenes), "config": config})
            watcher.watched = CrewTrainer(config, run, parts, setup, watcher)
        watcher.watched.run()
    return watcher.rate

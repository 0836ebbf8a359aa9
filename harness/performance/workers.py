"""What a second worker brings to `train_ego` on MetaDrive."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from harness.commands.runs import RunDirectory
from harness.performance.config import PerfConfig
from harness.performance.training import WARM_UP
from harness.training import setup
from harness.training.checkpoint import TrainingProgress
from harness.training.config import TD3Config, TrainConfig
from harness.training.rounds import TrainingLoop, Watcher
from harness.training.run import make_trainer


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


def measure_workers(config: PerfConfig) -> dict[str, float]:
    """Rates of `train_ego` on MetaDrive, its evaluations and checkpoints left out.

    Returns:
        `workers_train_steps_per_s` with two workers, and `workers_train_ratio` to one process that does all.
    """
    one, two = (_rate(config, workers) for workers in (1, 2))
    return {"workers_train_steps_per_s": two, "workers_train_ratio": two / one}


def _rate(config: PerfConfig, workers: int) -> float:
    """Environment steps per second with so many workers."""
    never = 100 * (WARM_UP + config.worker_steps)
    training = TrainConfig(
        data=config.data,
        fit_only=config.fit_only,
        steps=never,
        eval_every=never,
        checkpoint_every=never,
        workers=workers,
        seed=config.seed,
        td3=TD3Config(warmup=WARM_UP, threads=min(2, os.cpu_count() or 1) if workers == 1 else 1),
    )
    watcher = RateWatcher(WARM_UP, config.worker_steps)
    with tempfile.TemporaryDirectory() as folder:
        with RunDirectory.create(Path(folder) / "run", "train_ego", asdict(training)) as run:
            parts = setup.build(training, run)
            try:
                watcher.watched = make_trainer(training, run, parts, watcher)
                watcher.watched.run()
            finally:
                parts.engine.close()
    return watcher.rate

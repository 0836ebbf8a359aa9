"""What every training run has in common: rounds until the budget is spent, evaluations and checkpoints between them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from harness.commands.runs import RunDirectory
from harness.files import Json
from harness.interfaces import Episode
from harness.training.checkpoint import TrainingProgress
from harness.training.config import TrainConfig
from harness.training.evaluation import Row, Stage
from scenarios.scenario import Scenario

EPISODES, EVALUATION, METRICS, VALIDATION = "episodes", "evaluation", "metrics", "validation"
"""Names of the record files."""
RECORDS: Final = (EPISODES, EVALUATION, METRICS, VALIDATION)


class Watcher:
    """Hears what happens; the base hears nothing."""

    def step(self, progress: TrainingProgress) -> None:
        """After every round of training: an episode, or many at once."""

    def metrics(self, record: Json) -> None:
        """Losses and speed, now and then."""

    def evaluating(self, step: int, done: int, total: int) -> None:
        """After every evaluated episode."""

    def evaluated(self, step: int, rows: list[Row]) -> None:
        """After an evaluation on test scenes."""

    def validated(self, step: int, rows: list[Row], chosen: bool) -> None:
        """After an evaluation on validation scenes; `chosen` says whether the policy is the best so far."""

    def close(self) -> None:
        """At the end."""


class Watchers(Watcher):
    """Several watchers as one."""

    def __init__(self, members: list[Watcher]) -> None:
        """Begin with `members`."""
        self._members = list(members)

    def add(self, member: Watcher) -> None:
        """One more."""
        self._members.append(member)

    def step(self, progress: TrainingProgress) -> None:
        """Tell everyone."""
        for member in self._members:
            member.step(progress)

    def metrics(self, record: Json) -> None:
        """Tell everyone."""
        for member in self._members:
            member.metrics(record)

    def evaluating(self, step: int, done: int, total: int) -> None:
        """Tell everyone."""
        for member in self._members:
            member.evaluating(step, done, total)

    def evaluated(self, step: int, rows: list[Row]) -> None:
        """Tell everyone."""
        for member in self._members:
            member.evaluated(step, rows)

    def validated(self, step: int, rows: list[Row], chosen: bool) -> None:
        """Tell everyone."""
        for member in self._members:
            member.validated(step, rows, chosen)

    def close(self) -> None:
        """Tell everyone."""
        for member in self._members:
            member.close()


class TrainingLoop(ABC):
    """Runs (or goes on with) one training run; subclasses say what a round is and what is kept.

    Attributes:
        config: What the run was told.
        directory: Its folder.
        watcher: Hears what happens.
        progress: How far it is.
        stop_requested: Set from outside: end after this round, with a checkpoint.
    """

    def __init__(self, config: TrainConfig, run: RunDirectory, watcher: Watcher | None = None) -> None:
        """Begin at step 0; `resume` or `run` comes next."""
        self.config, self.directory = config, run
        self.watcher = watcher or Watcher()
        self.progress = TrainingProgress(next_eval=config.eval_every, next_checkpoint=config.checkpoint_every)
        self.stop_requested = False
        self.mark = (0, time.perf_counter())

    @abstractmethod
    def resume(self) -> None:
        """Restore the last checkpoint, and drop the records of what will happen again.

        Raises:
            RunError: The checkpoint is damaged.
        """

    @abstractmethod
    def evaluate(self) -> object:
        """Evaluate now, and say so in `progress.evaluated` unless `stop_requested` came before the last row."""

    @abstractmethod
    def checkpoint(self) -> None:
        """Save everything that a resumed run needs."""

    @abstractmethod
    def advance(self) -> None:
        """One round of training."""

    @abstractmethod
    def replay(self, scene: str) -> dict[Stage, Episode]:
        """The two evaluation episodes of one test scene with the policy that is reported, for pictures."""

    @abstractmethod
    def scene(self, name: str) -> Scenario:
        """A test scene."""

    @property
    @abstractmethod
    def ego_size(self) -> tuple[float, float]:
        """Length and width of the ego, m."""

    @abstractmethod
    def close(self) -> None:
        """Stop the simulator."""

    def run(self, after_evaluation: Callable[[], None] | None = None) -> None:
        """Train until the budget of steps is spent, or `stop_requested`.

        Args:
            after_evaluation: Called after every evaluation (for pictures).

        Raises:
            PolicyError: Training has diverged.
            RunError: Too many episodes fail, or the run folder cannot be written.
        """
        config, progress = self.config, self.progress
        self.mark = (progress.step, time.perf_counter())
        while not (self.finished or self.stop_requested):
            started = time.perf_counter()
            # A run that was stopped in an evaluation makes it again before it goes on.
            if not self.evaluation_due:
                self.advance()
            if self.evaluation_due and self._evaluated():
                progress.next_eval = (progress.step // config.eval_every + 1) * config.eval_every
                if after_evaluation is not None:
                    after_evaluation()
            progress.seconds += time.perf_counter() - started
            if progress.step >= min(config.steps, progress.next_checkpoint) or self.stop_requested:
                progress.next_checkpoint = (progress.step // config.checkpoint_every + 1) * config.checkpoint_every
                self.checkpoint()

    @property
    def finished(self) -> bool:
        """Whether the budget is spent, and its end evaluated."""
        return self.progress.step >= self.config.steps and not self.evaluation_due

    @property
    def evaluation_due(self) -> bool:
        """Whether training waits for an evaluation."""
        progress = self.progress
        due = progress.step >= min(self.config.steps, progress.next_eval)
        return due and progress.evaluated != progress.step

    def speed(self) -> float:
        """Steps per second since the last call, evaluations left out."""
        step, now = self.progress.step, time.perf_counter()
        last_step, last_time = self.mark
        self.mark = (step, now)
        return (step - last_step) / max(now - last_time, 1e-9)

    def _evaluated(self) -> bool:
        """Evaluate, and say whether that was completed. It is no training: it must not count in steps per second."""
        started = time.perf_counter()
        self.evaluate()
        self.mark = (self.mark[0], self.mark[1] + time.perf_counter() - started)
        return not self.evaluation_due

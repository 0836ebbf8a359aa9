"""One training run, from its configuration to its report."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Final

from rich.progress import Progress

from harness.commands.left_out import note_left_out
from harness.commands.printing import bars
from harness.commands.runs import RunDirectory
from harness.commands.scaffold import Session
from harness.commands.signals import CODES, end_at_once, leave_terminal, takeable
from harness.executors import WorkerSetup
from harness.report.run_report import report
from harness.training import setup
from harness.training.checkpoint import TrainingProgress
from harness.training.config import TrainConfig
from harness.training.crew_trainer import CrewTrainer
from harness.training.evaluation import Row, summarise
from harness.training.loop import Parts, Trainer
from harness.training.rounds import TrainingLoop, Watcher, Watchers
from harness.training.tensorboard import TensorBoardWatcher


def train(config: TrainConfig, session: Session) -> int:
    """Run (or go on with) a training run, then report.

    Returns:
        The exit code: 0, or that of the signal which ended the run early, after a checkpoint.

    Raises:
        GauntletError: Anything that the user can do something about.
    """
    with session.open_run(config) as run:
        trainer = _vector_trainer(config, run, session) if config.engine == "fast" else _trainer(config, run, session)
        try:
            with bars(session.console) as shown:
                watchers = Watchers([BarWatcher(shown, config.steps, session)])
                trainer.watcher = watchers
                code = _run(trainer, watchers, run, session)
            report(config, run, trainer, session.console)
        finally:
            trainer.close()
    return code


def _trainer(config: TrainConfig, run: RunDirectory, session: Session) -> TrainingLoop:
    _tell(session, "opens the scenes and starts the simulator")
    parts = setup.build(config, run)
    note_left_out(session.say, [parts.engine.source], run.path)
    return make_trainer(config, run, parts)


def make_trainer(config: TrainConfig, run: RunDirectory, parts: Parts, watcher: Watcher | None = None) -> Trainer:
    """What trains with TD3 on MetaDrive: alone, or with workers."""
    if config.workers == 1:
        return Trainer(config, run, parts, watcher)
    workers = WorkerSetup("harness.training.episode_worker:build", {"config": config, "place": Path.cwd()})
    return CrewTrainer(config, run, parts, workers, watcher)


def _vector_trainer(config: TrainConfig, run: RunDirectory, session: Session) -> TrainingLoop:
    # Imported here: the fast engine and its compiler are of no use to a run on MetaDrive.
    from harness.kernels import kernel_cache
    from harness.training.vector_loop import VectorTrainer
    from harness.training.vector_setup import build_vector

    compiled = any(kernel_cache().rglob("*.nbi"))
    does = ["opens and packs the scenes", *([] if compiled else ["compiles the fast engine (once, about a minute)"])]
    planning = [] if config.adversary == "none" else ["plans the first attacks"]
    _tell(session, ", ".join([*does, *planning]))
    parts = build_vector(config, run, session.track)
    note_left_out(session.say, [parts.episodes.source, parts.test], run.path)
    return VectorTrainer(config, run, parts)


def _tell(session: Session, does: str) -> None:
    """Say what happens before anything is learnt: bars are for terminals, and this line is for logs too."""
    session.news.print(f"before it learns: {does}", markup=False, soft_wrap=True)


def _run(trainer: TrainingLoop, watchers: Watchers, run: RunDirectory, session: Session) -> int:
    """Train until the budget is spent or a signal comes."""
    trainer.resume()
    if trainer.config.tensorboard:
        watchers.add(TensorBoardWatcher(run.path, trainer.progress.step))
    with stopping_politely(trainer, session) as signals:
        trainer.run()
    watchers.close()
    if trainer.finished:
        return 0
    session.say(f"stopped at step {trainer.progress.step}; go on with --resume {run.path}")
    return CODES[signal.Signals(signals[0])]


ONE_S: Final = 3.0
"""SIGTERMs that come closer together are one, s. When the process that a run was started by is killed, Linux tells the
run once for every thread of that process: as each ends, the next one becomes the run's parent."""


@contextmanager
def stopping_politely(trainer: TrainingLoop, session: Session) -> Iterator[list[int]]:
    """Let the first Ctrl-C (SIGTERM, SIGHUP) end the run after a checkpoint, and the second end it at once.

    Yields the signals that came.
    """
    came: list[int] = []
    first = 0.0

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if came and number == signal.SIGTERM and time.monotonic() - first < ONE_S:
            return
        came.append(number)
        if number == signal.SIGHUP:
            leave_terminal()
        if trainer.stop_requested:
            end_at_once(number)
        trainer.stop_requested, first = True, time.monotonic()
        # What cannot be told must not cost the checkpoint: nobody reads any more, or the signal came within a print.
        with suppress(OSError, RuntimeError):
            session.say("stopping after this episode, with a checkpoint (again to stop at once)")

    before = takeable()
    for taken in before:
        signal.signal(taken, handler)
    try:
        yield came
    finally:
        for number, action in before.items():
            signal.signal(number, action)


class BarWatcher(Watcher):
    """Moves a bar of steps, and prints a line per evaluation."""

    def __init__(self, shown: Progress, steps: int, session: Session) -> None:
        """Add the bar to those that are shown."""
        self._bars, self._steps, self._session = shown, steps, session
        self._task = shown.add_task("training", total=steps)

    def step(self, progress: TrainingProgress) -> None:
        """Move the bar."""
        self._bars.update(self._task, completed=min(progress.step, self._steps), description="training")

    def metrics(self, record: Mapping[str, float]) -> None:
        """Show the speed."""
        self._bars.update(self._task, note=f"{record['steps_per_second']:.0f} steps/s")

    def evaluating(self, step: int, done: int, total: int) -> None:
        """Show how far the evaluation is."""
        self._bars.update(self._task, description=f"evaluating {done}/{total}")

    def evaluated(self, step: int, rows: list[Row]) -> None:
        """Print the evaluation's line."""
        self._session.say(evaluation_line(step, rows))

    def validated(self, step: int, rows: list[Row], chosen: bool) -> None:
        """Print the validation's line."""
        self._session.say(f"{evaluation_line(step, rows)}  ·  validation{', best so far' if chosen else ''}")


def evaluation_line(step: int, rows: Sequence[Row]) -> str:
    """One line about an evaluation, whole episodes."""
    words = [
        f"{row.stage}: completion {row.columns['completion'].mean:.2f}, collision {row.columns['collision'].mean:.2f}"
        + (f" ({row.failed} failed)" if row.failed else "")
        for row in summarise([asdict(row) for row in rows])
        if not row.horizon
    ]
    return f"step {step:>8,}  " + "  ·  ".join(words)

"""`python -m harness.train_ego`: train an ego under a curriculum of attacks, evaluate it, draw it."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.commands import runs
from harness.errors import GauntletError
from harness.training.config import PRESETS, TrainConfig

VERB: Final = "train_ego"


@dataclass(frozen=True)
class ResumeConfig:
    """Go on with a run that was stopped or killed, on the same curve, from its last checkpoint."""

    resume: Path
    """Run folder."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options, train or resume, print the tables and where everything lies."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    console = Console()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if any(argument.split("=")[0] == "--resume" for argument in arguments):
            path = tyro.cli(ResumeConfig, args=arguments, description=ResumeConfig.__doc__).resume
            run = runs.RunDirectory.reopen(path, VERB)
            config = TrainConfig.from_dict(run.info["config"])
        else:
            config = tyro.extras.overridable_config_cli(dict(PRESETS), args=arguments, description=__doc__)
            run = runs.RunDirectory.create(config.run or runs.default_folder(VERB), VERB, config.as_dict())
        with run:
            train(config, run, console)
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)


def train(config: TrainConfig, run: runs.RunDirectory, console: Console) -> None:
    """Run (or go on with) a training run, then report.

    Raises:
        GauntletError: Anything that the user can do something about.
    """
    # One thread per matrix product; the simulator has the other core. Set before torch is imported where possible.
    os.environ.setdefault("OMP_NUM_THREADS", str(config.td3.threads))
    # Imported late: `--help` should not wait for torch and the simulator.
    from harness.report.run_report import report
    from harness.training import setup
    from harness.training.loop import Trainer, Watchers
    from harness.training.tensorboard import TensorBoardWatcher

    console.print(f"run folder: {run.path.resolve()}", highlight=False)
    with console.status("opening scenes, starting the simulator"):
        parts = setup.build(config, run)
    try:
        with bar(console, config.steps) as display:
            watchers = Watchers([display])
            trainer = Trainer(config, run, parts, watchers)
            trainer.resume()
            if config.tensorboard:
                watchers.add(TensorBoardWatcher(run.path / "tensorboard", trainer.progress.step))
            with stopping_politely(trainer, console):
                trainer.run()
            watchers.close()
        if trainer.progress.step < config.steps:
            console.print(f"stopped at step {trainer.progress.step}; go on with --resume {run.path}", highlight=False)
        report(config, run, trainer, console)
    finally:
        parts.env.close()


@contextmanager
def stopping_politely(trainer: Any, console: Console) -> Iterator[None]:
    """Let the first Ctrl-C (or SIGTERM) end the run after a checkpoint, and the second end it at once."""

    def handler(number: int, frame: FrameType | None) -> None:
        if trainer.stop_requested:
            raise KeyboardInterrupt
        trainer.stop_requested = True
        console.print("stopping after this episode, with a checkpoint (again to stop at once)")

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


@contextmanager
def bar(console: Console, steps: int) -> Iterator[Any]:
    """A progress bar with speed and remaining time, as a watcher."""
    from harness.training.loop import Watcher

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("training", total=steps, speed="")

        class Display(Watcher):
            """Moves the bar; without a terminal, prints a line per evaluation instead."""

            def step(self, state: Any) -> None:
                progress.update(task, completed=min(state.step, steps), description="training")

            def metrics(self, record: Mapping[str, Any]) -> None:
                progress.update(task, speed=f"{record['steps_per_second']:.0f} steps/s")

            def evaluating(self, step: int, done: int, total: int) -> None:
                progress.update(task, description=f"evaluating {done}/{total}")

            def evaluated(self, step: int, rows: list[Any]) -> None:
                console.print(evaluation_line(step, rows), highlight=False)

        yield Display()


def evaluation_line(step: int, rows: Sequence[Any]) -> str:
    """One line about an evaluation."""
    from dataclasses import asdict

    from harness.training.evaluation import summarise

    words = [
        f"{row.stage}: completion {row.columns['completion'].mean:.2f}, collision {row.columns['collision'].mean:.2f}"
        + (f" ({row.failed} failed)" if row.failed else "")
        for row in summarise([asdict(row) for row in rows])
    ]
    return f"step {step:>8,}  " + "  ·  ".join(words)


if __name__ == "__main__":
    main()

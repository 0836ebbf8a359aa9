"""`python -m harness.train_prior`: train the motion prior on a folder of scenes.

The weights that ship with the package were made by this command with its defaults, on procedural scenes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from adversaries.prior.training import PriorTraining, train_prior
from harness.commands.runs import RunDirectory, default_folder
from harness.drawing.curves import draw_prior_training
from harness.errors import GauntletError
from harness.files import write_text
from harness.report.tables import csv_text
from harness.report.training_tables import prior_records, prior_table
from scenarios.selection import open_part

VERB: Final = "train_prior"


@dataclass(frozen=True)
class TrainPriorConfig:
    """Train the goal-conditioned motion prior on every suitable vehicle of a scenario set."""

    data: str = "procedural"
    """Folder of ScenarioNet pickles, or `procedural` for the generated scenes."""
    train: str = "train"
    """Scenes to learn from: a split name, or indices such as `0:280` or `0:100,120,130:140`."""
    val: str = "val"
    """Scenes for early stopping: a split name, or indices such as `280:320`."""
    test: str = "test"
    """Scenes of the final table: a split name, or indices; empty for none."""
    out: Path | None = None
    """Run folder; a new one under `runs/` by default."""
    resume: Path | None = None
    """Go on with the run in this folder (give the same options)."""
    samples: Path | None = None
    """Folder for extracted samples, so that several runs can share them; inside the run folder by default."""
    training: PriorTraining = field(default_factory=PriorTraining)
    """Optimisation and model."""


class Display:
    """Progress bars and one line per epoch."""

    def __init__(self, console: Console) -> None:
        self.console = console
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self.tasks: dict[str, TaskID] = {}
        self.rows: list[dict[str, float]] = []

    def __call__(self, event: str, values: dict[str, Any]) -> None:
        """Show an event of the trainer."""
        if event == "samples":
            self._advance(f"features ({values['split']})", values["done"], values["total"])
        elif event == "step":
            self._advance(f"epoch {values['epoch']}", values["step"], values["steps"])
        elif event == "epoch":
            self.rows.append(values)
            for task in self.tasks.values():
                self.progress.remove_task(task)
            self.tasks.clear()
            self.console.print(
                f"epoch {values['epoch']:3}  loss {values['total']:.3f}  val minADE_32 {values['minADE_32']:.3f} m  "
                f"minFDE_32 {values['minFDE_32']:.3f} m  miss_32 {values['miss_32']:.3f}  best {values['best']:.3f} m  "
                f"{values['seconds']:.0f} s",
                highlight=False,
            )

    def _advance(self, name: str, done: int, total: int) -> None:
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=total)
        self.progress.update(self.tasks[name], completed=done)


def run(config: TrainPriorConfig, console: Console) -> Path:
    """Train; return the run folder.

    Raises:
        GauntletError: Unusable data, options or folder.
    """
    train, val = open_part(config.data, config.train), open_part(config.data, config.val)
    test = open_part(config.data, config.test) if config.test else None
    if config.resume is not None:
        record = RunDirectory.reopen(config.resume, VERB)
    else:
        record = RunDirectory.create(config.out or default_folder(VERB), VERB, asdict(config))
    display = Display(console)
    outcome: dict[str, Any] = {}

    def report(event: str, values: dict[str, Any]) -> None:
        display(event, values)
        if event == "result":
            outcome.update(values)

    with record, display.progress:
        console.print(f"run folder: {record.path.resolve()}", highlight=False)
        train_prior(
            config.training,
            train,
            val,
            record.path,
            test=test,
            resume=config.resume is not None,
            cache=config.samples,
            info={"data": "procedural" if config.data == "procedural" else "own", "seed": config.training.seed},
            report=report,
        )
        rows = outcome.pop("history")
        baseline = outcome["val"].get("moving", {}).get("lane following", {})
        draw_prior_training(rows, baseline, record.path / "curve.png")
        write_text(record.path / "table.csv", csv_text(prior_records(outcome)))
    console.print(prior_table(outcome).rich())
    console.print(f"weights: {(record.path / 'prior.safetensors').resolve()}", highlight=False)
    return record.path


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options, train, print the table and where everything lies."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # A log file has no width of its own: 80 columns would cut the numbers off.
    console = Console(width=None if sys.stdout.isatty() else 140)
    config = tyro.cli(TrainPriorConfig, args=argv, description=__doc__)
    try:
        run(config, console)
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()

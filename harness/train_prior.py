"""`python -m harness.train_prior`: train the motion prior on a folder of scenes.

The weights that ship with the package were made by this command with its defaults, on procedural scenes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import tyro
from rich.console import Console

from adversaries.prior.training import PriorTraining, train_prior
from harness.commands.progress import SECONDS, Column, FitDisplay
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


COLUMNS: Final = (
    Column("total", label="loss"),
    Column("minADE_32", unit=" m"),
    Column("minFDE_32", unit=" m"),
    Column("miss_32"),
    Column("best", unit=" m"),
    SECONDS,
)
"""What is shown of an epoch; errors are those of held-out scenes."""


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
    with record, FitDisplay(console, COLUMNS) as display:
        console.print(f"run folder: {record.path.resolve()}", highlight=False)
        trained = train_prior(
            config.training,
            train,
            val,
            record.path,
            test=test,
            resume=config.resume is not None,
            cache=config.samples,
            info={"data": "procedural" if config.data == "procedural" else "own", "seed": config.training.seed},
            report=display,
        )
        baseline = trained.results["val"].get("moving", {}).get("lane following", {})
        draw_prior_training(trained.history, baseline, record.path / "curve.png")
        write_text(record.path / "table.csv", csv_text(prior_records(trained.results)))
    console.print(prior_table(trained.results).rich())
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

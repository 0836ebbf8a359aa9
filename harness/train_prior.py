"""Train the motion prior on a folder of scenes.

The weights that ship with the package were made by this command with its defaults, on procedural scenes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from adversaries.prior.config import FREE, PriorTraining
from harness.commands.options import RunOptions, TestScenes, TrainScenes, ValScenes, part
from harness.commands.progress import SECONDS, FitDisplay, ShownNumber, epochs_of
from harness.commands.scaffold import Session, command


@dataclass(frozen=True)
class TrainPriorConfig(RunOptions, TestScenes, ValScenes, TrainScenes):
    """Train the goal-conditioned motion prior on every suitable vehicle of a scenario set."""

    samples: Path | None = None
    """Folder of the samples taken from scenes, which several runs can share; inside the run folder by default."""
    training: PriorTraining = field(default_factory=PriorTraining)
    """Optimisation and network of the prior."""


RENAMED: Final = {f"--{name}": part(name) for name in ("train", "val", "test")}
MAY_DIFFER: Final = ("samples", *(f"training.{name}" for name in sorted(FREE)))
"""Options that a resumed run may have otherwise."""
COLUMNS: Final = (
    ShownNumber("total", label="loss"),
    ShownNumber("minADE_32", unit=" m"),
    ShownNumber("minFDE_32", unit=" m"),
    ShownNumber("miss_32"),
    ShownNumber("best", unit=" m"),
    SECONDS,
)
"""What is shown of an epoch; errors are those of held-out scenes."""


def run(config: TrainPriorConfig, session: Session) -> Path:
    """Train, write weights, tables and the curve, print the table; return the run folder.

    Raises:
        GauntletError: Unusable data, options or folder.
    """
    from adversaries.prior.training import WEIGHTS, train_prior
    from harness.drawing.curves import draw_prior_training
    from harness.files import write_text
    from harness.report.tables import csv_text
    from harness.report.training_tables import prior_records, prior_table

    train, val, test = config.open_train(), config.open_val(), config.open_test()
    with session.open_run(config, train, val, test) as record, FitDisplay(session.console, COLUMNS) as display:
        trained = train_prior(
            config.training,
            train,
            val,
            record.path,
            test=test,
            resume=config.resume is not None,
            cache=config.samples,
            info={"data": config.origin, "seed": config.training.seed},
            report=display,
        )
        baseline = trained.results["val"].get("moving", {}).get("lane following", {})
        with epochs_of(record.path):
            draw_prior_training(trained.history, baseline, record.path / "curve.png")
        write_text(record.path / "table.csv", csv_text(prior_records(trained.results)))
    session.console.print(prior_table(trained.results).rich())
    session.say(f"weights: {(record.path / WEIGHTS).resolve()}")
    return record.path


@command(TrainPriorConfig, __doc__, renamed=RENAMED, may_differ=MAY_DIFFER)
def main(config: TrainPriorConfig, session: Session) -> None:
    """Train, print the table and where everything lies."""
    run(config, session)


if __name__ == "__main__":
    main()

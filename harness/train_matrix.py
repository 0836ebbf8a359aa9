"""`python -m harness.train_matrix`: egos trained against every adversary, over seeds; SAGE's tables 3 and 8."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.commands.runs import default_folder
from harness.errors import GauntletError, RunError
from harness.files import write_json, write_text
from harness.training.config import PAPER, QUICK
from harness.training.matrix import Cell, MatrixConfig, cells, finished, plain_config, prepare, steps_done, train_all

PRESETS: Final[dict[str, tuple[str, MatrixConfig]]] = {
    "quick": (
        "64 + 16 procedural scenes, 60,000 steps per run: hours are minutes.",
        MatrixConfig(train=replace(QUICK, pictures=False)),
    ),
    "paper": (
        "1,000,000 steps per run (SAGE, tables 3 and 8; five seeds there).",
        MatrixConfig(train=replace(PAPER, pictures=False)),
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options, train what is missing, evaluate, print the tables."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    console = Console()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        config = tyro.extras.overridable_config_cli(dict(PRESETS), args=arguments, description=__doc__)
        run(config, console)
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)


def run(config: MatrixConfig, console: Console) -> Path:
    """Train, evaluate, write; returns the matrix's folder.

    Raises:
        GauntletError: Unknown names, unusable data, a folder of other runs, or every run failed.
    """
    out = (config.out or default_folder("train_matrix")).resolve()
    matrix = cells(config, out)
    console.print(f"matrix of {len(matrix)} runs: {out}", highlight=False)
    for cell in matrix:
        prepare(cell)
    write_json(out / "matrix.json", plain_config(config))
    failures = train(matrix, config.parallel, console)
    for reason in failures:
        console.print(f"[yellow]failed:[/] {reason}", highlight=False)
    done = [cell for cell in matrix if finished(cell)]
    if not done:
        raise RunError(f"no run of the matrix could be finished. {failures[0] if failures else ''}")
    report(done, config, out, console)
    if failures:
        console.print(f"{len(failures)} runs are missing from the tables; the same command tries them again.")
    return out


def bar(console: Console) -> Progress:
    """A progress bar with remaining time."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    left = (TextColumn("eta"), TimeRemainingColumn())
    return Progress(*columns, *left, console=console, speed_estimate_period=600, disable=not console.is_terminal)


def train(matrix: Sequence[Cell], parallel: int, console: Console) -> list[str]:
    """Train every run that is not finished; returns why some are not."""
    failures: list[str] = []
    with bar(console) as progress:
        task = progress.add_task("training", total=sum(cell.config.steps for cell in matrix))

        def show(running: list[Cell]) -> None:
            names = ", ".join(cell.name for cell in running)
            steps = sum(min(steps_done(cell), cell.config.steps) for cell in matrix)
            progress.update(task, completed=steps, description=f"training {names}")

        show([])
        for cell, error in train_all(matrix, parallel, show):
            if error:
                failures.append(error)
            console.print(error or f"{cell.name}: trained", highlight=False)
    return failures


def report(done: Sequence[Cell], config: MatrixConfig, out: Path, console: Console) -> None:
    """Evaluate every finished ego alike; print and write the tables.

    Raises:
        GauntletError: A policy, an adversary or the scenes cannot be used.
    """
    # Imported late: `--help` should not wait for torch and the simulator.
    from harness.report.matrix_tables import markdown, matrix_table
    from harness.training.matrix_evaluation import as_json, evaluate, scores

    with bar(console) as progress:
        task = progress.add_task("evaluating", total=None)
        rows = evaluate(
            done,
            config.evaluate_against,
            out,
            lambda ended, total: progress.update(task, completed=ended, total=total),
        )
    tables: list[list[Any]] = [scores(done, rows, config.evaluate_against[0], "normal")]
    tables += [scores(done, rows, adversary, "adversarial") for adversary in config.evaluate_against]
    text = "\n".join(markdown(table) for table in tables)
    write_text(out / "tables.md", text)
    write_json(out / "tables.json", [row for table in tables for row in as_json(table)])
    for table in tables:
        console.print(matrix_table(table).rich())
    console.print(f"tables with paired differences: {out / 'tables.md'}", highlight=False)


if __name__ == "__main__":
    main()

"""A matrix of training runs, from its configuration to its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.commands.printing import bars
from harness.commands.scaffold import Session
from harness.errors import RunError
from harness.files import write_json, write_text
from harness.report.matrix_tables import markdown, matrix_table
from harness.training.matrix import MatrixConfig, TrainedCell, cells, finished, prepare, steps_done, train_all
from harness.training.matrix_evaluation import as_json, evaluate, scores


def run_matrix(config: MatrixConfig, session: Session) -> Path:
    """Train what is missing, evaluate every finished ego alike, write and print the tables; return the matrix's folder.

    Raises:
        GauntletError: Unknown names, unusable data, a folder of other runs, or every run failed.
    """
    with session.open_run(config) as run:
        out = run.path.resolve()
        session.say(f"matrix of {len(cells(config, out))} runs")
        matrix, failures = _prepared(cells(config, out))
        failures += _train(matrix, config.parallel, session)
        for reason in failures:
            session.warn(f"failed: {reason}")
        done = [cell for cell in matrix if finished(cell)]
        if not done:
            raise RunError(f"no run of the matrix could be finished. {failures[0] if failures else ''}")
        _report(done, config, out, session)
        if failures:
            session.say(f"{len(failures)} runs are missing from the tables; --resume {out} tries them again.")
        return out


def _prepared(matrix: Sequence[TrainedCell]) -> tuple[list[TrainedCell], list[str]]:
    """The runs whose folders can be used, and why others cannot: one damaged run costs that run."""
    usable, failures = [], []
    for cell in matrix:
        try:
            prepare(cell)
            usable.append(cell)
        except RunError as error:
            failures.append(f"{cell.name}: {error}")
    return usable, failures


def _train(matrix: Sequence[TrainedCell], parallel: int, session: Session) -> list[str]:
    """Train every run that is not finished; returns why some are not."""
    failures: list[str] = []
    with bars(session.console) as progress:
        task = progress.add_task("training", total=sum(cell.config.steps for cell in matrix))

        def show(running: list[TrainedCell]) -> None:
            names = ", ".join(cell.name for cell in running)
            steps = sum(min(steps_done(cell), cell.config.steps) for cell in matrix)
            progress.update(task, completed=steps, description=f"training {names}")

        show([])
        for cell, error in train_all(matrix, parallel, show):
            if error:
                failures.append(error)
            session.say(error or f"{cell.name}: trained")
    return failures


def _report(done: Sequence[TrainedCell], config: MatrixConfig, out: Path, session: Session) -> None:
    """Evaluate every finished ego alike; print and write the tables.

    Raises:
        GauntletError: A policy, an adversary or the scenes cannot be used.
    """
    attackers = config.evaluate_against
    with bars(session.console) as progress:
        task = progress.add_task("evaluating", total=None)
        rows = evaluate(done, attackers, out, lambda ended, total: progress.update(task, completed=ended, total=total))
    done = [cell for cell in done if all((cell.name, name) in rows for name in attackers)]
    if not done:
        raise RunError("no ego of the matrix could be evaluated; the warnings above say why.")
    tables = [scores(done, rows, attackers[0], "normal")]
    tables += [scores(done, rows, adversary, "adversarial") for adversary in attackers]
    write_text(out / "tables.md", "\n".join(markdown(table) for table in tables))
    write_json(out / "tables.json", [row for table in tables for row in as_json(table)])
    for table in tables:
        session.console.print(matrix_table(table).rich())
    session.say(f"tables with paired differences: {out / 'tables.md'}")

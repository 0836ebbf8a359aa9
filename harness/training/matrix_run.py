"""A matrix of training runs, from its configuration to its tables."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from harness.commands.printing import bars, listed
from harness.commands.runs import in_use
from harness.commands.scaffold import Session
from harness.drawing.curves import draw_methods
from harness.errors import RunError
from harness.executors import WorkerSetup, run_jobs
from harness.files import write_json, write_text
from harness.report.matrix_tables import crossplay_grid, crossplay_table, heading, markdown, matrix_table
from harness.training.matrix import (
    MatrixConfig,
    TrainedCell,
    attacks_of,
    cells,
    finished,
    held_out,
    prepare,
    steps_done,
)
from harness.training.matrix_curves import learning_curves
from harness.training.matrix_evaluation import evaluate
from harness.training.matrix_scores import as_json, compare_rows, horizons_of, scores
from harness.training.matrix_worker import processors_of, until_free
from harness.training.setup import make_adversary

RETRIES: Final = 1
"""Further attempts of a run that failed or whose worker was lost; each goes on from the last checkpoint."""
TABLES: Final = "tables.md"
CROSSPLAY: Final = "crossplay.csv"
CURVES: Final = "curves.png"
FILES: Final = {
    TABLES: "every table, with the differences between rows",
    "tables.json": "their numbers",
    "differences.json": "the differences' numbers",
    CROSSPLAY: "every ego against every adversary",
    CURVES: "completion and failures over training steps, of all rows",
}
"""What a matrix leaves, besides its runs."""
LOOK_S: Final = 2.0
"""Time between looks at the records of the runs, s."""


def run_matrix(config: MatrixConfig, session: Session) -> Path:
    """Train what is missing, evaluate every finished ego alike, write and print the tables; return the matrix's folder.

    Raises:
        GauntletError: Unknown names, unusable data, a folder of other runs, or every run failed.
    """
    with session.open_run(config) as run:
        out = run.path.resolve()
        session.say(f"matrix of {len(cells(config, out))} runs")
        for name in dict.fromkeys((*config.adversary, *config.evaluate_against)):
            # What is wrong with a name is said before hours of training.
            make_adversary(name, config.train)
        matrix, failures = _prepared(cells(config, out))
        failures += _train(matrix, config, session)
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


def _train(matrix: Sequence[TrainedCell], config: MatrixConfig, session: Session) -> list[str]:
    """Train every run that is not finished; returns why some are not.

    Raises:
        RunError: A worker's machine does not share the run folder.
        WorkerError: Workers cannot be started.
    """
    waiting = [cell for cell in matrix if not finished(cell)]
    if not waiting:
        return []
    processors = max(processors_of(cell) for cell in waiting)
    setup = WorkerSetup("harness.training.matrix_worker:build", {"place": Path.cwd()}, processors)
    failures = []
    results = run_jobs(waiting, setup, config.executor, config.workers, config.timeout, RETRIES)
    with _shown(matrix, session), _left_alone(waiting, session), closing(results):  # type: ignore[type-var]
        for result in results:
            cell = result.job
            if result.error:
                failures.append(result.error if cell.name in result.error else f"{cell.name}: {result.error}")
            elif not finished(cell):
                raise RunError(
                    f"a worker finished {cell.name}, but its policy is not in {cell.folder}. Workers on other machines "
                    "need the same run folder: give --out on a shared file system."
                )
            session.say(failures[-1] if result.error else f"{cell.name}: trained")
    return failures


@contextmanager
def _shown(matrix: Sequence[TrainedCell], session: Session) -> Iterator[None]:
    """A bar of the steps of all runs, which their records tell: workers say nothing before a run has ended."""
    over = threading.Event()
    with bars(session.console) as progress:
        task = progress.add_task("training", total=sum(cell.config.steps for cell in matrix))

        def watch() -> None:
            while True:
                steps = sum(min(steps_done(cell), cell.config.steps) for cell in matrix)
                progress.update(task, completed=steps)
                if over.wait(LOOK_S):
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


@contextmanager
def _left_alone(started: Sequence[TrainedCell], session: Session) -> Iterator[None]:
    """Where the matrix is stopped, wait for the checkpoints of its runs, so that it can be gone on with at once."""
    try:
        yield
    except BaseException:
        busy = [cell for cell in started if in_use(cell.folder)]
        if busy:
            session.say(f"waiting for the checkpoints of {', '.join(cell.name for cell in busy)}")
        for cell in busy:
            if not until_free(cell.folder):
                session.warn(f"{cell.name} is still running; wait for it before the matrix is gone on with.")
        raise


def _report(done: Sequence[TrainedCell], config: MatrixConfig, out: Path, session: Session) -> None:
    """Evaluate every finished ego alike; print and write the tables.

    Raises:
        GauntletError: A policy, an adversary or the scenes cannot be used.
    """
    attackers = [attack.label for attack in attacks_of(config)]
    with session.counter("evaluating egos") as count:
        rows = evaluate(done, config, out, count)
    done = [cell for cell in done if all((cell.name, name) in rows for name in attackers)]
    if not done:
        raise RunError("no ego of the matrix could be evaluated; the warnings above say why.")
    conditions, comparisons = [], []
    for horizon in horizons_of(rows):
        recorded = {name: scores(done, rows, name, "normal", horizon) for name in attackers}
        attacked = [scores(done, rows, name, "adversarial", horizon) for name in attackers]
        shown = [recorded[attackers[0]], *attacked]
        conditions += shown
        comparisons += [compare_rows(tables, recorded[tables[0].adversary]) for tables in shown]
    unmet = held_out(config)
    crossplay = crossplay_table(conditions, unmet)
    texts = [heading(config.train)]
    texts += [markdown(tables, pairs) for tables, pairs in zip(conditions, comparisons, strict=True)]
    grid = crossplay_grid(conditions, unmet)
    texts.append("\n".join([f"## {crossplay.title}", "", *crossplay.markdown(), "", *grid.markdown(), ""]))
    write_text(out / TABLES, "\n".join(texts))
    write_text(out / CROSSPLAY, crossplay.csv())
    write_json(out / "tables.json", [row for tables in conditions for row in as_json(tables)])
    write_json(out / "differences.json", [asdict(pair) for pairs in comparisons for pair in pairs])
    for tables in conditions[: 1 + len(attackers)]:
        session.console.print(matrix_table(tables).rich())
    session.console.print(grid.rich())
    curves = learning_curves(done)
    if curves:
        draw_methods(curves, out / CURVES, f"{len(done)} egos")
    for line in listed(out, FILES):
        session.say(line)

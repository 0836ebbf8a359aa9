"""`python -m harness.benchmark`: every adversary against every system under test, honestly measured."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.benchmarking.comparison import compare
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.lineup import FILE, Lineup, assemble
from harness.benchmarking.protocols import deviations
from harness.benchmarking.runner import prepare, run_all
from harness.benchmarking.summary import Cell, as_object, summarise
from harness.benchmarking.worker import open_scenes
from harness.commands.runs import RunDirectory, default_folder, read_run
from harness.errors import ConfigError, GauntletError, RunError
from harness.files import explained, read_json, write_json
from harness.report.benchmark_tables import terminal, write_all
from harness.report.html import FILE as REPORT
from harness.report.html import write_report

VERB: Final = "benchmark"
INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells have it."""


def run(config: BenchmarkConfig, console: Console) -> tuple[list[Cell], Path]:
    """Run (or go on with) a benchmark, write its tables and its report; return the cells and the run folder.

    Raises:
        GauntletError: Unknown names, unusable data or weights, a folder that cannot be written, another run's folder.
    """
    _check_writable(config.json)
    lineup = assemble(config)
    with _open(config, lineup) as directory:
        folder = directory.path
        console.print(f"run folder: {folder.resolve()}", highlight=False)
        with _bar(console) as show:
            run_all(config, lineup, folder, show)
        cells = summarise(folder, config, lineup)
        write_all(folder, cells, compare(cells), config)
        if config.json is not None:
            write_json(config.json, [as_object(cell, config) for cell in cells])
        write_report(folder, open_scenes(config))
        return cells, folder


def read_config(arguments: Sequence[str]) -> BenchmarkConfig:
    """Options of the command line; on `--resume` those of the run, which others may not contradict.

    Raises:
        ConfigError: An option contradicts the run's, or cannot work.
        RunError: There is no such run.
    """
    path = _resumed(arguments)
    if path is None:
        return tyro.cli(BenchmarkConfig, args=arguments, description=__doc__)
    info = read_run(path)
    if info["verb"] != VERB:
        raise RunError(f"run folder {path} was made by {info['verb']!r}, and {VERB!r} cannot go on with it.")
    stored = BenchmarkConfig.from_dict(info["config"])
    config = tyro.cli(BenchmarkConfig, args=arguments, default=stored, description=__doc__)
    different = config.differences(stored)
    if different:
        raise ConfigError(
            f"run {path} has another configuration: {'; '.join(different)}. Leave these options out, or start anew."
        )
    return config


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options, run, print the tables and where everything lies."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    console = Console()
    try:
        config = read_config(list(sys.argv[1:] if argv is None else argv))
        cells, folder = run(config, console)
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; every finished episode is kept: go on with --resume and the run folder.")
        sys.exit(INTERRUPTED)
    for table in terminal(cells, config):
        console.print(table.rich(compact=True))
    repeated = deviations(config.protocol).names()
    if repeated:
        console.print(f"repeats of the published code: {', '.join(repeated)}", highlight=False)
    failed = sum(cell.failures for cell in cells)
    if failed:
        console.print(f"[yellow]{failed} episodes failed[/]; benchmark.md says which and why.")
    console.print(f"written to {folder.resolve()}", highlight=False)
    console.print(f"report with playback of every episode: {(folder / REPORT).resolve()}", highlight=False)


def _resumed(arguments: Sequence[str]) -> Path | None:
    for position, text in enumerate(arguments):
        name, equals, value = text.partition("=")
        if name == "--resume":
            if equals:
                return Path(value)
            return Path(arguments[position + 1]) if position + 1 < len(arguments) else None
    return None


def _open(config: BenchmarkConfig, lineup: Lineup) -> RunDirectory:
    """A new run folder with the line-up, or the old one after a check that nothing else changed."""
    described = lineup.as_dict(config.protocol)
    if config.resume is None:
        directory = RunDirectory.create(config.out or default_folder(VERB), VERB, config.as_dict())
        write_json(directory.path / FILE, described)
        return directory
    directory = RunDirectory.reopen(config.resume, VERB)
    try:
        stored = directory.path / FILE
        if stored.exists():
            lineup.check_same(read_json(stored), directory.path)
        else:
            # Killed before the first episode.
            write_json(stored, described)
        prepare(directory.path, retry_failures=config.retry_failures)
    except GauntletError:
        directory.close()
        raise
    return directory


def _check_writable(path: Path | None) -> None:
    """Say at once, not after an hour, that the JSON file cannot be written."""
    if path is not None:
        with explained(path, "write"):
            existed = path.exists()
            path.open("a").close()
            if not existed:
                path.unlink()


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over episodes, with the time that is left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("episodes", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


if __name__ == "__main__":
    main()

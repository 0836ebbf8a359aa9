"""One comparison of two systems, from run folders to table and page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

from harness.benchmarking.certificates.statements import statement
from harness.benchmarking.comparison import compare
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.gate.outcomes import episodes
from harness.benchmarking.lineup import FILE as LINEUP
from harness.benchmarking.lineup import Lineup
from harness.benchmarking.summary import Cell, summarise
from harness.benchmarking.versus.config import CompareConfig
from harness.benchmarking.versus.joining import Sides
from harness.benchmarking.versus.pairs import Turned, Versus, failing, tables_of, turned, versus
from harness.commands.runs import RunDirectory, default_folder
from harness.commands.scaffold import Session
from harness.episodes.records import CellKey
from harness.errors import ConfigError
from harness.files import JsonDict, write_json, write_text
from harness.report.benchmark_tables import write_all
from harness.report.html import FILE as REPORT
from harness.report.html import write_report
from harness.report.html.choice import Shown
from harness.report.versus_tables import turned_lines, versus_markdown, versus_table

FILES: Final = {
    REPORT: "page in which both drives play side by side: open it in a browser",
    "compare.md": "the table of differences, and every scene that changed",
    "compare.json": "the same as JSON",
    "benchmark.md": "every table of both systems",
    "episodes": "the episodes of both",
}
"""What a comparison leaves in its folder."""


def run_compare(config: CompareConfig, session: Session) -> tuple[list[Versus], Path]:
    """Compare two systems, write tables and page, and print the table; return its rows and the folder.

    Raises:
        GauntletError: Runs that cannot be compared, damaged records, scenes that are not there, an unwritable folder.
    """
    sides = Sides.open(config.sides, config.system)
    merged, lineup = sides.config(config.data), sides.lineup()
    scenes = merged.open_all(cache_scenes=0)
    if missing := set(sides.scenes) - set(scenes.ids):
        raise ConfigError(
            f"{merged.data} holds {len(missing)} of the {len(sides.scenes)} scenes no longer, such as "
            f"{min(missing)!r}. Name where they lie with --data."
        )
    compared = [[str(run.folder) for run in side] for side in sides.runs]
    told = {**asdict(merged), "compared": compared}
    with RunDirectory.create(config.out or default_folder("compare"), "compare", told) as directory:
        folder = directory.path
        session.say(f"run folder: {folder}")
        write_json(folder / LINEUP, lineup.as_dict(merged.protocol))

        def watch(keys: Sequence[CellKey]) -> Iterator[CellKey]:
            return iter(session.track(keys, "copying", len(keys)))

        sides.copy(folder, watch)
        total = 2 * len(sides.scenes) * len(sides.adversaries)
        cells = summarise(folder, merged, lineup, partial(session.track, description="summarising", total=total))
        write_all(folder, cells, compare(cells), merged, statement(merged, lineup, None))
        rows, changed = _differences(folder, merged, lineup, cells, sides)
        _write(folder, rows, changed, sides)
        session.console.print(versus_table(rows, sides.labels).rich(compact=True))
        for line in turned_lines(changed, sides.labels):
            session.say(line)
        track = partial(session.track, description="report")
        write_report(folder, scenes, _shown(sides, changed, config.playback), track, beside=True)
        if config.json is not None:
            write_json(config.json, _as_object(rows, changed, sides))
        return rows, folder


def _differences(
    folder: Path, merged: BenchmarkConfig, lineup: Lineup, cells: Sequence[Cell], sides: Sides
) -> tuple[list[Versus], list[Turned]]:
    found = dict(episodes(folder, merged, lineup))
    tables = tables_of(cells, found, sides.labels, sides.scenes, sides.repeats)
    changed = []
    for adversary in sides.adversaries:
        first, second = (failing(found, label, adversary, sides.scenes, sides.repeats) for label in sides.labels)
        changed.append(turned(adversary, sides.scenes, first, second))
    return versus(sides.adversaries, tables), changed


def _shown(sides: Sides, changed: Iterable[Turned], count: int) -> Shown:
    """Scenes that the page plays back: first those that changed, then the others in their order."""
    first = {scene for item in changed for scene in (*item.newly_failing, *item.newly_passing)}
    ordered = sorted(sides.scenes, key=lambda scene: scene not in first)[:count]
    return Shown((), tuple(scene for scene in sides.scenes if scene in set(ordered)))


def _write(folder: Path, rows: Sequence[Versus], changed: Sequence[Turned], sides: Sides) -> None:
    write_text(folder / "compare.md", versus_markdown(rows, changed, sides.labels))
    write_json(folder / "compare.json", _as_object(rows, changed, sides))


def _as_object(rows: Sequence[Versus], changed: Sequence[Turned], sides: Sides) -> JsonDict:
    return {
        "systems": list(sides.labels),
        "repeats": sides.repeats,
        "rows": [asdict(row) for row in rows],
        "scenes": [asdict(item) for item in changed],
    }

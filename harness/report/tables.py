"""Evaluation tables: for the terminal (rich), Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from harness.files import write_json, write_text
from harness.metrics.intervals import Interval
from harness.training.evaluation import COLUMNS, EXTRA_COLUMNS, Summary

DECIMALS: Final = {"reward": 1, "speed": 2, "jerk": 1}
"""Digits after the point; 2 for the rest."""
TITLES: Final = {"normal": "as recorded", "adversarial": "attacked"}


def cell(name: str, interval: Interval) -> str:
    """A mean with the ends of its interval, or a dash where nothing was measured."""
    if not math.isfinite(interval.mean):
        return "–"
    digits = DECIMALS.get(name, 2)
    return f"{interval.mean:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def terminal_table(summaries: Sequence[Summary], title: str) -> Table:
    """The six columns of one evaluation for the terminal, turned on their side so that 80 characters suffice."""
    table = Table(title=title, title_justify="left", caption="means over scenes with 95 % bootstrap intervals")
    table.add_column("")
    for row in summaries:
        failed = f", {row.failed} failed" if row.failed else ""
        table.add_column(f"{TITLES[row.stage]} (n = {row.scenes}{failed})", justify="right", no_wrap=True)
    for name, head in COLUMNS.items():
        table.add_row(head, *(cell(name, row.columns[name]) for row in summaries))
    return table


def markdown_table(summaries: Sequence[Summary], title: str) -> str:
    """The same as Markdown, with the step."""
    heads = ["step", "test scenes", "n", "failed", *COLUMNS.values()]
    lines = [f"# {title}", "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in summaries:
        cells = [str(row.step), TITLES[row.stage], str(row.scenes), str(row.failed)]
        cells += [cell(name, row.columns[name]) for name in COLUMNS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Means over scenes with 95 % bootstrap intervals.", ""])


def csv_table(summaries: Sequence[Summary]) -> str:
    """Every evaluation and column as CSV: mean, low and high."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = (*COLUMNS, *EXTRA_COLUMNS)
    ends = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    writer.writerow(["step", "stage", "scenes", "failed", "attacked", *ends])
    for row in summaries:
        numbers = [value for name in names for value in row.columns[name]]
        writer.writerow([row.step, row.stage, row.scenes, row.failed, row.attacked, *numbers])
    return text.getvalue()


def write_tables(folder: Path, summaries: Sequence[Summary], title: str, about: dict[str, Any]) -> None:
    """Write `results.md` (the last evaluation), `curve.csv` (all) and `results.json` (all, with `about`).

    Raises:
        RunError: The folder cannot be written.
    """
    last = [row for row in summaries if row.step == summaries[-1].step] if summaries else []
    write_text(folder / "results.md", markdown_table(last, title))
    write_text(folder / "curve.csv", csv_table(summaries))
    write_json(folder / "results.json", {"about": about, "evaluations": [row.as_dict() for row in summaries]})

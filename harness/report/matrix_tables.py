"""SAGE's tables 3 and 8 of a training matrix, and the paired differences that they call for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.table import Table

from harness.report.tables import cell
from harness.training.evaluation import COLUMNS
from harness.training.matrix_evaluation import ENDINGS, Scores, difference

TESTED = {"completion": "completion", "collision": "collision", "collision_or_off_road": "collision or off the road"}


def title(table: Scores) -> str:
    """What a table shows."""
    if table.stage == "normal":
        return "Trained egos on test scenes as recorded (SAGE table 8)"
    return f"Trained egos on test scenes attacked by {table.adversary} (SAGE table 3)"


def rich_table(tables: Sequence[Scores]) -> Table:
    """One table for the terminal; its rows are the egos."""
    shown = Table(title=title(tables[0]), title_justify="left")
    shown.add_column("trained against")
    for head in COLUMNS.values():
        shown.add_column(head, justify="right")
    for table in tables:
        shown.add_row(table.row, *(_cell(table, column) for column in COLUMNS))
    return shown


def markdown(tables: Sequence[Scores]) -> str:
    """The same as Markdown, with how episodes ended and every row's paired differences from the others."""
    lines = [f"## {title(tables[0])}", "", *_rows(tables, COLUMNS), "", *_rows(tables, ENDINGS)]
    seeds, scenes = tables[0].values["reward"].shape
    lines += ["", f"{scenes} scenes, {seeds} seed(s); 95 % bootstrap intervals over scenes (and seeds).", ""]
    return "\n".join(lines) + "\n" + differences(tables)


def _rows(tables: Sequence[Scores], columns: Mapping[str, str]) -> list[str]:
    heads = ["trained against", *columns.values()]
    body = [[table.row, *(_cell(table, column) for column in columns)] for table in tables]
    return [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {' | '.join(row)} |" for row in body)]


def differences(tables: Sequence[Scores]) -> str:
    """Every pair of rows, paired over the same scenes, as Markdown; empty with fewer than two rows."""
    if len(tables) < 2:
        return ""
    heads = "".join(f" {name} | p |" for name in TESTED.values())
    lines = [f"| first − second, paired over scenes |{heads}", f"|---|{'---|---|' * len(TESTED)}"]
    for number, first in enumerate(tables):
        for second in tables[:number]:
            cells = [f"{first.row} − {second.row}"]
            for column in TESTED:
                found = difference(first, second, column)
                cells += [cell(column, found.difference), f"{found.p_value:.3f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(table: Scores, column: str) -> str:
    text, spread = cell(column, table.interval(column)), table.spread(column)
    return text if math.isnan(spread) else f"{text} ± {spread:.2f}"

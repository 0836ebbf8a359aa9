"""SAGE's tables 3 and 8 of a training matrix, and the paired differences that they call for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from harness.report.tables import Column, Table, TableRow
from harness.training.evaluation import COLUMNS
from harness.training.matrix_evaluation import ENDINGS, Scores, difference

TESTED: Final = {
    "completion": "completion",
    "collision": "collision",
    "collision_or_off_road": "collision or off the road",
}
_TESTED: Final = tuple(
    column
    for key, name in TESTED.items()
    for column in (Column(key, name, "mean", digits=2), Column(f"{key}_p", "p", "number"))
)


def title(table: Scores) -> str:
    """What a table shows."""
    if table.stage == "normal":
        return "Trained egos on test scenes as recorded (SAGE table 8)"
    return f"Trained egos on test scenes attacked by {table.adversary} (SAGE table 3)"


def matrix_table(tables: Sequence[Scores], columns: Sequence[Column] = COLUMNS) -> Table:
    """One row per ego."""
    rows: list[TableRow] = [
        {"row": table.row, **{column.key: table.estimate(column.key) for column in columns}} for table in tables
    ]
    return Table((Column("row", "trained against"), *columns), rows, title(tables[0]))


def markdown(tables: Sequence[Scores]) -> str:
    """The same as Markdown, with how episodes ended and every row's paired differences from the others."""
    shown = [matrix_table(tables, columns).markdown() for columns in (COLUMNS, ENDINGS)]
    lines = [f"## {title(tables[0])}", "", *shown[0], "", *shown[1]]
    seeds, scenes = tables[0].values["reward"].shape
    lines += ["", f"{scenes} scenes, {seeds} seed(s); 95 % bootstrap intervals over scenes (and seeds).", ""]
    return "\n".join(lines) + "\n" + differences(tables)


def differences(tables: Sequence[Scores]) -> str:
    """Every pair of rows, paired over the same scenes, as Markdown; empty with fewer than two rows."""
    if len(tables) < 2:
        return ""
    pairs = [(first, second) for number, first in enumerate(tables) for second in tables[:number]]
    columns = (Column("pair", "first − second, paired over scenes"), *_TESTED)
    return "\n".join([*Table(columns, [_difference(*pair) for pair in pairs]).markdown(), ""])


def _difference(first: Scores, second: Scores) -> TableRow:
    found = {key: difference(first, second, key) for key in TESTED}
    row: dict[str, str | float] = {f"{key}_p": gap.p_value for key, gap in found.items()}
    return {"pair": f"{first.row} − {second.row}", **row, **{key: gap.difference for key, gap in found.items()}}

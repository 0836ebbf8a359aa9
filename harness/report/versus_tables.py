"""Tables of one system against another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from harness.benchmarking.columns import COLUMNS
from harness.benchmarking.versus.pairs import FAILING, Turned, Versus
from harness.report.tables import Column, Table, TableRow, markdown_text

_FAILING: Final = Column.percent(FAILING, "failing", "the ego touched a vehicle or left the road")
_NAMED: Final = 10
"""Scenes that are named on the screen; the file has all."""
LEGEND: Final = (
    "Differences are the second minus the first, with 95 % intervals over scenes (and over repeats, where there are "
    "several). p is McNemar's exact test for shares of one repeat, else a t test of scenes and repeats; Holm adjusts "
    "it for every row of the table."
)


HALF_WIDTH: Final = 0.1
"""Half of a 95 % interval of a difference of shares that tells something."""
TOO_FEW: Final = 10
"""With fewer scenes their spread is not known either."""
_AT_MOST: Final = math.ceil((1.96 / HALF_WIDTH) ** 2)
"""Scenes that always suffice: (1.96 · s / half-width)², where s, the spread of a scene's difference, is at most 1."""


def _column(score: str) -> Column:
    if score == FAILING:
        return _FAILING
    return next(column for column in COLUMNS if column.key == score)


def versus_table(rows: Sequence[Versus], labels: tuple[str, str]) -> Table:
    """One row per adversary and number.

    Args:
        rows: Differences.
        labels: Labels of both systems.
    """
    first, second = labels
    columns = (
        Column("adversary"),
        Column("score", "number"),
        Column("first", first),
        Column("second", second),
        Column("difference"),
        Column("p", kind="number"),
        Column("holm", "Holm", kind="number"),
        Column("n", "N", "number", "pairs of scenes", digits=0),
    )
    shown: list[TableRow] = []
    for row in rows:
        column = _column(row.score)
        shown.append(
            {
                "adversary": row.adversary,
                "score": f"{column.name}{f', {column.unit}' if column.unit else ''}",
                "first": column.number(row.first),
                "second": column.number(row.second),
                "difference": replace(column, signed=True, kind="mean").show(row.difference),
                "p": row.p_value,
                "holm": row.p_holm,
                "n": row.scenes,
            }
        )
    return Table(columns, shown, f"{second} against {first}")


def scenes_needed(rows: Sequence[Versus]) -> str:
    """How many scenes would make the intervals of the shares that fail narrow; empty where they are.

    Args:
        rows: Those of the table.
    """
    failing = [row for row in rows if row.score == FAILING and row.scenes]
    if not failing:
        return ""
    count = min(row.scenes for row in failing)
    if count < TOO_FEW:
        return (
            f"N = {count} is too small to tell the systems apart, or how many scenes would. {_AT_MOST} scenes always "
            f"make the interval of a difference of shares ± {HALF_WIDTH:g} or narrower: (1.96 s / {HALF_WIDTH:g})², "
            "where s, the standard deviation of a scene's difference, is at most 1."
        )
    halves = [((row.difference.high - row.difference.low) / 2, row.scenes) for row in failing]
    half, scenes = max((one for one in halves if math.isfinite(one[0])), default=(0.0, 0))
    if half <= HALF_WIDTH:
        return ""
    needed = math.ceil(scenes * (half / HALF_WIDTH) ** 2 - 1e-9)
    return (
        f"The widest interval of a share that fails is ± {half:.2f}. About {needed} scenes would make it ± "
        f"{HALF_WIDTH:g}: N · (half-width / {HALF_WIDTH:g})², since intervals shrink with the root of N."
    )


def turned_lines(changed: Sequence[Turned], labels: tuple[str, str], most: int = _NAMED) -> Iterator[str]:
    """Scenes in which one of the two fails and the other does not.

    Args:
        changed: By adversary.
        labels: Labels of both systems.
        most: Scenes that are named of each kind.
    """
    for item in changed:
        for kind, scenes in (("newly failing", item.newly_failing), ("newly passing", item.newly_passing)):
            if scenes:
                rest = f" and {len(scenes) - most} more" if len(scenes) > most else ""
                yield f"{labels[1]}, {item.adversary}: {len(scenes)} {kind}: {', '.join(scenes[:most])}{rest}"


def versus_markdown(rows: Sequence[Versus], changed: Sequence[Turned], labels: tuple[str, str]) -> str:
    """The table, its legend, and every scene that changed."""
    table = versus_table(rows, labels)
    scenes = [f"- {markdown_text(line)}" for line in turned_lines(changed, labels, most=10**9)]
    told = " ".join(filter(None, [LEGEND, scenes_needed(rows)]))
    lines = [f"# {markdown_text(table.title)}", "", *table.markdown(), "", told, "", "## Scenes that changed", ""]
    return "\n".join([*lines, *(scenes or ["None."]), ""])

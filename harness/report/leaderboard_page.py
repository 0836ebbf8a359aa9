"""A leaderboard as one page: comparable submissions in one table that can be sorted, and who was refused, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Final, NamedTuple

from harness.benchmarking.columns import DRIVE_COLUMNS
from harness.episodes.records import UNDISTURBED
from harness.files import Json
from harness.metrics.intervals import Interval
from harness.report.html.safety import write_page
from harness.report.tables import DASH, Column, Table, TableRow
from harness.sharing.submissions import Submission

COMPLETED: Final = next(column for column in DRIVE_COLUMNS if column.key == "completion")
UNDISTURBED_COLUMNS: Final[tuple[Column, ...]] = (
    COMPLETED,
    Column.percent("crashed", "collision", "the ego touched any vehicle, by engine or by boxes"),
    next(column for column in DRIVE_COLUMNS if column.key == "off_road_ego"),
)
"""What is shown of the drive without an attack."""
HIT: Final = Column.percent("success", "hit")
"""Share of scenes in which the opponent hit the system: the benchmark's success of the attack."""
MEAN: Final = "mean_hit"
"""Key of the column by which the page is sorted at first."""


class BoardCell(NamedTuple):
    """A number on the page.

    Attributes:
        value: What it is sorted by; None where there is none.
        text: The number.
        interval: Its interval; empty where there is none.
    """

    value: float | None
    text: str
    interval: str


class BoardColumn(NamedTuple):
    """A column of the page.

    Attributes:
        group: Head above it.
        title: Its own head, with the unit.
        about: What it means.
    """

    group: str
    title: str
    about: str


class Standings(NamedTuple):
    """Who is compared, and who is not.

    Attributes:
        entries: Comparable submissions, those that were hit least first.
        refused: Name and reasons of each that cannot be compared with the first one that was given.
    """

    entries: tuple[Submission, ...]
    refused: tuple[tuple[str, str], ...]


def standings(submissions: Sequence[Submission]) -> Standings:
    """Divide submissions: the first one sets the terms, and whoever differs in one is refused.

    Two with the same name are told apart by who came first.
    """
    kept: list[Submission] = []
    refused: list[tuple[str, str]] = []
    for item in submissions:
        reasons = item.unlike(submissions[0])
        if not reasons and item.name in [other.name for other in kept]:
            reasons = ["the name is taken"]
        if reasons:
            refused.append((item.name, "; ".join(reasons)))
        else:
            kept.append(item)
    return Standings(tuple(sorted(kept, key=lambda item: (mean_hit(item), item.name))), tuple(refused))


def mean_hit(submission: Submission) -> float:
    """Share of scenes in which the opponent hit the system, averaged over adversaries."""
    found = [submission.interval(label, HIT.key) for label in submission.adversaries]
    return fmean(value.mean for value in found if value is not None) if any(found) else math.inf


def board_columns(adversaries: Sequence[str]) -> list[BoardColumn]:
    """The columns of numbers."""
    mean = BoardColumn("All attacks", "hit, mean, %", "mean over the adversaries of the columns that follow")
    calm = [BoardColumn("Undisturbed", f"{column.name}, %", column.about) for column in UNDISTURBED_COLUMNS]
    hit = "share of scenes in which the boxes of opponent and system met after the attack began"
    parts = [(label, column) for label in adversaries for column in (HIT, COMPLETED)]
    attacked = [
        BoardColumn(f"Attacked by {label}", f"{column.name}, %", hit if column is HIT else column.about)
        for label, column in parts
    ]
    return [mean, *calm, *attacked]


def board_cells(submission: Submission) -> Iterator[BoardCell]:
    """The numbers of a system, in the order of `board_columns`."""
    mean = mean_hit(submission)
    yield BoardCell(mean if math.isfinite(mean) else None, HIT.number(mean), "")
    pairs: list[tuple[str, Column]] = [(UNDISTURBED, column) for column in UNDISTURBED_COLUMNS]
    pairs += [(label, column) for label in submission.adversaries for column in (HIT, COMPLETED)]
    for adversary, column in pairs:
        yield _board_cell(submission.interval(adversary, column.key), column)


def _board_cell(value: Interval | None, column: Column) -> BoardCell:
    if value is None:
        return BoardCell(None, DASH, "")
    ends = f"{column.number(value.low)} to {column.number(value.high)}" if math.isfinite(value.low) else ""
    return BoardCell(value.mean, column.number(value.mean), ends)


def leaderboard_table(found: Standings) -> Table:
    """The same numbers for a Markdown page, with fewer columns."""
    labels = found.entries[0].adversaries
    columns = [
        Column("name", "system"),
        Column("kind", "kind"),
        Column.percent(MEAN, "hit, mean", bare=True),
        Column.percent("calm", "route completion, undisturbed"),
        *(Column.percent(label, f"hit by {label}") for label in labels),
    ]
    rows: list[TableRow] = [
        {
            "name": item.name,
            "kind": sees(item),
            MEAN: Interval(mean_hit(item), math.nan, math.nan),
            "calm": item.interval(UNDISTURBED, COMPLETED.key),
            **{label: item.interval(label, HIT.key) for label in labels},
        }
        for item in found.entries
    ]
    return Table(columns, rows)


def sees(submission: Submission) -> str:
    """Kind of a system, and whether it reads more than its sensors."""
    cell = submission.cell(UNDISTURBED)
    extra = ", sees futures" if cell.get("sees_futures") else ", privileged" if cell["privileged"] else ""
    return str(submission.content["kind"]) + extra


def write_leaderboard(path: Path, found: Standings) -> None:
    """Write the page: it needs no network and no other file, and what strangers named is shown as text only.

    Args:
        path: File to write.
        found: At least one entry.

    Raises:
        RunError: The page cannot be written.
    """
    columns = board_columns(found.entries[0].adversaries)
    write_page(
        path,
        "board.html.j2",
        ("page.css", "board.css"),
        ("board.js",),
        terms=found.entries[0].terms(),
        columns=columns,
        groups=_groups(columns),
        rows=[_row(item) for item in found.entries],
        refused=found.refused,
    )


def _groups(columns: Sequence[BoardColumn]) -> list[tuple[str, int]]:
    """Heads above columns, with how many columns they span."""
    names = list(dict.fromkeys(column.group for column in columns))
    return [(name, sum(column.group == name for column in columns)) for name in names]


def _row(submission: Submission) -> Mapping[str, object]:
    held: Json = submission.content
    return {
        "name": submission.name,
        "link": held["link"],
        "authors": ", ".join(held["authors"]),
        "sees": sees(submission),
        "commit": (held["gauntlet"]["commit"] or "unknown")[:12],
        "scenes": min(cell["n"] for cell in held["cells"]),
        "failures": sum(cell["failures"] for cell in held["cells"]),
        "cells": list(board_cells(submission)),
    }

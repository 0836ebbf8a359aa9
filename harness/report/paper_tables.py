"""The papers' tables of traffic, with intervals: rows, and their differences from the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from harness.files import Json
from harness.report.tables import Column, Table, Value
from harness.report.traffic_tables import REALISM
from harness.traffic.papers.rows import PaperTable
from harness.traffic.papers.scored import TESTED, Gap, ScoredRow

_NAMES: Final = {"simulated_collision_rate": "collided", "simulated_offroad_rate": "off road"}
_ROWS: Final = (
    Column("row", ""),
    *REALISM,
    Column("simulating", "s / scene", "number", about="time to roll a scene out", digits=2),
)
_GAPS: Final = (
    Column("row", "minus the first row"),
    *(
        column
        for key in TESTED
        for column in (
            Column(key, _NAMES.get(key), "mean", digits=4, signed=True),
            Column(f"{key}_p", "p (Holm)", "number"),
        )
    ),
)


def rows_table(table: PaperTable, place: str, rows: Sequence[ScoredRow], rollouts: int) -> Table:
    """One row per model."""
    shown: list[dict[str, Value]] = [
        {"row": row.label, "simulating": row.simulating, **{column.key: row.estimate(column.key) for column in REALISM}}
        for row in rows
    ]
    scenes = rows[0].values["meta"].shape[1] if rows else 0
    return Table(_ROWS, shown, f"{table.title} ({table.source}): {place}, {scenes} scenes × {rollouts} roll-outs")


def gaps_table(gaps: Sequence[Gap]) -> Table:
    """One row per model, against the first."""
    shown: list[dict[str, Value]] = [
        {
            "row": gap.label,
            **{key: gap.differences[key].difference for key in TESTED},
            **{f"{key}_p": gap.adjusted[key] for key in TESTED},
        }
        for gap in gaps
    ]
    return Table(_GAPS, shown, "same scenes, over seeds and scenes")


def as_json(name: str, place: str, rows: Sequence[ScoredRow], gaps: Sequence[Gap]) -> Json:
    """The numbers of a table."""
    return {
        "table": name,
        "scored_on": place,
        "rows": [
            {
                "row": row.label,
                "seeds": len(row.values["meta"]),
                "scenes": row.values["meta"].shape[1],
                "simulating": row.simulating,
                **{column.key: row.estimate(column.key).interval._asdict() for column in REALISM},
            }
            for row in rows
        ],
        "differences": [
            {
                "row": gap.label,
                **{key: {**gap.differences[key].difference._asdict(), "p": gap.adjusted[key]} for key in TESTED},
            }
            for gap in gaps
        ],
    }

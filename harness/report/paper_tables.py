"""The papers' tables of traffic, with intervals: rows, and their differences from the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from harness.files import Json
from harness.report.longterm_tables import LONGTERM
from harness.report.tables import Column, Table, Value
from harness.report.traffic_tables import REALISM
from harness.traffic.papers.config import TrafficTablesConfig
from harness.traffic.papers.scored import WHOLE
from harness.traffic.papers.summary import F1, NUMBERS, TESTED, Gap, ScoredRow, UnscoredRow
from harness.traffic.papers.table import Measure, PaperTable

_NAMES: Final = {
    "simulated_collision_rate": "collided",
    "simulated_offroad_rate": "off road",
    "known_motion": "motion, where the last is known",
    "collision_indication": "collision",
}
_ROW: Final = Column("row", "")
_SECONDS: Final = Column("simulating", "s / scene", "number", about="time to roll a scene out", digits=2)
_LIKELIHOODS: Final = tuple(
    Column(key, _NAMES.get(key), "mean", "negative log-likelihood, nats", digits=4) for key in NUMBERS["likelihood"]
)
_SHOWN: Final[dict[Measure, tuple[Column, ...]]] = {
    "realism": REALISM,
    "likelihood": _LIKELIHOODS,
    "longterm": tuple(column for column in LONGTERM if column.key in (F1, *NUMBERS["longterm"])),
}
"""Columns by what rows are compared by."""
_WHOLE: Final = tuple(
    Column(key, kind="number", digits=4, group="all scenes together, mean over seeds") for key in WHOLE
)


def rows_table(table: PaperTable, place: str, rows: Sequence[ScoredRow], config: TrafficTablesConfig) -> Table:
    """One row per model."""
    columns = _SHOWN[table.measure]
    shown: list[dict[str, Value]] = [
        {
            "row": row.label,
            "simulating": row.simulating,
            **row.whole,
            **{column.key: row.estimate(column.key) for column in columns},
        }
        for row in rows
    ]
    scenes = next(iter(rows[0].values.values())).shape[1] if rows else 0
    how = {
        "realism": f" × {config.rollouts} roll-outs",
        "likelihood": ", negative log-likelihood (lower is better)",
        "longterm": f" × {config.longterm.rollouts} roll-outs of up to {(config.longterm.horizon - 11) / 10:g} s",
    }[table.measure]
    whole = _WHOLE if table.measure == "longterm" else ()
    title = f"{table.title} ({table.source}): {place}, {scenes} scenes{how}"
    return Table((_ROW, *columns, *whole, _SECONDS), shown, title)


def gaps_table(gaps: Sequence[Gap], measure: Measure = "realism", first: str = "the first row") -> Table:
    """One row per model, against the first, whose label the head of the table tells."""
    tested = TESTED[measure]
    columns = (
        Column("row", f"minus {first}"),
        *(
            column
            for key in tested
            for column in (
                Column(key, _NAMES.get(key), "mean", digits=4, signed=True),
                Column(f"{key}_p", "p (Holm)", "number"),
            )
        ),
    )
    shown: list[dict[str, Value]] = [
        {
            "row": gap.label,
            **{key: gap.differences[key].difference for key in tested},
            **{f"{key}_p": gap.adjusted[key] for key in tested},
        }
        for gap in gaps
    ]
    return Table(columns, shown, "same scenes, over seeds and scenes")


def as_json(
    name: str,
    place: str,
    measure: Measure,
    rows: Sequence[ScoredRow],
    gaps: Sequence[Gap],
    left_out: Sequence[UnscoredRow],
) -> Json:
    """The numbers of a table."""
    return {
        "table": name,
        "scored_on": place,
        "measure": measure,
        "rows": [
            {
                "row": row.label,
                "seeds": len(next(iter(row.values.values()))),
                "scenes": next(iter(row.values.values())).shape[1],
                "simulating": row.simulating,
                **{column.key: row.estimate(column.key).interval._asdict() for column in _SHOWN[measure]},
                "spread": {column.key: row.estimate(column.key).spread for column in _SHOWN[measure]},
                **({"whole": row.whole, "windows": row.windows} if measure == "longterm" else {}),
            }
            for row in rows
        ],
        "first": rows[0].label,
        "differences": [
            {
                "row": gap.label,
                **{
                    key: {**gap.differences[key].difference._asdict(), "p": gap.adjusted[key]}
                    for key in TESTED[measure]
                },
            }
            for gap in gaps
        ],
        "left_out": {row.label: row.reason for row in left_out},
    }

"""The tables of a retrieval's validation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import rich.table

from harness.files import Json
from harness.report.tables import Column, Table, TableRow
from harness.traffic.longterm.config import TRAJECTORIES

_ACCURACY: Final = (
    Column("model", ""),
    Column("setting", "among"),
    Column("map_weight", "λ", "number", "weight of the map", digits=2, form="g"),
    Column("references", "K", about="windows that are retrieved"),
    Column("accuracy", kind="number"),
)
_CORRELATION: Final = (
    Column("score", ""),
    Column("retrieved", "against retrieved windows", "number", signed=True),
    Column("all", "against all windows", "number", signed=True),
)
_SWEEP: Final = (
    Column("map_weight", "λ", "number", "weight of the map", digits=2, form="g"),
    Column("references", "K", about="windows that are retrieved"),
    Column("equal", "found among as many", "number"),
    Column("more", "found among all", "number"),
    Column("r", "r of meta", "number", "correlation of the scores", signed=True),
)
_DEGRADED: Final = (
    Column("retrieval", "retrieved by"),
    Column("model", ""),
    Column("behaviour", kind="number", digits=4),
    Column("rank"),
)


def retrieval_report(result: Json) -> Iterator[rich.table.Table | str]:
    """What `evaluate_longterm retrieval` prints: tables, and lines of text.

    Args:
        result: Result of `harness.traffic.longterm.validation.validate_retrieval`.
    """
    for name, reason in result["left_out"].items():
        yield f"left out {name}: {reason}"
    for table in retrieval_tables(result):
        yield table.rich()
    if result["correlation"]["variants"] == 0:
        yield "no model was decoded in several ways: no correlation"
    yield "one number of all scenes each, without an interval; λ: weight of the map, K: retrieved windows"


def retrieval_tables(result: Json) -> list[Table]:
    """Accuracy, correlation (where there are variants), both over K and λ, and degraded retrieval.

    Args:
        result: Result of `validate_retrieval`.
    """
    queries, scenes = result["queries"], len(result["scenes"])
    found = result["correlation"]
    # Raw trajectories know no map, and so no weight of it.
    nothing = {"map_weight": None} if result["settings"]["retrieval"] == TRAJECTORIES else {}
    accuracy: list[TableRow] = [
        {**row, **nothing, "setting": f"{row['recordings']} recordings"} for row in result["accuracy"]
    ]
    sweep: list[TableRow] = [{**row, **nothing} for row in result["sweep"]]
    correlation: list[TableRow] = [{"score": name, **row} for name, row in found["scores"].items()]
    ranked: list[TableRow] = [{**row, "retrieval": _name(row)} for row in result["degraded"]]
    weight = "" if nothing else f", λ {found['map_weight']:g}"
    how = f"{found['variants']} variants, K {found['references']}{weight}"
    compared = [Table(_CORRELATION, correlation, f"Pearson's r with the challenge's scores: {how}")]
    return [
        Table(_ACCURACY, accuracy, f"roll-outs of 8 s that find their own recording: {queries} of {scenes} scenes"),
        *(compared if found["variants"] else []),
        Table(_SWEEP, sweep, "over K and λ"),
        Table(_DEGRADED, ranked, f"realism of behaviour by retrieval: {queries} scenes"),
    ]


def _name(row: Json) -> str:
    passed = row["passed_over"]
    return row["retrieval"] + (f", nearest {100 * passed:.0f} % passed over" if passed else "")

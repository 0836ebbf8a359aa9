"""Tables of a fidelity certificate, from what a benchmark's summary holds of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from harness.files import Json, JsonDict
from harness.metrics.intervals import Interval
from harness.report.tables import Column, Table, Value, markdown_text

CHECKS: Final = (Column("item"), Column("verdict"), Column("found"), Column("rule", "passes where"), Column("reason"))
REALISM: Final = (
    Column("model", "traffic"),
    Column("scenes", "N", "number"),
    *(Column(key, kind="mean") for key in ("meta", "kinematic", "interactive", "map")),
    Column("collided", kind="mean"),
    Column("off_road", "off road", "mean"),
)
REACTION: Final = (
    Column("model", "traffic"),
    Column("scenes", "N", "number"),
    Column("hits", "hit the braking ego", "number"),
    Column("rate", "share", "mean"),
)
AGREEMENT: Final = (
    Column("between", "rankings in"),
    Column("criterion", "by"),
    Column("scenes", "N", "number"),
    Column("tau", "Kendall's tau", "mean"),
)
ORDERS: Final = (
    Column("criterion", "by"),
    Column("pair", "systems"),
    Column("gap", "first is better by", "mean", signed=True),
    Column("p_value", "p (Holm)", "number", digits=2, form="g"),
    Column("reference", "and with"),
    Column("reference_gap", "by", "mean", signed=True),
    Column("reference_p", "p (Holm)", "number", digits=2, form="g"),
    Column("place", "order"),
)
ALL: Final = "everything together"


def certificate_tables(findings: Json) -> list[Table]:
    """Every table of a certificate.

    Args:
        findings: As JSON holds what `harness.benchmarking.certificates.judging.judge` gives.
    """
    realism: list[dict[str, Value]] = [
        {"model": row["model"], "scenes": row["scenes"], **{key: _interval(ends) for key, ends in row["means"].items()}}
        for row in findings["realism"]
    ]
    reaction = [{**row, "rate": _interval(row["rate"])} for row in findings["reaction"]]
    tables = [
        Table(CHECKS, findings["checks"], "verdicts"),
        Table(REALISM, realism, "realism (sim agents challenge, 95 % intervals over scenes)"),
        Table(REACTION, reaction, "followers of a braking ego"),
    ]
    if findings["agreements"]:
        tables += [_agreements(findings["agreements"]), _means(findings["means"]), _orders(findings["orders"])]
    return [table for table in tables if table.rows]


def certificate_lines(stated: Json | None) -> list[str]:
    """Lines of Markdown: what a benchmark says of its traffic; none where there is nothing to say.

    Args:
        stated: `certificate` of a benchmark's summary.
    """
    if not stated or not stated["line"]:
        return []
    # A certificate is anybody's, and so are the names in it.
    lines = ["## Background traffic", "", markdown_text(stated["line"]), ""]
    lines += [f"- {markdown_text(note)}" for note in stated["notes"]]
    lines += [""] * bool(stated["notes"])
    if stated["findings"] is not None:
        for table in certificate_tables(stated["findings"]):
            lines += [f"### {table.title}", "", *table.markdown(), ""]
    return lines


def certificate_block(stated: Json | None) -> JsonDict:
    """What the page says of the traffic: `line`, `notes`, and `tables` of `title`, `heads` and `rows` of texts."""
    if not stated or not stated.get("line"):
        return {"line": "", "notes": [], "tables": []}
    tables = [] if stated["findings"] is None else certificate_tables(stated["findings"])
    return {
        "line": stated["line"],
        "notes": stated["notes"],
        "tables": [
            {
                "title": table.title,
                "heads": [column.heading() for column in table.columns],
                "rows": [table.cells(row) for row in table.rows],
            }
            for table in tables
        ],
    }


def _interval(ends: Sequence[float | None]) -> Interval:
    return Interval(*(float("nan") if end is None else float(end) for end in ends))


def _criterion(row: Json) -> str:
    """How a criterion is called: the score, and under which attack."""
    if not row["adversary"]:
        return ALL
    return str(row["score"]) if row["score"] != "success" else f"success of {row['adversary']}"


def _agreements(rows: Sequence[Json]) -> Table:
    shown = [
        {
            "between": f"{row['traffic']} and {row['reference']}"
            if row["traffic"] != row["reference"]
            else f"{row['traffic']} and itself in redrawn scenes",
            "criterion": _criterion(row),
            "scenes": row["scenes"],
            "tau": _interval(row["tau"]),
        }
        for row in rows
    ]
    return Table(AGREEMENT, shown, "do systems rank the same?")


def _means(rows: Sequence[Json]) -> Table:
    """Systems by criterion, one column per kind of traffic."""
    kinds = dict.fromkeys(row["traffic"] for row in rows)
    columns = (Column("criterion", "mean of"), Column("system"), *(Column(kind, kind="number") for kind in kinds))
    found: dict[tuple[str, str], dict[str, Value]] = {}
    for row in rows:
        criterion = _criterion(row)
        line = found.setdefault((criterion, row["system"]), {"criterion": criterion, "system": row["system"]})
        line[row["traffic"]] = None if row["mean"] is None else float(row["mean"])
    return Table(columns, list(found.values()), "what systems are ranked by")


def _orders(rows: Sequence[Json]) -> Table:
    shown = [
        {
            **row,
            "criterion": _criterion(row),
            "pair": f"{row['first']}, {row['second']}",
            "gap": _interval(row["gap"]),
            "reference_gap": _interval(row["reference_gap"]),
        }
        for row in rows
        if row["place"] != "undecided"
    ]
    return Table(ORDERS, shown, "pairs of systems whose order is beyond noise in both (all others are undecided)")

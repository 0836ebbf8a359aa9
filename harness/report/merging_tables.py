"""Tables of ways of merging experts, and of the simplex of three, from the numbers of `sage_analysis`."""

from __future__ import annotations

from typing import Final

from harness.files import Json
from harness.metrics.intervals import Interval
from harness.report.tables import Column, Table, TableRow

INTENSITY: Final = Column("intensity", "λ", "number", "intensity of the attack", digits=6, form="g")
ADVERSARIAL: Final = Column("adversarial", "R_adv", "mean", "adversarial reward (SAGE, eq. 11)")
ENDS: Final = (
    Column.percent("success"),
    ADVERSARIAL,
    Column("realism", "P_real", "mean", "penalties of motion and behaviour that are not lifelike"),
    Column("feasible", "feasible", "mean"),
)
_WORTH: Final = (
    Column("volume", "hypervolume", "mean", digits=3),
    Column("gain", "more than the first", "mean", digits=3),
)
_SAMPLED: Final = tuple(Column(f"sample_{one.key}", one.title, "mean", group="one sample") for one in _WORTH)
_SHARES: Final = tuple(
    Column(f"share_{i}", name, "number", group="share", digits=6, form="g")
    for i, name in enumerate(("adversarial", "realistic", "third"))
)
_NOVELTY: Final = Column("novelty", "surprise, nats", "mean")


def merging_tables(found: Json) -> list[Table]:
    """What ways of merging are worth, their response, and what a third expert adds where there is one.

    Args:
        found: Result of `adversaries.sage.merged_fronts.measure`.
    """
    ways, swept = found["ways"], found["sweep"]
    note = "task: one coefficient per expert and layer, fitted on the other half of the scenes"
    worth: list[TableRow] = [
        {**row, **{f"sample_{key}": Interval(*one[key]) for key in ("volume", "gain")}}
        for row, one in zip(_volumes(ways["volumes"]), ways["samples"].values(), strict=True)
    ]
    title = f"ways of merging two experts, {found['scenes']} scenes (95 % intervals)"
    shown = [
        Table((Column("of", "merging"), *_WORTH, *_SAMPLED), worth, title, note),
        Table((Column("of", "merging"), INTENSITY, *ENDS), _rows(ways["fronts"]), "the same along the dial"),
    ]
    if swept is None:
        return shown
    covered = (Column("coverage", "coverage of kinds of encounter, bits", "mean"), Column("kinds", "kinds", "number"))
    points: list[TableRow] = [
        {
            **{f"share_{i}": share for i, share in enumerate(point["shares"])},
            **{column.key: Interval(*point[column.key]) for column in (*ENDS, _NOVELTY)},
        }
        for point in swept["simplex"]
    ]
    third = Column("of", "share of the third")
    return [
        *shown,
        Table((third, *_WORTH), _volumes(swept["volumes"]), "three experts: dials by share of the third"),
        Table((third, INTENSITY, *ENDS, *covered), _rows(swept["dials"]), "the same along the dial"),
        Table((*_SHARES, *ENDS, _NOVELTY), points, "one sample of the policy at points of the simplex"),
    ]


def _volumes(found: Json) -> list[TableRow]:
    return [{"of": name, **{key: Interval(*worth[key]) for key in ("volume", "gain")}} for name, worth in found.items()]


def _rows(fronts: Json) -> list[TableRow]:
    return [
        {"of": name, **{key: Interval(*value) if isinstance(value, list) else value for key, value in row.items()}}
        for name, rows in fronts.items()
        for row in rows
    ]

"""Tables of commands that look at an installation or at scenes: `doctor`, `scenarios list`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from harness.report.tables import Column, Table, TableRow
from scenarios.listing import SceneRow
from scenarios.tagging.vocabulary import QUANTITIES, TAGS

_FINDINGS: Final = (
    Column("check"),
    Column("found"),
    Column("state", "", styles={"ok": "green", "optional": "yellow", "FIX": "red"}),
    Column("remedy", "what to do"),
)
_SCENES: Final = tuple(
    Column(key)
    for key in ("scene", "steps", "recorded", "agents", "ego path m", "opponent", "split", "left out because")
)
_LISTED: Final = (*_SCENES[:-1], Column("tags"), _SCENES[-1])
_FULL: Final = (
    *_SCENES,
    *(Column(tag.name) for tag in TAGS),
    *(Column(quantity.name, kind="number") for quantity in QUANTITIES),
)


def findings_table(rows: Sequence[Mapping[str, str]]) -> Table:
    """What `doctor` found.

    Args:
        rows: `check`, `found`, `state` (`ok`, `optional` or `FIX`) and `remedy`.
    """
    return Table(_FINDINGS, rows, "gauntlet doctor")


QUICK_ROWS: Final = 1_000
"""Longer lists are printed as plain columns: Rich would take 10 s for 10,000 rows."""


def scenes_table(rows: Sequence[SceneRow], title: str, *, full: bool = False) -> Table:
    """The scenes of a folder.

    Args:
        rows: A row per scene.
        title: What the scenes are.
        full: A column for every tag and number, instead of one for all tags.
    """
    return Table(_FULL if full else _LISTED, [_cells(row) for row in rows], title)


def _cells(row: SceneRow) -> TableRow:
    texts = {column.key: str(text) for column, text in zip(_SCENES, row, strict=False)}
    tags = {tag.name: " ".join(row.tags.values.get(tag.name, ())) for tag in TAGS}
    return {**texts, "tags": str(row.tags), **tags, **row.tags.numbers}

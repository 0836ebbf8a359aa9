"""Tables of commands that look at an installation or at scenes: `doctor`, `scenarios list`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from harness.report.tables import Column, Table

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


def findings_table(rows: Sequence[Mapping[str, str]]) -> Table:
    """What `doctor` found.

    Args:
        rows: `check`, `found`, `state` (`ok`, `optional` or `FIX`) and `remedy`.
    """
    return Table(_FINDINGS, rows, "gauntlet doctor")


QUICK_ROWS: Final = 1_000
"""Longer lists are printed as plain columns: Rich would take 10 s for 10,000 rows."""


def scenes_table(rows: Sequence[Sequence[str]], title: str) -> Table:
    """The scenes of a folder: id, steps, recorded rate, agents, ego path (m), opponent, split, why unfit."""
    return Table(_SCENES, [dict(zip((c.key for c in _SCENES), row, strict=True)) for row in rows], title)

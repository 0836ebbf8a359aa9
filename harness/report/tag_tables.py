"""Rates of a benchmark by tags: of the scenes, and of the attacks as they were played."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.benchmarking.columns import means_something
from harness.benchmarking.summary import Cell, rate_of
from harness.report.tables import Column, Table, TableRow
from scenarios.tagging.vocabulary import ALL_VALUES, MEETINGS, SceneTags, tag_pairs

RATES: Final = ("success", "crashed")
PLAYED: Final = "played"
"""What stands in the place of a tag where the attack itself is meant."""
_COLUMNS: Final = (
    *(Column(key) for key in ("sut", "adversary", "tag", "value")),
    Column("n", kind="number"),
    *(Column.percent(key) for key in RATES),
)


def rates_by_tag(cells: Sequence[Cell], tags: Sequence[SceneTags]) -> Table:
    """A row per cell and tag that occurs in it: how many scenes, and how often the attack succeeds and the ego crashes.

    Args:
        cells: The cells of the benchmark.
        tags: Tags of its scenes, in their order.
    """
    return Table(_COLUMNS, [row for cell in cells for row in _rows(cell, tags)], count="n")


def _rows(cell: Cell, tags: Sequence[SceneTags]) -> Iterator[TableRow]:
    present = [set(tag_pairs(own)) for own in tags]
    played = np.array(cell.played, dtype=object)
    masks = {pair: np.array([pair in own for own in present])[:, None] for pair in ALL_VALUES}
    masks |= {(PLAYED, name): played == name for name in (*MEETINGS, "pedestrian", "cyclist")}
    for (tag, value), mask in masks.items():
        known = mask & np.isfinite(cell.outcomes["crashed"]) if "crashed" in cell.outcomes else mask & False
        if known.any():
            row = {"sut": cell.system.label, "adversary": cell.adversary, "tag": tag, "value": value}
            yield {**row, "n": int(known.any(-1).sum()), **_rates(cell, mask)}


def _rates(cell: Cell, mask: NDArray[np.bool_]) -> TableRow:
    names = [name for name in RATES if name in cell.outcomes and means_something(name, cell.adversary)]
    return {name: rate_of(np.where(mask, cell.outcomes[name], np.nan)) for name in names}

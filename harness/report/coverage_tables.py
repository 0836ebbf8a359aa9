"""Tables of `scenarios coverage`: how many scenes have which tags and pairs of tags, and who would add some."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final

import numpy as np

from harness.report.tables import Column, Table, TableRow
from scenarios.coverage import PAIRS, Addition, pair_counts, pairs_present, value_counts
from scenarios.tagging.vocabulary import AXES, TAGS, SceneTags

_VALUES: Final = (Column("axis"), Column("tag"), Column("value"), Column("scenes", kind="number", digits=0))
_SHARES: Final = (
    Column("first", "axis"),
    Column("second", "and axis"),
    Column("covered", kind="number", digits=0),
    Column("elsewhere", "in other scenes", kind="number", digits=0),
    Column("nowhere", "in no scene", kind="number", digits=0),
    Column("all", "pairs", kind="number", digits=0),
    Column("share", "covered", "number", factor=100.0, digits=0, unit="%"),
)
_ADDED: Final = (Column("scene"), Column("adds", "adds pairs", kind="number", digits=0), Column("such", "such as"))
_ALL: Final = (
    Column("axis_a"),
    Column("tag_a"),
    Column("axis_b"),
    Column("tag_b"),
    Column("scenes", kind="number"),
    Column("elsewhere", kind="number"),
    Column("would_cover"),
)
SHOWN: Final = 3
"""Pairs and scenes that are named as examples."""


def values_table(tags: Sequence[SceneTags]) -> Table:
    """How many scenes have each value, by axes."""
    counts = value_counts(tags)
    rows: list[TableRow] = [
        {"axis": AXES[tag.axis], "tag": tag.name, "value": value, "scenes": counts[tag.name, value]}
        for tag in TAGS
        for value in tag.values
    ]
    return Table(_VALUES, rows, f"Tags of {len(tags)} scenes")


def shares_table(tags: Sequence[SceneTags], pool: Sequence[SceneTags]) -> Table:
    """How many pairs of values are covered, for every two axes.

    Args:
        tags: Tags of the scenes.
        pool: Tags of other scenes of the data.
    """
    own, other = pair_counts(tags) > 0, pair_counts(pool) > 0
    rows: list[TableRow] = []
    for axes in combinations(AXES, 2):
        of_axes = np.array([pair.axes == axes for pair in PAIRS])
        rows.append(_share(AXES[axes[0]], AXES[axes[1]], own[of_axes], other[of_axes]))
    rows.append(_share("all", "", own, other))
    return Table(_SHARES, rows, f"Pairs of values that {len(tags)} scenes cover")


def _share(first: str, second: str, own: np.ndarray, other: np.ndarray) -> TableRow:
    return {
        "first": first,
        "second": second,
        "covered": int(own.sum()),
        "elsewhere": int((other & ~own).sum()),
        "nowhere": int((~other & ~own).sum()),
        "all": len(own),
        "share": float(own.mean()),
    }


def additions_table(added: Sequence[Addition], names: Sequence[str]) -> Table:
    """Scenes that would cover more.

    Args:
        added: The scenes, by their places.
        names: Ids of the scenes to choose from.
    """
    rows: list[TableRow] = [
        {"scene": names[one.scene], "adds": len(one.pairs), "such": "; ".join(map(str, one.pairs[:SHOWN]))}
        for one in added
    ]
    return Table(_ADDED, rows, "Scenes of the data that would cover the most of what is missing, one after the other")


def pairs_table(tags: Sequence[SceneTags], pool: Sequence[SceneTags], names: Sequence[str]) -> Table:
    """Every pair of values, for CSV: how many scenes have it, and which others would cover it.

    Args:
        tags: Tags of the scenes.
        pool: Tags of other scenes of the data.
        names: Ids of those.
    """
    counts, has = pair_counts(tags), pairs_present(pool)
    rows: list[TableRow] = []
    for place, pair in enumerate(PAIRS):
        others = np.flatnonzero(has[:, place])
        rows.append(
            {
                "axis_a": pair.axes[0],
                "tag_a": "=".join(pair.first),
                "axis_b": pair.axes[1],
                "tag_b": "=".join(pair.second),
                "scenes": int(counts[place]),
                "elsewhere": len(others),
                "would_cover": " ".join(names[other] for other in others[:SHOWN]) if counts[place] == 0 else "",
            }
        )
    return Table(_ALL, rows)

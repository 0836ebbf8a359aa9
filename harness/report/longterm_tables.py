"""The table of traffic over minutes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import rich.table

from harness.files import Json
from harness.metrics.compliance import without_edges_note
from harness.metrics.intervals import Interval
from harness.metrics.longterm.features import LONG_TERM_FEATURES
from harness.metrics.longterm.flow import FLOW_FEATURES
from harness.report.tables import Column, Table, Value
from harness.traffic.longterm.evaluation import BUCKETS, FLOWS, RATES

_GROUPS: Final = (
    ("summary", ("rmm_f1", "rmm_f1_pooled")),
    ("flow by windows", (*FLOWS, *FLOW_FEATURES)),
    ("flow, all together", ("pooled_flow", *(f"pooled_{name}" for name in FLOW_FEATURES))),
    ("behaviour", (*BUCKETS, "behaviour_against_all")),
    ("behaviour, all together", tuple(f"pooled_{name}" for name in BUCKETS)),
    ("features", LONG_TERM_FEATURES),
    ("counted", RATES),
)
LONGTERM: Final = tuple(Column(key, kind="mean", digits=4, group=group) for group, keys in _GROUPS for key in keys)
"""Every number of traffic over minutes."""
_COLUMNS: Final = (Column("model", ""), *LONGTERM, Column("seconds", "s / scene", "number", digits=2))


def longterm_report(result: Json) -> Iterator[rich.table.Table | str]:
    """What `evaluate_longterm` prints: a table, and lines of text.

    Args:
        result: Result of `harness.traffic.longterm.comparison.compare_long`.
    """
    settings, count = result["settings"], len(result["scenes"])
    for name, reason in result["left_out"].items():
        yield f"left out {name}: {reason}"
    whom = "the ego" if settings["observer"] == "ego" else "a fixed observer"
    title = f"traffic around {whom}: {count} scenes, {sum(result['windows'])} windows, × {settings['rollouts']}"
    yield longterm_table(result["models"], title).rich(turned=True)
    if note := without_edges_note(len(result["without_edges"]), count, "leaving the road, and with it map and rmm_f1,"):
        yield note
    yield f"recorded windows retrieved by {settings['retrieval']}"
    yield (
        "flow and behaviour by windows are the paper's: there the log itself does not score 1, and a model that lets "
        "nobody enter can score more. Pooled, all windows together and flow in bins of one, the log is the ceiling."
    )
    if result["references"] < settings["references"]:
        yield f"compared with {result['references']} recorded windows each: there are no more. Give more scenes."
    yield "95 % bootstrap intervals over scenes"


def longterm_table(models: Json, title: str) -> Table:
    """One row per model.

    Args:
        models: Result of `harness.traffic.longterm.evaluation.score_long`.
        title: What was measured on what.
    """
    rows: list[dict[str, Value]] = [
        {
            "model": name,
            "seconds": float(numbers["seconds"]),
            **{key: Interval(numbers[key], *ends) for key, ends in numbers["intervals"].items()},
        }
        for name, numbers in models.items()
    ]
    return Table(_COLUMNS, rows, title)

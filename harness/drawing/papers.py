"""Pictures of `traffic_tables`: numbers over the dial of a table, and scores by windows of traffic over minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from harness.drawing.curves import Panel, Series, draw_panels
from harness.files import Json
from harness.traffic.papers.table import Measure, PaperRow, PaperTable

_DIALLED: Final[dict[Measure, dict[str, str]]] = {
    "realism": {"meta": "realism", "min_ade": "minADE, m"},
    "likelihood": {"motion": "motion, nats", "entering": "newcomers, nats"},
    "longterm": {
        "present": "agents that are there",
        "entries_per_s": "agents that enter, per s",
        "collision_indication": "collision likelihood",
        "flow": "traffic flow",
        "behaviour": "behaviour",
        "rmm_f1": "RMM-F1",
    },
}
"""What is drawn over the dial of a table, with labels."""
_FLOW_BY_WINDOWS: Final = {
    "enter": "#enter",
    "exit": "#exit",
    "enter_distance": "distance of entering",
    "exit_distance": "distance of leaving",
}
"""Scores of flow by windows, against the log and against retrieved windows, with labels (RosettaSim, figure 11)."""
_BY_WINDOWS: Final = {
    "flow": "traffic flow",
    "behaviour": "behaviour",
    "flow_stability": "change of flow since the first window",
    "behaviour_stability": "change of behaviour since the first window",
}
"""Further scores by windows, with labels (figure 12)."""
_STEP: Final = 0.5
"""Windows begin every so many seconds."""
Rows = Mapping[str, Json]


def draw_paper_table(table: PaperTable, wanted: Sequence[PaperRow], numbers: Json, folder: Path, name: str) -> None:
    """Draw what there is to draw of a table: `NAME.png` over its dial, `NAME-density.png` and `NAME-windows.png`.

    Args:
        table: Its axis and its measure.
        wanted: Its rows.
        numbers: Result of `harness.report.paper_tables.as_json`.
        folder: Where to write.
        name: How the files are called.

    Raises:
        RunError: A picture cannot be written.
    """
    rows: Rows = {row["row"]: row for row in numbers["rows"]}
    dialled = [row for row in wanted if row.level is not None and row.label in rows]
    if table.axis and dialled:
        level = [row for row in wanted if row.level is None and row.label in rows]
        shown = [
            _over_dial(table.axis, key, label, dialled, level, rows) for key, label in _DIALLED[table.measure].items()
        ]
        draw_panels(folder / f"{name}.png", shown)
    if table.measure == "longterm":
        draw_panels(folder / f"{name}-density.png", [_density(rows)], width=5.6, height=4.6)
        windows = {label: row["windows"] for label, row in rows.items() if row["windows"]}
        if windows:
            draw_windows(windows, folder / f"{name}-windows.png")


def draw_windows(models: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Draw scores by windows (RosettaSim, figures 11 and 12); see `window_panels`.

    Raises:
        RunError: The picture cannot be written.
    """
    draw_panels(path, window_panels(models), columns=4, title="dashed: against retrieved windows")


def _over_dial(
    axis: str, key: str, label: str, dialled: Sequence[PaperRow], level: Sequence[PaperRow], rows: Rows
) -> Panel:
    """A number of all rows over their levels; rows without one are level lines."""
    series = []
    for number, group in enumerate(dict.fromkeys(row.series for row in dialled)):
        points = sorted((row.level or 0.0, row.label) for row in dialled if row.series == group)
        found = [rows[name][key] for _, name in points]
        series.append(
            Series(
                [place for place, _ in points],
                [one["mean"] for one in found],
                group,
                number,
                [one["low"] for one in found],
                [one["high"] for one in found],
            )
        )
    lines = {rows[row.label][key]["mean"]: row.label for row in level}
    return Panel(axis, label, series, references=lines)


def _density(rows: Rows) -> Panel:
    """Collision likelihood over density (RosettaSim, figure 10), a point for each row."""
    series = [
        Series([row["present"]["mean"]], [row["collision_indication"]["mean"]], name, number, style="")
        for number, (name, row) in enumerate(rows.items())
    ]
    return Panel("agents that are there", "collision likelihood", series, title="density against collisions")


def window_panels(models: Mapping[str, Mapping[str, Sequence[float]]]) -> list[Panel]:
    """Scores by windows of several models: of flow dashed where they are against retrieved windows.

    Args:
        models: Model → score → one number per window, as `windows` of `evaluate_longterm`.
    """

    def panel(key: str, label: str, dashed: str = "") -> Panel:
        series = []
        for number, (name, windows) in enumerate(models.items()):
            times = [_STEP * place for place in range(len(windows[key]))]
            series.append(Series(times, windows[key], name, number, marker=""))
            if dashed:
                series.append(Series(times, windows[dashed], "", number, style="--", marker=""))
        return Panel("beginning of the window, s", label, series)

    flows = [panel(key, label, f"{key}_by_retrieval") for key, label in _FLOW_BY_WINDOWS.items()]
    return [*flows, *(panel(key, label) for key, label in _BY_WINDOWS.items())]

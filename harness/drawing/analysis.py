"""Pictures of `traffic_analysis`, from its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from harness.drawing.curves import Panel, Series, draw_panels
from harness.drawing.figure import SMALL, panels, save_figure
from harness.drawing.palette import LIGHT
from harness.files import Json
from harness.traffic.analysis.references import SEEN, DrawnWindow


def draw_frequencies(result: Json, path: Path) -> None:
    """Draw frequency over rank of motion tokens and of words, both logarithmic (RosettaSim, figure 2 c).

    Raises:
        RunError: The picture cannot be written.
    """
    rows = result["rows"]
    words = [name for name, row in rows.items() if not row["motion"]]
    groups = {
        "motion tokens": [name for name in rows if name not in words and not name.endswith(", moving")],
        "without standing still": [name for name in rows if name.endswith(", moving")],
    }
    shown = []
    for title, names in groups.items():
        series = [
            Series(
                rows[name]["ranks"],
                rows[name]["shares"],
                f"{name}: s {rows[name]['exponent']:.2f}, R² {rows[name]['r2']:.2f}",
                number,
                style="--" if name in words else "-",
                marker="",
            )
            for number, name in enumerate([*names, *words])
        ]
        shown.append(Panel("rank", "share of all tokens", series, title, logarithmic="both"))
    draw_panels(path, shown, width=5.2, height=4.6)


def draw_attention(result: Json, path: Path) -> None:
    """Draw the locality of attention by layer (RosettaSim, figure 6), and attention by distance, for each model.

    Raises:
        RunError: The picture cannot be written.
    """
    models = result["models"]
    names = {name: Path(name).parent.name + "/" + Path(name).name if len(models) > 1 else "" for name in models}
    layers = [
        Series(
            range(1, len(model["layers"]) + 1),
            [layer["locality"]["mean"] for layer in model["layers"]],
            names[name] or "attention of the model",
            number,
            [layer["locality"]["low"] for layer in model["layers"]],
            [layer["locality"]["high"] for layer in model["layers"]],
        )
        for number, (name, model) in enumerate(models.items())
    ]
    # A model that puts a token of its own in front has more to look at: what is even is another number for it.
    alike = len({model["even"] for model in models.values()}) == 1
    even = {model["even"]: "even attention" if alike else f"even, {names[name]}" for name, model in models.items()}
    shown = [Panel("layer", "attention to itself and the token before", layers, "locality", even, limits=(0, None))]
    # A bin of distance 0 has no logarithm, so bins stand side by side.
    for name, model in models.items():
        series = [
            Series(range(len(shares)), shares, part, number)
            for number, (part, shares) in enumerate(model["distance"].items())
        ]
        ticks = [str(begin) for begin in result["distances"]]
        shown.append(
            Panel("distance, tokens (from)", "share of attention", series, names[name] or "by distance", ticks=ticks)
        )
    draw_panels(path, shown, width=4.8, height=4.4)


def draw_references(rows: Sequence[Sequence[DrawnWindow]], path: Path) -> None:
    """Draw windows of roll-outs (left), each beside the recorded windows that were retrieved (RosettaSim, figure 13).

    Raises:
        RunError: The picture cannot be written.
    """
    columns = max(map(len, rows))
    figure, axes = panels(len(rows), columns, width=2.9, height=3.1)
    for place, axis in enumerate(axes):
        row, column = divmod(place, columns)
        if column < len(rows[row]):
            _draw_window(axis, rows[row][column], LIGHT.ego if column == 0 else LIGHT.vehicle)
        else:
            axis.set_visible(False)
    save_figure(figure, path)


def _draw_window(axis: Axes, window: DrawnWindow, colour: str) -> None:
    """Draw a window: the map, everybody's way, and where each is seen first."""
    for line in window.roads:
        axis.plot(line[:, 0], line[:, 1], color=LIGHT.lane_centre, lw=0.8)
    for way in window.ways:
        known = way[~(way != way).any(-1)]
        axis.plot(known[:, 0], known[:, 1], color=colour, lw=1.2)
        axis.plot(known[:1, 0], known[:1, 1], "o", color=colour, ms=2.5)
    axis.plot([0], [0], "*", color=LIGHT.ink, ms=6)
    away = "" if window.distance != window.distance else f", {window.distance:.2f} away"
    axis.set_title(f"{window.name}{away}", fontsize=SMALL, wrap=True)
    axis.set(xlim=(-SEEN, SEEN), ylim=(-SEEN, SEEN), aspect="equal")

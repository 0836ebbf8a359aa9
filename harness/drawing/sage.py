"""Pictures of what SAGE's experts and their mixtures do, from the numbers of `sage_analysis`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from harness.drawing.curves import Panel, Series, draw_panel, draw_panels
from harness.drawing.figure import legend_below, panels, save_figure
from harness.drawing.palette import LIGHT, series_colour, series_marker
from harness.files import Json

Result = Json
"""What `sage_analysis` writes to `analysis.json`."""
Row = Json

STRATEGIES: Final = {"weights": "-", "logits": "--", "trajectories": ":"}
"""Strategies of mixing, each with its line."""


def draw_analysis(result: Result, folder: Path) -> None:
    """Draw `fronts.png`, `vectors.png`, `landscape.png` and `extrapolation.png`.

    Raises:
        RunError: A picture cannot be written.
    """
    draw_panels(folder / "fronts.png", _fronts(result))
    draw_panels(folder / "extrapolation.png", _extrapolation(result))
    figure, axes = panels(1, 2, width=4.6, height=4.0)
    _draw_plane(axes[0], result["vectors"])
    _draw_segment(axes[1], result["vectors"])
    save_figure(figure, folder / "vectors.png")
    figure, axes = panels(1, 2, width=4.6, height=4.0)
    _draw_landscape(axes[0], result["landscape"])
    draw_panel(axes[1], _linearity(result["linearity"]))
    save_figure(figure, folder / "landscape.png")


def _means(rows: Sequence[Row], key: str) -> list[float]:
    return [row[key][0] for row in rows]


def _fronts(result: Result) -> list[Panel]:
    """Realism against adversarial reward of the strategies, and the response of weight mixing to λ."""
    fronts = [
        Series(
            _means(result["fronts"][mixing], "adversarial"),
            _means(result["fronts"][mixing], "realism"),
            mixing,
            number,
            style=style,
        )
        for number, (mixing, style) in enumerate(STRATEGIES.items())
    ]
    rows = result["fronts"]["weights"]
    places = [row["intensity"] for row in rows]
    title = "response (weight mixing, 95 %)"

    def response(*keys: str) -> list[Series]:
        return [
            Series(places, _means(rows, key), key, number, [row[key][1] for row in rows], [row[key][2] for row in rows])
            for number, key in enumerate(keys)
        ]

    return [
        Panel("R_adv (more is more adversarial)", "P_real (less is more realistic)", fronts, title="fronts"),
        Panel("intensity λ = μ", "share of scenes", response("success", "off_road", "contact"), title=title),
        Panel("intensity λ = μ", "reward, penalty", response("adversarial", "realism"), title=title),
    ]


def _extrapolation(result: Result) -> list[Panel]:
    """Reward, penalty and success beyond the segment between the experts, which is shaded."""
    shown = []
    for kind in ("vector", "direct"):
        rows = [*result["fronts"]["weights"], *result["extrapolation"][kind]]
        rows.sort(key=lambda row: row["intensity"])
        places = [row["intensity"] for row in rows]
        series = [
            Series(places, _means(rows, key), key, number)
            for number, key in enumerate(("adversarial", "realism", "success"))
        ]
        shown.append(
            Panel("λ", "reward, penalty, share", series, title=f"{kind} extrapolation", shaded=(0.0, 1.0)),
        )
    return shown


def _linearity(line: Row) -> Panel:
    """The reward of the group along the segment, beside a straight line."""
    series = []
    for number, name in enumerate(("adv", "even", "real")):
        series.append(Series(line["intensities"], line[name]["measured"], f"{name}: measured", number))
        series.append(
            Series(line["intensities"], line[name]["line"], f"{name}: straight line", number, style=":", marker="")
        )
    return Panel("λ", "reward of the group", series, title="linearity along the segment")


def _draw_plane(axis: Axes, found: Row) -> None:
    """Weights of the mixtures in the plane of their first two principal components."""
    for name, (x, y) in found["plane"].items():
        kind, _, place = name.partition(" ")
        inside = kind == "vector" and 0 <= float(place) <= 1
        if kind == "reference":
            axis.plot(x, y, "*", color=LIGHT.ink, ms=9)
        else:
            number = 1 if kind == "direct" else 2 if inside else 0
            axis.plot(x, y, "x" if kind == "direct" else series_marker(number), color=series_colour(number))
        # The names of the mixtures between would cover one another.
        if not inside or place in ("0", "0.5", "1"):
            label = name.replace("vector ", "λ ")
            # Beside one another: those of the direct ones hang down.
            turned = {"rotation": -40, "va": "top", "xytext": (1, -3)} if kind == "direct" else {"xytext": (3, 4)}
            axis.annotate(label, (x, y), fontsize=7, textcoords="offset points", **turned)
    axis.margins(0.12)
    title = f"weights; Δ_adv and Δ_real at {found['angle_degrees']:.0f}°"
    axis.set(xlabel="first principal component", ylabel="second principal component", title=title)


def _draw_segment(axis: Axes, found: Row) -> None:
    """Length and direction of the mixture's weights along the segment."""
    places = [row["intensity"] for row in found["path"]]
    lines = []
    for number, (name, label) in enumerate((("norm", "norm of θ(λ) − θ_ref"), ("cosine_adv", "cosine to Δ_adv"))):
        own = axis if number == 0 else axis.twinx()
        lines += own.plot(
            places,
            [row[name] for row in found["path"]],
            ("-", "--")[number],
            color=series_colour(number),
            marker=series_marker(number),
            label=label,
        )
        own.set_ylabel(label)
    axis.set(xlabel="λ", title="along the segment")
    legend_below(axis, lines)


def _draw_landscape(axis: Axes, found: Row) -> None:
    """Even reward on the plane of the experts: rows of the grid are multiples of Δ_adv, columns of Δ_real."""
    reward = 0.5 * np.array(found["adversarial"]) - 0.5 * np.array(found["realism"])
    shown = axis.contourf(found["axis"], found["axis"], reward, levels=14)
    axis.figure.colorbar(shown, ax=axis, label="reward")
    axis.plot([1, 0], [0, 1], "-", color=LIGHT.halo)
    for place, name in (((0, 0), "prior"), ((1, 0), "real"), ((0, 1), "adv")):
        axis.plot(*place, "*", color=LIGHT.halo)
        axis.annotate(name, place, color=LIGHT.halo, xytext=(4, 4), textcoords="offset points")
    axis.set(xlabel="Δ_real", ylabel="Δ_adv", title="even reward of the group")

"""Pictures of what SAGE's experts and their mixtures do, from the numbers of `sage_analysis`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from harness.drawing.curves import Panel, Series, draw_panel, draw_panels
from harness.drawing.figure import legend_below, panels, save_figure
from harness.drawing.merging import draw_merging
from harness.drawing.palette import LIGHT, series_colour, series_marker
from harness.files import Json

Result = Json
"""What `sage_analysis` writes to `analysis.json`."""
Row = Json

KINDS: Final = ("group", "choice")
"""What a λ is judged by: the mean of the group, and the candidate that R_μ chooses."""
DISTANCES: Final = (
    ("acceleration", "acceleration (m/s²)", 1.0),
    ("speed", "speed (m/s)", 1.0),
    ("yaw_rate", "yaw rate (0.1 rad/s)", 10.0),
)
"""Distances from the log, with their labels and factors."""
COMPLETED: Final = {"goals": "goals alone", "whole": "the whole network"}
"""What of the network is mixed, with its label."""
STRATEGIES: Final = {"weights": "-", "logits": "--", "trajectories": ":"}
"""Strategies of mixing, each with its line."""


def draw_analysis(result: Result, folder: Path) -> None:
    """Draw `fronts`, `vectors`, `landscape`, `extrapolation`, `theory`, `mixing` and `merging`, each a `.png`.

    Those of which the result holds nothing are left out.

    Raises:
        RunError: A picture cannot be written.
    """
    if result.get("merging") is not None:
        draw_merging(result["merging"], folder / "merging.png")
    if "fronts" not in result:
        return
    draw_panels(folder / "fronts.png", _fronts(result), columns=2)
    draw_panels(folder / "extrapolation.png", [*_extrapolation(result), *_beyond(result["beyond"])], columns=2)
    draw_panels(folder / "theory.png", _theory(result["theory"]), columns=2)
    draw_panels(folder / "mixing.png", _mixing(result))
    figure, axes = panels(1, 2, width=4.6, height=4.0)
    _draw_plane(axes[0], result["vectors"])
    _draw_segment(axes[1], result["vectors"])
    save_figure(figure, folder / "vectors.png")
    figure, axes = panels(2, 2, width=4.6, height=4.2)
    found = result["landscape"]
    reward = 0.5 * np.array(found["adversarial"]) - 0.5 * np.array(found["realism"])
    _draw_landscape(axes[0], found["axis"], reward, "even reward of the group")
    draw_panel(axes[1], _linearity(result["linearity"]))
    _draw_landscape(axes[2], found["axis"], np.array(found["loss"]), "HGPO loss, mean of both experts'")
    draw_panel(axes[3], _losses(result["linearity"]))
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
        Panel("intensity λ = μ", "distance", _distances(rows, places), title="Wasserstein distances from the log"),
    ]


def _distances(rows: Sequence[Row], places: Sequence[float]) -> list[Series]:
    """Figure 3 (b): how far the attackers' motion is from that of the same vehicles in the log."""
    shown = []
    for number, (key, label, factor) in enumerate(DISTANCES):
        value, low, high = ([factor * row[key][part] for row in rows] for part in range(3))
        shown.append(Series(places, value, label, number, low, high))
    return shown


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


def _losses(found: Row) -> Panel:
    """HGPO's loss of both experts along the segment, beside straight lines; on fixed pairs and on the mixture's own."""
    series = []
    for number, name in enumerate(("adv", "real")):
        one, own = found["losses"][name], found["own_losses"][name]
        series.append(Series(found["intensities"], one["measured"], f"{name}: the prior's pairs", number))
        series.append(Series(found["intensities"], one["line"], f"{name}: straight line", number, style=":", marker=""))
        series.append(Series(found["intensities"], own["measured"], f"{name}: own pairs", number, style="--"))
    return Panel("λ", "HGPO loss", series, title="loss along the segment")


def _beyond(found: Row) -> list[Panel]:
    """Figure 5 (e): the front on the segment, and on the plane of both preference vectors."""
    return [
        Panel(
            "R_adv (more is more adversarial)",
            "P_real (less is more realistic)",
            [
                Series(
                    [point["adversarial"] for point in front[kind]],
                    [point["realism"] for point in front[kind]],
                    label,
                    number,
                )
                for number, (kind, label) in enumerate(
                    (("interpolated", "between the experts"), ("extrapolated", "on the grid of φ_adv, φ_real"))
                )
            ],
            title=f"best points, {name} (μ = ½)",
        )
        for name, front in found.items()
    ]


def _theory(found: Row) -> list[Panel]:
    """λ(μ) beside the best λ, what both rules lose, the gaps of the theorems, and proposition 1."""
    rows = found["coefficients"]
    places = [row["preference"] for row in rows]
    rules = [
        Series(places, places, "λ = μ", 2, style=":", marker=""),
        Series(places, [row["matched"] for row in rows], "λ(μ), eq. 27", 3, style="--", marker=""),
        *(Series(places, [row[kind]["best"] for row in rows], f"best, {kind}", i) for i, kind in enumerate(KINDS)),
    ]
    lost = [
        Series(places, [row[kind][rule] for row in rows], f"{label}, {kind}", number, style=style)
        for number, kind in enumerate(KINDS)
        for rule, label, style in (("equal", "λ = μ", "-"), ("matched", "λ(μ)", "--"))
    ]
    gaps = []
    for number, (key, label) in enumerate((("measured", "measured"), ("theorem_2", "theorem 2"))):
        # Where rewards are not concave the theorem says nothing.
        known = [(mu, row[key]) for mu, row in zip(places, found["gaps"]["rows"], strict=True) if row[key] == row[key]]
        if known:
            gaps.append(Series([mu for mu, _ in known], [gap for _, gap in known], label, number))
    terms = []
    for number, (mu, one) in enumerate(found["proposition"].items()):
        spots = [row["intensity"] for row in one]
        terms.append(Series(spots, [row["difference"] for row in one], f"μ = {mu}: measured", number))
        terms.append(Series(spots, [row["predicted"] for row in one], f"μ = {mu}: both terms", number, style="--"))
    return [
        Panel("μ", "λ", rules, title="the best λ for a preference"),
        Panel("μ", "R_μ below that of the best λ", lost, title="what a rule for λ loses"),
        Panel("μ", "R_μ beyond the experts, one sample", gaps, title="suboptimality gap"),
        Panel("λ", "L_weight - L_outputs (m²)", terms, title="proposition 1"),
    ]


def _mixing(result: Result) -> list[Panel]:
    """Fronts of the strategies by number of candidates and by single samples, and what parts of the network do."""
    names = ("R_adv (more is more adversarial)", "P_real (less is more realistic)")

    def front(rows: Sequence[Row], label: str, number: int, style: str) -> Series:
        return Series(_means(rows, "adversarial"), _means(rows, "realism"), label, number, style=style)

    shown = []
    for one in result["candidates"]:
        series = [front(one["fronts"][name], name, i, style) for i, (name, style) in enumerate(STRATEGIES.items())]
        shown.append(Panel(*names, series, title=f"K = {one['candidates']}"))
    samples = [
        front(result["samples"][name], name, i, STRATEGIES[name]) for i, name in enumerate(("weights", "logits"))
    ]
    parts = [front(rows, name, i, "-") for i, (name, rows) in enumerate(result["parts"].items())]
    own = [front(rows, COMPLETED[name], i, "-") for i, (name, rows) in enumerate(result["completions"].items())]
    return [
        *shown,
        Panel(*names, samples, title="one sample"),
        Panel(*names, parts, title="one sample, λ in one part, ½ in the others"),
        Panel(*names, own, title="K = 32, what is mixed"),
    ]


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


def _draw_landscape(axis: Axes, places: Sequence[float], values: NDArray[np.float64], title: str) -> None:
    """A quantity on the plane of the experts: rows of the grid are multiples of Δ_adv, columns of Δ_real."""
    shown = axis.contourf(places, places, values, levels=14)
    axis.figure.colorbar(shown, ax=axis)
    axis.plot([1, 0], [0, 1], "-", color=LIGHT.halo)
    for place, name in (((0, 0), "prior"), ((1, 0), "real"), ((0, 1), "adv")):
        axis.plot(*place, "*", color=LIGHT.halo)
        axis.annotate(name, place, color=LIGHT.halo, xytext=(4, 4), textcoords="offset points")
    axis.set(xlabel="Δ_real", ylabel="Δ_adv", title=title)
    axis.xaxis.set_major_locator(MaxNLocator(5))

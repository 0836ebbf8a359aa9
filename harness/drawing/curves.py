"""Curves of every training run, from one function: series over a number, with intervals and reference lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter, LogFormatter, MaxNLocator
from numpy.typing import NDArray

from harness.drawing.figure import legend_below, panels, save_figure
from harness.drawing.palette import LIGHT, series_colour, series_marker
from harness.files import Json
from harness.training.evaluation import STAGES, Summary
from harness.training.matrix_curves import LEARNT, MethodCurve
from harness.training.matrix_scores import EITHER

Numbers = Sequence[float] | NDArray[np.float64]
Row = Json
"""One line of a run's history."""

EPOCH: Final = "epoch"
"""Label of an x axis that has ticks at whole numbers only."""
LEARNING: Final = {"completion": "route completion", "collision": "collision rate"}
METHODS: Final[dict[str, str]] = {**LEARNING, EITHER: "collision or off the road", "speed": "mean speed (m/s)"}
EXPERTS: Final = {
    "loss": "HGPO loss",
    "feasible": "feasible share of the group",
    "adversarial": "R_adv, group mean",
    "realism": "P_real, group mean",
    "chosen_reward": "R_pref of the choice",
    "success": "contacts of the choice",
}
"""What is drawn of an expert's alignment, with its label."""
FEASIBILITY: Final = (("top_feasible", "plain likeliest", "-."), ("expected_feasible", "one sample", ":"))
"""Feasibility that does not depend on how groups are drawn, with label and style."""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve of a panel.

    Attributes:
        x, y: The points; a curve without points is left out.
        label: In the legend; none without.
        number: Says colour and marker.
        low, high: Ends of the interval at each point, or empty.
        style: As matplotlib has it: `-`, `--`, `:`, or empty for points alone.
        marker: Another marker than the series' own; empty for none.
    """

    x: Numbers
    y: Numbers
    label: str = ""
    number: int = 0
    low: Numbers = ()
    high: Numbers = ()
    style: str = "-"
    marker: str | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram.

    Attributes:
        x, y: Labels of the axes, with units.
        series: Curves.
        title: Heading.
        references: Level → label, drawn as dotted horizontal lines.
        shaded: Part of the x axis that is set off, or None.
        logarithmic: Whether y is; `both` where x is as well.
        limits: Limits of y, or None for what the curves need.
        steps: Whether x counts many steps (10 k, 1 M).
        ticks: What stands at x = 0, 1, 2, …, where x numbers bins.
    """

    x: str
    y: str
    series: Sequence[Series]
    title: str = ""
    references: Mapping[float, str] = field(default_factory=dict)
    shaded: tuple[float, float] | None = None
    logarithmic: bool | Literal["both"] = False
    limits: tuple[float | None, float | None] | None = None
    steps: bool = False
    ticks: Sequence[str] = ()


def draw_panel(axis: Axes, panel: Panel) -> None:
    """Draw a panel with its legend into given axes."""
    for one in panel.series:
        if not len(one.x):
            continue
        colour = series_colour(one.number)
        marker = series_marker(one.number) if one.marker is None else one.marker
        axis.plot(
            one.x, one.y, one.style or "none", color=colour, marker=marker, ms=3.5, lw=1.4, label=one.label or "_"
        )
        if len(one.low):
            axis.fill_between(one.x, one.low, one.high, color=colour, alpha=0.15, lw=0)
    for level, label in panel.references.items():
        axis.axhline(level, color=LIGHT.soft, linestyle=":", label=label)
    if panel.shaded is not None:
        axis.axvspan(*panel.shaded, color=LIGHT.ink, alpha=0.06, lw=0)
    axis.set(xlabel=panel.x, ylabel=panel.y, title=panel.title)
    if panel.logarithmic:
        _make_logarithmic(axis, "y")
        if panel.logarithmic == "both":
            _make_logarithmic(axis, "x")
    if panel.limits is not None:
        axis.set_ylim(*panel.limits)
    if panel.steps:
        axis.set_xlim(0, None)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(EngFormatter())
    elif panel.ticks:
        axis.set_xticks(range(len(panel.ticks)), labels=panel.ticks)
    elif panel.x == EPOCH:
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend_below(axis)


def _make_logarithmic(axis: Axes, name: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with plain numbers: formulas, matplotlib's default, are not drawn (`save_figure`)."""
    getattr(axis, f"set_{name}scale")("log")
    own = axis.xaxis if name == "x" else axis.yaxis
    own.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    # Between powers of ten numbers stand where there are few of those.
    own.set_minor_formatter(LogFormatter())


def draw_panels(
    path: Path, shown: Sequence[Panel], *, columns: int = 3, width: float = 4.6, height: float = 4.0, title: str = ""
) -> None:
    """Draw panels row by row to a PNG file.

    Args:
        path: Where to write.
        shown: At least one panel.
        columns: Most panels side by side.
        width, height: Width and height of a panel, inches.
        title: Heading of the whole picture.

    Raises:
        RunError: The picture cannot be written.
    """
    columns = min(columns, len(shown))
    figure, axes = panels(-(-len(shown) // columns), columns, width=width, height=height)
    for axis, panel in zip(axes, shown, strict=False):
        draw_panel(axis, panel)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    if title:
        figure.suptitle(title, fontsize=10, wrap=True)
    save_figure(figure, path)


def draw_learning(summaries: Sequence[Summary], path: Path, title: str, split: str = "test") -> None:
    """Completion and collision of an ego over training steps, normal and attacked, with 95 % bands.

    Raises:
        RunError: The picture cannot be written.
    """
    shown = []
    for name, label in LEARNING.items():
        series = []
        for number, (stage, words) in enumerate(STAGES.items()):
            rows = [row for row in summaries if row.stage == stage and not row.horizon]
            found = [row.columns[name] for row in rows]
            mean, low, high = ([item[part] for item in found] for part in range(3))
            series.append(Series([row.step for row in rows], mean, words, number, low, high))
        shown.append(Panel("environment steps", label, series, limits=(0, 1), steps=True))
    scenes = max((row.scenes for row in summaries), default=0)
    draw_panels(path, shown, width=5.0, title=f"{title} – {scenes} {split} scenes, 95 % intervals")


def draw_methods(curves: Sequence[MethodCurve], path: Path, title: str) -> None:
    """Completion, collision and either failure of several methods over training steps, as recorded and attacked.

    Lines are means over seeds, bands one standard deviation over seeds to either side.

    Raises:
        RunError: The picture cannot be written.
    """
    rows = list(dict.fromkeys(curve.row for curve in curves))
    last = list(STAGES)[-1]
    shown = []
    for stage, words in STAGES.items():
        for name in LEARNT:
            series = []
            for curve in (curve for curve in curves if curve.stage == stage):
                mean, low, high = curve.band(name)
                # One legend per column, under the lower panel.
                label = curve.row if stage == last else ""
                series.append(Series(curve.steps, mean, label, rows.index(curve.row), low, high))
            shown.append(
                Panel("environment steps", METHODS[name], series, words, limits=_both(curves, name), steps=True)
            )
    note = "mean and standard deviation over seeds"
    draw_panels(path, shown, columns=len(LEARNT), width=3.6, height=3.2, title=f"{title}; {note}")


def _both(curves: Sequence[MethodCurve], name: str) -> tuple[float, float]:
    """Limits of y for the panels as recorded and attacked alike: rates begin at 0, completion ends at 1."""
    drawn = np.concatenate([end for curve in curves for end in curve.band(name)])
    known = drawn[np.isfinite(drawn)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    room = 0.05 * (high - low)
    if name == "completion":
        return min(max(low - room, 0.0), 0.9), 1.0
    return 0.0, min(high + room, 1.02 if name != "speed" else math.inf) or 1.0


def draw_prior_training(rows: Sequence[Row], baseline: Mapping[str, float], path: Path) -> None:
    """Losses and held-out errors of the motion prior over epochs; `baseline` holds those of lane following.

    Raises:
        RunError: The picture cannot be written.
    """

    def series(names: Mapping[str, str]) -> list[Series]:
        epochs = [row["epoch"] for row in rows]
        return [
            Series(epochs, [row[name] for row in rows], label, number)
            for number, (name, label) in enumerate(names.items())
        ]

    losses = series({name: name for name in ("goal", "position", "reach")})
    errors = series({**{name: f"{name} (m)" for name in ("minADE_32", "minFDE_32", "minADE_6")}, "miss_32": "miss_32"})
    lanes = {baseline["minADE_32"]: "lane following minADE_32 (m)"} if "minADE_32" in baseline else {}
    shown = [
        Panel(EPOCH, "training loss", losses, logarithmic=True),
        Panel(EPOCH, "held-out error, moving vehicles", errors, references=lanes, limits=(0, None)),
    ]
    draw_panels(path, shown)


def draw_traffic_training(stages: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Training loss and validation value of every stage of a traffic model over epochs.

    Raises:
        RunError: The picture cannot be written.
    """
    shown = [
        Panel(
            EPOCH,
            "loss, validation value",
            [
                Series([row["epoch"] for row in rows], [row[name] for row in rows], label, number)
                for number, (name, label) in enumerate((("val", "validation"), ("loss", "training loss")))
            ],
            title=stage,
        )
        for stage, rows in stages.items()
    ]
    draw_panels(path, shown or [Panel(EPOCH, "", [])], columns=max(len(shown), 1))


def draw_experts(histories: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Loss, feasibility, R_adv, P_real, reward and success of every expert over epochs.

    Solid curves are of training scenes, dashed ones held out. Of held-out scenes, too, are the feasibility of the plain
    likeliest futures (dash-dotted) and of one sample (dotted).

    Raises:
        RunError: The picture cannot be written.
    """
    shown = []
    for key, label in EXPERTS.items():
        series = []
        for number, (name, rows) in enumerate(histories.items()):
            if key == "loss":
                series.append(_over_epochs([(row["epoch"], row["loss"]) for row in rows], name, number))
                continue
            series.append(_over_epochs([(row["epoch"], row["train"][key]) for row in rows], name, number))
            held = [(row["epoch"], row["held_out"]) for row in rows if "held_out" in row]
            series.append(_over_epochs([(epoch, part[key]) for epoch, part in held], f"{name}, held out", number, "--"))
            if key == "feasible":
                for measure, label, style in FEASIBILITY:
                    found = [(epoch, part.get(measure)) for epoch, part in held]
                    series.append(_over_epochs(found, f"{name}, {label}", number, style, "x"))
        shown.append(Panel(EPOCH, label, series))
    draw_panels(path, shown, height=4.2)


def _over_epochs(
    points: Sequence[tuple[float, float | None]], label: str, number: int, style: str = "-", marker: str | None = None
) -> Series:
    """A curve of what was measured: epochs without a number are left out."""
    known = [(epoch, value) for epoch, value in points if value is not None]
    shown = "" if style == "-" and marker is None else marker
    return Series([x for x, _ in known], [y for _, y in known], label, number, style=style, marker=shown)

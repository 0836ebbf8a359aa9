"""Pictures of ways of merging experts, and of the simplex of three, from the numbers of `sage_analysis`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from harness.drawing.curves import Panel, Series, draw_panel
from harness.drawing.figure import panels, save_figure
from harness.drawing.palette import LIGHT
from harness.files import Json

CORNERS: Final = np.array([[1.0, 0.0], [0.0, 0.0], [0.5, np.sqrt(3) / 2]])
"""Where the adversarial, the realistic and the third expert lie in a picture of the simplex."""
WORTH: Final = {"adversarial": "R_adv", "realism": "P_real", "novelty": "surprise (nats)"}
"""What of one sample is drawn on the simplex."""


def draw_merging(found: Json, path: Path) -> None:
    """Draw the fronts of the ways of merging; with a third expert also those by its share, and the simplex.

    Args:
        found: Result of `adversaries.sage.merged_fronts.measure`.
        path: Where the picture goes.

    Raises:
        RunError: The picture cannot be written.
    """
    swept = found["sweep"]
    figure, axes = panels(1, 1, width=5.2, height=4.2) if swept is None else panels(3, 2, width=4.8, height=4.0)
    draw_panel(axes[0], _front(found["ways"]["fronts"], "ways of merging"))
    if swept is not None:
        draw_panel(axes[1], _front(swept["dials"], "by share of the third expert"))
        draw_panel(axes[2], _coverage(swept["dials"]))
        for axis, (key, label) in zip(axes[3:], WORTH.items(), strict=True):
            _draw_simplex(axis, swept["simplex"], key, label)
    save_figure(figure, path)


def _front(fronts: Json, title: str) -> Panel:
    series = [
        Series([row["adversarial"][0] for row in rows], [row["realism"][0] for row in rows], name, number)
        for number, (name, rows) in enumerate(fronts.items())
    ]
    return Panel("R_adv (more is more adversarial)", "P_real (less is more realistic)", series, title=title)


def _coverage(dials: Json) -> Panel:
    """Coverage of the kinds of encounter against success, by share of the third expert."""
    series = [
        Series([row["success"][0] for row in rows], [row["coverage"][0] for row in rows], name, number)
        for number, (name, rows) in enumerate(dials.items())
    ]
    return Panel("success", "coverage of kinds (bits)", series, title="variety by share of the third expert")


def _draw_simplex(axis: Axes, points: Sequence[Json], key: str, label: str) -> None:
    """A quantity of one sample over the triangle of the experts."""
    places = np.array([point["shares"] for point in points]) @ CORNERS
    shown = axis.tricontourf(places[:, 0], places[:, 1], [point[key][0] for point in points], levels=12)
    axis.figure.colorbar(shown, ax=axis)
    axis.plot(*places.T, ".", color=LIGHT.halo)
    for corner, name, side in zip(CORNERS, ("adversarial", "realistic", "third"), (-12, -12, 5), strict=True):
        axis.annotate(name, corner, xytext=(0, side), textcoords="offset points", ha="center")
    limits = {"xlim": (-0.2, 1.2), "ylim": (-0.12, 1.0)}
    axis.set(title=f"one sample: {label}", xticks=[], yticks=[], aspect="equal", **limits)

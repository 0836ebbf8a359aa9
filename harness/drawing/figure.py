"""One way to make a figure, give it a legend and save it: no global state, no window, whole files only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import ScaledTranslation

from harness.drawing.palette import LIGHT
from harness.files import explained, write_atomically

DPI: Final = 110
"""Dots per inch of every saved figure."""
SMALL: Final = 8.0
"""Size of letters in legends and notes, points."""
_LETTER: Final = 0.06
"""Width of a small letter, inches."""
_HANDLE: Final = 0.6
"""Width of a legend's sample line with its gaps, inches."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure whose parts make room for one another.

    Args:
        width: Inches.
        height: Inches.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor=LIGHT.card)
    # The object-oriented interface: safe beside the simulator and in threads.
    FigureCanvasAgg(figure)
    return figure


def panels(rows: int, columns: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of panels with a faint grid, row by row.

    Args:
        rows: Panels one below the other.
        columns: Panels side by side.
        width: Width of a panel, inches.
        height: Height of a panel, inches.
    """
    figure = new_figure(width * columns, height * rows)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes:
        axis.grid(alpha=0.3)
    return figure, axes


def legend_below(axis: Axes, handles: Sequence[Artist] | None = None) -> None:
    """Write the legend under a panel, where it covers nothing, in as many columns as fit.

    Args:
        axis: The panel.
        handles: What is explained; everything that has a label by default.
    """
    shown = list(axis.get_legend_handles_labels()[0] if handles is None else handles)
    if not shown:
        return
    figure, grid = axis.get_figure(), axis.get_gridspec()
    assert isinstance(figure, Figure), "a panel stands in a figure"
    longest = max(len(str(handle.get_label())) for handle in shown)
    fitting = int(figure.get_figwidth() / (grid.ncols if grid else 1) / (longest * _LETTER + _HANDLE))
    axis.legend(
        handles=shown,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        # Below the numbers and the label of the x axis, however high the panel is.
        bbox_transform=axis.transAxes + ScaledTranslation(0, -0.45, figure.dpi_scale_trans),
        ncols=min(max(fitting, 1), len(shown)),
        fontsize=SMALL,
        frameon=False,
    )


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure to a PNG file, whole or not at all; its folder is made where it is missing.

    Raises:
        RunError: It cannot be written.
    """
    with explained(path.parent, "make the folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # type: ignore[attr-defined]  # A name may hold dollars, and is no formula.
    write_atomically(path, lambda beside: figure.savefig(beside, dpi=DPI))
    return path

"""Scenes on axes with metres along them: the canvas of every still picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon

from harness.drawing.canvas import Extent, Floats, draw_map
from harness.drawing.figure import legend_below, new_figure
from harness.drawing.palette import LIGHT
from scenarios.scenario import Kind, Scenario

_SIDE: Final = 7.2 * 72
"""Side of the axes in a figure of `scene_figure`, about, points."""
_THINNEST: Final = 0.7
"""Least width of a line, points."""
_THINNEST_DOTTED: Final = 1.3
"""Least width of a dotted line: thinner dots are not seen, points."""
_KINDS: Final = {
    Kind.VEHICLE: "other vehicle",
    Kind.PEDESTRIAN: "pedestrian",
    Kind.CYCLIST: "cyclist",
}
"""What agents are called in legends, besides ego and opponent."""
_ROAD: Final = {
    "edge": ("road edge", LIGHT.edge),
    "median": ("median", LIGHT.median),
    "lane": ("lane centre", LIGHT.lane_centre),
    "line": ("painted line", LIGHT.mark),
}
"""Lines of the road map in legends, by layer."""
_GROUND: Final = {"bike": ("bike lane", LIGHT.bike), "area": ("crosswalk or driveway", LIGHT.area)}
"""What else of the road map is in legends, by layer."""


class AxesCanvas:
    """Axes that show a window of the world, as metres from an origin.

    Attributes:
        window: What is shown.
        origin: [2] where (0, 0) of the axes is, m.
        axis: Matplotlib's axes.
        road: Layers of the road map that are in sight (`harness.drawing.canvas.layer_of`).
    """

    def __init__(self, figure: Figure, window: Extent, origin: Floats) -> None:
        """Add axes to a figure; `origin` [2] (m) is their (0, 0)."""
        self.window, self.origin = window, np.round(origin)
        self.axis = figure.add_subplot(facecolor=LIGHT.ground)
        for limit, place in ((self.axis.set_xlim, 0), (self.axis.set_ylim, 1)):
            middle = window.centre[place] - self.origin[place]
            limit(middle - window.half[place], middle + window.half[place])
        self.axis.set_aspect("equal")
        self.axis.set_xlabel(f"east of ({self.origin[0]:.0f}, {self.origin[1]:.0f}) (m)")
        self.axis.set_ylabel("north (m)")
        self._scale = _SIDE / (2 * float(window.half.max()))
        self._layer = 1
        self.road: set[str] = set()

    def lines(
        self, lines: Sequence[Floats], colour: str, metres: float, *, alpha: float = 1.0, style: str = "-"
    ) -> None:
        """Draw polylines; `style` is matplotlib's."""
        width = max(metres * self._scale, _THINNEST if style == "-" else _THINNEST_DOTTED)
        shifted = [line[:, :2] - self.origin for line in lines]
        self.axis.add_collection(
            LineCollection(
                shifted, colors=colour, linewidths=width, alpha=alpha, linestyles=style, zorder=self._next()
            ),
            autolim=False,
        )

    def areas(self, areas: Sequence[Floats], colour: str, *, alpha: float = 1.0, outline: str | None = None) -> None:
        """Fill polygons."""
        patches = [Polygon(area[:, :2] - self.origin) for area in areas]
        edge = outline or "none"
        self.axis.add_collection(
            PatchCollection(patches, facecolor=colour, edgecolor=edge, linewidth=0.7, alpha=alpha, zorder=self._next()),
            autolim=False,
        )

    def dots(self, places: Floats, colour: str, size: float, *, alpha: float = 1.0) -> None:
        """Draw dots at places [N, ≥2] (m); `size` in points."""
        x, y = (places[:, :2] - self.origin).T
        self.axis.scatter(x, y, s=size**2, color=colour, alpha=alpha, linewidths=0, zorder=self._next())

    def _next(self) -> int:
        self._layer += 1
        return self._layer


def scene_figure(scenario: Scenario, window: Extent, title: str) -> tuple[Figure, AxesCanvas]:
    """A square picture of a scene with nothing on it but the road map and a heading."""
    figure = new_figure(8.0, 8.8)
    canvas = AxesCanvas(figure, window, scenario.origin)
    canvas.axis.set_title(title, fontsize=10, wrap=True)
    canvas.road = draw_map(canvas, scenario, centres=True)
    return figure, canvas


def explain(
    canvas: AxesCanvas, entries: Sequence[tuple[str, str, str]], scenario: Scenario, others: Sequence[int], step: int
) -> None:
    """Write a legend under a picture: of its own lines, of everybody else's boxes, and of the road map in sight.

    Args:
        canvas: The picture.
        entries: Label, colour and line style of what is its own.
        scenario: The scene.
        others: Agents, besides ego and opponent, whose boxes are drawn.
        step: Step whose boxes are drawn.
    """
    seen = canvas.window.holds(scenario.position[others, step])
    kinds = sorted({Kind(int(scenario.kinds[agent])) for agent, here in zip(others, seen, strict=True) if here})
    boxes = {_KINDS.get(kind, "other object"): LIGHT.of_kind(kind) for kind in kinds}
    lines = [*entries, *((*item, "-") for layer, item in _ROAD.items() if layer in canvas.road)]
    ground = [item for layer, item in _GROUND.items() if layer in canvas.road]
    legend_below(
        canvas.axis,
        [
            *(Line2D([], [], color=colour, ls=style, lw=2.5, label=label) for label, colour, style in lines),
            *(Patch(color=colour, label=label) for label, colour in [*boxes.items(), *ground]),
        ],
    )

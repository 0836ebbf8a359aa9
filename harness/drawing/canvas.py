"""What a scene is drawn on: a window on the world, and one way to draw lines, boxes and roads, in pixels or on axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from harness.drawing.palette import LIGHT, blend
from harness.geometry import box_corners
from scenarios.scenario import Kind, MapFeature, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MARGIN: Final = 10.0
"""Road shown around what a picture is about, m."""
SMALLEST: Final = 50.0
"""Side of the smallest square that is shown, m."""
LAYERS: Final = {
    "lane": (LIGHT.lane, 3.5),
    "bike": (LIGHT.bike, 1.2),
    "line": (LIGHT.mark, 0.15),
    "median": (LIGHT.median, 0.25),
    "edge": (LIGHT.edge, 0.25),
}
"""Lines of the road map from the lowest to the highest: colour and width, m. Areas lie between lanes and lines."""
_NOTCH: Final = np.array([[0.42, 0.0], [0.18, 0.3], [0.18, -0.3]])
"""Triangle that shows where the front of a box is, in lengths and widths of the box."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A part of the world.

    Attributes:
        centre: [2] its middle, m.
        half: [2] half its extent, m.
    """

    centre: Floats
    half: Floats

    @classmethod
    def around(cls, points: Floats, smallest: float = SMALLEST) -> Extent:
        """The square that shows points [N, ≥2] (m, NaN is passed over) with `MARGIN`, at least `smallest` m wide."""
        low, high = np.nanmin(points[:, :2], 0), np.nanmax(points[:, :2], 0)
        half = max(float((high - low).max()) / 2 + MARGIN, smallest / 2)
        return cls((low + high) / 2, np.array([half, half]))

    def shows(self, feature: MapFeature) -> bool:
        """Whether a part of a feature may be in sight."""
        points = np.asarray(feature.points)[:, :2]
        reach = self.half + LAYERS["lane"][1]
        return bool((points.max(0) > self.centre - reach).all() and (points.min(0) < self.centre + reach).all())

    def holds(self, points: Floats) -> Bools:
        """Which points [N, ≥2] (m) are in sight; [N]."""
        return np.asarray((np.abs(points[:, :2] - self.centre) < self.half).all(-1))


class Canvas(Protocol):
    """Where a scene is drawn; later strokes cover earlier ones."""

    window: Extent

    def lines(self, lines: Sequence[Floats], colour: str, metres: float, *, alpha: float = 1.0) -> None:
        """Draw polylines [N, ≥2] (m) of a width in metres, never thinner than can be seen."""
        ...

    def areas(self, areas: Sequence[Floats], colour: str, *, alpha: float = 1.0, outline: str | None = None) -> None:
        """Fill polygons [N, ≥2] (m)."""
        ...


class PixelCanvas:
    """A picture of a window; y points up. Strokes with `alpha` are mixed with the colour of the road."""

    def __init__(self, window: Extent, scale: float) -> None:
        """Make an empty picture with `scale` pixels per metre."""
        width, height = np.maximum(np.round(2 * window.half * scale), 1).astype(int).tolist()
        self.window, self.scale = window, scale
        self.image = Image.new("RGB", (width, height), LIGHT.ground)
        self._pen = ImageDraw.Draw(self.image)

    def pixels(self, points: Floats) -> list[tuple[float, float]]:
        """Picture coordinates of world points [N, ≥2]."""
        left, top = self.window.centre[0] - self.window.half[0], self.window.centre[1] + self.window.half[1]
        places = np.asarray(points, dtype=np.float64)
        return list(
            zip(
                ((places[:, 0] - left) * self.scale).tolist(), ((top - places[:, 1]) * self.scale).tolist(), strict=True
            )
        )

    def lines(self, lines: Sequence[Floats], colour: str, metres: float, *, alpha: float = 1.0) -> None:
        """Draw polylines, at least a pixel wide."""
        fill, width = blend(colour, LIGHT.lane, alpha), max(1, round(metres * self.scale))
        for line in lines:
            if len(line) > 1:
                self._pen.line(self.pixels(line), fill=fill, width=width, joint="curve")

    def areas(self, areas: Sequence[Floats], colour: str, *, alpha: float = 1.0, outline: str | None = None) -> None:
        """Fill polygons."""
        for area in areas:
            self._pen.polygon(self.pixels(area), fill=blend(colour, LIGHT.lane, alpha), outline=outline)

    def part(self, window: Extent) -> PixelCanvas:
        """A copy of what a window inside this one shows, to draw on."""
        found = PixelCanvas(window, self.scale)
        corner = window.centre + window.half * (-1, 1)
        left, top = (round(value) for value in self.pixels(corner[None])[0])
        found.image = self.image.crop((left, top, left + found.image.width, top + found.image.height))
        found._pen = ImageDraw.Draw(found.image)
        return found


def layer_of(feature: MapFeature) -> str | None:
    """Layer of the road map that a feature belongs to: one of `LAYERS`, `area`, or None where it is not drawn."""
    if feature.is_road_edge:
        return "median" if "MEDIAN" in feature.type else "edge"
    if feature.closed:
        return "area"
    if feature.is_lane:
        return "lane" if feature.is_vehicle_lane else "bike"
    return "line" if "LINE" in feature.type else None


def draw_map(canvas: Canvas, scenario: Scenario, *, centres: bool = False) -> set[str]:
    """Draw the road map: lanes as strips, areas, painted lines, road edges; and lanes' centre lines where wanted.

    Returns:
        Layers (see `layer_of`) of which something is in sight.
    """
    found: dict[str, list[Floats]] = {name: [] for name in (*LAYERS, "area")}
    for feature in scenario.features:
        layer = layer_of(feature)
        if layer is not None and len(feature.points) > 1 and canvas.window.shows(feature):
            found[layer].append(np.asarray(feature.points, dtype=np.float64)[:, :2])
    for name, (colour, metres) in LAYERS.items():
        canvas.lines(found[name], colour, metres)
        if name == "bike":
            canvas.areas([area for area in found["area"] if len(area) > 2], LIGHT.area)
            canvas.lines(found["lane"] if centres else [], LIGHT.lane_centre, 0.1)
    return {name for name, lines in found.items() if lines}


def draw_box(canvas: Canvas, pose: Floats, size: tuple[float, float] | Floats, colour: str, alpha: float = 1.0) -> None:
    """Draw a box with a notch at its front.

    Args:
        canvas: Where.
        pose: [≥3] x, y (m) and heading (rad) first.
        size: Length and width, m.
        colour: `#rrggbb`.
        alpha: 1 hides what is under it.
    """
    canvas.areas([box_corners(pose[:3], np.asarray(size))], colour, alpha=alpha, outline=LIGHT.halo)
    along = np.array([[np.cos(pose[2]), np.sin(pose[2])], [-np.sin(pose[2]), np.cos(pose[2])]])
    canvas.areas([pose[:2] + (_NOTCH * np.asarray(size)) @ along], LIGHT.halo, alpha=0.8)


def pieces(points: Floats, valid: Bools) -> list[Floats]:
    """The parts of a track [T, ≥2] between its gaps, where `valid` [T] is false: no line bridges a gap."""
    rows = np.flatnonzero(valid)
    return [points[part, :2] for part in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(part) > 1]


def colour_of(scenario: Scenario, agent: int) -> str:
    """Colour of an agent: the ego's, the opponent's, or that of its kind."""
    if agent == scenario.ego:
        return LIGHT.ego
    return LIGHT.opponent if agent == scenario.opponent else LIGHT.of_kind(Kind(int(scenario.kinds[agent])))

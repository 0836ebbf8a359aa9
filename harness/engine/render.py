"""Pictures from above, drawn with numpy and Pillow: no window, no assets."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from harness.geometry import box_corners
from harness.interfaces import AttackPlan, EgoView
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]

_BACKGROUND: Final = (250, 250, 248)
_ROAD: Final = (225, 226, 230)
_EDGE: Final = (60, 60, 66)
_LINE: Final = (170, 172, 180)
_ROUTE: Final = (120, 190, 120)
_EGO: Final = (34, 139, 84)
_OPPONENT: Final = (200, 40, 50)
_OTHER: Final = (70, 110, 190)
_PLAN: Final = (235, 130, 120)


def draw_scene(
    scenario: Scenario,
    view: EgoView,
    plan: AttackPlan | None = None,
    opponent: Floats | None = None,
    *,
    size: tuple[int, int] = (480, 480),
    metres: float = 100.0,
) -> NDArray[np.uint8]:
    """The scene around the ego, north up.

    Args:
        scenario: For the map.
        view: Who is where.
        plan: Drawn as a line where given.
        opponent: State [STATE] of the opponent, drawn in red where given.
        size: Height and width of the picture, pixels.
        metres: Side of the square that is shown, m.

    Returns:
        [H, W, 3] uint8.
    """
    height, width = size
    scale = min(size) / metres
    canvas = Image.new("RGB", (width, height), _BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    centre = view.ego[:2]

    def pixels(points: Floats) -> list[tuple[float, float]]:
        moved = (np.asarray(points, dtype=np.float64)[..., :2] - centre) * scale
        return list(zip(width / 2 + moved[:, 0], height / 2 - moved[:, 1], strict=True))

    _draw_map(pen, scenario, centre, metres, scale, pixels)
    pen.line(pixels(view.route), fill=_ROUTE, width=max(1, int(scale / 2)))
    if plan is not None and plan.valid.any():
        rows = np.flatnonzero(plan.valid)
        pen.line(pixels(plan.states[rows, :2]), fill=_PLAN, width=max(1, int(scale / 2)))
    for corners in box_corners(view.agents[:, :3], view.agent_sizes):
        pen.polygon(pixels(corners), fill=_OTHER)
    if opponent is not None and len(view.agents):
        nearest = int(np.argmin(np.hypot(*(view.agents[:, :2] - opponent[:2]).T)))
        pen.polygon(pixels(box_corners(view.agents[nearest, :3], view.agent_sizes[nearest])), fill=_OPPONENT)
    pen.polygon(pixels(box_corners(view.ego[:3], np.array(view.ego_size))), fill=_EGO)
    return np.asarray(canvas, dtype=np.uint8).copy()


def _draw_map(
    pen: ImageDraw.ImageDraw, scenario: Scenario, centre: Floats, metres: float, scale: float, pixels: object
) -> None:
    """Lanes as wide grey strips, then lines and edges, skipping what is out of the picture."""
    assert callable(pixels), "pixels maps points to the canvas"
    near = [
        feature
        for feature in scenario.features
        if len(feature.points) > 1 and np.abs(feature.points[:, :2] - centre).max(axis=1).min() < metres
    ]
    for feature in near:
        if feature.is_vehicle_lane:
            pen.line(pixels(feature.points), fill=_ROAD, width=max(1, int(3.6 * scale)), joint="curve")
    for feature in near:
        if feature.is_road_edge:
            pen.line(pixels(feature.points), fill=_EDGE, width=2)
        elif feature.type.startswith("ROAD_LINE"):
            pen.line(pixels(feature.points), fill=_LINE, width=1)

"""The present moment of an environment from above, drawn with numpy and Pillow: no window, no assets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.drawing.canvas import Extent, Floats, PixelCanvas, draw_box, draw_map, pieces
from harness.drawing.palette import LIGHT
from harness.interfaces import AttackPlan, EgoView
from scenarios.scenario import Scenario


def draw_view(
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
        opponent: State [STATE] of the opponent, whose box has its colour where given.
        size: Height and width of the picture, pixels.
        metres: Side of the square that is shown, m.

    Returns:
        [H, W, 3] uint8.
    """
    scale = min(size) / metres
    canvas = PixelCanvas(Extent(view.ego[:2], np.array([size[1], size[0]]) / (2 * scale)), scale)
    draw_map(canvas, scenario)
    canvas.lines([view.route], LIGHT.ego, 0.5, alpha=0.4)
    if plan is not None:
        canvas.lines(pieces(plan.states, plan.valid), LIGHT.opponent, 0.5, alpha=0.75)
    for pose, box in zip(view.agents, view.agent_sizes, strict=True):
        draw_box(canvas, pose, box, LIGHT.vehicle)
    if opponent is not None and len(view.agents):
        nearest = int(np.argmin(np.hypot(*(view.agents[:, :2] - opponent[:2]).T)))
        draw_box(canvas, view.agents[nearest], view.agent_sizes[nearest], LIGHT.opponent)
    draw_box(canvas, view.ego, view.ego_size, LIGHT.ego)
    return np.asarray(canvas.image, dtype=np.uint8).copy()

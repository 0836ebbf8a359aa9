"""A scene as a small picture: its road, everybody's track, the ego and its opponent."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from PIL import Image

from harness.drawing.canvas import Extent, PixelCanvas, colour_of, draw_box, draw_map, pieces
from scenarios.scenario import CURRENT_STEP, Scenario

SMOOTH: Final = 2
"""Drawn so many times larger, then scaled down: no jagged edges."""
COLOURS: Final = 128
"""Colours of a saved picture: few make a small file; with half as many the ego fades."""


def thumbnail(scenario: Scenario, pixels: int = 220) -> Image.Image:
    """Draw a scene on a square that shows all of the ego's and the opponent's tracks.

    Args:
        scenario: The scene; boxes stand where they are at the current step.
        pixels: Side of the picture.
    """
    main = [agent for agent in (scenario.opponent, scenario.ego) if agent is not None]
    window = Extent.around(np.concatenate([scenario.position[agent, scenario.valid[agent], :2] for agent in main]))
    canvas = PixelCanvas(window, pixels * SMOOTH / float(2 * window.half.max()))
    draw_map(canvas, scenario)
    step = min(CURRENT_STEP, scenario.num_steps - 1)
    agents = [agent for agent in range(scenario.num_agents) if agent not in main] + main
    for agent in agents:
        width, alpha = (0.6, 0.9) if agent in main else (0.3, 0.5)
        track = pieces(scenario.position[agent, :, :2], scenario.valid[agent])
        canvas.lines(track, colour_of(scenario, agent), width, alpha=alpha)
    for agent in agents:
        if scenario.valid[agent, step]:
            draw_box(canvas, scenario.states(agent)[step], scenario.box(agent), colour_of(scenario, agent))
    return canvas.image.resize((pixels, pixels), Image.Resampling.BILINEAR)


def as_png(picture: Image.Image) -> bytes:
    """The picture as a small PNG file."""
    buffer = io.BytesIO()
    picture.quantize(COLOURS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()

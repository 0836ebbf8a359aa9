"""A scene from above: lanes, road edges, everybody's track, the ego and its opponent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from harness.drawing.axes import AxesCanvas, explain, scene_figure
from harness.drawing.canvas import Extent, colour_of, draw_box, pieces
from harness.drawing.figure import save_figure
from harness.drawing.palette import LIGHT
from scenarios.scenario import CURRENT_STEP, Scenario


def draw_scenario(scenario: Scenario, path: Path | None = None, *, step: int = CURRENT_STEP, title: str = "") -> Figure:
    """Draw a scene: tracks over the whole log (dots: start), boxes at one step.

    Args:
        scenario: The scene.
        path: PNG file to write (beside, then renamed), or None to only return the figure.
        step: Step whose boxes are drawn.
        title: Heading; id, length and opponent by default.

    Raises:
        RunError: The picture cannot be written.
    """
    step = int(np.clip(step, 0, scenario.num_steps - 1))
    main = [agent for agent in (scenario.opponent, scenario.ego) if agent is not None]
    window = Extent.around(np.concatenate([scenario.position[agent, scenario.valid[agent], :2] for agent in main]))
    opponent = "none" if scenario.opponent is None else scenario.agent_ids[scenario.opponent]
    default = f"{scenario.id} · {scenario.num_steps} steps · {scenario.num_agents} agents · opponent {opponent}"
    figure, canvas = scene_figure(scenario, window, title or default)
    agents = [agent for agent in range(scenario.num_agents) if agent not in main] + main
    for agent in agents:
        _draw_track(canvas, scenario, agent, bold=agent in main)
    for agent in agents:
        if scenario.valid[agent, step]:
            draw_box(canvas, scenario.states(agent)[step], scenario.box(agent), colour_of(scenario, agent))
    entries = [(f"ego (boxes: step {step})", LIGHT.ego, "-")]
    entries += [("opponent", LIGHT.opponent, "-")] if scenario.opponent is not None else []
    others = [agent for agent in agents if agent not in main and scenario.valid[agent, step]]
    explain(canvas, entries, scenario, others, step)
    if path is not None:
        save_figure(figure, Path(path))
    return figure


def _draw_track(canvas: AxesCanvas, scenario: Scenario, agent: int, *, bold: bool) -> None:
    rows = np.flatnonzero(scenario.valid[agent])
    if len(rows) == 0:
        return
    colour, places = colour_of(scenario, agent), scenario.position[agent, :, :2]
    metres, alpha = (0.35, 0.9) if bold else (0.16, 0.6)
    canvas.lines(pieces(places, scenario.valid[agent]), colour, metres, alpha=alpha)
    canvas.dots(places[rows[:1]], colour, 5.0 if bold else 3.0)

"""A fan of roll-outs over the map: where a traffic model thinks that everybody may go."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from harness.drawing.axes import AxesCanvas, explain, scene_figure
from harness.drawing.canvas import Extent, colour_of, draw_box, pieces
from harness.drawing.figure import save_figure
from harness.drawing.palette import LIGHT
from harness.traffic.rollouts import SimulatedScene
from harness.traffic.slots import as_played
from scenarios.scenario import CURRENT_STEP, Scenario

SIDE: Final = 120.0
"""Side of the smallest picture, m."""
_MOVED: Final = 1.0
"""Who moves less than this in every roll-out (m) gets a box, no fan."""


def draw_fan(scenario: Scenario, simulated: SimulatedScene, path: Path | None = None, *, title: str = "") -> Figure:
    """Draw every agent's box at step 10, its paths in all roll-outs, and the logged future (dark, dotted).

    Args:
        scenario: The scene.
        simulated: Roll-outs of the scene.
        path: PNG file to write (beside, then renamed), or None.
        title: Heading.

    Raises:
        RunError: The picture cannot be written.
    """
    whole_title = title or f"{scenario.id}: {simulated.rollouts} roll-outs"
    figure, canvas = scene_figure(scenario, _window(scenario, simulated), whole_title)
    agents = simulated.agents.tolist()
    if simulated.valid is not None:
        _draw_comings(canvas, scenario, simulated, simulated.valid)
        agents = np.flatnonzero(scenario.valid[:, CURRENT_STEP]).tolist()
    # The ego's fan lies over the others'.
    rows = range(len(agents)) if simulated.valid is None else range(0)
    for row in sorted(rows, key=lambda row: agents[row] == scenario.ego):
        _draw_paths(canvas, scenario, agents[row], simulated.states[:, row, :, :2])
    for agent in agents:
        logged, valid = scenario.position[agent, CURRENT_STEP:, :2], scenario.valid[agent, CURRENT_STEP:]
        canvas.lines(pieces(logged, valid), LIGHT.log, 0.22, style=":")
    for agent in agents:
        draw_box(canvas, scenario.states(agent)[CURRENT_STEP], scenario.box(agent), colour_of(scenario, agent))
    seconds = simulated.steps * scenario.dt
    entries = [("ego", LIGHT.ego, "-")]
    entries += [("opponent", LIGHT.opponent, "-")] if scenario.opponent in agents else []
    entries += [(f"roll-outs, {seconds:.1f} s", LIGHT.vehicle, "-"), ("what was recorded", LIGHT.log, ":")]
    others = [agent for agent in agents if agent not in (scenario.ego, scenario.opponent)]
    explain(canvas, entries, scenario, others, CURRENT_STEP)
    if path is not None:
        save_figure(figure, Path(path))
    return figure


def _draw_paths(canvas: AxesCanvas, scenario: Scenario, agent: int, paths: np.ndarray) -> None:
    """An agent's paths [R, T, 2] (m) and where they end, where it moves at all."""
    start = scenario.position[agent, CURRENT_STEP, :2]
    if np.hypot(*(paths - start).reshape(-1, 2).T).max() <= _MOVED:
        return
    alpha = max(0.08, min(0.8, 3.0 / len(paths)))
    whole = np.concatenate([np.broadcast_to(start, (len(paths), 1, 2)), paths], 1)
    canvas.lines(list(whole), colour_of(scenario, agent), 0.3, alpha=alpha)
    canvas.dots(paths[:, -1], colour_of(scenario, agent), 2.6, alpha=min(1.0, 2 * alpha))


def _draw_comings(canvas: AxesCanvas, scenario: Scenario, simulated: SimulatedScene, valid: np.ndarray) -> None:
    """Everybody's path as long as they were there, the ego's over the others'; those who entered in lighter lines."""
    alpha = max(0.08, min(0.8, 3.0 / simulated.rollouts))
    for rollout in range(simulated.rollouts):
        played = as_played(scenario, simulated.newcomers_in(rollout))
        rows = np.flatnonzero(valid[rollout].any(1))
        for row in sorted(rows.tolist(), key=lambda row: row == scenario.ego):
            faint = 1.0 if row < scenario.num_agents else 0.6
            line = pieces(simulated.states[rollout, row, :, :2], valid[rollout, row])
            canvas.lines(line, colour_of(played, row), 0.3, alpha=alpha * faint)


def _window(scenario: Scenario, simulated: SimulatedScene) -> Extent:
    """The ego's whole fan is in the picture."""
    start = scenario.position[scenario.ego, CURRENT_STEP, :2]
    ego = simulated.agents == scenario.ego
    fan = simulated.states[:, ego, :, :2].reshape(-1, 2)
    if simulated.valid is not None:
        fan = fan[simulated.valid[:, ego].reshape(-1)]
    return Extent.around(np.concatenate([start[None], fan]), SIDE)

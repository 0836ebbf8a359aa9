"""A fan of roll-outs over the map: where a traffic model thinks that everybody may go."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from numpy.typing import NDArray

from harness.drawing.scenes import EGO, colour_of, draw_map, save_figure
from harness.geometry import box_corners
from harness.traffic.rollouts import SimulatedScene
from scenarios.scenario import CURRENT_STEP, Scenario

REACH: Final = 60.0
"""Half side of the picture at least, m, around the ego at step 10."""
_MOVED: Final = 1.0
"""Who moves less than this in every roll-out (m) gets a box, no fan."""


def draw_fan(scenario: Scenario, simulated: SimulatedScene, path: Path | None = None, *, title: str = "") -> Figure:
    """Draw every agent's box at step 10, its paths in all roll-outs, and the logged future (black, dotted).

    Args:
        scenario: The scene.
        simulated: Its roll-outs.
        path: PNG file to write (beside, then renamed), or None.
        title: Heading.
    """
    figure = Figure(figsize=(8.0, 8.0), dpi=110)
    axes = figure.add_subplot()
    centre = scenario.position[scenario.ego, CURRENT_STEP, :2]
    draw_map(axes, scenario, centre)
    alpha = max(0.08, min(0.8, 3.0 / simulated.rollouts))
    for row, agent in enumerate(simulated.agents.tolist()):
        paths = simulated.states[:, row, :, :2] - centre
        start = scenario.position[agent, CURRENT_STEP, :2] - centre
        colour, layer = colour_of(scenario, agent), 4 if agent == scenario.ego else 3
        if np.hypot(*(paths - start).reshape(-1, 2).T).max() > _MOVED:
            whole = np.concatenate([np.broadcast_to(start, (len(paths), 1, 2)), paths], 1)
            axes.add_collection(LineCollection(list(whole), colors=colour, linewidths=1.3, alpha=alpha, zorder=layer))
            ends = paths[:, -1]
            axes.scatter(ends[:, 0], ends[:, 1], s=7, color=colour, alpha=min(1.0, 2 * alpha), zorder=layer)
        logged = scenario.position[agent, CURRENT_STEP:, :2] - centre
        logged = np.where(scenario.valid[agent, CURRENT_STEP:, None], logged, np.nan)
        axes.plot(logged[:, 0], logged[:, 1], ":", color="black", linewidth=0.8, zorder=layer + 1)
        _box(axes, start, float(scenario.heading[agent, CURRENT_STEP]), scenario.box(agent), colour)
    half = _half_side(scenario, simulated, centre)
    axes.set_xlim(-half, half)
    axes.set_ylim(-half, half)
    axes.set_aspect("equal")
    axes.set_title(title or f"{scenario.id}: {simulated.rollouts} roll-outs", fontsize=10)
    axes.set_xlabel(f"m east of ({centre[0]:.0f}, {centre[1]:.0f})")
    axes.set_ylabel("m north")
    entries = [
        Line2D([], [], color=EGO, linewidth=3, label="ego"),
        Line2D([], [], color="#7f7f7f", linewidth=2, label=f"roll-outs, {simulated.steps * scenario.dt:.1f} s"),
        Line2D([], [], color="black", linestyle=":", label="what was recorded"),
    ]
    axes.legend(handles=entries, loc="upper right", fontsize=7, framealpha=0.8)
    figure.tight_layout()
    if path is not None:
        save_figure(figure, Path(path))
    return figure


def _box(axes: Axes, place: NDArray[np.float64], heading: float, size: tuple[float, float], colour: str) -> None:
    corners = box_corners(np.array([*place, heading]), np.array(size))
    axes.add_patch(Polygon(corners, facecolor=colour, edgecolor="black", linewidth=0.6, zorder=6))


def _half_side(scenario: Scenario, simulated: SimulatedScene, centre: NDArray[np.float64]) -> float:
    """The ego's whole fan is in the picture."""
    row = np.flatnonzero(simulated.agents == scenario.ego)
    if len(row) == 0:
        return REACH
    fan = np.abs(simulated.states[:, row[0], :, :2] - centre)
    return max(REACH, float(fan.max()) + 15.0)

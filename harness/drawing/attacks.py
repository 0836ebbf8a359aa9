"""A picture of one attack: road, ego, candidates (faint), the plan (bold) and the boxes at the first contact."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy.typing import NDArray

from harness.errors import AdversaryError
from harness.files import write_atomically
from harness.geometry import box_corners
from harness.interfaces import AttackPlan, Trajectory
from scenarios.scenario import CURRENT_STEP, Scenario

EGO: Final = "#1f77b4"
OPPONENT: Final = "#d62728"
OTHER: Final = "#9a9a9a"
MARGIN: Final = 15.0
"""Road shown around the two trajectories, m."""


def draw_attack(
    scenario: Scenario,
    plan: AttackPlan | None,
    ego: Trajectory,
    path: Path,
    *,
    contact_step: int = -1,
    title: str = "",
) -> Path:
    """Draw one attack to a PNG file (written beside, then renamed).

    Args:
        scenario: The scene; its opponent is drawn.
        plan: The attack, or None for the logged opponent.
        ego: What the ego does.
        path: Where to write.
        contact_step: Step whose boxes are drawn, or -1 for the last common step.
        title: Heading of the picture.

    Raises:
        AdversaryError: The scene has no opponent.
    """
    if scenario.opponent is None:
        raise AdversaryError(f"scenario {scenario.id}: no opponent, so there is no attack to draw.")
    own = Trajectory(scenario.states(scenario.opponent), scenario.valid[scenario.opponent])
    attack = own if plan is None else Trajectory(plan.states, plan.valid)
    figure = Figure(figsize=(7, 7), dpi=110)
    axes = figure.add_subplot()
    _draw_map(axes, scenario)
    if plan is not None and plan.candidates is not None:
        shown = plan.candidates[:, CURRENT_STEP : int(np.flatnonzero(plan.valid)[-1]) + 1, :2]
        axes.add_collection(LineCollection(list(shown), colors=OPPONENT, linewidths=0.8, alpha=0.25))
    _draw_path(axes, own, OPPONENT, "opponent, logged", linestyle=":", linewidth=1.4)
    _draw_path(axes, ego, EGO, "ego", linewidth=2.4)
    _draw_path(axes, attack, OPPONENT, "opponent, attack", linewidth=2.4)
    step = contact_step if contact_step >= 0 else int(np.flatnonzero(ego.valid & attack.valid)[-1])
    for agent in np.flatnonzero(scenario.valid[:, step]).tolist():
        if agent not in (scenario.ego, scenario.opponent):
            _draw_box(axes, scenario.states(agent)[step], scenario.box(agent), OTHER, 0.6)
    _draw_box(axes, ego.states[step], scenario.box(scenario.ego), EGO, 0.8)
    _draw_box(axes, attack.states[step], scenario.box(scenario.opponent), OPPONENT, 0.8)
    _frame(axes, ego, attack)
    when = f"contact at step {contact_step}" if contact_step >= 0 else "no contact"
    axes.set_title(f"{title or scenario.id}: {when}", fontsize=10)
    axes.legend(loc="upper right", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda beside: FigureCanvasAgg(figure).print_png(str(beside)))
    return path


def _draw_map(axes: Axes, scenario: Scenario) -> None:
    lanes = [f.points[:, :2] for f in scenario.features if f.is_lane and len(f.points) > 1]
    edges = [f.points[:, :2] for f in scenario.features if f.is_road_edge and len(f.points) > 1]
    axes.add_collection(LineCollection(lanes, colors="#dddddd", linewidths=0.8, linestyles="--"))
    axes.add_collection(LineCollection(edges, colors="#444444", linewidths=1.2))


def _draw_path(axes: Axes, track: Trajectory, colour: str, label: str, **style: Any) -> None:
    points = np.where(track.valid[:, None], track.states[:, :2], np.nan)
    axes.plot(points[:, 0], points[:, 1], color=colour, label=label, **style)


def _draw_box(axes: Axes, state: NDArray[np.float64], size: tuple[float, float], colour: str, alpha: float) -> None:
    axes.add_patch(Polygon(box_corners(state[:3], np.array(size)), closed=True, facecolor=colour, alpha=alpha, ec="k"))


def _frame(axes: Axes, *tracks: Trajectory) -> None:
    points = np.concatenate([track.states[track.valid, :2] for track in tracks])
    centre = (points.min(0) + points.max(0)) / 2
    half = (points.max(0) - points.min(0)).max() / 2 + MARGIN
    axes.set_xlim(centre[0] - half, centre[0] + half)
    axes.set_ylim(centre[1] - half, centre[1] + half)
    axes.set_aspect("equal")
    axes.ticklabel_format(useOffset=False)
    axes.set_xlabel("x (m)")
    axes.set_ylabel("y (m)")

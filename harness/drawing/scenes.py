"""A scene from above: lanes, road edges, everybody's track, the ego and its opponent."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from numpy.typing import NDArray

from harness.errors import RunError
from harness.files import write_atomically
from harness.geometry import box_corners
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

EGO: Final = "#1f77b4"
OPPONENT: Final = "#d62728"
OTHERS: Final = {
    Kind.VEHICLE: "#7f7f7f",
    Kind.PEDESTRIAN: "#2ca02c",
    Kind.CYCLIST: "#17a267",
    Kind.CONE: "#ff7f0e",
    Kind.BARRIER: "#ff7f0e",
    Kind.OTHER: "#bcbd22",
}
MARGIN: Final = 25.0
"""Road shown around the tracks of ego and opponent, m."""
SMALLEST: Final = 60.0
"""Smallest extent of a picture, m."""


def draw_scenario(scenario: Scenario, path: Path | None = None, *, step: int = CURRENT_STEP, title: str = "") -> Figure:
    """Draw a scene: tracks over the whole log (dots: start), boxes at one step.

    Args:
        scenario: The scene.
        path: PNG file to write (beside, then renamed), or None to only return the figure.
        step: Step whose boxes are drawn; the colour of a track fades with time.
        title: Heading; id, length and opponent by default.

    Returns:
        The figure.
    """
    step = int(np.clip(step, 0, scenario.num_steps - 1))
    figure = Figure(figsize=(8.0, 8.0), dpi=110)
    axes = figure.add_subplot()
    origin = scenario.origin
    draw_map(axes, scenario, origin)
    order = [agent for agent in range(scenario.num_agents) if agent not in (scenario.ego, scenario.opponent)]
    order += [agent for agent in (scenario.opponent, scenario.ego) if agent is not None]
    for agent in order:
        _draw_agent(axes, scenario, agent, step, origin)
    _frame(axes, scenario, origin)
    opponent = "none" if scenario.opponent is None else scenario.agent_ids[scenario.opponent]
    default = f"{scenario.id} · {scenario.num_steps} steps · {scenario.num_agents} agents · opponent {opponent}"
    axes.set_title(title or default, fontsize=10)
    axes.set_xlabel(f"m east of ({origin[0]:.0f}, {origin[1]:.0f})")
    axes.set_ylabel("m north")
    _legend(axes, scenario, step)
    figure.tight_layout()
    if path is not None:
        save_figure(figure, Path(path))
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a PNG file (beside, then renamed).

    Raises:
        RunError: It cannot be written.
    """

    def write(beside: Path) -> None:
        FigureCanvasAgg(figure).print_png(str(beside))

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {path.parent}: {error.strerror}. Choose another folder.") from error
    write_atomically(path, write)


def draw_map(axes: Axes, scenario: Scenario, origin: NDArray[np.float64]) -> None:
    """Draw the road map, shifted by `origin` [2] (m), thinly, under everything else."""
    styles: dict[str, tuple[list[NDArray], str, float, str]] = {
        "lane": ([], "#c8d3e6", 1.0, "-"),
        "bike": ([], "#cfe8cf", 0.8, "-"),
        "line": ([], "#d9c27a", 0.7, "--"),
        "median": ([], "#a06020", 1.4, "-"),
        "edge": ([], "#303030", 1.4, "-"),
    }
    areas: list[Polygon] = []
    for feature in scenario.features:
        points = np.asarray(feature.points[:, :2], dtype=np.float64) - origin
        if feature.closed and not feature.is_road_edge:
            if len(points) > 2:
                areas.append(Polygon(points))
            continue
        if len(points) < 2:
            continue
        if feature.is_lane:
            kind = "lane" if feature.is_vehicle_lane else "bike"
        elif feature.is_road_edge:
            kind = "median" if "MEDIAN" in feature.type else "edge"
        elif feature.type.startswith("ROAD_LINE"):
            kind = "line"
        else:
            continue
        styles[kind][0].append(points)
    axes.add_collection(PatchCollection(areas, facecolor="#eeeeee", edgecolor="#dddddd", zorder=0))
    for lines, colour, width, dash in styles.values():
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=width, linestyles=dash, zorder=1))


def colour_of(scenario: Scenario, agent: int) -> str:
    """Colour of an agent: blue ego, red opponent, others by kind."""
    if agent == scenario.ego:
        return EGO
    return OPPONENT if agent == scenario.opponent else OTHERS[Kind(int(scenario.kinds[agent]))]


def _draw_agent(axes: Axes, scenario: Scenario, agent: int, step: int, origin: NDArray[np.float64]) -> None:
    rows = np.flatnonzero(scenario.valid[agent])
    if len(rows) == 0:
        return
    main = agent in (scenario.ego, scenario.opponent)
    colour, layer = colour_of(scenario, agent), 4 if main else 2
    places = scenario.position[agent, :, :2] - origin
    # A gap in the track must not be bridged by a line.
    segments = [(places[i], places[i + 1]) for i in rows[:-1] if scenario.valid[agent, i + 1]]
    if segments:
        width, alpha = (2.2, 0.9) if main else (1.0, 0.6)
        lines = LineCollection(segments, colors=colour, linewidths=width, alpha=alpha, capstyle="butt", zorder=layer)
        axes.add_collection(lines)
    axes.plot(*places[rows[0]], ".", color=colour, markersize=5 if main else 3, zorder=layer)
    if scenario.valid[agent, step]:
        pose = np.array([*places[step], scenario.heading[agent, step]])
        length, width = scenario.box(agent)
        corners = box_corners(pose, np.array([length, width]))
        axes.add_patch(Polygon(corners, facecolor=colour, edgecolor="black", linewidth=0.6, zorder=layer + 1))
        nose = pose[:2] + 0.5 * length * np.array([np.cos(pose[2]), np.sin(pose[2])])
        axes.plot(*np.stack([pose[:2], nose]).T, color="white", linewidth=1.0, zorder=layer + 2)


def _frame(axes: Axes, scenario: Scenario, origin: NDArray[np.float64]) -> None:
    """Show what ego and opponent see, square and to scale."""
    shown = [agent for agent in (scenario.ego, scenario.opponent) if agent is not None]
    places = np.concatenate([scenario.position[agent, scenario.valid[agent], :2] for agent in shown]) - origin
    centre = (places.min(0) + places.max(0)) / 2
    half = max(float((places.max(0) - places.min(0)).max()) / 2 + MARGIN, SMALLEST / 2)
    axes.set_xlim(centre[0] - half, centre[0] + half)
    axes.set_ylim(centre[1] - half, centre[1] + half)
    axes.set_aspect("equal")


def _legend(axes: Axes, scenario: Scenario, step: int) -> None:
    entries = [
        Line2D([], [], color=EGO, linewidth=3, label=f"ego (box at step {step})"),
        Line2D([], [], color="#303030", label="road edge"),
        Line2D([], [], color="#c8d3e6", label="lane centre"),
    ]
    if scenario.opponent is not None:
        entries.insert(1, Line2D([], [], color=OPPONENT, linewidth=3, label="opponent"))
    axes.legend(handles=entries, loc="upper right", fontsize=7, framealpha=0.8)

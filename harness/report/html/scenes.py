"""What the page needs of a scene, stored once however many episodes were driven in it: map, sizes, logged tracks."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from harness.drawing.canvas import layer_of
from harness.report.html.encoding import pack, pack_track
from scenarios.scenario import Kind, MapFeature, Scenario

Floats = NDArray[np.float64]

MARGIN: Final = 120.0
"""Map shown around everything that ego and opponent did, m."""
DETAIL: Final = 0.08
"""Largest distance between a drawn line and the map's, m: less than a pixel at every useful zoom."""
LAYERS: Final = ("lane", "bike", "line", "edge", "median", "area")


class Frame(NamedTuple):
    """Part of the world that the page shows.

    Attributes:
        origin: [2] its (0, 0) in the scene's coordinates, m.
        half: [2] half its extent, m.
    """

    origin: Floats
    half: Floats

    def contains(self, points: Floats) -> NDArray[np.bool_]:
        """Whether points [..., ≥2] lie inside: [...]."""
        return np.asarray((np.abs(points[..., :2] - self.origin) <= self.half).all(-1))


def frame_of(points: Floats) -> Frame:
    """The frame around places [N, 2] where something of interest happened."""
    low, high = points.min(0), points.max(0)
    return Frame(np.round((low + high) / 2, 2), (high - low) / 2 + MARGIN)


def scene_block(scenario: Scenario, frame: Frame) -> dict[str, object]:
    """Everything about a scene that its episodes share, ready for JSON.

    Returns:
        `id`, `dt`, `steps`, `origin`, `ego` and `opponent` rows, `agents` (kind, size, logged track or None), `map`.
    """
    agents = []
    for agent in range(scenario.num_agents):
        states = scenario.states(agent)
        seen = scenario.valid[agent] & (frame.contains(states) | (agent in (scenario.ego, scenario.opponent)))
        length, width = scenario.box(agent)
        agents.append(
            {
                "id": scenario.agent_ids[agent],
                "kind": Kind(int(scenario.kinds[agent])).name.lower(),
                "size": [round(length, 2), round(width, 2)],
                "log": pack_track(states, seen, frame.origin),
            }
        )
    return {
        "id": scenario.id,
        "dt": scenario.dt,
        "steps": scenario.num_steps,
        "origin": np.round(frame.origin, 2).tolist(),
        "ego": scenario.ego,
        "opponent": scenario.opponent,
        "agents": agents,
        "map": map_layers(scenario, frame),
    }


def map_layers(scenario: Scenario, frame: Frame) -> dict[str, object]:
    """Lines of the map by layer: `n` points of each, `xy` packed; clipped to the frame and thinned."""
    layers: dict[str, list[Floats]] = {name: [] for name in LAYERS}
    for feature in scenario.features:
        layer = layer_of(feature)
        if layer is not None and len(feature.points) > 1:
            layers[layer] += _clipped(feature, frame)
    return {
        name: {"n": [len(line) for line in lines], "xy": pack(np.concatenate(lines))}
        for name, lines in layers.items()
        if lines
    }


def _clipped(feature: MapFeature, frame: Frame) -> list[Floats]:
    """The parts of a feature inside the frame, relative to its origin, with no more points than needed."""
    points = np.asarray(feature.points, dtype=np.float64)[:, :2] - frame.origin
    points = points[np.isfinite(points).all(-1)]
    area = feature.closed and not feature.is_road_edge
    if len(points) < (3 if area else 2):
        return []
    if area:
        inside = bool((np.abs(points) <= frame.half).all(-1).any())
        return [np.concatenate([points, points[:1]])] if inside else []
    if feature.closed:
        points = np.concatenate([points, points[:1]])
    line = shapely.clip_by_rect(shapely.linestrings(points), *(-frame.half), *frame.half)
    parts = shapely.get_parts(shapely.simplify(line, DETAIL))
    return [shapely.get_coordinates(part) for part in parts if part.geom_type == "LineString" and not part.is_empty]

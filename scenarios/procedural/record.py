"""Scenes as MetaDrive ScenarioDescription dictionaries, in the form that ScenarioNet gives WOMD's scenes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scenarios.procedural.config import ProceduralConfig
from scenarios.procedural.features import map_features
from scenarios.procedural.roads import RoadMap
from scenarios.procedural.windows import RecordedWindow, SimulatedMotion
from scenarios.scenario import CURRENT_STEP, DT
from scenarios.source_format import Description

DATASET: Final = "gauntlet-procedural"
VIEW: Final = 110.0
"""Agents that never come this near to the ego are left out, m."""
FEWEST_STEPS: Final = 5
"""Agents seen for less are left out."""


def describe(
    name: str,
    roads: RoadMap,
    motion: SimulatedMotion,
    window: RecordedWindow,
    config: ProceduralConfig,
    seed: int,
    road_speed: float,
    density: float,
) -> Description:
    """One scene.

    Args:
        name: Id of the scene.
        roads: The map.
        motion: The whole simulation.
        window: What to record.
        config: Generator options.
        seed: Simulation seed, for the record.
        road_speed: Desired speed on straight road, m/s.
        density: Vehicles per kilometre of lane at the start.

    Returns:
        A dictionary of builtins and numpy arrays only.
    """
    steps = slice(window.start, window.start + config.steps)
    agents = _agents(motion, window, steps)
    ids = {vehicle: str(100 + number) for number, vehicle in enumerate(agents)}
    tracks = {ids[v]: _track(ids[v], motion, v, steps, config.steps) for v in agents}
    ego, opponent = ids[window.ego], ids[window.opponent]
    separation = np.hypot(*(motion.position[window.ego, steps] - motion.position[window.opponent, steps]).T)
    features = map_features(roads, road_speed)
    summary = {key: _summary(key, track) for key, track in tracks.items()}
    metadata: Description = {
        "metadrive_processed": False,
        "coordinate": "metadrive",
        "dataset": DATASET,
        "scenario_id": name,
        "id": name,
        "source_file": name,
        "ts": (np.arange(config.steps) * DT).astype(np.float32),
        "track_length": config.steps,
        "current_time_index": CURRENT_STEP,
        "sdc_id": ego,
        "sdc_track_index": agents.index(window.ego),
        "objects_of_interest": [ego, opponent],
        "tracks_to_predict": {
            key: {"track_index": list(tracks).index(key), "track_id": key, "difficulty": 0, "object_type": "VEHICLE"}
            for key in (ego, opponent)
        },
        "object_summary": summary,
        "number_summary": _numbers(tracks, summary, features),
        "map_kind": roads.kind,
        "seed": seed,
        "generator": config.digest,
        "interaction": window.interaction,
        "interaction_step": window.step,
        "interaction_gap_s": float(window.gap),
        "smallest_distance_m": float(separation.min()),
        "speed_limit_ms": float(road_speed),
        "density_per_km": float(density),
    }
    return {
        "id": name,
        "version": f"gauntlet procedural {config.digest}",
        "length": config.steps,
        "tracks": tracks,
        "dynamic_map_states": {},
        "map_features": features,
        "metadata": metadata,
    }


def _agents(motion: SimulatedMotion, window: RecordedWindow, steps: slice) -> list[int]:
    """Vehicles to record: ego, opponent, then everybody who comes into view, in order of appearance."""
    seen = motion.present[:, steps].sum(1) >= FEWEST_STEPS
    offset = motion.position[:, steps] - motion.position[window.ego, steps][None]
    distance = np.where(motion.present[:, steps], np.hypot(offset[..., 0], offset[..., 1]), np.inf)
    others = np.flatnonzero(seen & (distance.min(1) < VIEW))
    return [window.ego, window.opponent] + [int(v) for v in others if v not in (window.ego, window.opponent)]


def _track(key: str, motion: SimulatedMotion, vehicle: int, steps: slice, count: int) -> Description:
    valid = motion.present[vehicle, steps].copy()
    # As in WOMD's files, rows at which the vehicle is not there are zero.
    mask = valid[:, None]
    position = np.concatenate([motion.position[vehicle, steps], np.zeros((count, 1))], -1) * mask
    heading = (motion.heading[vehicle, steps] + np.pi) % (2 * np.pi) - np.pi
    length, width, height = motion.size[vehicle]

    def constant(value: float) -> NDArray[np.float32]:
        return (np.full(count, value) * valid).astype(np.float32)

    return {
        "type": "VEHICLE",
        "state": {
            "position": position.astype(np.float32),
            "heading": (heading * valid).astype(np.float32),
            "velocity": (motion.velocity[vehicle, steps] * mask).astype(np.float32),
            "length": constant(length),
            "width": constant(width),
            "height": constant(height),
            "valid": valid,
        },
        "metadata": {"track_length": count, "type": "VEHICLE", "object_id": key, "dataset": DATASET},
    }


def _summary(key: str, track: Description) -> Description:
    """What ScenarioNet records of an object."""
    valid = track["state"]["valid"]
    path = track["state"]["position"][valid, :2].astype(np.float64)
    moved = float(np.hypot(*np.diff(path, axis=0).T).sum()) if len(path) > 1 else 0.0
    first = int(valid.argmax())
    gaps = np.flatnonzero(~valid[first:])
    return {
        "type": "VEHICLE",
        "object_id": key,
        "track_length": len(valid),
        "moving_distance": moved,
        "distance": moved,
        "valid_length": int(valid.sum()),
        "continuous_valid_length": int(gaps[0]) if len(gaps) else len(valid) - first,
    }


def _numbers(
    tracks: Mapping[str, Mapping[str, object]],
    summary: Mapping[str, Mapping[str, Any]],
    features: Mapping[str, Mapping[str, object]],
) -> Description:
    moving = sum(item["moving_distance"] > 1.0 for item in summary.values())
    return {
        "num_objects": len(tracks),
        "object_types": ["VEHICLE"],
        "num_objects_each_type": {"VEHICLE": len(tracks)},
        "num_moving_objects": moving,
        "num_moving_objects_each_type": {"VEHICLE": moving},
        "num_traffic_lights": 0,
        "num_traffic_light_types": [],
        "num_traffic_lights_each_step": {},
        "num_map_features": len(features),
        "map_height_diff": 0.0,
    }

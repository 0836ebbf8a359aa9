"""Importer of the Waymo Open Motion Dataset: `Scenario` protos in TFRecord files.

The result has the layout that ScenarioNet gives WOMD scenes (ids as strings, lights per lane over time), but keeps
what ScenarioNet rounds or drops: positions in double precision and invalid rows as the proto holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScenarioError, reading
from scenarios.bounds import refuse_excess
from scenarios.description import from_description
from scenarios.importers import tfrecord
from scenarios.importers.womd_schema import (
    EDGE_TYPES,
    LANE_TYPES,
    LIGHT_STATES,
    LINE_TYPES,
    OBJECT_TYPES,
    message,
)
from scenarios.scenario import Scenario
from scenarios.source_format import Description

MPH_TO_KMH: Final = 1.609344
VERSION: Final = "gauntlet import"


def load(path: str | Path, index: int = 0, place: tfrecord.RecordPlace | None = None) -> Scenario:
    """Scene `index` of a TFRecord file.

    Args:
        path: The file.
        index: Number of the record.
        place: Where the record lies, where that is known; else the file is searched from its beginning.

    Raises:
        ScenarioError: No such record, a damaged file, or a proto that is not a complete scene; one clear line.
    """
    if place is None:
        records = tfrecord.scan(path)
        if not 0 <= index < len(records):
            raise ScenarioError(f"{path}: there is no record {index}; the file holds {len(records)}.")
        place = records[index]
    return from_bytes(tfrecord.read(path, place), f"{path}: record {index}")


def from_bytes(data: bytes, source: str = "") -> Scenario:
    """Scene from the bytes of one `Scenario` proto.

    Raises:
        ScenarioError: It cannot be parsed, or something is missing.
    """
    with reading(source, "a WOMD `Scenario` proto"):
        return from_description(to_description(data, source), source)


def to_description(data: bytes, source: str = "") -> Description:
    """`ScenarioDescription` dictionary of one `Scenario` proto; errors as `from_bytes`."""
    proto = _parse("Scenario", data, source)
    steps = len(proto.timestamps_seconds)
    if not proto.scenario_id or steps == 0 or not proto.tracks:
        raise ScenarioError(
            f"{source}: a proto without scene id, time stamps or tracks (found id {proto.scenario_id!r}, {steps} "
            f"stamps, {len(proto.tracks)} tracks). Expected a WOMD `Scenario` proto."
        )
    if not 0 <= proto.sdc_track_index < len(proto.tracks):
        raise ScenarioError(
            f"{source}: sdc_track_index is {proto.sdc_track_index}, but there are {len(proto.tracks)} tracks."
        )
    # Empty messages take two bytes of a file, but hundreds in memory: counted before any is read.
    refuse_excess(source, len(proto.tracks), steps, len(proto.map_features))
    refuse_excess(source, max(len(proto.objects_of_interest), len(proto.tracks_to_predict)), 0)
    refuse_excess(source, 0, len(proto.dynamic_map_states))
    refuse_excess(source, 0, 0, 0, sum(map(_size, proto.map_features)))
    refuse_excess(source, max(map(len, _lane_states(proto)), default=0), len(proto.dynamic_map_states))
    tracks = {}
    for track in proto.tracks:
        if len(track.states) != steps:
            raise ScenarioError(f"{source}: track {track.id}: {len(track.states)} states for {steps} time stamps.")
        if str(track.id) in tracks:
            raise ScenarioError(f"{source}: track {track.id}: occurs twice.")
        tracks[str(track.id)] = _track(track, steps)
    features = {}
    for feature in proto.map_features:
        made = _feature(feature)
        if made is not None:
            if str(feature.id) in features:
                raise ScenarioError(f"{source}: map feature {feature.id}: occurs twice.")
            features[str(feature.id)] = made
    return {
        "id": proto.scenario_id,
        "version": VERSION,
        "length": steps,
        "metadata": _metadata(proto, source),
        "tracks": tracks,
        "dynamic_map_states": _lights(proto, steps),
        "map_features": features,
    }


def _parse(name: str, data: bytes, source: str) -> Any:
    from google.protobuf.message import DecodeError

    parsed = message(name)()
    try:
        parsed.ParseFromString(data)
    except (DecodeError, ValueError, RecursionError, MemoryError) as error:  # ValueError: text that is not UTF-8.
        raise ScenarioError(
            f"{source}: not a WOMD {name} proto: {error}. Expected WOMD protos in TFRecords."
        ) from error
    return parsed


def _track(track: Any, steps: int) -> Description:
    rows = np.array(
        [
            (
                state.center_x,
                state.center_y,
                state.center_z,
                state.length,
                state.width,
                state.height,
                state.heading,
                state.velocity_x,
                state.velocity_y,
                state.valid,
            )
            for state in track.states
        ],
        dtype=np.float64,
    )
    kind = _name(OBJECT_TYPES, track.object_type)
    single = rows[:, 3:9].astype(np.float32)  # As in the proto.
    return {
        "type": kind,
        "state": {
            "position": rows[:, :3].copy(),
            "length": single[:, 0].copy(),
            "width": single[:, 1].copy(),
            "height": single[:, 2].copy(),
            "heading": single[:, 3].copy(),
            "velocity": single[:, 4:6].copy(),
            "valid": rows[:, 9].astype(bool),
        },
        "metadata": {"track_length": steps, "type": kind, "object_id": str(track.id), "dataset": "waymo"},
    }


def _metadata(proto: Any, source: str) -> Description:
    predict = {}
    for entry in proto.tracks_to_predict:
        if not 0 <= entry.track_index < len(proto.tracks):
            raise ScenarioError(f"{source}: tracks_to_predict names track {entry.track_index} of {len(proto.tracks)}.")
        track = proto.tracks[entry.track_index]
        predict[str(track.id)] = {
            "track_index": int(entry.track_index),
            "track_id": str(track.id),
            "difficulty": int(entry.difficulty),
            "object_type": _name(OBJECT_TYPES, track.object_type),
        }
    return {
        "coordinate": "waymo",
        "ts": np.asarray(proto.timestamps_seconds, dtype=np.float64),
        "metadrive_processed": False,
        "sdc_id": str(proto.tracks[proto.sdc_track_index].id),
        "dataset": "waymo",
        "scenario_id": proto.scenario_id,
        "track_length": len(proto.timestamps_seconds),
        "current_time_index": int(proto.current_time_index),
        "sdc_track_index": int(proto.sdc_track_index),
        "objects_of_interest": [str(name) for name in proto.objects_of_interest],
        "tracks_to_predict": predict,
    }


def _lane_states(proto: Any) -> Iterable[Sequence[Any]]:
    return (moment.lane_states for moment in proto.dynamic_map_states)


def _size(feature: Any) -> int:
    """Number of points, neighbours, boundaries and related lanes of a map element."""
    lane = feature.lane
    parts = (lane.polyline, lane.entry_lanes, lane.exit_lanes, lane.left_boundaries, lane.right_boundaries)
    neighbours = (lane.left_neighbors, lane.right_neighbors)
    own = (feature.road_line.polyline, feature.road_edge.polyline, feature.stop_sign.lane)
    areas = (feature.crosswalk.polygon, feature.speed_bump.polygon, feature.driveway.polygon)
    beside = sum(len(neighbour.boundaries) for group in neighbours for neighbour in group)
    return beside + sum(map(len, (*parts, *neighbours, *own, *areas)))


def _lights(proto: Any, steps: int) -> Description:
    """Signal states per lane over time; None where the file says nothing about the lane at a step."""
    lights: Description = {}
    for step, moment in enumerate(proto.dynamic_map_states[:steps]):
        for signal in moment.lane_states:
            light = lights.get(str(signal.lane))
            point = np.array([signal.stop_point.x, signal.stop_point.y, signal.stop_point.z])
            if light is None:
                light = lights[str(signal.lane)] = {
                    "type": "TRAFFIC_LIGHT",
                    "state": {"object_state": [None] * steps},
                    "lane": int(signal.lane),
                    "stop_point": point,
                    "metadata": {
                        "track_length": steps,
                        "type": "TRAFFIC_LIGHT",
                        "object_id": str(signal.lane),
                        "dataset": "waymo",
                    },
                }
            light["state"]["object_state"][step] = _name(LIGHT_STATES, signal.state)
    return lights


def _feature(feature: Any) -> Description | None:
    """One map element in ScenarioNet's layout; None for kinds that this schema does not know."""
    if feature.HasField("lane"):
        return _lane(feature.lane)
    if feature.HasField("road_line"):
        return {"type": _name(LINE_TYPES, feature.road_line.type), "polyline": _points(feature.road_line.polyline)}
    if feature.HasField("road_edge"):
        kind = _name(EDGE_TYPES, feature.road_edge.type)
        # An edge of unknown type is an edge all the same.
        kind = "ROAD_EDGE_BOUNDARY" if kind == "UNKNOWN" else kind
        return {"type": kind, "polyline": _points(feature.road_edge.polyline)}
    if feature.HasField("stop_sign"):
        lanes = [str(lane) for lane in feature.stop_sign.lane]
        return {"type": "STOP_SIGN", "lane": lanes, "position": _points([feature.stop_sign.position])[0]}
    for field, kind in (("crosswalk", "CROSSWALK"), ("speed_bump", "SPEED_BUMP"), ("driveway", "DRIVEWAY")):
        if feature.HasField(field):
            return {"type": kind, "polygon": _points(getattr(feature, field).polygon)}
    return None


def _lane(lane: Any) -> Description:
    return {
        "type": _name(LANE_TYPES, lane.type),
        "polyline": _points(lane.polyline),
        "speed_limit_mph": float(lane.speed_limit_mph),
        "speed_limit_kmh": float(lane.speed_limit_mph) * MPH_TO_KMH,
        "interpolating": bool(lane.interpolating),
        "entry_lanes": [str(name) for name in lane.entry_lanes],
        "exit_lanes": [str(name) for name in lane.exit_lanes],
        "left_boundaries": _boundaries(lane.left_boundaries),
        "right_boundaries": _boundaries(lane.right_boundaries),
        "left_neighbor": [_neighbour(entry) for entry in lane.left_neighbors],
        "right_neighbor": [_neighbour(entry) for entry in lane.right_neighbors],
    }


def _boundaries(entries: Iterable[Any]) -> list[Description]:
    return [
        {
            "lane_start_index": int(entry.lane_start_index),
            "lane_end_index": int(entry.lane_end_index),
            "boundary_type": _name(LINE_TYPES, entry.boundary_type),
            "boundary_feature_id": str(entry.boundary_feature_id),
        }
        for entry in entries
    ]


def _neighbour(entry: Any) -> Description:
    return {
        "feature_id": str(entry.feature_id),
        "self_start_index": int(entry.self_start_index),
        "self_end_index": int(entry.self_end_index),
        "neighbor_start_index": int(entry.neighbor_start_index),
        "neighbor_end_index": int(entry.neighbor_end_index),
        "boundaries": _boundaries(entry.boundaries),
    }


def _points(points: Iterable[Any]) -> NDArray[np.float64]:
    """[N, 3], m."""
    return np.array([(point.x, point.y, point.z) for point in points], dtype=np.float64).reshape(-1, 3)


def _name(table: tuple[str, ...], number: int) -> str:
    return table[number] if 0 <= number < len(table) else table[0]

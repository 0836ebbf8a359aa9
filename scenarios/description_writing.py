"""The writing half of `scenarios.description`: a `Scenario` as a `ScenarioDescription` dictionary."""

from __future__ import annotations

from typing import Final

import numpy as np

from scenarios.scenario import Kind, MapFeature, Scenario
from scenarios.source_format import (
    FORMAT_KEY,
    RELATIONS,
    SIZE_KEYS,
    ColumnFormat,
    Description,
    FeatureFormat,
    SourceFormat,
    TrackFormat,
    copy_data,
)
from scenarios.values import identifier, related_ids

VERSION: Final = "MetaDrive v0.4.3"
"""`version` of files that did not come from a file."""
TYPES: Final = {
    Kind.VEHICLE: "VEHICLE",
    Kind.PEDESTRIAN: "PEDESTRIAN",
    Kind.CYCLIST: "CYCLIST",
    Kind.CONE: "TRAFFIC_CONE",
    Kind.BARRIER: "TRAFFIC_BARRIER",
    Kind.OTHER: "OTHER",
}


def to_description(scenario: Scenario) -> Description:
    """Write a `ScenarioDescription`, independent of the scenario (every array is a copy).

    A scene that came from a file is written as that file was: same keys in the same order, same data types,
    same shapes; whatever was edited since (tracks, validity, map, ego, id) takes the new values. A scene made
    in memory is written with every field that MetaDrive asks for, in float64.
    """
    form = scenario.extras.get(FORMAT_KEY)
    form = form if isinstance(form, SourceFormat) else None
    parts: Description = {
        "id": _id(scenario, form),
        "length": scenario.num_steps,
        "metadata": _metadata(scenario, form),
        "tracks": dict(_track(scenario, row, form) for row in range(scenario.num_agents)),
        "dynamic_map_states": copy_data(dict(scenario.lights)),
        "map_features": dict(_feature(feature, form) for feature in scenario.features),
    }
    if form is None:
        return {"version": VERSION, **parts}
    document = {key: parts[key] if key in parts else copy_data(form.extras[key]) for key in form.order}
    # A part that the file did not have appears only if there is something to say.
    document.update({key: value for key, value in parts.items() if key not in document and key in ("tracks",)})
    return document


def _id(scenario: Scenario, form: SourceFormat | None) -> object:
    return form.id if form is not None and scenario.id in form.known_as else scenario.id


def _metadata(scenario: Scenario, form: SourceFormat | None) -> Description:
    metadata: Description = copy_data(dict(scenario.metadata))
    ego = scenario.agent_ids[scenario.ego]
    if form is None:
        defaults = {
            "metadrive_processed": False,
            "coordinate": "metadrive",
            "scenario_id": scenario.id,
            "dataset": "gauntlet",
            "sdc_id": ego,
            "ts": np.arange(scenario.num_steps) * scenario.dt,
        }
        metadata = {**defaults, **metadata}
        names = scenario.objects_of_interest
        if not names and scenario.opponent is not None:
            names = (ego, scenario.agent_ids[scenario.opponent])
        metadata.setdefault("objects_of_interest", list(names))
    # A file may leave them empty: the ego then follows from `sdc_track_index`, and the rate from `sample_rate`.
    if metadata.get("sdc_id") is not None and identifier(metadata["sdc_id"]) != ego:
        metadata["sdc_id"] = ego
    if metadata.get("ts") is not None and np.size(metadata["ts"]) != scenario.num_steps:
        metadata["ts"] = np.arange(scenario.num_steps) * scenario.dt
    interest = metadata.get("objects_of_interest")
    known = tuple(map(identifier, interest)) if isinstance(interest, list | tuple) else None
    if known is not None and known != scenario.objects_of_interest and form:
        metadata["objects_of_interest"] = list(scenario.objects_of_interest)
    return metadata


def _track(scenario: Scenario, row: int, form: SourceFormat | None) -> tuple[object, Description]:
    name = scenario.agent_ids[row]
    track = form.tracks.get(name) if form is not None else None
    if track is None:
        track = _default_track(scenario, row)
    size = scenario.size[row][:, [1, 0, 2]] if track.swapped else scenario.size[row]
    values = {
        "position": scenario.position[row],
        "heading": scenario.heading[row],
        "velocity": scenario.velocity[row],
        "valid": scenario.valid[row],
        "size": size,
        **{key: size[:, axis] for axis, key in enumerate(SIZE_KEYS)},
    }
    state = {
        key: track.columns[key].write(values[key]) if key in track.columns else copy_data(track.state_extras[key])
        for key in track.state_order
    }
    document = {"type": track.type, "state": state}
    return track.key, {key: document[key] if key in document else copy_data(track.extras[key]) for key in track.order}


def _default_track(scenario: Scenario, row: int) -> TrackFormat:
    name, kind = scenario.agent_ids[row], TYPES[Kind(int(scenario.kinds[row]))]
    real = np.dtype(np.float64)
    tails: dict[str, tuple[int, ...]] = {"position": (3,), "heading": (), "velocity": (2,)}
    tails.update(dict.fromkeys(SIZE_KEYS, ()))
    columns = {key: ColumnFormat(key, real, tail) for key, tail in tails.items()}
    columns["valid"] = ColumnFormat("valid", np.dtype(bool), ())
    metadata = {"type": kind, "object_id": name, "track_length": scenario.num_steps, "dataset": "gauntlet"}
    return TrackFormat(name, kind, columns, {}, tuple(columns), {"metadata": metadata}, ("type", "state", "metadata"))


def _feature(feature: MapFeature, form: SourceFormat | None) -> tuple[object, Description]:
    record = form.features.get(feature.id) if form is not None else None
    if record is None:
        record = _default_feature(feature)
    document: Description = {}
    for key in record.order:
        if key == "type":
            document[key] = feature.type
        elif key == record.points_key:
            document[key] = _points(feature, record)
        elif key in RELATIONS:
            document[key] = _relation(key, feature, record)
        else:
            document[key] = copy_data(feature.extras[key])
    return record.key, document


def _points(feature: MapFeature, record: FeatureFormat) -> object:
    raw = record.points_raw
    if raw is None:
        return feature.points.copy()
    original = np.asarray(raw)
    same = original.size == feature.points.size and np.array_equal(original.ravel(), feature.points.ravel())
    if same:
        return copy_data(raw)
    points = feature.points.reshape(original.shape) if original.ndim == 1 else feature.points
    return points.astype(original.dtype) if isinstance(raw, np.ndarray) else points.tolist()


def _relation(key: str, feature: MapFeature, record: FeatureFormat) -> object:
    ids = getattr(feature, RELATIONS[key])
    raw = record.relations.get(key)
    if key in record.relations and related_ids(raw) == ids:
        return copy_data(raw)
    if key in ("left_neighbor", "right_neighbor"):
        return [{"feature_id": lane} for lane in ids]
    return list(ids)


def _default_feature(feature: MapFeature) -> FeatureFormat:
    points_key = "polygon" if feature.closed else "polyline"
    raw = None
    if feature.type == "STOP_SIGN" and len(feature.points) == 1:
        points_key, raw = "position", feature.points[0]
    relations = tuple(RELATIONS) if feature.is_lane else ()
    return FeatureFormat(feature.id, ("type", points_key, *relations, *feature.extras), points_key, raw)

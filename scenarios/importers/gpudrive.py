"""Importer of GPUDrive's JSON scenes (WOMD in another layout): headings in radians, no lights, no lane connectivity.

Rows that are not valid (GPUDrive writes -10000) become zeros, as in ScenarioNet's files. Lanes are connected again
where one ends at the start of another in the same direction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.spatial import cKDTree

from harness.errors import ScenarioError, reading
from harness.files import Json, read_json
from harness.geometry import wrap_angle
from scenarios.bounds import refuse_crowd, refuse_excess
from scenarios.description import from_description
from scenarios.importers.womd_schema import LINE_TYPES
from scenarios.scenario import DT, Scenario
from scenarios.source_format import Description
from scenarios.values import MAX_BITS, points_of

TYPES: Final = {"vehicle": "VEHICLE", "pedestrian": "PEDESTRIAN", "cyclist": "CYCLIST"}
MAP_TYPES: Final = {
    0: "LANE_UNKNOWN",
    1: "LANE_FREEWAY",
    2: "LANE_SURFACE_STREET",
    3: "LANE_BIKE_LANE",
    5: "UNKNOWN_LINE",
    **{6 + place: name for place, name in enumerate(LINE_TYPES[1:])},
    14: "ROAD_EDGE_BOUNDARY",
    15: "ROAD_EDGE_BOUNDARY",
    16: "ROAD_EDGE_MEDIAN",
    17: "STOP_SIGN",
    18: "CROSSWALK",
    19: "SPEED_BUMP",
    20: "DRIVEWAY",
}
"""MetaDrive type by `map_element_id` (WOMD's roadgraph types); edges of unknown type (14) are edges all the same."""
POLYGONS: Final = ("CROSSWALK", "SPEED_BUMP", "DRIVEWAY")
JOINT: Final = 0.3
"""Two lanes whose ends lie farther apart are not connected, m."""
BEND: Final = np.pi / 4
"""Two lanes that turn more at their joint are not connected, rad."""
MAX_LEVELS: Final = 8
"""Levels of lists and dictionaries in `tl_states`, which has three."""
MAX_STATES: Final = 1_000_000
"""Items in `tl_states`: a hundred lights have six numbers each at 91 steps, 55,000 in all."""
MAX_BRANCHES: Final = 16
"""Lanes that can begin at the end of one; more are copies of each other, which would be connected pair by pair."""


def load(path: str | Path) -> Scenario:
    """The scene of one file.

    Raises:
        ScenarioError: The file cannot be read, or is not a GPUDrive scene; one clear line.
    """
    document = read_json(Path(path), error=ScenarioError, depth=math.inf)
    with reading(path, "a GPUDrive scene"):
        return from_description(to_description(document, str(path)), str(path))


def to_description(document: Json, source: str = "") -> Description:
    """`ScenarioDescription` dictionary of a parsed GPUDrive file.

    Raises:
        ScenarioError: Objects or the ego are missing, or arrays do not fit.
        KeyError, TypeError, …: Fields are missing or of another kind (`load` turns these into `ScenarioError`).
    """
    objects = document["objects"]
    if not isinstance(objects, list) or not objects:
        raise ScenarioError(f"{source}: objects: there are none. Expected a GPUDrive scene.")
    about = document.get("metadata", {})
    ego = about["sdc_track_index"]
    if not isinstance(ego, int) or not 0 <= ego < len(objects):
        raise ScenarioError(f"{source}: metadata: sdc_track_index: {ego!r} is not among {len(objects)} objects.")
    steps = len(objects[0]["valid"])
    roads = document.get("roads", ())
    refuse_excess(source, len(objects), steps, len(roads), sum(len(road["geometry"]) for road in roads))
    refuse_excess(source, max(len(about.get(key, ())) for key in ("objects_of_interest", "tracks_to_predict")), 0)
    tracks: Description = {}
    for entry in objects:
        name = str(entry["id"])
        if name in tracks:
            raise ScenarioError(f"{source}: objects: id {name} occurs twice.")
        tracks[name] = _track(entry, name, steps, source)
    features = {}
    for place, road in enumerate(roads):
        name = str(road.get("id", f"road-{place}"))
        # Ids repeat in some files: what comes later gets one of its own.
        features[name if name not in features else f"{name}-{place}"] = _feature(road)
    _connect(features)
    names = list(tracks)
    metadata = {
        "coordinate": "waymo",
        "ts": np.arange(steps) * DT,
        "metadrive_processed": False,
        "sdc_id": names[ego],
        "dataset": "gpudrive",
        "scenario_id": str(document.get("scenario_id", document.get("name", ""))),
        "source_file": str(document.get("name", "")),
        "track_length": steps,
        "current_time_index": 10,
        "sdc_track_index": ego,
        "objects_of_interest": [str(name) for name in about.get("objects_of_interest", ()) if str(name) in tracks],
        "tracks_to_predict": _predict(about.get("tracks_to_predict", ()), tracks, source),
    }
    if document.get("tl_states"):
        _refuse_odd(document["tl_states"], f"{source}: tl_states")
        metadata["tl_states"] = document["tl_states"]
    return {
        "id": metadata["scenario_id"],
        "version": "gauntlet import",
        "length": steps,
        "metadata": metadata,
        "tracks": tracks,
        "dynamic_map_states": {},
        "map_features": features,
    }


def _track(entry: Json, name: str, steps: int, source: str) -> Description:
    valid = np.asarray(entry["valid"])
    if valid.dtype.kind not in "biuf":
        raise ScenarioError(f"{source}: object {name}: valid holds {valid.dtype} instead of booleans.")
    valid = valid.astype(bool)
    position = points_of(entry["position"])
    velocity = points_of(entry["velocity"])[:, :2]
    heading = np.asarray(entry["heading"], dtype=np.float64)
    if not len(valid) == len(position) == len(velocity) == len(heading) == steps:
        raise ScenarioError(f"{source}: object {name}: rows of different length; {steps} were expected.")
    kind = TYPES.get(str(entry.get("type")), "OTHER")
    state: Description = {
        "position": np.where(valid[:, None], position, 0.0),
        **{key: np.where(valid, float(entry[key]), 0.0) for key in ("length", "width")},
        "height": np.where(valid, float(entry.get("height", 1.6)), 0.0),
        "heading": np.where(valid, heading, 0.0),
        "velocity": np.where(valid[:, None], velocity, 0.0),
        "valid": valid,
    }
    metadata = {"track_length": steps, "type": kind, "object_id": name, "dataset": "gpudrive"}
    return {"type": kind, "state": state, "metadata": metadata}


def _predict(entries: Sequence[Any], tracks: Json, source: str) -> Description:
    names, result = list(tracks), {}
    for entry in entries:
        index = int(entry["track_index"])
        if not 0 <= index < len(names):
            raise ScenarioError(f"{source}: tracks_to_predict: track {index} is not among {len(names)} objects.")
        result[names[index]] = {
            "track_index": index,
            "track_id": names[index],
            "difficulty": int(entry.get("difficulty", 0)),
            "object_type": tracks[names[index]]["type"],
        }
    return result


def _refuse_odd(value: object, where: str) -> None:
    """Raise where what is kept as it is has more items than any lights, or could not be written and read again."""
    level, count = [value], 0
    for _ in range(MAX_LEVELS + 1):
        bits = max((item.bit_length() for item in level if isinstance(item, int)), default=0)
        if bits > MAX_BITS:
            raise ScenarioError(f"{where}: holds a number of {bits} bits; at most {MAX_BITS} are kept.")
        groups = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        if not groups:
            return
        count += sum(map(len, groups))
        if count > MAX_STATES:
            raise ScenarioError(f"{where}: more than {MAX_STATES:,} items. Expected the states of traffic lights.")
        level = list(chain.from_iterable(groups))
    raise ScenarioError(f"{where}: nested more than {MAX_LEVELS} deep. Expected the states of traffic lights.")


def _feature(road: Json) -> Description:
    kind = MAP_TYPES.get(int(road["map_element_id"]), "UNKNOWN")
    points = points_of(road["geometry"])
    if kind == "STOP_SIGN" and len(points):
        return {"type": kind, "position": points[0], "lane": []}
    if kind in POLYGONS:
        return {"type": kind, "polygon": points}
    if kind.startswith("LANE_"):
        none: Description = {key: [] for key in ("entry_lanes", "exit_lanes", "left_neighbor", "right_neighbor")}
        return {"type": kind, "polyline": points, **none}
    return {"type": kind, "polyline": points}


def _connect(features: Mapping[str, Description]) -> None:
    """Fill `entry_lanes` and `exit_lanes` from the geometry."""
    lanes = [
        (name, feature["polyline"])
        for name, feature in features.items()
        if feature["type"].startswith("LANE_") and len(feature["polyline"]) > 1
    ]
    if not lanes:
        return
    starts, ends = (np.array([line[row] for _, line in lanes]) for row in (0, -1))
    if not np.isfinite(ends).all():
        raise ValueError("NaN or infinite points of lanes")
    refuse_crowd(np.concatenate([starts, ends])[:, :2])
    begin, end = (np.array([line[row + 1, :2] - line[row, :2] for _, line in lanes]) for row in (0, -2))
    count = min(MAX_BRANCHES, len(lanes))
    distance, near = cKDTree(starts).query(ends, k=np.arange(1, count + 1), distance_upper_bound=np.nextafter(JOINT, 1))
    row, place = np.nonzero(distance <= JOINT)
    other = near[row, place]
    turn = wrap_angle(np.arctan2(*begin[other].T[::-1]) - np.arctan2(*end[row].T[::-1]))
    joined = np.stack([row, other], -1)[(other != row) & (np.abs(turn) < BEND)]
    for one, two in sorted(map(tuple, joined.tolist())):
        features[lanes[one][0]]["exit_lanes"].append(lanes[two][0])
        features[lanes[two][0]]["entry_lanes"].append(lanes[one][0])

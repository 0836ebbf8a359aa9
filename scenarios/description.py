"""Lossless conversion between `Scenario` and MetaDrive's `ScenarioDescription` dictionaries.

Reads what ScenarioNet and CAT wrote over the years (format 0.3.0.1 included): sizes as `length`, `width`,
`height` or as one `size`, as [T] or [T, 1]; `valid` as bool or float; missing sizes; lists instead of arrays;
lanes without neighbours; maps without road edges; fields that nobody has heard of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScenarioError
from scenarios.description_writing import to_description
from scenarios.scenario import Kind, MapFeature, Scenario
from scenarios.source_format import (
    FORMAT_KEY,
    POINT_KEYS,
    RELATIONS,
    SIZE_KEYS,
    ColumnFormat,
    FeatureFormat,
    SourceFormat,
    TrackFormat,
)
from scenarios.time_stamps import time_stamps, time_step

KINDS: Final = {
    "VEHICLE": Kind.VEHICLE,
    "PEDESTRIAN": Kind.PEDESTRIAN,
    "CYCLIST": Kind.CYCLIST,
    "TRAFFIC_CONE": Kind.CONE,
    "TRAFFIC_BARRIER": Kind.BARRIER,
}
DEFAULT_SIZE: Final = {
    Kind.VEHICLE: (4.8, 2.0, 1.6),
    Kind.PEDESTRIAN: (0.8, 0.8, 1.75),
    Kind.CYCLIST: (1.8, 0.8, 1.75),
    Kind.CONE: (0.4, 0.4, 0.8),
    Kind.BARRIER: (1.5, 0.4, 1.0),
    Kind.OTHER: (1.0, 1.0, 1.0),
}
"""Length, width, height (m) where a file gives none: medians of WOMD tracks, rounded, and MetaDrive's cone."""
_TOP: Final = ("id", "length", "tracks", "map_features", "dynamic_map_states", "metadata")

__all__ = ["DEFAULT_SIZE", "KINDS", "from_description", "to_description"]


class _Reader:
    """One file being read: knows its name for messages, and collects the agents' arrays."""

    def __init__(self, document: Mapping[str, Any], source: str) -> None:
        self.source = source or "scenario"
        self.document = self._mapping(document, "the file")
        self.tracks = self._mapping(self._need(document, "tracks"), "tracks")
        self.metadata = self._mapping(document.get("metadata", {}), "metadata")
        if not self.tracks:
            self.fail("tracks", "there are none")
        self.steps = self._length()
        self.stamps = time_stamps(self.metadata, self.steps, self.source)
        count = len(self.tracks)
        self.kinds = np.full(count, Kind.OTHER, np.int8)
        self.position = np.zeros((count, self.steps, 3))
        self.heading = np.zeros((count, self.steps))
        self.velocity = np.zeros((count, self.steps, 2))
        self.size = np.zeros((count, self.steps, 3))
        self.valid = np.zeros((count, self.steps), bool)

    def fail(self, where: str, reason: str) -> None:
        raise ScenarioError(f"{self.source}: {where}: {reason}. Expected a MetaDrive ScenarioDescription.")

    def _mapping(self, value: Any, name: str) -> Mapping[Any, Any]:
        if not isinstance(value, Mapping):
            self.fail(name, f"found {type(value).__name__} instead of a dictionary")
        return value

    def _need(self, mapping: Mapping[Any, Any], key: str, where: str = "") -> Any:
        if key not in mapping:
            self.fail(f"{where}{key}", f"is missing (found {', '.join(map(str, list(mapping)[:8])) or 'nothing'})")
        return mapping[key]

    def _length(self) -> int:
        length = self.document.get("length")
        if length is None:
            first = self._mapping(next(iter(self.tracks.values())), "tracks")
            state = self._mapping(self._need(first, "state", "tracks: "), "state")
            length = len(self._need(state, "position", "tracks: state: "))
        if not isinstance(length, int | np.integer) or length < 1:
            self.fail("length", f"found {length!r} instead of a number of steps")
        return int(length)

    def column(
        self, row: int, where: str, state: Mapping[str, Any], key: str, target: NDArray[Any]
    ) -> ColumnFormat | None:
        """Copy one state array into `target` [T] or [T, n]; None where the file has none."""
        if key not in state:
            return None
        raw = state[key]
        try:
            values = np.asarray(raw)
            rows = values.reshape(len(values), -1)
        except (TypeError, ValueError):
            self.fail(f"{where}{key}", f"found {type(raw).__name__} instead of an array with one row per step")
        if values.dtype.kind not in "biuf":
            self.fail(f"{where}{key}", f"holds {values.dtype} instead of numbers")
        if len(rows) != self.steps:
            self.fail(f"{where}{key}", f"has {len(rows)} rows, but the scene has {self.steps} steps")
        goal = target[row].reshape(self.steps, -1)
        smallest = 2 if key in ("position", "velocity") else goal.shape[1]
        if rows.shape[1] < smallest:
            self.fail(f"{where}{key}", f"has shape {values.shape}; {smallest} numbers per step are needed")
        common = min(rows.shape[1], goal.shape[1])
        target[row] = np.concatenate([rows[:, :common], goal[:, common:]], axis=1).reshape(target[row].shape)
        keep = (
            rows.shape[1] > goal.shape[1] or not isinstance(raw, np.ndarray) or (key == "valid" and not _binary(rows))
        )
        return ColumnFormat(key, values.dtype, values.shape[1:], raw if keep else None)

    def track(self, row: int, key: object, track: object, shared: dict[Any, Any]) -> TrackFormat:
        """Read one agent."""
        where = f"tracks[{key!r}]: "
        track = self._mapping(track, f"tracks[{key!r}]")
        state = self._mapping(self._need(track, "state", where), where + "state")
        kind = KINDS.get(str(track.get("type")), Kind.OTHER)
        self.kinds[row] = kind
        for name in ("position", "heading"):
            self._need(state, name, where + "state: ")
        self.size[row] = DEFAULT_SIZE[kind]
        self.valid[row] = True
        columns: dict[str, ColumnFormat] = {}
        parts = zip(SIZE_KEYS, np.moveaxis(self.size, -1, 0), strict=True)
        for name, target in (
            ("position", self.position),
            ("heading", self.heading),
            ("velocity", self.velocity),
            ("valid", self.valid),
            ("size", self.size),
            *parts,
        ):
            column = self.column(row, where + "state: ", state, name, target)
            if column is not None:
                columns[name] = column
        if "velocity" not in columns:
            self.velocity[row] = _finite_differences(self.position[row], self.valid[row], self.stamps)
        swapped = kind == Kind.VEHICLE and _wider_than_long(self.size[row], self.valid[row])
        if swapped:
            self.size[row, :, :2] = self.size[row, :, 1::-1]
        extras = {name: value for name, value in state.items() if name not in columns}
        # Most tracks of a file look alike: share the records.
        if all(column.raw is None for column in columns.values()):
            mark = tuple((name, column.dtype.str, column.tail) for name, column in columns.items())
            columns = shared.setdefault(mark, columns)
        order = tuple(state)
        return TrackFormat(
            key,
            track.get("type"),
            columns,
            extras,
            shared.setdefault(order, order),
            {name: value for name, value in track.items() if name not in ("type", "state")},
            tuple(track),
            swapped,
        )

    def feature(self, key: object, feature: object) -> tuple[MapFeature, FeatureFormat]:
        """Read one map element."""
        where = f"map_features[{key!r}]"
        feature = self._mapping(feature, where)
        points_key = next((name for name in POINT_KEYS if name in feature), "")
        points, raw = self._points(feature[points_key], f"{where}: {points_key}") if points_key else (_NO_POINTS, None)
        relations = {name: feature[name] for name in RELATIONS if name in feature}
        lanes = {RELATIONS[name]: _lane_ids(value) for name, value in relations.items()}
        taken = {"type", points_key, *relations}
        made = MapFeature(
            id=str(key),
            type=str(feature.get("type", "")),
            points=points,
            closed=points_key == "polygon",
            extras={name: value for name, value in feature.items() if name not in taken},
            **lanes,
        )
        return made, FeatureFormat(key, tuple(feature), points_key, raw, relations)

    def _points(self, value: object, where: str) -> tuple[NDArray[np.floating], object]:
        try:
            points = np.asarray(value)
        except ValueError:
            points = np.empty(0, object)
        if points.size == 0:
            return _NO_POINTS, value
        if points.dtype.kind not in "iuf" or points.ndim not in (1, 2) or points.shape[-1] not in (2, 3):
            self.fail(where, f"has shape {points.shape} of {points.dtype} instead of points [N, 2] or [N, 3]")
        plain = isinstance(value, np.ndarray) and points.ndim == 2 and points.dtype.kind == "f"
        points = points if points.dtype.kind == "f" else points.astype(np.float64)
        view = np.atleast_2d(points).view()
        view.setflags(write=False)
        return view, None if plain else value

    def ego(self, ids: tuple[str, ...]) -> int:
        """Index of the self-driving car."""
        name = self.metadata.get("sdc_id")
        if name is not None and str(name) in ids:
            return ids.index(str(name))
        index = self.metadata.get("sdc_track_index")
        if name is None and isinstance(index, int | np.integer) and 0 <= index < len(ids):
            return int(index)
        self.fail(
            "metadata: sdc_id", "is missing" if name is None else f"names {name!r}, which is not among the tracks"
        )
        raise AssertionError  # fail() has raised; this line is for the type checker.


_NO_POINTS: Final = np.zeros((0, 2))
_NO_POINTS.setflags(write=False)


def from_description(document: Mapping[str, Any], source: str = "") -> Scenario:
    """Read a `ScenarioDescription`.

    The dictionary is not changed, but its map arrays are shared with the scenario. `opponent` stays None:
    see `opponents.select_opponent`.

    Args:
        document: As loaded from a file.
        source: Where it came from, for messages.

    Raises:
        ScenarioError: Something is missing or has the wrong shape; names source, field and reason.
    """
    reader = _Reader(document, source)
    shared: dict[Any, Any] = {}
    ids = tuple(str(key) for key in reader.tracks)
    if len(set(ids)) != len(ids):
        reader.fail("tracks", "two agents have the same id")
    tracks = {
        name: reader.track(row, key, track, shared)
        for row, (name, (key, track)) in enumerate(zip(ids, reader.tracks.items(), strict=True))
    }
    features, formats = [], {}
    for key, value in reader._mapping(document.get("map_features", {}), "map_features").items():
        feature, record = reader.feature(key, value)
        features.append(feature)
        formats[feature.id] = record
    name = document.get("id", reader.metadata.get("scenario_id", reader.metadata.get("id")))
    name = source if name is None else str(name)
    form = SourceFormat(
        document.get("id"),
        (name,),
        tuple(document),
        {key: value for key, value in document.items() if key not in _TOP},
        tracks,
        formats,
    )
    interest = reader.metadata.get("objects_of_interest")
    return Scenario(
        id=name,
        dt=time_step(reader.stamps),
        agent_ids=ids,
        kinds=reader.kinds,
        position=reader.position,
        heading=reader.heading,
        velocity=reader.velocity,
        size=reader.size,
        valid=reader.valid,
        features=tuple(features),
        ego=reader.ego(ids),
        objects_of_interest=tuple(map(str, interest)) if isinstance(interest, list | tuple) else (),
        lights=reader._mapping(document.get("dynamic_map_states", {}), "dynamic_map_states"),
        metadata=reader.metadata,
        extras={FORMAT_KEY: form},
        source=source,
    )


def _binary(rows: NDArray[np.generic]) -> bool:
    return rows.dtype.kind == "b" or bool(np.isin(rows, (0, 1)).all())


def _wider_than_long(size: NDArray[np.float64], valid: NDArray[np.bool_]) -> bool:
    """Whether a vehicle's length [0] and width [1] are clearly exchanged: no road vehicle is wider than 3 m."""
    rows = size[valid, :2]
    return len(rows) > 0 and bool(np.median(rows[:, 1]) > 3.0 and np.median(rows[:, 1]) > np.median(rows[:, 0]))


def _lane_ids(value: object) -> tuple[str, ...]:
    """Ids of related lanes, from a list of ids or of WOMD neighbour records."""
    if value is None or isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return () if value is None else (str(value),)
    return tuple(str(item.get("feature_id")) if isinstance(item, Mapping) else str(item) for item in value)


def _finite_differences(
    position: NDArray[np.float64], valid: NDArray[np.bool_], stamps: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Velocity [T, 2], m/s, for a file that has none: central differences over the valid rows at times [T], s."""
    velocity = np.zeros((len(valid), 2))
    rows = np.flatnonzero(valid)
    if len(rows) > 1:
        velocity[rows] = np.gradient(position[rows, :2], stamps[rows], axis=0)
    return velocity

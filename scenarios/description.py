"""Lossless conversion between `Scenario` and MetaDrive's `ScenarioDescription` dictionaries.

Reads what ScenarioNet and CAT wrote over the years (format 0.3.0.1 included): sizes as `length`, `width`,
`height` or as one `size`, as [T] or [T, 1]; `valid` as bool or float; missing sizes; lists instead of arrays;
lanes without neighbours; maps without road edges; fields that nobody has heard of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScenarioError
from scenarios.bounds import MAX_AGENTS, MAX_FEATURES, MAX_POINTS, MAX_RELATED, refuse_excess
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
from scenarios.values import MAX_NAME, brief, identifier, numbers, related_ids

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
MAX_SHARED: Final = 1_000_000
"""Agents times steps of scenes whose agents may share their arrays: from there on copies take more than 75 MB."""
_TOP: Final = ("id", "length", "tracks", "map_features", "dynamic_map_states", "metadata")

__all__ = ["DEFAULT_SIZE", "KINDS", "from_description", "to_description"]


class _Reader:
    """One file being read: knows its name for messages, and collects the agents' arrays."""

    def __init__(self, document: Mapping[str, Any], source: str) -> None:
        self.source = source or "scenario"
        self.document = self._mapping(document, "the file")
        self.tracks = self._mapping(self._need(document, "tracks"), "tracks")
        self.metadata = self._mapping(document.get("metadata", {}), "metadata")
        self.steps = self._length()
        count = len(self.tracks)
        self._check_counts(count)
        self.stamps = time_stamps(self.metadata, self.steps, self.source)
        self.kinds = np.full(count, Kind.OTHER, np.int8)
        self.position = np.zeros((count, self.steps, 3))
        self.heading = np.zeros((count, self.steps))
        self.velocity = np.zeros((count, self.steps, 2))
        self.size = np.zeros((count, self.steps, 3))
        self.valid = np.zeros((count, self.steps), bool)
        self.points = self.related = 0

    def fail(self, where: str, reason: str) -> NoReturn:
        raise ScenarioError(f"{self.source}: {where}: {reason}. Expected a MetaDrive ScenarioDescription.")

    def _mapping(self, value: Any, name: str) -> Mapping[Any, Any]:
        if not isinstance(value, Mapping):
            self.fail(name, f"found {type(value).__name__} instead of a dictionary")
        return value

    def _need(self, mapping: Mapping[Any, Any], key: str, where: str = "") -> Any:
        if key not in mapping:
            found = ", ".join(brief(name) for name in list(mapping)[:8])
            self.fail(f"{where}{key}", f"is missing (found {found or 'nothing'})")
        return mapping[key]

    def _length(self) -> int:
        """Steps of the scene: what the file says and what the first agent has, before anything is made of that size."""
        if not self.tracks:
            self.fail("tracks", "there are none")
        key, first = next(iter(self.tracks.items()))
        where = f"tracks[{brief(key)}]: "
        state = self._mapping(self._need(self._mapping(first, where[:-2]), "state", where), where + "state")
        position = self._need(state, "position", where + "state: ")
        if not isinstance(position, np.ndarray | list | tuple) or getattr(position, "shape", None) == ():
            kind = type(position).__name__
            self.fail(f"{where}state: position", f"found {kind} instead of an array with one row per step")
        length = self.document.get("length", len(position))
        if not isinstance(length, int | np.integer) or isinstance(length, bool) or not 1 <= length < 2**63:
            self.fail("length", f"found {brief(length)} instead of a number of steps")
        if length != len(position):
            found = f"has {len(position):,} rows, but the scene has {length} steps"
            self.fail(f"{where}state: position", found)
        return int(length)

    def _check_counts(self, agents: int) -> None:
        """Refuse to make arrays that no scene needs."""
        refuse_excess(self.source, agents, self.steps)
        if agents * self.steps > MAX_SHARED and len({id(track) for track in self._positions()}) < agents / 2:
            self.fail("tracks", f"most of {agents:,} agents share their positions with another")

    def _positions(self) -> Iterator[object]:
        for track in self.tracks.values():
            state = track.get("state") if isinstance(track, Mapping) else None
            yield state.get("position") if isinstance(state, Mapping) else None

    def id(self, value: object, where: str) -> str:
        """An id of the file as text."""
        try:
            return identifier(value)
        except ValueError as error:
            self.fail(where, str(error))

    def type(self, value: object, where: str) -> str:
        """A type of the file; empty where it has none."""
        if value is not None and not (isinstance(value, str) and len(value) <= MAX_NAME):
            self.fail(f"{where}type", f"found {brief(value)} instead of the name of a type")
        return str(value or "")

    def lanes(self, value: object, where: str) -> tuple[str, ...]:
        """Ids of related lanes, from a list of ids or of WOMD neighbour records."""
        self.related += len(value) if isinstance(value, Sized) and getattr(value, "shape", None) != () else 1
        if self.related > MAX_RELATED:
            self.fail("map_features", f"more than {MAX_RELATED:,} ids of related lanes")
        try:
            return related_ids(value)
        except ValueError as error:
            self.fail(where, str(error))

    def column(
        self, row: int, where: str, state: Mapping[str, Any], key: str, target: NDArray[Any]
    ) -> ColumnFormat | None:
        """Copy one state array into `target` [T] or [T, n]; None where the file has none."""
        if key not in state:
            return None
        raw = state[key]
        try:
            values = numbers(raw)
        except ValueError as error:
            self.fail(f"{where}{key}", f"{error}. An array with one row per step is needed")
        if values.ndim == 0:
            self.fail(f"{where}{key}", f"found {type(raw).__name__} instead of an array with one row per step")
        if len(values) != self.steps:
            self.fail(f"{where}{key}", f"has {len(values)} rows, but the scene has {self.steps} steps")
        rows = values.reshape(self.steps, -1)
        goal = target[row].reshape(self.steps, -1)
        smallest = 2 if key in ("position", "velocity") else goal.shape[1]
        if rows.shape[1] < smallest:
            self.fail(f"{where}{key}", f"has shape {values.shape}; {smallest} numbers per step are needed")
        common = min(rows.shape[1], goal.shape[1])
        goal[:, :common] = rows[:, :common]  # A view of the target.
        keep = (
            rows.shape[1] > goal.shape[1] or not isinstance(raw, np.ndarray) or (key == "valid" and not _binary(rows))
        )
        return ColumnFormat(key, values.dtype, values.shape[1:], raw if keep else None)

    def track(self, row: int, key: object, track: object, shared: dict[Any, Any]) -> TrackFormat:
        """Read one agent."""
        where = f"tracks[{brief(key)}]: "
        track = self._mapping(track, where[:-2])
        state = self._mapping(self._need(track, "state", where), where + "state")
        kind = KINDS.get(self.type(track.get("type"), where), Kind.OTHER)
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
        where = f"map_features[{brief(key)}]"
        feature = self._mapping(feature, where)
        kind = self.type(feature.get("type"), f"{where}: ")
        points_key = next((name for name in POINT_KEYS if name in feature), "")
        points, raw = self._points(feature[points_key], f"{where}: {points_key}") if points_key else (_NO_POINTS, None)
        relations = {name: feature[name] for name in RELATIONS if name in feature}
        lanes = {RELATIONS[name]: self.lanes(value, f"{where}: {name}") for name, value in relations.items()}
        if kind == "STOP_SIGN":
            self.lanes(feature.get("lane"), f"{where}: lane")
        taken = {"type", points_key, *relations}
        made = MapFeature(
            id=self.id(key, where),
            type=kind,
            points=points,
            closed=points_key == "polygon",
            extras={name: value for name, value in feature.items() if name not in taken},
            **lanes,
        )
        return made, FeatureFormat(key, tuple(feature), points_key, raw, relations)

    def _points(self, value: object, where: str) -> tuple[NDArray[np.floating], object]:
        try:
            points = numbers(value)
        except ValueError as error:
            self.fail(where, f"{error}. Points [N, 2] or [N, 3] are needed")
        if points.size == 0:
            return _NO_POINTS, value
        if points.dtype.kind == "b" or points.ndim not in (1, 2) or points.shape[-1] not in (2, 3):
            self.fail(where, f"has shape {points.shape} of {points.dtype} instead of points [N, 2] or [N, 3]")
        self.points += len(points)
        if self.points > MAX_POINTS:
            self.fail("map_features", f"more than {MAX_POINTS:,} points")
        plain = isinstance(value, np.ndarray) and points.ndim == 2 and points.dtype.kind == "f"
        points = points if points.dtype.kind == "f" else points.astype(np.float64)
        view = np.atleast_2d(points).view()
        view.setflags(write=False)
        return view, None if plain else value

    def ego(self, ids: tuple[str, ...]) -> int:
        """Index of the self-driving car."""
        name = self.metadata.get("sdc_id")
        if name is not None and self.id(name, "metadata: sdc_id") in ids:
            return ids.index(identifier(name))
        index = self.metadata.get("sdc_track_index")
        if name is None and isinstance(index, int | np.integer) and 0 <= index < len(ids):
            return int(index)
        self.fail(
            "metadata: sdc_id", "is missing" if name is None else f"names {brief(name)}, which is not among the tracks"
        )

    def name(self) -> str:
        """The scene's id: its own, that of its metadata, or else its source."""
        names = {"id": self.document.get("id")}
        names |= {f"metadata: {key}": self.metadata.get(key) for key in ("scenario_id", "id")}
        known = [self.id(value, where) for where, value in names.items() if value is not None]
        return known[0] if known else self.source

    def interest(self) -> tuple[str, ...]:
        """Ids that the metadata mark as interacting; those to be predicted are checked as well, as others read them."""
        predict, where = self.metadata.get("tracks_to_predict"), "metadata: tracks_to_predict"
        for key in ("tracks_to_predict", "objects_of_interest"):
            named = self.metadata.get(key)
            if isinstance(named, list | tuple | Mapping) and len(named) > MAX_AGENTS:
                self.fail(f"metadata: {key}", f"{len(named):,} entries; at most {MAX_AGENTS:,} can be used")
        for entry in predict if isinstance(predict, list | tuple | Mapping) else ():
            index = entry.get("track_index") if isinstance(entry, Mapping) else None
            if not isinstance(entry, Mapping):
                self.id(entry, where)
            elif not isinstance(index, int | np.integer) or not 0 <= index < len(self.tracks):
                self.fail(where, f"track_index: found {brief(index)} with {len(self.tracks)} tracks")
        marked = self.metadata.get("objects_of_interest")
        names = marked if isinstance(marked, list | tuple) else ()
        return tuple(self.id(name, "metadata: objects_of_interest") for name in names)

    def lights(self) -> Mapping[str, Any]:
        """Traffic lights as the file holds them, by ids that can be text."""
        lights = self._mapping(self.document.get("dynamic_map_states", {}), "dynamic_map_states")
        if len(lights) > MAX_FEATURES:
            self.fail("dynamic_map_states", f"{len(lights):,} lights; at most {MAX_FEATURES:,} can be used")
        for key in lights:
            self.id(key, "dynamic_map_states")
        return lights

    def features(self) -> tuple[list[MapFeature], dict[str, FeatureFormat]]:
        """The map, and how it was written."""
        found = self._mapping(self.document.get("map_features", {}), "map_features")
        if len(found) > MAX_FEATURES:
            self.fail("map_features", f"{len(found):,} elements; at most {MAX_FEATURES:,} can be used")
        features, formats = [], {}
        for key, value in found.items():
            feature, record = self.feature(key, value)
            features.append(feature)
            formats[feature.id] = record
        return features, formats


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
    with np.errstate(all="ignore"):  # What is no finite number is found by the validation.
        return _scenario(_Reader(document, source), document, source)


def _scenario(reader: _Reader, document: Mapping[str, Any], source: str) -> Scenario:
    shared: dict[Any, Any] = {}
    ids = tuple(reader.id(key, "tracks") for key in reader.tracks)
    if len(set(ids)) != len(ids):
        reader.fail("tracks", "two agents have the same id")
    tracks = {
        name: reader.track(row, key, track, shared)
        for row, (name, (key, track)) in enumerate(zip(ids, reader.tracks.items(), strict=True))
    }
    features, formats = reader.features()
    name = reader.name()
    form = SourceFormat(
        document.get("id"),
        (name,),
        tuple(document),
        {key: value for key, value in document.items() if key not in _TOP},
        tracks,
        formats,
    )
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
        objects_of_interest=reader.interest(),
        lights=reader.lights(),
        metadata=reader.metadata,
        extras={FORMAT_KEY: form},
        source=source,
    )


def _binary(rows: NDArray[np.generic]) -> bool:
    return rows.dtype.kind == "b" or bool(np.isin(rows, (0, 1)).all())


def _wider_than_long(size: NDArray[np.float64], valid: NDArray[np.bool_]) -> bool:
    """Whether a vehicle's length [0] and width [1] are clearly exchanged: no road vehicle is wider than 3 m."""
    rows = size[valid, :2]
    if not (rows[:, 1] > 3.0).any():
        return False  # Nearly every vehicle: medians take time.
    return bool(np.median(rows[:, 1]) > 3.0 and np.median(rows[:, 1]) > np.median(rows[:, 0]))


def _finite_differences(
    position: NDArray[np.float64], valid: NDArray[np.bool_], stamps: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Velocity [T, 2], m/s, for a file that has none: central differences over the valid rows at times [T], s."""
    velocity = np.zeros((len(valid), 2))
    rows = np.flatnonzero(valid)
    if len(rows) > 1:
        velocity[rows] = np.gradient(position[rows, :2], stamps[rows], axis=0)
    return velocity

"""How a scene was written in its source file: what the arrays of a `Scenario` do not say by themselves.

`description.from_description` fills these records, `description.to_description` follows them, so that a file
comes back key by key and data type by data type, while edited arrays win over what the file held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Description = dict[str, Any]
"""A `ScenarioDescription`, or a part of one: nested dictionaries of builtins and arrays."""
FORMAT_KEY: Final = "source_format"
"""Key of the `SourceFormat` in `Scenario.extras`."""
RELATIONS: Final = {"entry_lanes": "entry", "exit_lanes": "exit", "left_neighbor": "left", "right_neighbor": "right"}
"""Lane fields of the file, and the attributes of `MapFeature` that stand for them."""
POINT_KEYS: Final = ("polyline", "polygon", "position")
"""Where a map element may hold its geometry, in order of preference."""
SIZE_KEYS: Final = ("length", "width", "height")


@dataclass(frozen=True, slots=True)
class ColumnFormat:
    """One array of a track's `state`.

    Attributes:
        key: Name in the file (`position`, `width`, `size`, …).
        dtype: Type of the array in the file.
        tail: Shape of one row: () for [T], (1,) for [T, 1], (3,) for [T, 3].
        raw: The file's own value where an array cannot stand for it (a list, or more columns than we keep).
    """

    key: str
    dtype: np.dtype[np.generic]
    tail: tuple[int, ...]
    raw: object = None

    def write(self, values: NDArray[np.generic]) -> object:
        """The column as the file would hold it, from our values [T, n] or [T]."""
        rows = len(values)
        width = int(np.prod(self.tail, dtype=int))
        flat = values.reshape(rows, -1)
        if self.raw is not None:
            original = np.asarray(self.raw)
            kept = original.reshape(len(original), -1)
            common = min(kept.shape[1], flat.shape[1])
            if len(kept) == rows and np.array_equal(kept[:, :common], flat[:, :common], equal_nan=True):
                return copy_data(self.raw)
            if len(kept) == rows and width > flat.shape[1]:
                flat = np.concatenate([flat, kept[:, flat.shape[1] :]], axis=1)
        out = flat[:, :width].astype(self.dtype).reshape(rows, *self.tail)
        return out if self.raw is None or isinstance(self.raw, np.ndarray) else out.tolist()


@dataclass(frozen=True, slots=True)
class TrackFormat:
    """One entry of `tracks`.

    Attributes:
        key: Key in the file (not always a string).
        type: MetaDrive type string.
        columns: The state arrays that `Scenario` represents.
        state_extras: The other state entries, untouched.
        state_order, order: Names in the order of the file.
        extras: The other entries of the track (`metadata` among them), untouched.
        swapped: Whether the file has length and width the wrong way round (nuScenes egos by ScenarioNet have);
            they are put right when read, and written as they were.
    """

    key: object
    type: object
    columns: Mapping[str, ColumnFormat]
    state_extras: Mapping[str, object]
    state_order: tuple[str, ...]
    extras: Mapping[str, object]
    order: tuple[str, ...]
    swapped: bool = False


@dataclass(frozen=True, slots=True)
class FeatureFormat:
    """One entry of `map_features`.

    Attributes:
        key: Key in the file.
        order: Field names in the order of the file.
        points_key: `polyline`, `polygon` or `position`; empty where the feature has no geometry.
        points_raw: The file's own value where it is not a float array of two dimensions.
        relations: The file's own `entry_lanes`, `exit_lanes`, `left_neighbor`, `right_neighbor`.
    """

    key: object
    order: tuple[str, ...]
    points_key: str
    points_raw: object = None
    relations: Mapping[str, Sequence[object]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceFormat:
    """The file as a whole.

    Attributes:
        id: The `id` entry of the file.
        known_as: Names under which this scene means the same file (its id, its place in a store).
        order: Top-level keys in the order of the file.
        extras: Top-level entries that `Scenario` does not represent, untouched.
        tracks, features: By our agent and feature ids.
    """

    id: object
    known_as: tuple[str, ...]
    order: tuple[str, ...]
    extras: Mapping[str, object]
    tracks: Mapping[str, TrackFormat]
    features: Mapping[str, FeatureFormat]


def copy_data(value: Any) -> Any:
    """Deep copy of containers and arrays (much cheaper than `copy.deepcopy`; leaves are immutable)."""
    kind = type(value)
    if kind is dict:
        return {key: copy_data(item) for key, item in value.items()}
    if kind is list:
        return [copy_data(item) for item in value]
    if kind is tuple:
        return tuple(copy_data(item) for item in value)
    if isinstance(value, np.ndarray):
        return value.copy(order="K")
    if isinstance(value, dict):
        new = value.copy()
        for key, item in new.items():
            new[key] = copy_data(item)
        return new
    return value

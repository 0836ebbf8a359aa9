"""Scenes as safetensors: every array is a tensor, and everything else is JSON in the header.

ScenarioNet's own files are pickles, which are not shared. `pack_scene` makes a shared file of a scene, `unpack_scene`
reads it back without loss, within the bounds of all scene files. In the JSON text a list is a list. `{"a": NAME}` is
an array, `{"n": NAME}` a number of numpy's, `{"d": [[key, value], …]}` a dictionary, `{"t": […]}` a tuple,
`{"s": […]}` an array of texts, and `{"f": "nan"}` a number that JSON does not have.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from harness.errors import ScenarioError, reading
from harness.files import write_bytes
from harness.fitting.weights import read_tensors
from scenarios.description import from_description, to_description
from scenarios.scenario import Scenario

FORMAT: Final = "gauntlet-scene-1"
_NUMBERS: Final = "biuf"
"""Kinds of arrays that tensors hold."""


def pack_scene(scenario: Scenario, file: Path) -> None:
    """Write a scene as safetensors, all or nothing.

    Raises:
        ScenarioError: It holds what neither a tensor nor JSON can hold; names the type.
        RunError: The file cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {}
    text = json.dumps(_packed(to_description(scenario), arrays, scenario.id), allow_nan=False)
    write_bytes(file, save(arrays, {"format": json.dumps(FORMAT), "document": text}))


def unpack_scene(file: Path) -> Scenario:
    """Read a scene back.

    Raises:
        ScenarioError: The file holds no scene, or a bad one.
        WeightsError: It is no safetensors file.
    """
    tensors, header = read_tensors(file, None, "{file} is missing: pull it again.", "np", strict=False)
    if header.get("format") != FORMAT:
        raise ScenarioError(f"{file} is no scene: its header's format is not {FORMAT}. Pull it again.")
    with reading(file, f"a scene as safetensors ({FORMAT})"):
        return from_description(_unpacked(header["document"], tensors), str(file))


def _packed(value: Any, arrays: dict[str, NDArray[Any]], scene: str) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if isinstance(value, np.str_):
            return str(value)
        if array.dtype.kind == "U":
            return {"s": array.tolist()}
        if array.dtype.kind not in _NUMBERS:
            raise ScenarioError(f"scenario {scene}: an array of {array.dtype} cannot be shared, only numbers and text.")
        name = str(len(arrays))
        arrays[name] = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))).reshape(array.shape)
        return {"n" if isinstance(value, np.generic) else "a": name}
    if isinstance(value, Mapping):
        return {"d": [[_packed(item, arrays, scene) for item in pair] for pair in value.items()]}
    if isinstance(value, tuple):
        return {"t": [_packed(item, arrays, scene) for item in value]}
    if isinstance(value, list):
        return [_packed(item, arrays, scene) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"f": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ScenarioError(f"scenario {scene}: a {type(value).__name__} cannot be shared, only arrays and plain values.")


def _unpacked(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((mark, inner),) = value.items()
    if mark == "a":
        return arrays[inner]
    if mark == "n":
        return arrays[inner][()]
    if mark == "s":
        return np.array(inner, dtype=np.str_)
    if mark == "d":
        return {_unpacked(key, arrays): _unpacked(item, arrays) for key, item in inner}
    if mark == "t":
        return tuple(_unpacked(item, arrays) for item in inner)
    if mark == "f":
        return float(inner)
    raise ValueError(f"{mark!r} is no mark of this format")

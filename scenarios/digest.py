"""A name for what a scene holds: files that are made from scenes, and can be made again, are kept under it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenarios.scenario import Scenario


def scene_digest(scenario: Scenario, *made_with: object) -> str:
    """32 letters that follow from a scene's id, agents and map, and from what else is decisive.

    Two scenes with the same digest are simulated alike. Traffic lights, metadata and where a scene was read from are
    left out.

    Args:
        scenario: The scene.
        made_with: Versions and options of what is made; their texts count.
    """
    found = hashlib.blake2b(digest_size=16)
    _add_texts(found, [*made_with, scenario.id, scenario.dt, scenario.ego, scenario.opponent])
    arrays = scenario.kinds, scenario.position, scenario.heading, scenario.velocity, scenario.size, scenario.valid
    for array in arrays:
        _add_array(found, array)
    for feature in scenario.features:
        _add_array(found, feature.points)
        _add_texts(found, [feature.id, feature.type, feature.closed])
        _add_texts(found, [feature.entry, feature.exit, feature.left, feature.right])
    return found.hexdigest()


def _add_texts(found: hashlib.blake2b, values: Sequence[object]) -> None:
    # Each with its length, so that no two lists give the same bytes.
    for value in values:
        text = str(value).encode(errors="surrogatepass")
        found.update(len(text).to_bytes(8, "little") + text)


def _add_array(found: hashlib.blake2b, array: NDArray[Any]) -> None:
    _add_texts(found, [array.dtype.str, array.shape])
    found.update(np.ascontiguousarray(array).tobytes())

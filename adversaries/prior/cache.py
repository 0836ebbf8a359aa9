"""A small least-recently-used cache of things derived from scenes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.caching import Lru
from scenarios.scenario import Scenario

V = TypeVar("V")
_Array = NDArray[np.floating] | NDArray[np.bool_] | NDArray[np.int8]


class SceneCache(Generic[V]):
    """Values per (scene, key), at most `size` of them (0 keeps none), the least recently used dropped first.

    A scene is recognised by its arrays, which are only weakly referenced, its map and its lights: the cache keeps no
    scene alive, copies that share all of these (`Scenario.with_opponent`) share entries, and a new scene at a recycled
    address is never mistaken for an old one. Pickles and copies begin empty: arrays are others there.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: Lru[Hashable, tuple[tuple[weakref.ref[_Array], ...], Mapping[str, Any], V]] = Lru(size)

    def __reduce__(self) -> tuple[type[SceneCache[V]], tuple[int]]:
        return type(self), (self._size,)

    def get(self, scenario: Scenario, key: Hashable, build: Callable[[], V]) -> V:
        """The value for `key` of `scenario`, built if it is not there."""
        anchors = _anchors(scenario)
        full = (*map(id, anchors), id(scenario.lights), id(scenario.features), scenario.ego, scenario.dt, key)
        return self._entries.get(
            full,
            lambda: (tuple(weakref.ref(anchor) for anchor in anchors), scenario.lights, build()),
            lambda entry: all(ref() is anchor for ref, anchor in zip(entry[0], anchors, strict=True)),
        )[2]


def _anchors(scenario: Scenario) -> tuple[_Array, ...]:
    own = (scenario.position, scenario.heading, scenario.velocity, scenario.size, scenario.valid, scenario.kinds)
    if not scenario.features:
        return own
    return (*own, scenario.features[0].points, scenario.features[-1].points)

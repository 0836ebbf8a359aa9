"""A small least-recently-used cache of things derived from scenes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.caching import Lru
from scenarios.scenario import Scenario

V = TypeVar("V")
_Array = NDArray[np.floating] | NDArray[np.bool_]


class SceneCache(Generic[V]):
    """Values per (scene, key), at most `size` of them (0 keeps none), the least recently used dropped first.

    A scene is recognised by its arrays, which are only weakly referenced: the cache keeps no scene alive, copies that
    share arrays (`Scenario.with_opponent`) share entries, and a new scene at a recycled address is never mistaken for
    an old one.
    """

    def __init__(self, size: int) -> None:
        self._entries: Lru[Hashable, tuple[tuple[weakref.ref[_Array], ...], V]] = Lru(size)

    def get(self, scenario: Scenario, key: Hashable, build: Callable[[], V]) -> V:
        """The value for `key` of `scenario`, built if it is not there."""
        anchors = _anchors(scenario)
        full = (*(id(a) for a in anchors), len(scenario.features), key)
        return self._entries.get(
            full,
            lambda: (tuple(weakref.ref(anchor) for anchor in anchors), build()),
            lambda entry: all(ref() is anchor for ref, anchor in zip(entry[0], anchors, strict=True)),
        )[1]


def _anchors(scenario: Scenario) -> tuple[_Array, ...]:
    own = (scenario.position, scenario.heading, scenario.velocity, scenario.valid)
    if not scenario.features:
        return own
    return (*own, scenario.features[0].points, scenario.features[-1].points)

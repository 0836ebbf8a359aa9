"""A small least-recently-used cache of things derived from scenes."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import numpy as np

from scenarios.scenario import Scenario

V = TypeVar("V")


class SceneCache(Generic[V]):
    """Values per (scene, key), at most `size` of them (0 keeps nothing).

    A scene is recognised by its arrays, which are only weakly referenced: the cache keeps no scene alive, copies that
    share arrays (`Scenario.with_opponent`) share entries, and a new scene at a recycled address is never mistaken for
    an old one.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Hashable, tuple[tuple[weakref.ref[np.ndarray], ...], V]] = OrderedDict()

    def get(self, scenario: Scenario, key: Hashable, build: Callable[[], V]) -> V:
        """The value for `key` of `scenario`, built if it is not there."""
        if self._size < 1:
            return build()
        anchors = _anchors(scenario)
        full = (*(id(a) for a in anchors), len(scenario.features), key)
        found = self._entries.get(full)
        if found is None or any(ref() is not a for ref, a in zip(found[0], anchors, strict=True)):
            found = (tuple(weakref.ref(a) for a in anchors), build())
            self._entries[full] = found
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
        self._entries.move_to_end(full)
        return found[1]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


def _anchors(scenario: Scenario) -> tuple[np.ndarray[Any, Any], ...]:
    own = (scenario.position, scenario.heading, scenario.velocity, scenario.valid)
    if not scenario.features:
        return own
    return (*own, scenario.features[0].points, scenario.features[-1].points)

"""The scenes that are measured on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import ConfigError
from scenarios.scenario import Scenario, ScenarioSource, SceneList


def spread(source: ScenarioSource, count: int) -> list[Scenario]:
    """`count` scenes spread evenly over the source (all, if it has fewer).

    Raises:
        ConfigError: The source is empty.
    """
    if len(source) == 0:
        raise ConfigError("there are no scenes to measure on")
    places = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(int))
    return [source[int(place)] for place in places]


class LoadedScenes(SceneList):
    """Scenes in memory, in a given order; a `ScenarioSource`. Reading files is no part of what is measured."""

    def __init__(self, scenes: Sequence[Scenario]) -> None:
        """Keep the scenes."""
        self._scenes = list(scenes)
        # Named by their place too: the ids of several data sets may be equal.
        self._ids = tuple(f"{place}:{scene.id}" for place, scene in enumerate(self._scenes))

    def _load(self, index: int) -> Scenario:
        return self._scenes[index]

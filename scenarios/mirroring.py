"""Scenes seen in a mirror: the same motion with left and right exchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from harness.caching import Lru
from scenarios.indexing.facts import SceneFacts, scene_facts, states_of
from scenarios.map_sketch import Sketch, map_sketch
from scenarios.scenario import MapFeature, Scenario, ScenarioSource, SceneList
from scenarios.store import CACHE_SCENES

MIRRORED: Final = "-mirrored"
"""What the id of a mirrored scene ends with."""

_FLIP: Final = np.array([1.0, -1.0, 1.0])


class WithMirrored(SceneList):
    """All scenes of a source, and after them all of them once more, mirrored; a `ScenarioSource`."""

    def __init__(self, source: ScenarioSource, *, cache_scenes: int = CACHE_SCENES) -> None:
        """Double `source`.

        Args:
            source: The scenes.
            cache_scenes: Mirrored scenes kept in memory. What others keep of a scene they know by the scene itself, so
                that one which is mirrored anew costs more than the mirroring.
        """
        self.source = source
        self._kept: Lru[int, Scenario] = Lru(cache_scenes)
        self._ids = (*source.ids, *(f"{name}{MIRRORED}" for name in source.ids))

    def facts(self, indices: Sequence[int]) -> Iterator[SceneFacts]:
        """What is known of some scenes, in their order: of a mirrored one the same as of the other."""
        return scene_facts(self.source, [index % len(self.source) for index in indices])

    def sketches(self, indices: Sequence[int]) -> Iterator[Sketch]:
        """The maps of some scenes, in their order; read anew, as the mirror's is another map."""
        return (map_sketch(self[index]) for index in indices)

    def states(self, indices: Sequence[int]) -> Iterator[str]:
        """Texts that change whenever the files of some scenes do, in their order; empty without a file."""
        known = states_of(self.source, [index % len(self.source) for index in indices])
        for index, state in zip(indices, known, strict=True):
            yield f"{state}{MIRRORED}" if state and index >= len(self.source) else state

    def _load(self, index: int) -> Scenario:
        own = index - len(self.source)
        return self.source[index] if own < 0 else self._kept.get(own, lambda: mirrored(self.source[own]))


def mirrored(scenario: Scenario) -> Scenario:
    """The scene seen in a mirror (y → -y): twice the data, with left and right exchanged.

    A lane runs the way it did. A road edge has the road on its left and a polygon its inside: their points come in
    reverse order, or the mirror would put the road on the other side.
    """
    features = tuple(_mirrored_feature(feature) for feature in scenario.features)
    return replace(
        scenario,
        id=f"{scenario.id}{MIRRORED}",
        position=scenario.position * _FLIP,
        heading=-scenario.heading,
        velocity=scenario.velocity * _FLIP[:2],
        features=features,
        lights={name: _mirrored_light(light) for name, light in scenario.lights.items()},
    )


def _mirrored_feature(feature: MapFeature) -> MapFeature:
    points = feature.points * _FLIP[: feature.points.shape[-1]].astype(feature.points.dtype)
    if feature.is_road_edge or feature.closed:
        points = points[::-1].copy()
    return replace(feature, points=points, left=feature.right, right=feature.left)


def _mirrored_light(light: Mapping[str, Any]) -> dict[str, Any]:
    flipped = dict(light)
    for name in ("stop_point", "position"):
        if light.get(name) is not None:
            point = np.asarray(light[name], dtype=np.float64)
            flipped[name] = point * _FLIP[: point.shape[-1]]
    return flipped

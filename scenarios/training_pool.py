"""Training scenes that say nothing about validation and test: no scene of their drives, no scene on their maps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scenarios.same_map import SAME_MAP, map_sketch, similarity
from scenarios.scenario import Scenario, ScenarioSource
from scenarios.splits import Subset


class Dropped(NamedTuple):
    """A candidate that was left out: its name, the held-out scene that it gives away, and how that was seen."""

    scene: str
    held_out: str
    reason: str


class TrainingPool(Subset):
    """The candidates that may be trained on; a `ScenarioSource`.

    Attributes:
        dropped: What was left out, and why.
    """

    def __init__(self, source: ScenarioSource, indices: Sequence[int], dropped: Sequence[Dropped]) -> None:
        """Keep `indices` of `source`."""
        super().__init__(source, indices)
        self.dropped = tuple(dropped)


def training_pool(candidates: ScenarioSource, held_out: Sequence[ScenarioSource]) -> TrainingPool:
    """Candidates without those that are windows of a held-out drive.

    A candidate is left out if it is a held-out scene (the same scene id, whatever the format: leading zeros do not
    count, as GPUDrive drops them), or if a fifth of its lane points are a held-out scene's (`same_map`: windows of one
    drive share all or many of them; so do drives through the same place on another day, which a model would know by
    heart just as well). Two candidates with the same id are kept once, the first.

    Every scene of all sources is read once.

    Args:
        candidates: Scenes to train on, such as `Concat` of several data sets.
        held_out: Validation and test scenes of every data set that is reported.
    """
    ids: dict[str, str] = {}
    names: list[str] = []
    sketches: list[NDArray[np.uint64]] = []
    places: dict[int, list[int]] = {}
    for source in held_out:
        for index in range(len(source)):
            scenario = source[index]
            ids.setdefault(scene_key(scenario), source.ids[index])
            sketch = map_sketch(scenario)
            for value in sketch.tolist():
                places.setdefault(value, []).append(len(names))
            names.append(source.ids[index])
            sketches.append(sketch)
    kept: list[int] = []
    dropped: list[Dropped] = []
    seen: dict[str, str] = {}
    for index, name in enumerate(candidates.ids):
        scenario = candidates[index]
        key, sketch = scene_key(scenario), map_sketch(scenario)
        rivals = {other for value in sketch.tolist() for other in places.get(value, ())}
        shared = {other: similarity(sketch, sketches[other]) for other in rivals}
        nearest = max(shared, key=lambda other: shared[other], default=None)
        if key in ids:
            dropped.append(Dropped(name, ids[key], "the same scene id"))
        elif nearest is not None and shared[nearest] >= SAME_MAP:
            dropped.append(Dropped(name, names[nearest], f"{shared[nearest]:.0%} of the lane points in common"))
        elif key in seen:
            dropped.append(Dropped(name, seen[key], "twice among the candidates"))
        else:
            seen[key] = name
            kept.append(index)
    return TrainingPool(candidates, kept, dropped)


def scene_key(scenario: Scenario) -> str:
    """What identifies a recorded scene in every format: the scene id of its data set, without leading zeros."""
    about: object = scenario.metadata.get("scenario_id") or scenario.metadata.get("id") or scenario.id
    return re.sub(r"^0+(?=[0-9a-f]{8,}$)", "", str(about).lower())

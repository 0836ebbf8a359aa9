"""Training scenes that say nothing about validation and test: no scene of their drives, no scene on their maps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from scenarios.indexing.facts import scene_facts, sketches_of
from scenarios.map_sketch import Sketch, SketchTable
from scenarios.scenario import ScenarioSource
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
    count, as GPUDrive drops them), or if a fifth of its lane points are a held-out scene's (`map_sketch`: windows of
    one drive share all or many of them; so do drives through the same place on another day, which a model would know by
    heart just as well). Two candidates with the same id are kept once, the first.

    Of folders the index is asked; the scenes of other sources are read once. A candidate that cannot be read is kept:
    whoever reads it learns why.

    Args:
        candidates: Scenes to train on, such as `Concat` of several data sets.
        held_out: Validation and test scenes of every data set that is reported.
    """
    ids: dict[str, str] = {}
    names: list[str] = []
    sketches: list[Sketch] = []
    for source in held_out:
        for name, facts, sketch in zip(source.ids, scene_facts(source), sketches_of(source), strict=True):
            ids.setdefault(_key(facts.scene_id or name), name)
            names.append(name)
            sketches.append(sketch)
    table = SketchTable(sketches)
    kept: list[int] = []
    dropped: list[Dropped] = []
    seen: dict[str, str] = {}
    about = zip(candidates.ids, scene_facts(candidates), sketches_of(candidates), strict=True)
    for index, (name, facts, sketch) in enumerate(about):
        key = _key(facts.scene_id or name)
        nearest = None if key in ids else table.nearest(sketch)
        if key in ids:
            dropped.append(Dropped(name, ids[key], "the same scene id"))
        elif nearest is not None:
            other, shared = nearest
            dropped.append(Dropped(name, names[other], f"{shared:.0%} of the lane points in common"))
        elif key in seen:
            dropped.append(Dropped(name, seen[key], "twice among the candidates"))
        else:
            seen[key] = name
            kept.append(index)
    return TrainingPool(candidates, kept, dropped)


def _key(name: str) -> str:
    """What identifies a scene in every format: the id of its data set, without leading zeros."""
    return re.sub(r"^0+(?=[0-9a-f]{8,}$)", "", name.lower())

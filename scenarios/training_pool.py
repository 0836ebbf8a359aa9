"""Training scenes that say nothing about validation and test: no scene of their drives, no scene on their maps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from scenarios.importers.commonroad_logs import LogSpan, span_of
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

    Scenes that were cut from one log of a fixed camera share a map always. A candidate is therefore compared with the
    held-out scenes of its own log by time: it is left out if both have a step in common.

    Of folders the index is asked; the scenes of other sources are read once. A candidate that cannot be read is kept:
    whoever reads it learns why.

    Args:
        candidates: Scenes to train on, such as `Concat` of several data sets.
        held_out: Validation and test scenes of every data set that is reported.
    """
    known = _HeldOut(held_out)
    kept: list[int] = []
    dropped: list[Dropped] = []
    seen: dict[str, str] = {}
    about = zip(candidates.ids, scene_facts(candidates), sketches_of(candidates), strict=True)
    for index, (name, facts, sketch) in enumerate(about):
        key = _key(facts.scene_id or name)
        if (told := known.told(facts.scene_id or name, sketch)) is not None:
            dropped.append(Dropped(name, *told))
        elif key in seen:
            dropped.append(Dropped(name, seen[key], "twice among the candidates"))
        else:
            seen[key] = name
            kept.append(index)
    return TrainingPool(candidates, kept, dropped)


class _HeldOut:
    """What held-out scenes are known by: their ids, where they lie in which log, and the maps of each log."""

    def __init__(self, sources: Sequence[ScenarioSource]) -> None:
        self._ids: dict[str, str] = {}
        self._spans: list[tuple[LogSpan, str]] = []
        names: dict[str, list[str]] = {}
        sketches: dict[str, list[Sketch]] = {}
        for source in sources:
            for name, facts, sketch in zip(source.ids, scene_facts(source), sketches_of(source), strict=True):
                self._ids.setdefault(_key(facts.scene_id or name), name)
                span = span_of(facts.scene_id)
                log = "" if span is None else span.log
                if span is not None:
                    self._spans.append((span, name))
                names.setdefault(log, []).append(name)
                sketches.setdefault(log, []).append(sketch)
        self._maps = [(log, names[log], SketchTable(sketches[log])) for log in names]

    def told(self, scene: str, sketch: Sketch) -> tuple[str, str] | None:
        """The held-out scene that a scene gives away, and how that is seen; None where it gives away none."""
        key, span = _key(scene), span_of(scene)
        if key in self._ids:
            return self._ids[key], "the same scene id"
        for other, name in self._spans:
            if span is not None and span.overlaps(other):
                return name, "the same part of a log"
        own = "" if span is None else span.log
        for log, names, table in self._maps:
            nearest = None if log and log == own else table.nearest(sketch)
            if nearest is not None:
                return names[nearest[0]], f"{nearest[1]:.0%} of the lane points in common"
        return None


def _key(name: str) -> str:
    """What identifies a scene in every format: the id of its data set, without leading zeros."""
    return re.sub(r"^0+(?=[0-9a-f]{8,}$)", "", name.lower())

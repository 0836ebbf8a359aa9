"""What is known of a scene without reading it again: one row of the index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np

from harness.errors import ConfigError, ScenarioError, reading
from scenarios.filters import reject_reason, static_ego
from scenarios.importers.files import SceneFile, load_file
from scenarios.importers.tfrecord import RecordPlace
from scenarios.map_index import has_road_edges
from scenarios.map_sketch import Sketch, map_sketch
from scenarios.opponents import path_lengths
from scenarios.resampling import recorded_rate
from scenarios.scenario import Kind, Scenario, ScenarioSource
from scenarios.tagging.scene_tags import tags_of
from scenarios.tagging.vocabulary import SceneTags
from scenarios.validate import Needs, check_opponent

Value = TypeVar("Value")

RULES: Final = 6
"""Raise it when a scene may get other facts than before: filters, sketches, importers, validation, opponents, tags."""

UNREAD: Final = "cannot be read"
"""Why a scene is left out whose file is bad; the error follows behind a colon."""


@dataclass(frozen=True, slots=True)
class SceneFacts:
    """What is known of a scene; of one that cannot be read, the error alone.

    Attributes:
        scene_id: Id that the file itself gives to the scene, or empty.
        rate: How often it was recorded, such as `10 Hz`.
        steps: Number of steps, 0.1 s each.
        agents: Number of agents.
        kinds: Number of agents by kind (`vehicle`, `pedestrian` …), those that occur.
        ego_path: Length of the ego's recorded path, m.
        ego_steps: Steps from the start to the last one at which the ego is valid.
        static_ego: Whether the ego counts as parked.
        road_edges: Whether the map says where the road ends.
        opponent: Id of the opponent, or None.
        opponent_fault: Why a use that needs an opponent cannot take the scene, or empty.
        unfit: Why the scene is unfit for attacks, or None.
        error: Why it cannot be used at all, or empty.
        tags: What it is tagged with.
    """

    scene_id: str = ""
    rate: str = ""
    steps: int = 0
    agents: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    ego_path: float = 0.0
    ego_steps: int = 0
    static_ego: bool = False
    road_edges: bool = False
    opponent: str | None = None
    opponent_fault: str = ""
    unfit: str | None = None
    error: str = ""
    tags: SceneTags = field(default_factory=SceneTags)

    def lacks(self, needs: Needs) -> str:
        """Why a use with these needs cannot take the scene, or empty."""
        if self.error:
            return self.error
        if self.ego_steps < needs.steps:
            return f"the ego lasts {self.ego_steps} steps, but {needs.steps} are needed"
        if needs.road_edges and not self.road_edges:
            return "no road edges, so leaving the road cannot be judged by the map"
        return self.opponent_fault if needs.opponent else ""


class IndexTask(NamedTuple):
    """A scene that is to be examined: its file, the format, its number in the file, and where that lies there."""

    path: str
    kind: str
    record: int = 0
    place: RecordPlace | None = None


class IndexRow(NamedTuple):
    """What an examination gave.

    Attributes:
        task: What was examined.
        facts: What is known of it.
        sketch: Its map, `Sketch` as bytes.
        lasting: Whether another examination of the same file would give the same.
        missing: The package that is needed for it is missing: what to do.
    """

    task: IndexTask
    facts: SceneFacts
    sketch: bytes = b""
    lasting: bool = True
    missing: str = ""


def examine_scene(task: IndexTask) -> IndexRow:
    """Read a scene and note what is to be known of it; never raises."""
    try:
        scenario = load_file(SceneFile(Path(task.path), task.kind, task.record, "", task.place))
        with reading(task.path, "a scene"):
            return IndexRow(task, facts_of(scenario), map_sketch(scenario).tobytes())
    except ScenarioError as error:
        return error_row(task, error)
    except ConfigError as error:
        return IndexRow(task, SceneFacts(error=str(error)), lasting=False, missing=str(error))


def error_row(task: IndexTask, error: ScenarioError) -> IndexRow:
    """The row of a scene that cannot be used."""
    # What disk and memory refuse today they may give tomorrow.
    return IndexRow(task, SceneFacts(error=str(error)), lasting=not isinstance(error.__cause__, OSError | MemoryError))


def facts_of(scenario: Scenario) -> SceneFacts:
    """What is to be known of a scene that was read, checked, and given its opponent."""
    ego = np.flatnonzero(scenario.valid[scenario.ego])
    faults = check_opponent(scenario, Needs(opponent=True))
    return SceneFacts(
        scene_id=scene_id(scenario),
        rate=recorded_rate(scenario),
        steps=scenario.num_steps,
        agents=scenario.num_agents,
        kinds={kind.name.lower(): n for kind in Kind if (n := int((scenario.kinds == kind).sum())) > 0},
        ego_path=float(path_lengths(scenario)[scenario.ego]),
        ego_steps=int(ego[-1]) + 1 if len(ego) else 0,
        static_ego=static_ego(scenario) is not None,
        road_edges=has_road_edges(scenario),
        opponent=None if scenario.opponent is None else scenario.agent_ids[scenario.opponent],
        opponent_fault="; ".join(f"{fault.field}: {fault.reason}" for fault in faults if fault.level == "error"),
        unfit=reject_reason(scenario),
        tags=tags_of(scenario),
    )


def scene_id(scenario: Scenario) -> str:
    """Id that a file gives to its scene, or empty: what the scene is called in its data set."""
    about: object = scenario.metadata.get("scenario_id") or scenario.metadata.get("id") or ""
    return str(about)


@runtime_checkable
class Known(Protocol):
    """A source that knows its scenes without reading them."""

    def facts(self, indices: Sequence[int]) -> Iterator[SceneFacts]:
        """What is known of some of its scenes, in their order."""
        ...

    def sketches(self, indices: Sequence[int]) -> Iterator[Sketch]:
        """The maps of some of its scenes, in their order."""
        ...


@runtime_checkable
class Dated(Protocol):
    """A source that knows when the files of its scenes were written."""

    def states(self, indices: Sequence[int]) -> Iterator[str]:
        """Texts that change whenever the files of some of its scenes do, in their order; empty without a file."""
        ...


def scene_facts(source: ScenarioSource, indices: Sequence[int] | None = None) -> Iterator[SceneFacts]:
    """What is known of the scenes of a source: of a folder from its index, of others by reading each once.

    Args:
        source: The scenes. What was examined in a folder before, and has not changed, is not read again.
        indices: Which ones, in which order; all by default.
    """
    return _of_each(source, indices, "facts", facts_of, lambda error: SceneFacts(error=str(error)))


def sketches_of(source: ScenarioSource, indices: Sequence[int] | None = None) -> Iterator[Sketch]:
    """The maps of the scenes of a source; an empty one where a scene cannot be read. Arguments as `scene_facts`."""
    return _of_each(source, indices, "sketches", map_sketch, lambda error: np.zeros(0, dtype=np.uint64))


def states_of(source: ScenarioSource, indices: Sequence[int]) -> Iterator[str]:
    """Texts, one per scene, that no scene has which reads otherwise; empty where only reading it would tell."""
    return source.states(indices) if isinstance(source, Dated) else iter([""] * len(indices))


def _of_each(
    source: ScenarioSource,
    indices: Sequence[int] | None,
    known: Literal["facts", "sketches"],
    make: Callable[[Scenario], Value],
    failed: Callable[[ScenarioError], Value],
) -> Iterator[Value]:
    """What a source knows of its scenes, or what is made of each when it is read."""
    chosen = range(len(source)) if indices is None else indices
    if isinstance(source, Known):
        yield from getattr(source, known)(chosen)
        return
    for index in chosen:
        try:
            made = make(source[index])
        except ScenarioError as error:
            made = failed(error)
        yield made


def unfit_reasons(source: ScenarioSource, indices: Iterable[int] | None = None) -> list[str | None]:
    """Why each scene of a source is unfit for attacks, None where it is fit; what cannot be read is unfit as well.

    Args:
        source: The scenes, see `scene_facts`.
        indices: Which ones; all by default.
    """
    chosen = None if indices is None else list(indices)
    return [f"{UNREAD}: {facts.error}" if facts.error else facts.unfit for facts in scene_facts(source, chosen)]

"""The scenario data model: one recorded traffic scene as an immutable struct of arrays.

Frame: everything is in the scenario's own world frame (metres, x east, y north, heading in
radians counter-clockwise from +x). WOMD coordinates reach tens of thousands of metres, so
positions are float64 here and are shifted by `Scenario.origin` before any cast to float32.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

CURRENT_STEP: Final = 10
"""Last observed step: rows 0..10 are history (1 s at 10 Hz), rows 11.. are future (WOMD convention)."""
FUTURE_STEPS: Final = 80
"""Steps after the current one that are predicted and judged: 8 s at 10 Hz."""
DT: Final = 0.1
"""Time between steps in that convention, s; a scene's own is `Scenario.dt`."""


def name_seed(name: str) -> int:
    """A seed of 31 bits that follows a name: the same on every machine, another for every other name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest()) >> 1


class Kind(IntEnum):
    """What an agent is."""

    VEHICLE = 0
    PEDESTRIAN = 1
    CYCLIST = 2
    CONE = 3
    BARRIER = 4
    OTHER = 5


@dataclass(frozen=True, slots=True)
class MapFeature:
    """One map element.

    Attributes:
        id: Identifier within the scene, as in the source file.
        type: MetaDrive type string, such as `LANE_SURFACE_STREET` or `ROAD_EDGE_BOUNDARY`.
        points: Polyline or polygon vertices, or the single position of a sign; shape [N, 2] or [N, 3], m.
        closed: True where `points` is a polygon (crosswalk, speed bump).
        entry, exit, left, right: Ids of predecessor, successor and neighbour lanes (lanes only).
        extras: Every other field of the source, untouched.
    """

    id: str
    type: str
    points: NDArray[np.floating]
    closed: bool = False
    entry: tuple[str, ...] = ()
    exit: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_lane(self) -> bool:
        """Whether this is a lane centre line (bike lanes included)."""
        return self.type.startswith("LANE_")

    @property
    def is_vehicle_lane(self) -> bool:
        """Whether cars may drive on this lane."""
        return self.is_lane and "BIKE" not in self.type

    @property
    def is_road_edge(self) -> bool:
        """Whether this is a road edge (boundary, median or sidewalk edge)."""
        return self.type.startswith("ROAD_EDGE")


@dataclass(frozen=True, slots=True, eq=False)
class Scenario:
    """One scene. A = agents, T = steps. Arrays are read-only; invalid rows hold whatever the source held.

    Attributes:
        id: Unique name of the scene.
        dt: Seconds between steps.
        agent_ids: Names of the agents, length A.
        kinds: `Kind` per agent, int8 [A].
        position: [A, T, 3] float64, m.
        heading: [A, T] float64, rad.
        velocity: [A, T, 2] float64, m/s, world frame.
        size: [A, T, 3] float64: length, width, height, m.
        valid: [A, T] bool.
        features: The road map.
        ego: Index of the ego (self-driving car).
        opponent: Index of who plays the adversary, where known: a vehicle unless somebody else was asked for.
        objects_of_interest: Agent ids that the source marks as interacting.
        lights: Traffic lights as the source holds them (`dynamic_map_states`).
        metadata: The source's metadata, untouched.
        extras: What else is needed to write the source file back without loss.
        source: Where it was read from, for messages; empty when made in memory.
    """

    id: str
    dt: float
    agent_ids: tuple[str, ...]
    kinds: NDArray[np.int8]
    position: NDArray[np.float64]
    heading: NDArray[np.float64]
    velocity: NDArray[np.float64]
    size: NDArray[np.float64]
    valid: NDArray[np.bool_]
    features: tuple[MapFeature, ...]
    ego: int
    opponent: int | None = None
    objects_of_interest: tuple[str, ...] = ()
    lights: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        """Make the arrays read-only: a scenario is shared between threads of use."""
        for name in ("kinds", "position", "heading", "velocity", "size", "valid"):
            getattr(self, name).setflags(write=False)

    @property
    def num_agents(self) -> int:
        """Number of agents A."""
        return int(self.valid.shape[0])

    @property
    def num_steps(self) -> int:
        """Number of steps T."""
        return int(self.valid.shape[1])

    @property
    def origin(self) -> NDArray[np.float64]:
        """Ego position at step 0, [2], m: subtract it in float64 before casting down."""
        return self.position[self.ego, 0, :2]

    def states(self, agent: int) -> NDArray[np.float64]:
        """Logged states of one agent: [T, 5] x, y, heading, vx, vy (see `harness.interfaces.STATE`)."""
        return np.concatenate(
            [self.position[agent, :, :2], self.heading[agent, :, None], self.velocity[agent]], axis=-1
        )

    def box(self, agent: int) -> tuple[float, float]:
        """Length and width (m) of one agent: the median over its valid steps."""
        rows = self.size[agent, self.valid[agent], :2]
        if len(rows) == 0:
            rows = self.size[agent, :, :2]
        # Sizes seldom change, and a median takes long.
        length, width = rows[0] if (rows == rows[0]).all() else np.median(rows, axis=0)
        return float(length), float(width)

    def index_of(self, agent_id: str) -> int:
        """Index of an agent by its id.

        Raises:
            KeyError: No such agent.
        """
        try:
            return self.agent_ids.index(agent_id)
        except ValueError:
            raise KeyError(f"scenario {self.id}: no agent {agent_id!r}; it has {len(self.agent_ids)}") from None

    def with_opponent(self, opponent: int | None) -> Scenario:
        """The same scene with another opponent."""
        return replace(self, opponent=opponent)

    def with_agents(self, kinds: Sequence[int], sizes: Sequence[Sequence[float]], name: str = "entered") -> Scenario:
        """The same scene with more agents at the end, none of which is ever there: their rows are invalid.

        Args:
            kinds: `Kind` of each.
            sizes: Length, width and height of each, m.
            name: What their ids begin with.
        """
        count, steps = len(kinds), self.num_steps
        while any(known.startswith(name) for known in self.agent_ids):
            name += "+"
        boxes = np.repeat(np.array(sizes, np.float64).reshape(count, 1, 3), steps, axis=1)

        def longer(values: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate([values, np.zeros((count, *values.shape[1:]), values.dtype)])

        return replace(
            self,
            agent_ids=(*self.agent_ids, *(f"{name} {number}" for number in range(count))),
            kinds=np.concatenate([self.kinds, np.array(kinds, np.int8)]),
            position=longer(self.position),
            heading=longer(self.heading),
            velocity=longer(self.velocity),
            size=np.concatenate([self.size, boxes]),
            valid=longer(self.valid),
        )

    def with_reserve(self, count: int) -> Scenario:
        """The same scene with `count` slots at the end: rows in which nobody is recorded, and agents may enter."""
        return self if count == 0 else self.with_agents([Kind.VEHICLE] * count, [(0.0, 0.0, 0.0)] * count, "slot")


class ScenarioSource(Protocol):
    """Random access to scenes: a folder store, a procedural cache, or a list in memory."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Name of every scene, in index order."""
        ...

    def __len__(self) -> int:
        """Number of scenes."""
        ...

    def __getitem__(self, index: int) -> Scenario:
        """Load (or return the cached) scene at `index`; its `opponent` is set where one exists."""
        ...


class SceneList(ABC):
    """What sources that know the names of their scenes have in common; a `ScenarioSource`."""

    _ids: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Name of every scene, in index order."""
        return self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Scenario]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Scenario:
        """The scene at `index` (from the end if negative), with its opponent selected.

        Raises:
            IndexError: No such index.
            ScenarioError: The scene is bad.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        return self._load(index % len(self))

    @abstractmethod
    def _load(self, index: int) -> Scenario:
        """The scene at `index`, which exists."""


class LoadedScenes(SceneList):
    """Scenes in memory, in a given order; a `ScenarioSource`."""

    def __init__(self, scenes: Sequence[Scenario]) -> None:
        """Keep the scenes. Where ids are equal, as those of several data sets may be, they are named by their place."""
        ids = [scene.id for scene in scenes]
        if len(set(ids)) < len(ids):
            ids = [f"{place}:{name}" for place, name in enumerate(ids)]
            scenes = [replace(scene, id=name) for scene, name in zip(scenes, ids, strict=True)]
        self._ids, self._scenes = tuple(ids), list(scenes)

    def _load(self, index: int) -> Scenario:
        return self._scenes[index]

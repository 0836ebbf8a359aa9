"""Scenes as flat arrays: what the kernels read. Nothing here is written after packing.

Ragged parts lie one after another; `x_of[s] : x_of[s + 1]` are the rows of scene `s`. Lengths are metres, angles rad,
relative to the scene's origin (where the ego starts).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.episodes.starts import beginnings
from harness.errors import ConfigError
from harness.fast.lanes import Lanes, joined_lanes
from harness.traffic.lane_paths import LaneIDMConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Cells = NDArray[np.int32]

(
    SEG_X,
    SEG_Y,
    SEG_END_X,
    SEG_END_Y,
    UNIT_X,
    UNIT_Y,
    DIR_X,
    DIR_Y,
    RIGHT_X,
    RIGHT_Y,
    BEARING,
    BEFORE,
    ENDS,
    ENDS_SLACK,
) = range(14)
"""Columns of a route's segment, see `harness.engine.route.Route`: start, end, unit vector, direction, right-hand side,
heading, length before it, and the lengths at which it ends for the heading and for the right-hand side."""
ROUTE: Final = 14

LINE_X, LINE_Y, LINE_UX, LINE_UY, LINE_HALF = range(5)
"""Columns of a piece of line: middle, direction, half length."""
LINE: Final = 5
HALF_WIDTH: Final = 0.0375
"""Half of the width of a line's box, m (`LANE_LINE_WIDTH` / 4)."""
YELLOW, WHITE, BROKEN = range(3)
KINDS: Final = 3
"""Kinds of lines: continuous yellow, continuous white (and road edges), broken."""
Kinds = tuple[int, int]
"""The first of some kinds, and the one after the last."""
YELLOW_LINES: Final = (YELLOW, WHITE)
WHITE_LINES: Final = (WHITE, BROKEN)
CONTINUOUS: Final = (YELLOW, BROKEN)
BROKEN_LINES: Final = (BROKEN, KINDS)
ALL_LINES: Final = (YELLOW, KINDS)

GRID_X, GRID_Y, GRID_COLUMNS, GRID_ROWS, GRID_CELL = range(5)
GRID: Final = 5
"""Columns of a grid: corner, cells in x and y, length of a cell."""

AT_X, AT_Y, AT_HEADING, AT_VX, AT_VY, SLIDE_X, SLIDE_Y, SLIDE_TURN, AT_BODY, AT_LOGGED = range(10)
"""Columns of a track's row: logged pose and velocity, the velocity and turn rate with which its body moves until the
next step (see `Scene.motion`), the body it gets when it appears, and whether the log has it."""
TRACK: Final = 10

START_X, START_Y, START_HEADING, START_VX, START_VY, START_THERE = range(6)
"""Columns of `Scenes.starts`: pose and velocity with which the ego begins at that step, and whether the log has it."""
START: Final = 6

ENGINE, BRAKE, LENGTH_M, LAST_MARK, STEPS, OPPONENT = range(6)
"""Columns of `Scenes.facts`: forces of the ego's car (N per wheel, N s per wheel and tick), length of the route, index
of its last way point, logged steps, and the opponent's row among the scene's agents (or -1)."""
FACTS: Final = 6


class Scenes(NamedTuple):
    """Any number of scenes. S scenes, A agents of a scene that may ever appear, T logged steps of a scene.

    Attributes:
        facts: [S, FACTS].
        start_of, starts: [S + 1], [., START]: the ego, step by step.
        route_of, route: [S + 1], [., ROUTE].
        mark_of, marks: [S + 1], [., 2] way points every two metres, the last one repeated.
        grid: [S, GRID].
        cell_of, cells: [S + 1], [.] per cell of the grid, and per kind in it, where its pieces of line begin (relative
            to the scene's first).
        line_of, lines: [S + 1], [., LINE] the pieces of line in each cell; one that meets several is there in each.
        agent_of, sizes, vehicle, object: [S + 1], [., 2] length and width, [.] flags.
        track_of, tracks: [S + 1], [., TRACK]: step by step, agent by agent.
        step_of, listed_of: [S + 1], [.] per step where the agents that may be present then begin.
        list_of, listed: [S + 1], [.] these agents.
    """

    facts: Floats
    start_of: Ints
    starts: Floats
    route_of: Ints
    route: Floats
    mark_of: Ints
    marks: Floats
    grid: Floats
    cell_of: Ints
    cells: Cells
    line_of: Ints
    lines: Floats
    agent_of: Ints
    sizes: Floats
    vehicle: NDArray[np.bool_]
    object: NDArray[np.bool_]
    track_of: Ints
    tracks: Floats
    step_of: Ints
    listed_of: Ints
    list_of: Ints
    listed: Ints


_ROWS: Final = {
    "start_of": "starts",
    "route_of": "route",
    "mark_of": "marks",
    "line_of": "lines",
    "cell_of": "cells",
    "agent_of": "sizes",
    "track_of": "tracks",
    "step_of": "listed_of",
    "list_of": "listed",
}
"""What begins where the first says, per scene."""
_WIDTHS: Final = {
    "facts": FACTS,
    "starts": START,
    "route": ROUTE,
    "marks": 2,
    "lines": LINE,
    "grid": GRID,
    "sizes": 2,
    "tracks": TRACK,
}
_FLAGS: Final = ("vehicle", "object")
_BODIES: Final = 8
"""Kinds of bodies, see `harness.engine.scene.Body`."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedScenes:
    """Scenes with what the kernels need not know. S scenes.

    Attributes:
        ids: [S] what they are called.
        origins: [S, 2] origins, in each scenario's own frame, m.
        scenes: What the kernels read.
        static_vehicles: Whether vehicles that never move are present; None where nobody has said so.
        lanes: Where vehicles may drive by themselves, or None where that has not been packed.
        drivers: Whom the lanes are made for.
    """

    ids: tuple[str, ...]
    origins: Floats
    scenes: Scenes
    static_vehicles: bool | None = None
    lanes: Lanes | None = None
    drivers: LaneIDMConfig | None = None

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.ids)

    @property
    def steps(self) -> Ints:
        """Logged steps of each scene [S]."""
        return self.scenes.facts[:, STEPS].astype(np.int64)

    def ego_there(self, index: int) -> NDArray[np.bool_]:
        """At which logged steps [T] of a scene the log has the ego, so that an episode can begin there."""
        first, last = self.scenes.start_of[index : index + 2]
        return np.asarray(self.scenes.starts[first:last, START_THERE] > 0)

    def beginnings(self, most: int, horizon: int | None) -> list[NDArray[np.intp]]:
        """Steps up to `most` at which an episode may begin in each scene, see `harness.episodes.starts`."""
        rows = np.split(self.scenes.starts, self.scenes.start_of[1:-1])
        return [beginnings(own[:, [START_X, START_Y]], own[:, START_THERE] > 0, most, horizon) for own in rows]


def joined(parts: Sequence[PackedScenes]) -> PackedScenes:
    """Several packs as one.

    Raises:
        ConfigError: There are none, or they were packed by different options.
    """
    if not parts:
        raise ConfigError("there are no scenes; give at least one")
    if len({part.static_vehicles for part in parts}) > 1:
        raise ConfigError("scenes with and without static_vehicles do not go together; pack all of them alike")
    if len({part.drivers for part in parts}) > 1:
        raise ConfigError("scenes packed for different traffic do not go together; pack all of them alike")
    ids = tuple(itertools.chain.from_iterable(part.ids for part in parts))
    arrays: list[Any] = []
    for name, own in zip(Scenes._fields, zip(*(part.scenes for part in parts), strict=True), strict=True):
        arrays.append(_join_offsets(own) if name in _ROWS else np.concatenate(own))
    origins = np.concatenate([part.origins for part in parts])
    lanes = [part.lanes for part in parts if part.lanes is not None]
    return PackedScenes(
        ids,
        origins,
        Scenes(*arrays),
        parts[0].static_vehicles,
        joined_lanes(lanes) if len(lanes) == len(parts) else None,
        parts[0].drivers,
    )


def _join_offsets(arrays: Sequence[Ints]) -> Ints:
    ends = np.cumsum([array[-1] for array in arrays])
    return np.concatenate([[0], *(array[1:] + end - array[-1] for array, end in zip(arrays, ends, strict=True))])


def is_sound(scenes: Scenes) -> bool:
    """Whether the pack of one scene is such as kernels can read: they use its numbers as indices, unseen."""
    for name, array in scenes._asdict().items():
        width = (_WIDTHS[name],) if name in _WIDTHS else ()
        kind = np.float64 if width else np.bool_ if name in _FLAGS else np.int32 if name == "cells" else np.int64
        if array.dtype != kind or array.shape[1:] != width or array.ndim == 0:
            return False
    if any(getattr(scenes, name).tolist() != [0, len(getattr(scenes, rows))] for name, rows in _ROWS.items()):
        return False
    agents, steps = len(scenes.sizes), len(scenes.starts)
    if len(scenes.facts) != 1 or len(scenes.grid) != 1 or not (len(scenes.route) and len(scenes.marks)):
        return False
    facts, grid = scenes.facts[0], scenes.grid[0]
    lengths = {
        "tracks": steps * agents,
        "listed_of": steps + 1,
        "vehicle": agents,
        "object": agents,
        "cells": KINDS * grid[GRID_COLUMNS] * grid[GRID_ROWS] + 1,
    }
    return (
        facts[STEPS] == steps
        and all(len(getattr(scenes, name)) == length for name, length in lengths.items())
        and (grid[[GRID_COLUMNS, GRID_ROWS]] >= 1).all()
        and _within(scenes.listed, agents)
        and _partition(scenes.cells, scenes.lines)
        and _partition(scenes.listed_of, scenes.listed)
        and _within(facts[[OPPONENT]] + 1, agents + 1)
        and _within(facts[[LAST_MARK]], len(scenes.marks))
        and _within(scenes.tracks[:, AT_BODY], _BODIES)
    )


def _partition(begins: NDArray[Any], rows: NDArray[Any]) -> bool:
    """Whether parts that begin there, and end where the next begins, are all rows, in order."""
    return bool(begins[0] == 0 and begins[-1] == len(rows) and (np.diff(begins) >= 0).all())


def _within(values: NDArray[Any], end: int) -> bool:
    """Whether all values are in 0 … `end` - 1; NaN is not."""
    return bool(((values >= 0) & (values < end)).all())

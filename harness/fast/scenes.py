"""Scenes as flat arrays: what the kernels read. Nothing here is written after packing.

Ragged parts lie one after another; `x_of[s] : x_of[s + 1]` are the rows of scene `s`. Lengths are metres, angles rad,
relative to the scene's origin (where the ego starts).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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

LINE_X, LINE_Y, LINE_UX, LINE_UY, LINE_HALF, LINE_KIND = range(6)
"""Columns of a piece of line: middle, direction, half length, and one of the kinds below."""
LINE: Final = 6
WHITE, YELLOW, BROKEN = 1, 2, 4
CONTINUOUS, ALL_LINES = WHITE | YELLOW, WHITE | YELLOW | BROKEN
"""Kinds of lines, as bits: continuous white (and road edges), continuous yellow, broken."""

GRID_X, GRID_Y, GRID_COLUMNS, GRID_ROWS, GRID_CELL = range(5)
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
        line_of, lines: [S + 1], [., LINE].
        grid: [S, 5].
        cell_of, cells: [S + 1], [.] per cell of the grid where its entries begin (relative to the scene's first).
        entry_of, entries: [S + 1], [.] pieces of line in each cell, by their row in the scene.
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
    line_of: Ints
    lines: Floats
    grid: Floats
    cell_of: Ints
    cells: Ints
    entry_of: Ints
    entries: Ints
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


@dataclass(frozen=True, slots=True, eq=False)
class PackedScenes:
    """Scenes with what the kernels need not know. S scenes.

    Attributes:
        ids: [S] what they are called.
        origins: [S, 2] origins, in each scenario's own frame, m.
        scenes: What the kernels read.
    """

    ids: tuple[str, ...]
    origins: Floats
    scenes: Scenes

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

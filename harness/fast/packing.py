"""From the engine's scenes to flat arrays."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.engine import lines
from harness.engine.ego import forces_of
from harness.engine.lines import LinePiece, line_pieces
from harness.engine.scene import Scene, parse_scene
from harness.engine.settling import Settler
from harness.fast import scenes as columns
from harness.fast.packing_lanes import pack_lanes
from harness.fast.scenes import FACTS, HALF_WIDTH, KINDS, LINE, START, TRACK, Cells, PackedScenes, Scenes, joined
from harness.traffic.lane_paths import LaneIDMConfig
from scenarios.importing import Watch
from scenarios.scenario import Kind, Scenario, ScenarioSource

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CELL: Final = 4.0
"""Side of the grid's cells, m (2 and 8 are no faster)."""
_KINDS: Final = {
    **dict.fromkeys(lines.WHITE, columns.WHITE),
    **dict.fromkeys(lines.YELLOW, columns.YELLOW),
    **dict.fromkeys(lines.BROKEN, columns.BROKEN),
}
_RIM: Final = 1.0
_SLACK: Final = 1e-6


def settled_scenes(source: ScenarioSource, watch: Watch = iter, *, static_vehicles: bool = False) -> list[Scene]:
    """The scenes of a source as the engine plays them, with what wheel physics leaves of logged motion.

    It needs a physics world, so that it works in processes only that have no MetaDrive engine.

    Args:
        source: Where the scenes come from.
        watch: Sees their indices go by.
        static_vehicles: Whether vehicles that never move are present.

    Raises:
        ScenarioError: A scene cannot be simulated.
    """
    settler, scenes = Settler(), []
    for index in watch(range(len(source))):
        scene = parse_scene(source[index], static_vehicles=static_vehicles)
        settler.settle_scene(scene)
        scenes.append(scene)
    settler.close()
    return scenes


def pack_scenario(scenario: Scenario, *, static_vehicles: bool, drivers: LaneIDMConfig | None = None) -> PackedScenes:
    """One scene, settled; for processes that have no MetaDrive engine.

    Args:
        scenario: The scene.
        static_vehicles: Whether vehicles that never move are present.
        drivers: Who drives along its lanes, or None.

    Raises:
        ScenarioError: It cannot be simulated.
    """
    scene = parse_scene(scenario, static_vehicles=static_vehicles)
    try:
        _settler().settle_scene(scene)
        return pack([scene], drivers)
    finally:
        scene.close()


@functools.cache
def _settler() -> Settler:
    return Settler()


def pack(scenes: Iterable[Scene], drivers: LaneIDMConfig | None = None) -> PackedScenes:
    """Scenes one after another.

    Args:
        scenes: Parsed, and settled where contacts are to be exact.
        drivers: Who drives along their lanes, or None.

    Raises:
        ConfigError: There are none.
        ScenarioError: One is too short for anybody to leave the log.
    """
    parts = []
    for scene in scenes:
        lanes = None if drivers is None else pack_lanes(scene, packed_agents(scene), drivers)
        part = PackedScenes((scene.scenario.id,), scene.origin[None], pack_one(scene), lanes=lanes, drivers=drivers)
        parts.append(part)
    return joined(parts)


def packed_agents(scene: Scene) -> NDArray[np.intp]:
    """The agents that are packed: all who may ever appear, the opponent, and slots for those who enter."""
    wanted = np.asarray(scene.may_appear.any(axis=1))
    wanted[len(wanted) - scene.reserve :] = True
    if scene.scenario.opponent is not None:
        wanted[scene.scenario.opponent] = True
    return np.flatnonzero(wanted)


def pack_one(scene: Scene) -> Scenes:
    """One scene."""
    used = packed_agents(scene)
    grid, cells, lines = grid_of(*_pieces(list(line_pieces(scene.scenario.features, scene.origin))))
    route, (marks, last_mark) = scene.route.segments(), scene.route.way_points
    starts, tracks = _starts(scene), _tracks(scene, used)
    listed_of, listed = _listed(scene.may_appear[used])
    return Scenes(
        facts=_facts(scene, used, last_mark)[None],
        start_of=_whole(starts),
        starts=starts,
        route_of=_whole(route),
        route=route,
        mark_of=_whole(marks),
        marks=np.asarray(marks, np.float64),
        grid=grid[None],
        cell_of=_whole(cells),
        cells=cells,
        line_of=_whole(lines),
        lines=lines,
        agent_of=_whole(used),
        sizes=scene.sizes[used],
        vehicle=scene.is_vehicle[used],
        object=np.isin(scene.scenario.kinds[used], (Kind.CONE, Kind.BARRIER)),
        track_of=_whole(tracks),
        tracks=tracks,
        step_of=_whole(listed_of),
        listed_of=listed_of,
        list_of=_whole(listed),
        listed=listed,
    )


def _whole(array: NDArray) -> Ints:
    return np.array([0, len(array)], np.int64)


def _facts(scene: Scene, used: NDArray[np.intp], last_mark: int) -> Floats:
    opponent = scene.scenario.opponent
    facts = np.zeros(FACTS)
    facts[[columns.ENGINE, columns.BRAKE]] = forces_of(scene.scenario.id)
    facts[columns.LENGTH_M], facts[columns.LAST_MARK] = scene.route.length, last_mark
    facts[columns.STEPS] = scene.steps
    place = np.flatnonzero(used == -1 if opponent is None else used == opponent)
    facts[columns.OPPONENT] = place[0] if len(place) else -1
    return facts


def _starts(scene: Scene) -> Floats:
    """[T, START]."""
    ego = scene.scenario.ego
    starts = np.zeros((scene.steps, START))
    starts[:, [columns.START_X, columns.START_Y]] = scene.xy[ego]
    starts[:, columns.START_HEADING] = np.deg2rad(scene.node_heading[ego]) + np.pi / 2
    starts[:, [columns.START_VX, columns.START_VY]] = scene.velocity[ego]
    starts[:, columns.START_THERE] = scene.scenario.valid[ego]
    return starts


def _pieces(pieces: Sequence[LinePiece]) -> tuple[Floats, NDArray[np.intp]]:
    """[., LINE] and the kinds."""
    if not pieces:
        return np.zeros((0, LINE)), np.zeros(0, np.intp)
    start = np.array([piece.start for piece in pieces], np.float64)
    way = np.array([piece.end for piece in pieces], np.float64) - start
    length = np.hypot(*way.T)
    kinds = np.array([_KINDS[piece.kind] for piece in pieces], np.intp)
    return np.column_stack([start + way / 2, way / length[:, None], length / 2]), kinds


def grid_of(pieces: Floats, kinds: NDArray[np.intp]) -> tuple[Floats, Cells, Floats]:
    """A grid over pieces of line [., LINE] of some kinds [.]: its columns, and `cells` and `lines` of `Scenes`."""
    if not len(pieces):
        return np.array([0.0, 0.0, 1, 1, CELL]), np.zeros(KINDS + 1, np.int32), np.zeros((0, LINE))
    middle, unit, half = pieces[:, :2], np.abs(pieces[:, 2:4]), pieces[:, 4:5]
    reach = unit * half + unit[:, ::-1] * HALF_WIDTH
    corner = (middle - reach).min(axis=0) - _RIM
    shape = ((middle + reach).max(axis=0) + _RIM - corner) // CELL + 1
    first = ((middle - reach - corner) // CELL).astype(int)
    count = ((middle + reach - corner) // CELL).astype(int) - first + 1
    line = np.repeat(np.arange(len(pieces)), count.prod(axis=1))
    place = np.arange(len(line)) - np.repeat(np.cumsum(count.prod(axis=1)) - count.prod(axis=1), count.prod(axis=1))
    cell = first[line] + np.column_stack([place % count[line, 0], place // count[line, 0]])
    away = corner + (cell + 0.5) * CELL - middle[line]
    ux, uy = pieces[line, 2], pieces[line, 3]
    spread = CELL / 2 * unit[line].sum(axis=1) + _SLACK
    meets = np.abs(away[:, 1] * ux - away[:, 0] * uy) <= HALF_WIDTH + spread
    meets &= np.abs(away[:, 0] * ux + away[:, 1] * uy) <= half[line, 0] + spread
    number = (KINDS * (cell[:, 1] * shape[0] + cell[:, 0]) + kinds[line]).astype(np.int64)[meets]
    order = np.argsort(number, kind="stable")
    begins = np.searchsorted(number[order], np.arange(KINDS * int(shape.prod()) + 1))
    return np.array([*corner, *shape, CELL]), begins.astype(np.int32), pieces[line[meets][order]]


def _tracks(scene: Scene, used: NDArray[np.intp]) -> Floats:
    """[T * A, TRACK]: agents of one step side by side."""
    parts: list[Floats] = [
        scene.xy[used],
        scene.theta[used, :, None],
        scene.velocity[used],
        scene.motion[used],
        scene.body[used, :, None].astype(np.float64),
        scene.scenario.valid[used, :, None].astype(np.float64),
    ]
    return np.concatenate(parts, axis=-1).swapaxes(0, 1).reshape(-1, TRACK)


def _listed(allowed: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Agents that may be present, step after step; and after the last step, those that outlast the log."""
    steps, agents = np.nonzero(allowed.T)
    begins = np.searchsorted(steps, np.arange(allowed.shape[1] + 1))
    return begins.astype(np.int64), agents.astype(np.int64)

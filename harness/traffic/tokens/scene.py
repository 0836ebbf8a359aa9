"""One scene as tokens: what the model reads, in a frame fixed to the ego at the current step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.pieces import EDGES, PieceKind, Pieces, map_pieces, thin
from harness.traffic.tokens.shapes import TOKEN_STEPS, token_kinds
from harness.traffic.tokens.tokeniser import relative_poses, tokenise
from harness.traffic.tokens.tracks import Tracks, clean_tracks
from harness.traffic.tokens.vocabulary import Vocabulary
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

CURRENT_TOKEN: Final = CURRENT_STEP // TOKEN_STEPS
"""Tokens before the current step: the first two, 0→5 and 5→10."""
CELL: Final = 3.0
"""Side of the grid cells in which neighbouring map pieces are listed, m."""
_REACH: Final = 20.0
"""Cells farther than this from any piece have no list, m."""


@dataclass(frozen=True, slots=True, eq=False)
class SceneTokens:
    """A tokenised scene. A agents, N tokens, M map pieces, C grid cells; metres and radians in the scene's frame.

    Attributes:
        frame: [3] float64 world pose of the ego at the current step, of the first of several phases: origin and +x of
            the frame.
        agents: [A] int64 index in the scenario.
        kinds: [A] int64 token kinds.
        present: [A] whether the log has the agent at the current step itself, not before and after it alone.
        sizes: [A, 3] length, width, height at the current step, or where the agent is first seen.
        token: [A, N] int64 motion tokens; token n leads from step 5n to 5n+5.
        token_valid: [A, N].
        poses: [A, N+1, 3] reconstructed poses at steps 0, 5, ….
        goal: [A, N+1, 3] logged poses (cleaned).
        goal_valid: [A, N+1].
        trained: [A] whether the agent has a loss.
        ego: [A] which of the agents is the scene's ego; none where it has no tokens.
        road_user: [A] who is a vehicle, a pedestrian or a cyclist, and no other object.
        map_pose: [M, 3]; map_token, map_kind, map_light: [M] int64.
        map_around: [M, K] neighbouring pieces, -1 where there are fewer.
        table: [C + 1, L + E] pieces near each grid cell, lanes first; the last row is for "off the grid"; -1 for none.
        grid: [4] x and y of the grid's corner (m), cells in x, cells in y.
    """

    frame: NDArray[np.float64]
    agents: NDArray[np.int64]
    kinds: NDArray[np.int64]
    present: NDArray[np.bool_]
    sizes: NDArray[np.float32]
    token: NDArray[np.int64]
    token_valid: NDArray[np.bool_]
    poses: NDArray[np.float32]
    goal: NDArray[np.float32]
    goal_valid: NDArray[np.bool_]
    trained: NDArray[np.bool_]
    ego: NDArray[np.bool_]
    road_user: NDArray[np.bool_]
    map_pose: NDArray[np.float32]
    map_token: NDArray[np.int64]
    map_kind: NDArray[np.int64]
    map_light: NDArray[np.int64]
    map_around: NDArray[np.int32]
    table: NDArray[np.int32]
    grid: NDArray[np.float64]

    def without_table(self) -> SceneTokens:
        """The same with an empty table, which is most of a scene's size; `with_table` makes it again."""
        return replace(self, table=np.full((1, self.table.shape[1]), -1, dtype=np.int32), grid=np.zeros(4))

    def with_table(self, options: SceneOptions) -> SceneTokens:
        """The same with the table of its pieces."""
        of_nothing = np.zeros_like(self.map_kind)
        pieces = Pieces(
            self.map_pose.astype(np.float64), self.map_token, self.map_kind, self.map_light, feature=of_nothing
        )
        table, grid = _grid_table(pieces, options)
        return replace(self, table=table, grid=grid)


def _nearest(
    points: NDArray[np.float64], queries: NDArray[np.float64], rows: NDArray[np.intp], count: int
) -> NDArray[np.int32]:
    """Up to `count` nearest `points` of each query as values of `rows`, [Q, count]; -1 where there are fewer."""
    found = np.full((len(queries), count), -1, dtype=np.int32)
    if len(points) and len(queries):
        near = min(count, len(points))
        distance, index = cKDTree(points).query(queries, k=near, distance_upper_bound=_REACH + 10.0)
        index, distance = index.reshape(len(queries), near), distance.reshape(len(queries), near)
        known = np.isfinite(distance)
        found[:, :near][known] = rows[index[known]]
    return found


def _grid_table(pieces: Pieces, options: SceneOptions) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Which pieces are nearest to every cell of a grid over the map."""
    points = pieces.pose[:, :2]
    width = options.lanes + options.edges
    if len(points) == 0:
        return np.full((1, width), -1, dtype=np.int32), np.zeros(4)
    # Cells lie where they lie whatever part of the map is kept: a place sees the same pieces in training and after.
    corner = np.floor((points.min(0) - _REACH) / CELL) * CELL
    cells = np.ceil((points.max(0) + _REACH - corner) / CELL).astype(np.int64)
    axes = [corner[k] + (np.arange(cells[k]) + 0.5) * CELL for k in range(2)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    edge = np.isin(pieces.kind, [*EDGES, PieceKind.SOLID_LINE, PieceKind.BROKEN_LINE])
    columns = [
        _nearest(points[rows], centres, rows, count)
        for rows, count in ((np.flatnonzero(~edge), options.lanes), (np.flatnonzero(edge), options.edges))
    ]
    table = np.concatenate([*columns], 1)
    table = np.concatenate([table, np.full((1, width), -1, dtype=np.int32)])
    return table, np.array([*corner, *cells], dtype=np.float64)


def _neighbours(pieces: Pieces, options: SceneOptions) -> NDArray[np.int32]:
    """Neighbours [M, K] of every piece for the map encoder, itself left out."""
    points = pieces.pose[:, :2]
    found = np.full((len(points), options.around), -1, dtype=np.int32)
    near = min(options.around + 1, len(points))
    if near > 1:
        distance, index = cKDTree(points).query(points, k=near, distance_upper_bound=options.radius)
        good = np.isfinite(distance) & (index != np.arange(len(points))[:, None])
        order = np.argsort(~good, axis=1, kind="stable")[:, : options.around]
        index, good = np.take_along_axis(index, order, 1), np.take_along_axis(good, order, 1)
        found[:, : index.shape[1]] = np.where(good, index, -1)
    return found


def roles(scenario: Scenario) -> NDArray[np.bool_]:
    """Agents with a role [agents]: the ego, tracks to predict and objects of interest."""
    named = {str(name) for name in scenario.objects_of_interest}
    predict = scenario.metadata.get("tracks_to_predict")
    if isinstance(predict, dict):
        named |= {str(name) for name in predict}
    found = np.array([name in named for name in scenario.agent_ids], dtype=bool)
    found[scenario.ego] = True
    return found


def choose_agents(scenario: Scenario, options: SceneOptions) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Agents of a training scene and which of them are trained: those with a role, then moving ones, then the rest."""
    current = np.flatnonzero(scenario.valid[:, CURRENT_STEP])
    place = scenario.position[current, CURRENT_STEP, :2]
    distance = np.hypot(*(place - scenario.position[scenario.ego, CURRENT_STEP, :2]).T)
    role = roles(scenario)[current]
    future = scenario.valid[current, CURRENT_STEP + 1 :].sum(1) >= TOKEN_STEPS
    moved = np.zeros(len(current))
    for row, agent in enumerate(current):
        seen = scenario.position[agent, scenario.valid[agent], :2]
        moved[row] = np.hypot(*(seen.max(0) - seen.min(0)))
    eligible = future & (role | (distance < options.train_radius))
    order = np.lexsort((distance, moved < 1.0, ~role, ~eligible))
    trained = order[: options.trained]
    trained = trained[eligible[trained]]
    rest = np.setdiff1d(np.arange(len(current)), trained)
    gap = np.full(len(rest), np.inf)
    if len(trained) and len(rest):
        gap = np.hypot(*np.moveaxis(place[rest, None] - place[trained], -1, 0)).min(1)
    rest = rest[np.argsort(gap)]
    rest = rest[np.sort(gap) < options.context][: options.agents - len(trained)]
    rows = np.concatenate([trained, rest]).astype(np.intp)
    mask = np.zeros(len(current), dtype=bool)
    mask[trained] = True
    rows = np.sort(rows)
    return current[rows], mask[rows]


def tokenise_scene(
    scenario: Scenario,
    vocabulary: Vocabulary,
    options: SceneOptions | None = None,
    *,
    training: bool = False,
    agents: NDArray[np.intp] | None = None,
    whole: bool = False,
) -> SceneTokens:
    """Tokens of a scene.

    Args:
        scenario: At 10 Hz, with the ego valid at the current step.
        vocabulary: Motion and map tokens.
        options: Sizes.
        training: Use the whole log, and keep the agents and the map worth training on. Otherwise every agent that is
            present at the current step is kept, and no later step is read.
        agents: Indices to keep instead, such as those that will appear later too (not for training).
        whole: Tokens of the whole log, outside training too: for worlds in which others do what they did.
    """
    options = options or SceneOptions()
    if training:
        agents, trained = choose_agents(scenario, options)
        until = None
    else:
        agents = np.flatnonzero(scenario.valid[:, CURRENT_STEP]) if agents is None else agents
        trained, until = np.zeros(len(agents), dtype=bool), None if whole else CURRENT_STEP
    frame, tracks = ego_frame(scenario), clean_tracks(scenario, agents, until)
    seen = tracks.poses[tracks.valid] if training else tracks.poses[tracks.valid[:, CURRENT_STEP], CURRENT_STEP]
    margin = options.map_margin if training else options.map_reach
    pieces = nearby_pieces(scenario, vocabulary, options, frame, relative_poses(seen, frame)[:, :2], margin)
    return joined_tokens(scenario, vocabulary, frame, pieces, map_tables(pieces, options), agents, trained, tracks)


def ego_frame(scenario: Scenario) -> NDArray[np.float64]:
    """World pose [3] of the ego at the current step."""
    ego = scenario.ego
    return np.array([*scenario.position[ego, CURRENT_STEP, :2], scenario.heading[ego, CURRENT_STEP]])


def nearby_pieces(
    scenario: Scenario,
    vocabulary: Vocabulary,
    options: SceneOptions,
    frame: NDArray[np.float64],
    places: NDArray[np.float64],
    margin: float,
) -> Pieces:
    """The map within `margin` (m) of `places` [n, 2], as pieces in a frame, with the lights of the current step."""
    pieces = map_pieces(scenario, vocabulary, CURRENT_STEP, lines=options.lines)
    return _crop(thin(pieces._replace(pose=relative_poses(pieces.pose, frame))), places, margin, options.map_limit)


class MapTables(NamedTuple):
    """Which pieces are near: `map_around`, `table` and `grid` of `SceneTokens`."""

    around: NDArray[np.int32]
    table: NDArray[np.int32]
    grid: NDArray[np.float64]


def map_tables(pieces: Pieces, options: SceneOptions) -> MapTables:
    """Which pieces are near pieces and places."""
    return MapTables(_neighbours(pieces, options), *_grid_table(pieces, options))


def joined_tokens(
    scenario: Scenario,
    vocabulary: Vocabulary,
    frame: NDArray[np.float64],
    pieces: Pieces,
    tables: MapTables,
    agents: NDArray[np.intp],
    trained: NDArray[np.bool_],
    tracks: Tracks,
) -> SceneTokens:
    """Tokens of a scene out of a map in a frame, and of cleaned tracks [A] in the world."""
    tracks = tracks._replace(poses=relative_poses(tracks.poses, frame))
    tracks = tracks._replace(poses=_unwrapped(tracks.poses, tracks.valid))
    kinds = token_kinds(scenario.kinds[agents])
    motion = tokenise(tracks, kinds, vocabulary)
    return SceneTokens(
        frame=frame,
        agents=agents.astype(np.int64),
        kinds=kinds,
        present=scenario.valid[agents, CURRENT_STEP],
        sizes=_sizes(scenario, agents),
        token=motion.token,
        token_valid=motion.valid,
        poses=motion.poses.astype(np.float32),
        goal=tracks.poses[:, ::TOKEN_STEPS].astype(np.float32),
        goal_valid=tracks.valid[:, ::TOKEN_STEPS],
        trained=trained,
        ego=np.asarray(agents == scenario.ego),
        road_user=np.asarray(scenario.kinds[agents] <= Kind.CYCLIST),
        map_pose=pieces.pose.astype(np.float32),
        map_token=pieces.token,
        map_kind=pieces.kind,
        map_light=pieces.light,
        map_around=tables.around,
        table=tables.table,
        grid=tables.grid,
    )


def _sizes(scenario: Scenario, agents: NDArray[np.intp]) -> NDArray[np.float32]:
    """Sizes [A, 3] at the current step, or of agents that are absent then at the first step that they are seen."""
    seen = scenario.valid[agents]
    step = np.where(seen[:, CURRENT_STEP], CURRENT_STEP, seen.argmax(1))
    return scenario.size[agents, step].astype(np.float32)


def _unwrapped(poses: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Headings without jumps of 2π along each track, so that differences mean turns."""
    turned = poses.copy()
    for agent in np.flatnonzero(valid.any(1)):
        turned[agent, valid[agent], 2] = np.unwrap(poses[agent, valid[agent], 2])
    return turned


def _crop(pieces: Pieces, places: NDArray[np.float64], margin: float, limit: int) -> Pieces:
    """Pieces within `margin` of any of `places` [n, 2], the nearest `limit` of them."""
    if len(pieces.pose) == 0 or len(places) == 0:
        return pieces
    distance, _ = cKDTree(places).query(pieces.pose[:, :2])
    rows = np.flatnonzero(distance < margin)
    if len(rows) > limit:
        rows = np.sort(rows[np.argsort(distance[rows], kind="stable")[:limit]])
    return pieces.take(rows)

"""The structured sequence of a decision, [agents, motion, map, layout, newcomers], and what is to be predicted in it.

Paper: RosettaSim, section 4.2 and equation 8. One decision is one sequence: nothing is carried over from the decision
before but what the agents' own features know. The paper leaves open, and this is ours: agents come in the order of
their distance from the observer; newcomers are numbered after the agents (J of them after N), so that nobody shares an
index; the end of the newcomers is predicted and never read, as nothing comes after it; whoever has left after the
motion has no layout token; map pieces are spread evenly over the distances from the observer, lanes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.traffic.observers import Observer
from harness.traffic.rosetta.config import SequenceLimits
from harness.traffic.tokens.layout import END, GRID_RADIUS, layout_tokens
from harness.traffic.tokens.pieces import PieceKind
from harness.traffic.tokens.population import border_distances
from harness.traffic.tokens.scene import SceneTokens
from harness.traffic.tokens.tokeniser import apply, relative_poses

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

NONE: Final = -1
"""Index of nothing: padding, or somebody who is not there."""
UNSCORED: Final = -100
"""Label of what is not predicted (PyTorch's own number for it)."""
PARTS: Final = 3
"""Tokens of a newcomer: type, grid, yaw."""


class Watched(NamedTuple):
    """Who is seen of a tokenised scene. A agents, S moments (every half second).

    Attributes:
        observer: [S, 3] pose of the ego: where it was seen last while it is gone, and first before it is there; or of a
            fixed observer.
        own: [A] who the observer is.
        seen: [A, S] who is within the grid's radius, things included.
        there: [A, S] road users among them; the ego wherever it is, if it is the observer.
    """

    observer: Floats
    own: Bools
    seen: Bools
    there: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """Decisions of one scene, as numbers. T decisions, N agents, M pieces, J newcomers at most; `NONE` is padding.

    Attributes:
        moment: [T] the moment s (step 5s) at which is decided what happens until the next one.
        agent: [T, N] rows of the agents, the nearest to the observer first.
        motion: [T, N] their next motion token, `UNSCORED` where the log does not know it.
        grid, yaw: [T, N] their layout tokens after it, in the observer's frame of the next moment.
        piece: [T, M] rows of map pieces; piece_grid, piece_yaw: [T, M] their layout tokens then.
        kind, new_grid, new_yaw: [T, J] tokens of those who are there at the next moment and were not before, the
            nearest to the observer first.
        ends: [T] whether nobody follows after them.
    """

    moment: Ints
    agent: Ints
    motion: Ints
    grid: Ints
    yaw: Ints
    piece: Ints
    piece_grid: Ints
    piece_yaw: Ints
    kind: Ints
    new_grid: Ints
    new_yaw: Ints
    ends: Bools


def watched(scene: SceneTokens, observer: Observer = "ego") -> Watched:
    """Who is seen around an observer.

    Args:
        scene: The scene.
        observer: The `ego`, or the origin of the scene's frame where the ego has no tokens; or somebody fixed in the
            `middle` of all recorded places, who looks along the world's +x and takes the ego for one among others.
    """
    places, valid = scene.goal.astype(np.float64), scene.goal_valid
    path, own = np.zeros((valid.shape[1], 3)), scene.ego if observer == "ego" else np.zeros_like(scene.ego)
    if observer == "middle":
        known = apply(scene.frame, places[valid])[:, :2]
        path += relative_poses(np.array([*(known.min(0) + known.max(0)) / 2, 0.0]), scene.frame)
    elif own.any():
        row = int(own.argmax())
        known = valid[row]
        seen = np.maximum.accumulate(np.where(known, np.arange(len(known)), int(known.argmax())))
        path = places[row, seen]
    inside = valid & (border_distances(places[..., :2], valid, path) > 0)
    there = (inside & scene.road_user[:, None]) | (valid & own[:, None])
    return Watched(path, own, inside | there, there)


def nearest_first(places: Floats, observer: Floats) -> NDArray[np.intp]:
    """Rows of places [n, 2+] in the order of their distance from an observer [2+], m; equal ones in their order."""
    return np.argsort(np.hypot(*(places[:, :2] - observer[:2]).T), kind="stable")


def choose_pieces(places: Floats, kinds: Ints, observer: Floats, limit: int) -> Ints:
    """Rows of at most `limit` map pieces within the grid, spread evenly over the distances from the observer.

    Lanes come first: other pieces are taken only where fewer lanes than `limit` are near, and these evenly as well.

    Args:
        places: [M, 2+] m.
        kinds: [M] `PieceKind`.
        observer: [2+] m.
        limit: Their largest number.
    """
    gap = np.hypot(*(places[:, :2] - observer[:2]).T)
    near = gap <= GRID_RADIUS
    lane = near & (kinds <= PieceKind.BIKE)
    chosen: list[Ints] = []
    for group in (lane, near & ~lane):
        left = limit - sum(map(len, chosen))
        rows = np.flatnonzero(group)
        rows = rows[np.argsort(gap[rows], kind="stable")]
        if len(rows) > left:
            rows = rows[np.arange(left) * len(rows) // max(left, 1)]
        chosen.append(rows)
    return np.concatenate(chosen).astype(np.int64)


def decisions(
    scene: SceneTokens, limits: SequenceLimits, moments: Sequence[int] | None = None, observer: Observer = "ego"
) -> Decisions:
    """Every decision of a scene that its log can teach.

    Args:
        scene: With agents from the whole log (`everybody`), or newcomers are missed.
        limits: Lengths.
        moments: Which decisions, from 1 to the number of tokens less one; None for all of them.
        observer: Around whom; see `watched`.
    """
    view, poses, goal = watched(scene, observer), scene.poses.astype(np.float64), scene.goal.astype(np.float64)
    pieces = scene.map_pose.astype(np.float64)
    columns: dict[str, list[Ints]] = {name: [] for name in _COLUMNS}
    ends = []
    moments = range(1, scene.token.shape[1]) if moments is None else moments
    for now in moments:
        then, place = now + 1, view.observer[now + 1]
        agents = np.flatnonzero(view.there[:, now])
        agents = agents[nearest_first(poses[agents, now], view.observer[now])][: limits.agents]
        after = layout_tokens(poses[agents, then], place)
        stays = view.there[agents, then]
        new = np.flatnonzero(view.there[:, then] & ~view.there[:, now] & ~view.own)
        new = new[nearest_first(goal[new, then], place)]
        ends.append(len(new) <= limits.newcomers)
        new = new[: limits.newcomers]
        born = layout_tokens(goal[new, then], place)
        near = choose_pieces(pieces, scene.map_kind, place, limits.pieces)
        lies = layout_tokens(pieces[near], place)
        row = {
            "agent": agents,
            "motion": np.where(scene.token_valid[agents, now], scene.token[agents, now], UNSCORED),
            "grid": np.where(stays, after.grid, NONE),
            "yaw": np.where(stays, after.yaw, NONE),
            "piece": near,
            "piece_grid": lies.grid,
            "piece_yaw": lies.yaw,
            "kind": scene.kinds[new],
            "new_grid": born.grid,
            "new_yaw": born.yaw,
        }
        for name, values in row.items():
            columns[name].append(np.asarray(values, dtype=np.int64))
    filled = {name: _padded(parts, UNSCORED if name == "motion" else NONE) for name, parts in columns.items()}
    return Decisions(np.array(moments, dtype=np.int64), ends=np.array(ends, dtype=bool), **filled)


_COLUMNS: Final = tuple(item.name for item in fields(Decisions) if item.name not in ("moment", "ends"))


def _padded(parts: Sequence[Ints], filler: int) -> Ints:
    """Lists of numbers as rows of a table that is as wide as the longest."""
    table = np.full((len(parts), max(map(len, parts), default=0)), filler, dtype=np.int64)
    for row, part in enumerate(parts):
        table[row, : len(part)] = part
    return table


@dataclass(frozen=True, slots=True, eq=False)
class SequenceBatch:
    """Decisions of several scenes as tensors. B sequences of length L = 3N + M + 3J + 1.

    Attributes:
        scene: [B] number of the scene; the others as in `Decisions`.
    """

    scene: Tensor
    moment: Tensor
    agent: Tensor
    motion: Tensor
    grid: Tensor
    yaw: Tensor
    piece: Tensor
    piece_grid: Tensor
    piece_yaw: Tensor
    kind: Tensor
    new_grid: Tensor
    new_yaw: Tensor
    ends: Tensor

    def to(self, device: torch.device | str) -> SequenceBatch:
        """The same on another device."""
        return SequenceBatch(*(getattr(self, item.name).to(device) for item in fields(self)))

    @property
    def parts(self) -> dict[str, slice]:
        """Where in the sequence the agents, their motion, the map, their layout and the newcomers are."""
        agents, pieces, newcomers = self.agent.shape[1], self.piece.shape[1], 1 + PARTS * self.kind.shape[1]
        sizes = {"agents": agents, "motion": agents, "map": pieces, "layout": agents, "newcomers": newcomers}
        places, begin = {}, 0
        for name, size in sizes.items():
            places[name] = slice(begin, begin + size)
            begin += size
        return places

    @property
    def present(self) -> Tensor:
        """[B, L] which tokens exist; the others are padding."""
        agents = self.agent != NONE
        start = torch.ones_like(self.scene, dtype=torch.bool)[:, None]
        newcomers = (self.kind != NONE).repeat_interleave(PARTS, 1)
        return torch.cat([agents, agents, self.piece != NONE, self.grid != NONE, start, newcomers], 1)

    @property
    def spawn_labels(self) -> Tensor:
        """[B, 3J + 1] what each token of the newcomers' part predicts: a type, then a grid, then a yaw token."""
        return spawn_labels(self.kind, self.new_grid, self.new_yaw, self.ends)

    @property
    def labels(self) -> Tensor:
        """[B, L] what each token predicts, in the vocabulary of its part (equation 8); `UNSCORED` for nothing."""
        count, agents, pieces = len(self.scene), self.agent.shape[1], self.piece.shape[1]
        before, between = (self.scene.new_full((count, size), UNSCORED) for size in (agents, pieces + agents))
        return torch.cat([before, self.motion, between, self.spawn_labels], 1)

    @property
    def scored(self) -> Tensor:
        """[B, L] where there is a loss."""
        return self.labels != UNSCORED


def join_decisions(parts: Sequence[Decisions]) -> SequenceBatch:
    """Decisions of scenes, one scene after another, padded to the longest sequence."""
    scene = np.repeat(np.arange(len(parts)), [len(part.moment) for part in parts])
    joined = {
        name: _stacked([getattr(part, name) for part in parts], UNSCORED if name == "motion" else NONE)
        for name in _COLUMNS
    }
    moment, ends = (np.concatenate([getattr(part, name) for part in parts]) for name in ("moment", "ends"))
    return SequenceBatch(*map(torch.as_tensor, (scene, moment, *joined.values(), ends)))


def _stacked(tables: Sequence[Ints], filler: int) -> Ints:
    """Tables [T, n] below one another, as wide as the widest."""
    width = max(table.shape[1] for table in tables)
    widened = [np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=filler) for table in tables]
    return np.concatenate(widened)


def spawn_labels(kind: Tensor, grid: Tensor, yaw: Tensor, ends: Tensor) -> Tensor:
    """What the newcomers' tokens [B, 3J + 1] predict, the start token first.

    The start predicts the first type, a type its grid token, that its yaw token, and that the next type or, after the
    last newcomer, `END`.

    Args:
        kind, grid, yaw: [B, J] tokens, `NONE` after the last newcomer.
        ends: [B] whether nobody follows; without it nothing is asked after the last one.
    """
    count = (kind != NONE).sum(1)
    following = torch.cat([kind, kind.new_full((len(kind), 1), NONE)], 1)
    number = torch.arange(following.shape[1], device=kind.device)
    last = torch.where(ends, END, UNSCORED)[:, None].expand(following.shape)
    following = torch.where(number == count[:, None], last, following)
    apart = torch.stack([grid, yaw, following[:, 1:]], -1).flatten(1)
    labels = torch.cat([following[:, :1], apart], 1)
    return labels.masked_fill(labels == NONE, UNSCORED)


def causal_mask(present: Tensor, first: int = 0) -> Tensor:
    """Which token looks at which [B, L - first, L]: at those before it that exist, and at itself.

    Args:
        present: [B, L] which tokens exist.
        first: Number of the first token that looks.
    """
    place = torch.arange(present.shape[1], device=present.device)
    back = place[first:, None] - place
    return ((back > 0) & present[:, None, :]) | (back == 0)

"""Decisions of a log, for models of traffic that comes and goes: who is there, what is next, who is new.

Paper: RosettaSim, section 4.2. The paper leaves open, and this is ours: agents come in the order of their distance from
the observer, newcomers too; map pieces are spread evenly over the distances from the observer, lanes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.traffic.observers import Observer
from harness.traffic.open.config import DecisionLimits
from harness.traffic.tokens.layout import GRID_RADIUS, layout_tokens
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
        leaves: [T, N] whether each is gone after it, 1 or 0; `UNSCORED` for the observer.
        grid, yaw: [T, N] their layout tokens after it, in the observer's frame of the next moment.
        piece: [T, M] rows of map pieces; piece_grid, piece_yaw: [T, M] their layout tokens then.
        newcomer: [T, J] rows of those who are there at the next moment and were not before, the nearest to the observer
            first; kind, new_grid, new_yaw: [T, J] their tokens.
        ends: [T] whether nobody follows after them.
        observer: [T, 3] the observer's pose at the next moment, in the frame of the scene.
    """

    moment: Ints
    agent: Ints
    motion: Ints
    leaves: Ints
    grid: Ints
    yaw: Ints
    piece: Ints
    piece_grid: Ints
    piece_yaw: Ints
    newcomer: Ints
    kind: Ints
    new_grid: Ints
    new_yaw: Ints
    ends: Bools
    observer: Floats


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
    scene: SceneTokens, limits: DecisionLimits, moments: Sequence[int] | None = None, observer: Observer = "ego"
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
            "leaves": np.where(view.own[agents], UNSCORED, ~stays),
            "grid": np.where(stays, after.grid, NONE),
            "yaw": np.where(stays, after.yaw, NONE),
            "piece": near,
            "piece_grid": lies.grid,
            "piece_yaw": lies.yaw,
            "newcomer": new,
            "kind": scene.kinds[new],
            "new_grid": born.grid,
            "new_yaw": born.yaw,
        }
        for name, values in row.items():
            columns[name].append(np.asarray(values, dtype=np.int64))
    filled = {name: _padded(parts, _filler(name)) for name, parts in columns.items()}
    begins = np.array(moments, dtype=np.int64)
    return Decisions(begins, ends=np.array(ends, dtype=bool), observer=view.observer[begins + 1], **filled)


_OF_DECISIONS: Final = ("moment", "ends", "observer")
_COLUMNS: Final = tuple(item.name for item in fields(Decisions) if item.name not in _OF_DECISIONS)


def _filler(name: str) -> int:
    """What padding of a column holds."""
    return UNSCORED if name in ("motion", "leaves") else NONE


def _padded(parts: Sequence[Ints], filler: int) -> Ints:
    """Lists of numbers as rows of a table that is as wide as the longest."""
    table = np.full((len(parts), max(map(len, parts), default=0)), filler, dtype=np.int64)
    for row, part in enumerate(parts):
        table[row, : len(part)] = part
    return table


@dataclass(frozen=True, slots=True, eq=False)
class DecisionBatch:
    """Decisions of several scenes as tensors. B decisions.

    Attributes:
        scene: [B] number of the scene; the others as in `Decisions`.
    """

    scene: Tensor
    moment: Tensor
    agent: Tensor
    motion: Tensor
    leaves: Tensor
    grid: Tensor
    yaw: Tensor
    piece: Tensor
    piece_grid: Tensor
    piece_yaw: Tensor
    newcomer: Tensor
    kind: Tensor
    new_grid: Tensor
    new_yaw: Tensor
    ends: Tensor
    observer: Tensor

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return replace(self, **{item.name: getattr(self, item.name).to(device) for item in fields(self)})


def join_decisions(parts: Sequence[Decisions]) -> DecisionBatch:
    """Decisions of scenes, one scene after another, padded to the largest one."""
    scene = np.repeat(np.arange(len(parts)), [len(part.moment) for part in parts])
    found: dict[str, NDArray[Any]] = {
        name: _stacked([getattr(part, name) for part in parts], _filler(name)) for name in _COLUMNS
    }
    for name in _OF_DECISIONS:
        found[name] = np.concatenate([getattr(part, name) for part in parts])
    found["observer"] = found["observer"].astype(np.float32)
    return DecisionBatch(torch.as_tensor(scene), **{name: torch.as_tensor(values) for name, values in found.items()})


def _stacked(tables: Sequence[Ints], filler: int) -> Ints:
    """Tables [T, n] below one another, as wide as the widest."""
    width = max(table.shape[1] for table in tables)
    widened = [np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=filler) for table in tables]
    return np.concatenate(widened)

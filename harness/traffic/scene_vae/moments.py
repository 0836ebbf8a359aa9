"""One moment of traffic as the scene autoencoder sees it: objects and lanes in a square around the observer.

Objects are road users with position, heading, speed, length, width and kind. Lanes are centre lines, cut at the square
(of a lane that leaves it and comes back the longest part) and given as equally spaced points; how two of them are
connected is a class of its own. Everything is in the observer's frame and scaled to about 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from harness.geometry import arc_lengths, interpolate_polyline, to_frame
from harness.traffic.scene_vae.config import SceneVaeConfig
from scenarios.scenario import Kind, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

STATE: Final = 7
"""Numbers of an object: x, y, cos, sin, speed, length, width."""
KINDS: Final = 3
"""Vehicles, pedestrians and cyclists; things are left out."""
_SPEED, _LENGTH, _WIDTH = 20.0, 10.0, 5.0
"""What speeds (m/s) and sizes (m) are divided by; positions are divided by half the side of the square."""
_SPACING: Final = 1.0
"""Distance of the points at which it is looked up where a lane is inside, m."""


class LaneRelation(IntEnum):
    """What one lane is to another."""

    NONE = 0
    SELF = 1
    NEXT = 2
    PREVIOUS = 3
    LEFT = 4
    RIGHT = 5


_MIRRORED: Final = (0, 1, 2, 3, 5, 4)
"""The relations in a mirror."""


class Moment(NamedTuple):
    """One moment. O objects and L lanes of P points, the nearest first.

    Attributes:
        objects: [O, STATE].
        kinds: [O] `Kind`.
        lanes: [L, P, 2].
        relation: [L, L] the `LaneRelation` of lane i to lane j: NEXT where i follows j.
    """

    objects: NDArray[np.float32]
    kinds: NDArray[np.int64]
    lanes: NDArray[np.float32]
    relation: NDArray[np.int8]


class MovingTraffic(NamedTuple):
    """Everybody in a log or a roll-out. A agents, T steps.

    Attributes:
        poses: [A, T, 3] x, y (m), heading (rad), world frame.
        valid: [A, T] who is there.
        sizes: [A, 2] length, width, m.
        kinds: [A] `Kind`.
        dt: Seconds between steps.
    """

    poses: Floats
    valid: Bools
    sizes: Floats
    kinds: NDArray[np.integer]
    dt: float = 0.1

    def speed(self, step: int) -> Floats:
        """Speeds [A] by the way from the step before, or to the one after for who just came; 0 for neither, m/s."""
        steps = self.valid.shape[1]
        before, after = max(step - 1, 0), min(step + 1, steps - 1)
        place = self.poses[:, :, :2]
        back = np.hypot(*(place[:, step] - place[:, before]).T)
        ahead = np.hypot(*(place[:, after] - place[:, step]).T)
        known, follows = self.valid[:, before] & (before < step), self.valid[:, after] & (after > step)
        return np.asarray(np.where(known, back, np.where(follows, ahead, 0.0)) / self.dt)


class LaneTable:
    """The lanes of a scene, looked up densely once, so that many moments can be cut out of it.

    Args:
        scenario: Its map.
        config: What is seen.
    """

    def __init__(self, scenario: Scenario, config: SceneVaeConfig) -> None:
        self.config = config
        lanes = [lane for lane in scenario.features if lane.is_lane and len(lane.points) > 1]
        lines = [_dense(lane.points) for lane in lanes]
        kept = [row for row, line in enumerate(lines) if len(line) > 1]
        lanes, lines = [lanes[row] for row in kept], [lines[row] for row in kept]
        self._points = np.concatenate([np.zeros((0, 2)), *lines])
        self._owner = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
        rank = {lane.id: row for row, lane in enumerate(lanes)}
        # A matrix of all pairs would be gigabytes for the largest maps.
        links: dict[tuple[int, int], LaneRelation] = {}
        for row, lane in enumerate(lanes):
            for names, here, there in (
                (lane.left, LaneRelation.RIGHT, LaneRelation.LEFT),
                (lane.right, LaneRelation.LEFT, LaneRelation.RIGHT),
                (lane.exit, LaneRelation.PREVIOUS, LaneRelation.NEXT),
                (lane.entry, LaneRelation.NEXT, LaneRelation.PREVIOUS),
            ):
                for other in (rank[name] for name in names if name in rank):
                    links[row, other], links[other, row] = here, there
        links |= {(row, row): LaneRelation.SELF for row in range(len(lanes))}
        pairs = np.array([*links], dtype=np.intp).reshape(-1, 2)
        kinds = np.array([*links.values()], dtype=np.int8)
        self._relation = csr_array((kinds, tuple(pairs.T)), shape=(len(lanes), len(lanes)))

    def seen(self, pose: Floats) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """Lanes [L, P, 2] around a pose (x, y, heading) and their relations [L, L]; see `Moment`."""
        config, half = self.config, self.config.side / 2
        local = to_frame(self._points, pose)
        rows = np.flatnonzero((np.abs(local) <= half).all(-1))
        local, owner = local[rows], self._owner[rows]
        first = np.flatnonzero(np.append(True, (np.diff(rows) > 1) | (np.diff(owner) != 0))[: len(rows)])
        length = np.diff(first, append=len(rows))
        # The longest part of each lane; one point is none.
        order = np.lexsort((-length, owner[first]))
        order = order[np.append(True, np.diff(owner[first][order]) != 0)[: len(order)]]
        distance = np.hypot(*local.T)
        near = np.minimum.reduceat(distance, first) if len(first) else distance
        order = order[length[order] > 1]
        order = order[np.argsort(near[order], kind="stable")][: config.lanes]
        place = first[order, None] + (length[order, None] - 1) * np.linspace(0.0, 1.0, config.points)
        low = np.minimum(np.floor(place).astype(int), (first + length - 2)[order, None])
        share = (place - low)[..., None]
        points = local[low] * (1 - share) + local[low + 1] * share if len(order) else np.zeros((0, config.points, 2))
        lanes = owner[first[order]]
        return (points / half).astype(np.float32), self._relation[lanes][:, lanes].toarray()


def _dense(points: NDArray[np.floating]) -> Floats:
    """A polyline at equal distances of about a metre, or without points where it has no length."""
    line = np.asarray(points[:, :2], dtype=np.float64)
    line = line[np.isfinite(line).all(-1)]
    length = float(arc_lengths(line)[-1]) if len(line) > 1 else 0.0
    if length < _SPACING:
        return np.zeros((0, 2))
    return interpolate_polyline(line, np.linspace(0.0, length, round(length / _SPACING) + 1))[0]


def moments_of(lanes: LaneTable, traffic: MovingTraffic, observer: Floats, steps: Sequence[int]) -> list[Moment]:
    """The moments of some steps.

    Args:
        lanes: The map.
        traffic: Who moves.
        observer: [T, 3] x, y (m), heading (rad) of whoever watches.
        steps: Which.
    """
    maps: dict[bytes, tuple[NDArray[np.float32], NDArray[np.int8]]] = {}
    moments = []
    for step in steps:
        pose = np.ascontiguousarray(observer[step, :3], dtype=np.float64)
        # Standing observers look at the same place for many steps.
        if (key := pose.tobytes()) not in maps:
            maps[key] = lanes.seen(pose)
        moments.append(Moment(*_objects(traffic, step, pose, lanes.config), *maps[key]))
    return moments


def _objects(
    traffic: MovingTraffic, step: int, pose: Floats, config: SceneVaeConfig
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    half = config.side / 2
    local = to_frame(traffic.poses[:, step, :2], pose)
    there = traffic.valid[:, step] & (traffic.kinds <= Kind.CYCLIST) & (np.abs(local) <= half).all(-1)
    rows = np.flatnonzero(there)
    rows = rows[np.argsort(np.hypot(*local[rows].T), kind="stable")][: config.objects]
    turn = traffic.poses[rows, step, 2] - pose[2]
    speed = traffic.speed(step)[rows]
    size = traffic.sizes[rows] / (_LENGTH, _WIDTH)
    states = np.column_stack([local[rows] / half, np.cos(turn), np.sin(turn), speed / _SPEED, size])
    return states.astype(np.float32), traffic.kinds[rows].astype(np.int64)


class MomentBatch(NamedTuple):
    """B moments, padded to O objects and L lanes.

    Attributes:
        objects, kinds, there: [B, O, STATE], [B, O], and [B, O] which exist.
        lanes, lane_there: [B, L, P, 2], and [B, L] which exist.
        relation: [B, L, L] `LaneRelation`.
    """

    objects: Tensor
    kinds: Tensor
    there: Tensor
    lanes: Tensor
    lane_there: Tensor
    relation: Tensor

    def mirrored(self) -> MomentBatch:
        """The moments seen in a mirror: left and right exchanged."""
        signs = torch.ones(STATE)
        signs[[1, 3]] = -1.0
        flipped = torch.tensor(_MIRRORED)[self.relation]
        return self._replace(
            objects=self.objects * signs, lanes=self.lanes * torch.tensor([1.0, -1.0]), relation=flipped
        )


def join_moments(moments: Sequence[Moment], points: int) -> MomentBatch:
    """Moments side by side, those with fewer objects or lanes padded.

    Args:
        moments: At least one.
        points: Points of a lane.
    """
    count = len(moments)
    most = max(1, *(len(moment.objects) for moment in moments), 1)
    roads = max(1, *(len(moment.lanes) for moment in moments), 1)
    objects, kinds = np.zeros((count, most, STATE), np.float32), np.zeros((count, most), np.int64)
    lanes, relation = np.zeros((count, roads, points, 2), np.float32), np.zeros((count, roads, roads), np.int64)
    there, lane_there = np.zeros((count, most), bool), np.zeros((count, roads), bool)
    for row, moment in enumerate(moments):
        some, ways = len(moment.objects), len(moment.lanes)
        objects[row, :some], kinds[row, :some], there[row, :some] = moment.objects, moment.kinds, True
        lanes[row, :ways], lane_there[row, :ways] = moment.lanes, True
        relation[row, :ways, :ways] = moment.relation
    arrays = objects, kinds, there, lanes, lane_there, relation
    return MomentBatch(*(torch.from_numpy(array) for array in arrays))

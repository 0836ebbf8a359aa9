"""What attacks by gradient share: where the opponent would go, how far it is from the ego, when it hits, the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import torch
from scipy.signal import savgol_filter
from torch import Tensor

from adversaries._plans import Bools, Floats, current_state, ego_futures, recompute_motion, with_history
from adversaries.bicycle import CRAWL, Drive, Start
from adversaries.protocol import Protocol
from harness.geometry import interpolate_polyline
from harness.interfaces import HEADING, STATE, VX, VY, AttackContext, AttackPlan
from harness.metrics.collision import Ints, first_overlap
from scenarios.map_index import MapIndex

LANE_SPEED: Final = 8.0
"""Speed at which an opponent without a logged motion follows its lane, m/s (a city street)."""
LANE_ACCELERATION: Final = 1.5
"""How it reaches that speed, m/s²."""
SMOOTHING: Final = 11
"""Steps (1.1 s) over which logged speeds and headings are fitted by parabolas."""
TINY: Final = 1e-6
"""Keeps the derivative of a square root finite, m²."""


class Motion(NamedTuple):
    """Speeds [..., T] (m/s) and headings [..., T] (rad, not wrapped) after each step of the plan."""

    speed: Tensor
    heading: Tensor


class Target(NamedTuple):
    """The egos to hit, cut to the T planned steps.

    Attributes:
        states: [N, T', 5] by absolute step, T' the length of the scene, and `valid` [N, T'].
        poses: [N, T, 3] the same from the first planned step on, about `origin`; `weight` [N, T] sums to 1.
        origin: [2] m.
    """

    states: Floats
    valid: Bools
    poses: Tensor
    weight: Tensor
    origin: Floats


def start_of(context: AttackContext, origin: Floats) -> Start:
    """The opponent's state at `context.step`, about `origin` [2]."""
    state = current_state(context)
    return Start(
        float(state[0] - origin[0]),
        float(state[1] - origin[1]),
        float(state[HEADING]),
        float(np.hypot(state[VX], state[VY])),
    )


def target_of(context: AttackContext, stride: int = 1) -> Target:
    """The ego trajectories of the context; only every `stride`-th planned step weighs."""
    states, valid = ego_futures(context)
    first = context.step + 1
    origin = current_state(context)[:2].copy()
    poses = states[:, first:, :3].copy()
    poses[..., :2] -= origin
    weight = valid[:, first:].astype(np.float64)
    if weight[:, ::stride].any():
        weight[:, np.arange(weight.shape[1]) % stride != 0] = 0.0
    return Target(states, valid, torch.from_numpy(poses), torch.from_numpy(weight / weight.sum()), origin)


def logged_motion(context: AttackContext) -> Motion | None:
    """The opponent's logged future [T], gaps held and the end prolonged, or None if it stands throughout.

    Speeds are those along the heading, so that a recorded car never drives sideways.
    """
    scene, first = context.scenario, context.step + 1
    states, valid = scene.states(context.opponent), scene.valid[context.opponent].copy()
    valid[:first] = False
    if not valid.any():
        return None
    now = current_state(context)
    rows = np.flatnonzero(valid)
    steps = np.arange(first, scene.num_steps)
    along = states[:, VX] * np.cos(states[:, HEADING]) + states[:, VY] * np.sin(states[:, HEADING])
    known = np.concatenate([[context.step], rows])
    speed = np.interp(steps, known, np.maximum(np.concatenate([[np.hypot(now[VX], now[VY])], along[rows]]), 0.0))
    heading = np.interp(steps, known, np.unwrap(np.concatenate([[now[HEADING]], states[rows, HEADING]])))
    if speed.max() < CRAWL:
        return None
    return Motion(torch.from_numpy(np.maximum(_smooth(speed), 0.0)), torch.from_numpy(_smooth(heading)))


def _smooth(values: Floats) -> Floats:
    """`values` [T] without the noise of tracking, whose second derivatives no vehicle can follow."""
    window = min(SMOOTHING, len(values) - (len(values) + 1) % 2)
    return values if window < 3 else savgol_filter(values, window, min(2, window - 1))


def lane_motion(context: AttackContext) -> Motion:
    """Follow the lane (or the present heading where there is none) at the present speed, or at a city street's."""
    scene = context.scenario
    state, count = current_state(context), scene.num_steps - context.step - 1
    now = float(np.hypot(state[VX], state[VY]))
    time = scene.dt * np.arange(1, count + 1)
    speed = np.maximum(now, np.minimum(now + LANE_ACCELERATION * time, LANE_SPEED))
    index = MapIndex.of(scene)
    place = index.locate(state[None, :2], state[None, HEADING], max_distance=5.0)
    heading = np.full(count, state[HEADING])
    if place.lane[0] >= 0 and np.cos(place.heading[0] - state[HEADING]) > 0:
        travelled = np.cumsum(speed) * scene.dt
        path = index.lane_path(int(place.lane[0]), float(place.along[0]), float(travelled[-1]) + 1.0)
        lane = np.unwrap(interpolate_polyline(path, np.concatenate([[0.0], travelled]))[1])
        heading = state[HEADING] + lane[1:] - lane[0]
    return Motion(torch.from_numpy(speed), torch.from_numpy(heading))


def base_motion(context: AttackContext) -> Motion:
    """What the opponent would do unprovoked: its log, or its lane where the log stands still or ends at once."""
    logged = logged_motion(context)
    return lane_motion(context) if logged is None else logged


def box_corners(points: Tensor, heading: Tensor, size: tuple[float, float]) -> Tensor:
    """Corners [..., 4, 2] of boxes with centres [..., 2] and headings [...]."""
    cos, sin = heading.cos()[..., None], heading.sin()[..., None]
    ahead = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=points.dtype) * (size[0] / 2)
    left = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=points.dtype) * (size[1] / 2)
    return torch.stack(
        [points[..., :1] + cos * ahead - sin * left, points[..., 1:] + sin * ahead + cos * left],
        -1,
    )


def box_distance(
    points: Tensor, heading: Tensor, size: tuple[float, float], poses: Tensor, other: tuple[float, float]
) -> Tensor:
    """Distance [...] (m) between boxes: the nearest corner of either to the other, as in KING; 0 once one is inside.

    Differentiable, and exact for boxes apart (the nearest points of two convex polygons include a corner).

    Args:
        points, heading: [..., 2] and [...] of one box of `size` (length, width, m).
        heading: See `points`.
        size: Of that box.
        poses: [..., 3] of the other; leading dimensions broadcast.
        other: Its size.
    """
    there, ahead = poses[..., :2], poses[..., 2]
    mine = _gaps(box_corners(points, heading, size), there, ahead, other)
    theirs = _gaps(box_corners(there, ahead, other), points, heading, size)
    return (torch.minimum(mine, theirs) + TINY).sqrt()


def _gaps(corners: Tensor, centre: Tensor, heading: Tensor, size: tuple[float, float]) -> Tensor:
    """Smallest squared distance [...] of corners [..., 4, 2] to a box."""
    offset = corners - centre[..., None, :]
    cos, sin = heading.cos()[..., None], heading.sin()[..., None]
    along = (cos * offset[..., 0] + sin * offset[..., 1]).abs() - size[0] / 2
    across = (cos * offset[..., 1] - sin * offset[..., 0]).abs() - size[1] / 2
    return (along.clamp_min(0.0).square() + across.clamp_min(0.0).square()).min(-1).values


def futures_of(context: AttackContext, path: Drive, origin: Floats) -> Floats:
    """States [K, T', 5] by absolute step, world frame, of K drives: history from the log, zero where unseen."""
    scene, first = context.scenario, context.step + 1
    future = path.states().detach().numpy()
    states = np.zeros((len(future), scene.num_steps, STATE))
    seen = scene.valid[context.opponent, :first]
    states[:, :first] = np.where(seen[:, None], scene.states(context.opponent)[:first], 0.0)
    states[:, first:] = future
    states[:, first:, :2] += origin
    return states


def contact_steps(context: AttackContext, futures: Floats, target: Target, protocol: Protocol) -> Ints:
    """First contact [K, N] (absolute step, -1 for none) of every drive with every ego, as the protocol judges it."""
    first = context.step + 1
    valid = np.zeros(futures.shape[1], dtype=bool)
    valid[first:] = True
    size = context.scenario.box(context.opponent)
    return first_overlap(
        futures[:, None],
        valid,
        size,
        target.states[None],
        target.valid[None],
        context.ego_size,
        first,
        protocol.check,
    )


def earliest(contact: Ints) -> Ints:
    """Earliest contact [K] over the egos of `contact` [K, N], or -1."""
    steps = np.where(contact >= 0, contact, np.iinfo(np.intp).max).min(-1)
    return np.where((contact >= 0).any(-1), steps, -1)


def plan_of(
    context: AttackContext,
    futures: Floats,
    chosen: int,
    protocol: Protocol,
    scores: Mapping[str, Floats],
    info: Mapping[str, float | int | str | bool],
) -> AttackPlan:
    """The plan that follows candidate `chosen` of `futures` [K, T', 5] to the end of the scene."""
    scene = context.scenario
    rows, valid = with_history(context, futures[chosen], scene.num_steps - 1)
    if protocol.path_headings or protocol.forward_velocity:
        rows = recompute_motion(
            rows, valid, scene.dt, headings=protocol.path_headings, velocity=protocol.forward_velocity
        )
    return AttackPlan(
        rows, valid, candidates=futures, scores=scores, chosen=chosen, info={"protocol": protocol.name, **info}
    )

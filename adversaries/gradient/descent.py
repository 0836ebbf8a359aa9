"""What attacks by gradient share: where the opponent would go, how far it is from the ego, when it hits, the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import torch
from scipy.signal import savgol_filter
from torch import Tensor

from adversaries.common.plans import Bools, Floats, current_state, ego_futures, plan_rows
from adversaries.gradient.bicycle import CRAWL, Drive, Start
from harness.episodes.protocol import Protocol
from harness.geometry import interpolate_polyline
from harness.interfaces import HEADING, STATE, VX, VY, AttackContext, AttackPlan
from harness.metrics.collision import Ints, closest_approach, first_overlap
from scenarios.map_index import MapIndex

LANE_SPEED: Final = 8.0
"""Speed at which an opponent without a logged motion follows its lane, m/s (a city street)."""
LANE_ACCELERATION: Final = 1.5
"""How it reaches that speed, m/s²."""
SMOOTHING: Final = 11
"""Steps (1.1 s) over which logged speeds and headings are fitted by parabolas."""
TINY: Final = 1e-6
"""Keeps the derivative of a square root finite, m²."""


class SpeedAndHeading(NamedTuple):
    """Speeds [..., T] (m/s) and headings [..., T] (rad, not wrapped) after each step of the plan."""

    speed: Tensor
    heading: Tensor


class Boxes(NamedTuple):
    """Oriented boxes [...] of one size: m and rad.

    Attributes:
        centre: [..., 2].
        cos, sin: [...] of the heading.
        size: Length and width, m.
        corners: [..., 4, 2].
    """

    centre: Tensor
    cos: Tensor
    sin: Tensor
    size: tuple[float, float]
    corners: Tensor


def boxes_of(centre: Tensor, heading: Tensor, size: tuple[float, float]) -> Boxes:
    """Boxes with centres [..., 2] and headings [...]."""
    cos, sin = heading.cos(), heading.sin()
    x, y = centre[..., 0], centre[..., 1]
    ahead_x, ahead_y, left_x, left_y = (
        cos * (size[0] / 2),
        sin * (size[0] / 2),
        -sin * (size[1] / 2),
        cos * (size[1] / 2),
    )
    front_x, front_y, rear_x, rear_y = x + ahead_x, y + ahead_y, x - ahead_x, y - ahead_y
    corners = torch.stack(
        [
            *(front_x + left_x, front_y + left_y, rear_x + left_x, rear_y + left_y),
            *(rear_x - left_x, rear_y - left_y, front_x - left_x, front_y - left_y),
        ],
        -1,
    )
    return Boxes(centre, cos, sin, size, corners.unflatten(-1, (4, 2)))


class Target(NamedTuple):
    """The egos to hit, cut to the T planned steps.

    Attributes:
        states: [N, T', 5] by absolute step, T' the length of the scene, and `valid` [N, T'].
        boxes: [N, T] the same from the first planned step on, about `origin`; `weight` [N, T] sums to 1.
        origin: [2] m.
        size: Size of the opponent, length and width, m.
    """

    states: Floats
    valid: Bools
    boxes: Boxes
    weight: Tensor
    origin: Floats
    size: tuple[float, float]


def start_of(context: AttackContext, origin: Floats) -> Start:
    """The opponent's state at `context.step`, about `origin` [2]."""
    state = current_state(context)
    return Start(
        float(state[0] - origin[0]),
        float(state[1] - origin[1]),
        float(state[HEADING]),
        float(np.hypot(state[VX], state[VY])),
    )


def target_of(context: AttackContext, stride: int = 1, overlap: float = 0.0) -> Target:
    """The ego trajectories of the context.

    Args:
        context: The attack.
        stride: Only every so many planned steps weigh.
        overlap: Shrinks the egos' boxes by so much on every side, m (for a distance that is 0 only on real overlap).
    """
    states, valid = ego_futures(context)
    first = context.step + 1
    origin = current_state(context)[:2].copy()
    centre, heading = torch.from_numpy(states[:, first:, :2] - origin), torch.from_numpy(states[:, first:, HEADING])
    size = (max(context.ego_size[0] - 2 * overlap, 0.1), max(context.ego_size[1] - 2 * overlap, 0.1))
    weight = valid[:, first:].astype(np.float64)
    if weight[:, ::stride].any():
        weight[:, np.arange(weight.shape[1]) % stride != 0] = 0.0
    return Target(
        states,
        valid,
        boxes_of(centre, heading, size),
        torch.from_numpy(weight / weight.sum()),
        origin,
        context.scenario.box(context.opponent),
    )


def logged_motion(context: AttackContext) -> SpeedAndHeading | None:
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
    return SpeedAndHeading(torch.from_numpy(np.maximum(_smooth(speed), 0.0)), torch.from_numpy(_smooth(heading)))


def _smooth(values: Floats) -> Floats:
    """`values` [T] without the noise of tracking, whose second derivatives no vehicle can follow."""
    window = min(SMOOTHING, len(values) - (len(values) + 1) % 2)
    return values if window < 3 else savgol_filter(values, window, min(2, window - 1))


def lane_motion(context: AttackContext) -> SpeedAndHeading:
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
    return SpeedAndHeading(torch.from_numpy(speed), torch.from_numpy(heading))


def base_motion(context: AttackContext) -> SpeedAndHeading:
    """What the opponent would do unprovoked: its log, or its lane where the log stands still or ends at once."""
    logged = logged_motion(context)
    return lane_motion(context) if logged is None else logged


def box_distance(mine: Boxes, theirs: Boxes) -> Tensor:
    """Distance [...] (m) between boxes: the nearest corner of either to the other, as in KING; 0 once one is inside.

    Differentiable, and exact for boxes apart (the nearest points of two convex polygons include a corner). Leading
    dimensions broadcast.
    """
    return (torch.minimum(_gaps(mine.corners, theirs), _gaps(theirs.corners, mine)) + TINY).sqrt()


def distance_to_egos(boxes: Boxes, target: Target) -> Tensor:
    """Distance [K, N, T] (m) of the opponent's boxes [K, T] to every ego."""
    centre, cos, sin, size, corners = boxes
    return box_distance(Boxes(centre[:, None], cos[:, None], sin[:, None], size, corners[:, None]), target.boxes)


def _gaps(corners: Tensor, box: Boxes) -> Tensor:
    """Smallest squared distance [...] of corners [..., 4, 2] to a box."""
    offset = corners - box.centre[..., None, :]
    cos, sin = box.cos[..., None], box.sin[..., None]
    x, y = offset[..., 0], offset[..., 1]
    along = ((cos * x + sin * y).abs() - box.size[0] / 2).clamp_min(0.0)
    across = ((cos * y - sin * x).abs() - box.size[1] / 2).clamp_min(0.0)
    return (along * along + across * across).amin(-1)


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
    reach = (np.hypot(*target.size) + np.hypot(*context.ego_size)) / 2
    # Judging costs more than descending; as long as no two circles around the boxes meet there is nothing to judge.
    apart = closest_approach(
        futures[:, None], valid, target.states[None], target.valid[None], first, protocol.check.stride
    )
    if apart.min() > reach:
        return np.full((len(futures), len(target.states)), -1)
    return first_overlap(
        futures[:, None],
        valid,
        target.size,
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
    **info: int,
) -> AttackPlan:
    """The plan that follows candidate `chosen` of `futures` [K, T', 5] to the end of the scene.

    `scores["first_step"]` [K] is each candidate's first step of contact, or -1; `info` goes into the plan's.
    """
    rows, valid = plan_rows(context, futures[chosen], context.scenario.num_steps - 1, protocol)
    contact = scores["first_step"]
    return AttackPlan(
        rows,
        valid,
        candidates=futures,
        scores=scores,
        chosen=chosen,
        info={
            "protocol": protocol.name,
            "expects_contact": bool(contact[chosen] >= 0),
            "expected_step": int(contact[chosen]),
            "colliding_candidates": int((contact >= 0).sum()),
            **info,
        },
    )

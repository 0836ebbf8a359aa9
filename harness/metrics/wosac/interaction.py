"""Distance to the nearest object and time to collision. Torch, batched over roll-outs, agents and steps."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

FAR: Final = 1e10
"""Distance (m) where there is no other object."""
ROUNDING: Final = 0.7
"""Corner rounding of boxes, as a share of the largest possible radius (half the shorter side)."""
MAX_HEADING: Final = math.radians(75.0)
MAX_HEADING_SMALL_OVERLAP: Final = math.radians(10.0)
SMALL_OVERLAP: Final = 0.5
"""With less lateral overlap (m) the headings must agree within `MAX_HEADING_SMALL_OVERLAP`."""
MAX_TIME: Final = 5.0
"""Larger times (s) are cut, and nothing ahead counts as this."""
_PAIRS: Final = 8_000_000
"""Pairs of objects that are looked at at once: bounds the memory (about 0.5 GB)."""


def nearest_distance(poses: Tensor, sizes: Tensor, valid: Tensor, evaluated: Tensor) -> Tensor:
    """Signed distance between rounded boxes to the nearest other object, m; negative: overlap.

    Only pairs that can be the nearest by the bounds of their inner and outer circles are computed exactly.

    Args:
        poses: [R, A, S, 4] x, y, z, heading.
        sizes: [A, 2+] length, width, m.
        valid: [R, A, S] or broadcastable: objects that are there.
        evaluated: [E] indices of the objects that are asked about.

    Returns:
        [R, E, S]; `FAR` where the object is not there or alone.
    """
    parts = [_nearest_distance(poses, sizes, valid, part) for part in _parts(evaluated, poses)]
    return torch.cat(parts, 1)


def _parts(evaluated: Tensor, poses: Tensor) -> tuple[Tensor, ...]:
    """Evaluated objects in groups of few enough pairs."""
    return evaluated.split(max(1, _PAIRS // max(poses[..., 0].numel(), 1)))


def _nearest_distance(poses: Tensor, sizes: Tensor, valid: Tensor, evaluated: Tensor) -> Tensor:
    rollouts, agents, steps, _ = poses.shape
    valid = valid.expand(rollouts, agents, steps)
    xy = poses[..., :2]
    centre = (xy[:, evaluated, None] - xy[:, None]).square().sum(-1).sqrt()  # [R, E, A, S]
    half = sizes[:, :2] / 2
    radius = ROUNDING * half.amin(-1)
    core = half - radius[:, None]
    outer, inner = core.square().sum(-1).sqrt() + radius, half.amin(-1)
    pair = valid[:, evaluated, None] & valid[:, None]
    pair[:, torch.arange(len(evaluated)), evaluated] = False
    upper = (centre - (inner[evaluated, None] + inner)[..., None]).masked_fill_(~pair, FAR).amin(2, keepdim=True)
    # A millimetre for rounding.
    pair &= centre - (outer[evaluated, None] + outer)[..., None] <= upper + 1e-3
    rollout, row, other, step = pair.nonzero(as_tuple=True)
    own = evaluated[row]
    gap = box_distance(poses[rollout, own, step], core[own], poses[rollout, other, step], core[other])
    gap -= radius[own] + radius[other]
    nearest = poses.new_full((rollouts, len(evaluated), steps), FAR)
    flat = (rollout * len(evaluated) + row) * steps + step
    return nearest.flatten().scatter_reduce(0, flat, gap, "amin").reshape(nearest.shape)


def box_distance(poses: Tensor, half: Tensor, other_poses: Tensor, other_half: Tensor) -> Tensor:
    """Signed distance [N] between sharp boxes: minus the penetration depth where they overlap.

    Args:
        poses, other_poses: [N, 4] x, y, z, heading.
        half, other_half: [N, 2] half length and half width, m.
    """
    offset = other_poses[:, :2] - poses[:, :2]
    turn = other_poses[:, 3] - poses[:, 3]
    first = _in_frame(offset, poses[:, 3])
    second = _in_frame(-offset, other_poses[:, 3])
    cos, sin = turn.cos(), turn.sin()
    reach = _reach(cos, sin, other_half)
    other_reach = _reach(cos, sin, half)
    gap = torch.maximum((first.abs() - half - reach).amax(-1), (second.abs() - other_half - other_reach).amax(-1))
    corners = torch.minimum(
        _corner_distance(first, cos, sin, other_half, half), _corner_distance(second, cos, -sin, half, other_half)
    )
    return torch.where(gap <= 0, gap, corners)


def _in_frame(offset: Tensor, heading: Tensor) -> Tensor:
    cos, sin = heading.cos(), heading.sin()
    return torch.stack([cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0]], -1)


def _reach(cos: Tensor, sin: Tensor, half: Tensor) -> Tensor:
    """Half extents [N, 2] of a turned box along the axes of the other."""
    cos, sin = cos.abs(), sin.abs()
    return torch.stack([half[:, 0] * cos + half[:, 1] * sin, half[:, 0] * sin + half[:, 1] * cos], -1)


def _corner_distance(centre: Tensor, cos: Tensor, sin: Tensor, half: Tensor, box: Tensor) -> Tensor:
    """Smallest distance [N] of the corners of a box (turned by cos, sin) to a box with half sizes `box` at 0."""
    ahead = torch.stack([cos, sin], -1) * half[:, :1]
    left = torch.stack([-sin, cos], -1) * half[:, 1:]
    corners = centre[:, None] + torch.stack([ahead + left, ahead - left, -ahead - left, left - ahead], 1)
    return (corners.abs() - box[:, None]).clamp(min=0).square().sum(-1).amin(-1).sqrt()


def time_to_collision(
    poses: Tensor, sizes: Tensor, valid: Tensor, speeds: Tensor, evaluated: Tensor, *, unwrapped: bool
) -> Tensor:
    """Seconds until the object runs into the one that it follows, at constant speeds along its own heading.

    Args:
        poses: [R, A, S, 4].
        sizes: [A, 2+] length, width, m.
        valid: [R, A, S] or broadcastable.
        speeds: [R, A, S], m/s, without direction.
        evaluated: [E].
        unwrapped: Compare headings without wrapping their difference, as the official code does.

    Returns:
        [R, E, S], at most `MAX_TIME`.
    """
    parts = [
        _time_to_collision(poses, sizes, valid, speeds, part, unwrapped=unwrapped) for part in _parts(evaluated, poses)
    ]
    return torch.cat(parts, 1)


def _time_to_collision(
    poses: Tensor, sizes: Tensor, valid: Tensor, speeds: Tensor, evaluated: Tensor, *, unwrapped: bool
) -> Tensor:
    rollouts, agents, steps, _ = poses.shape
    valid = valid.expand(rollouts, agents, steps)
    half = sizes[:, :2] / 2
    outer = half.square().sum(-1).sqrt()
    offset = poses[:, None, :, :, :2] - poses[:, evaluated, None, :, :2]  # [R, E, A, S, 2]
    heading = poses[:, evaluated, :, 3]
    cos, sin = heading.cos()[:, :, None], heading.sin()[:, :, None]
    along = cos * offset[..., 0] + sin * offset[..., 1]
    across = (cos * offset[..., 1] - sin * offset[..., 0]).abs()
    near = (along > 0) & (across < (half[evaluated, None, 1] + outer)[..., None] + 1e-3) & valid[:, None]
    rollout, row, other, step = near.nonzero(as_tuple=True)
    own = evaluated[row]
    turn = (poses[rollout, other, step, 3] - poses[rollout, own, step, 3]).abs()
    if not unwrapped:
        turn = torch.minimum(turn % (2 * math.pi), 2 * math.pi - turn % (2 * math.pi))
    reach = _reach(turn.cos(), turn.sin(), half[other])
    gap = along[near] - half[own, 0] - reach[:, 0]
    overlap = across[near] - half[own, 1] - reach[:, 1]
    follows = (gap > 0) & (turn <= MAX_HEADING) & (overlap < 0)
    follows &= (overlap < -SMALL_OVERLAP) | (turn <= MAX_HEADING_SMALL_OVERLAP)
    rollout, row, other, step, gap = rollout[follows], row[follows], other[follows], step[follows], gap[follows]
    shape = (rollouts, len(evaluated), steps)
    flat = (rollout * len(evaluated) + row) * steps + step
    nearest = poses.new_full(shape, FAR).flatten().scatter_reduce(0, flat, gap, "amin")
    # Of equally near objects the one with the smallest index.
    tied = gap == nearest[flat]
    leader = torch.full((nearest.numel(),), agents, device=poses.device)
    leader = leader.scatter_reduce(0, flat[tied], other[tied], "amin").reshape(shape)
    nearest = nearest.reshape(shape)
    ahead = speeds.gather(1, leader.clamp(max=agents - 1))
    closing = speeds[:, evaluated] - ahead
    time = torch.where((leader < agents) & (closing > 0), nearest / closing, MAX_TIME)
    return time.clamp(max=MAX_TIME)

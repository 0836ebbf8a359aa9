"""Speeds and accelerations by central differences, as WOSAC defines them. Torch; time is the last axis of scalars.

Each difference leaves NaN at both ends: one step for speeds, two for accelerations.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Kinematics(NamedTuple):
    """Each [..., T]: m/s, m/s² (signed change of speed), rad/s, rad/s²."""

    linear_speed: Tensor
    linear_acceleration: Tensor
    angular_speed: Tensor
    angular_acceleration: Tensor


def central_difference(values: Tensor) -> Tensor:
    """(f[t+1] - f[t-1]) / 2 per step along the last axis, NaN at the ends."""
    inner = (values[..., 2:] - values[..., :-2]) / 2
    return torch.nn.functional.pad(inner, (1, 1), value=math.nan)


def central_and(valid: Tensor) -> Tensor:
    """Whether both neighbours in time are valid; False at the ends."""
    return torch.nn.functional.pad(valid[..., 2:] & valid[..., :-2], (1, 1), value=False)


def speeds(points: Tensor, dt: float) -> Tensor:
    """Speed [..., T] of points [..., T, n], m/s."""
    return central_difference(points.transpose(-1, -2)).square().sum(-2).sqrt() / dt


def kinematics(poses: Tensor, dt: float) -> Kinematics:
    """Kinematics of poses [..., T, 4] (x, y, z, heading).

    Heading differences over two steps are wrapped before they are halved, so turns up to π/2 per step are seen.
    """
    speed = speeds(poses[..., :3], dt)
    turn = _half_wrapped(central_difference(poses[..., 3]))
    return Kinematics(speed, central_difference(speed) / dt, turn / dt, _half_wrapped(central_difference(turn)) / dt**2)


def _half_wrapped(angle: Tensor) -> Tensor:
    return ((2 * angle + math.pi) % (2 * math.pi) - math.pi) / 2

"""Drivable completion: bounded controls rolled out through a unicycle, without a loop over time.

The bounds hold by construction for every weight vector, so a trajectory of the prior can always be driven. Heading is
the direction of travel, so it comes from the roll-out and never from finite differences of positions.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from adversaries.prior.config import DT, HORIZON, PriorConfig


class RollOut(NamedTuple):
    """Trajectories in the agent's frame at steps 1 … HORIZON after the current one.

    Attributes:
        points: [..., HORIZON, 2] m.
        heading: [..., HORIZON] rad, not wrapped.
        speed: [..., HORIZON] m/s, ≥ 0.
    """

    points: Tensor
    heading: Tensor
    speed: Tensor


@lru_cache(maxsize=8)
def knot_weights(knots: int, steps: int = HORIZON) -> Tensor:
    """Matrix [knots, steps] that interpolates control points, linearly, to the middle of every step."""
    place = (torch.arange(steps) + 0.5) / steps * (knots - 1)
    return (1.0 - (place[None] - torch.arange(knots)[:, None]).abs()).clamp_min(0.0)


def turn_limit(speed: Tensor, config: PriorConfig) -> Tensor:
    """Largest yaw rate (rad/s) at `speed` (m/s): by curvature, by lateral acceleration, and overall."""
    by_lateral = config.max_lateral / speed.clamp_min(1e-3)
    return torch.minimum(config.max_curvature * speed, by_lateral).clamp_max(config.max_yaw_rate)


def roll_out(acceleration: Tensor, turn: Tensor, speed: Tensor, config: PriorConfig) -> RollOut:
    """Integrate raw controls.

    Args:
        acceleration: [..., knots] unbounded; squashed into [-max_braking, max_acceleration], 0 stays 0.
        turn: [..., knots] unbounded; squashed into the turn limit at the speed reached.
        speed: [...] initial speed, m/s.
        config: The bounds.
    """
    weights = knot_weights(acceleration.shape[-1]).to(acceleration.dtype)
    gas = torch.where(acceleration > 0, config.max_acceleration, config.max_braking)
    push = (gas * torch.tanh(acceleration / gas)) @ weights
    free = speed[..., None] + torch.cumsum(push, -1) * DT
    # v[t+1] = max(0, v[t] + a dt) for all t at once: subtract the deepest excursion below zero so far.
    after = free - torch.cummin(free.clamp_max(0.0), -1).values
    before = torch.cat([speed[..., None].expand_as(after[..., :1]), after[..., :-1]], -1)
    mean = 0.5 * (before + after)
    yaw_rate = turn_limit(mean, config) * torch.tanh(turn @ weights)
    heading = torch.cumsum(yaw_rate, -1) * DT
    middle = heading - 0.5 * DT * yaw_rate
    step = mean * DT
    points = torch.stack([torch.cumsum(step * middle.cos(), -1), torch.cumsum(step * middle.sin(), -1)], -1)
    return RollOut(points, heading, after)


def constant_controls(distance: float, speed: float) -> float:
    """Constant acceleration (m/s²) that covers `distance` (m) over the horizon from `speed` (m/s); used in tests."""
    duration = HORIZON * DT
    return 2.0 * (distance - speed * duration) / math.pow(duration, 2)

"""Drivable completion: bounded controls rolled out through a unicycle, without a loop over time.

The bounds hold by construction for every weight vector, so a trajectory of the prior can always be driven. Heading is
the direction of travel, so it comes from the roll-out and never from finite differences of positions.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NamedTuple

import torch
from torch import Tensor

from adversaries.prior.config import PriorConfig
from scenarios.scenario import DT, FUTURE_STEPS


class RollOut(NamedTuple):
    """Trajectories in the agent's frame at steps 1 … FUTURE_STEPS after the current one.

    Attributes:
        points: [..., FUTURE_STEPS, 2] m.
        heading: [..., FUTURE_STEPS] rad, not wrapped.
        speed: [..., FUTURE_STEPS] m/s, ≥ 0.
    """

    points: Tensor
    heading: Tensor
    speed: Tensor


@lru_cache(maxsize=8)
def knot_weights(knots: int, steps: int = FUTURE_STEPS) -> Tensor:
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


BUMPS: Final = 3
"""Pieces of the horizon in which `drive_to` may change each control."""
GAS_STEP: Final = 1.0
"""Typical change of raw acceleration in one correction, m/s²."""
TURN_STEP: Final = 0.4
"""Typical change of raw turn (a share of the turn limit) in one correction."""
HEADING_WEIGHT: Final = 8.0
"""Metres that one radian of heading error at the goal is worth."""
DAMPING: Final = 0.3
"""Levenberg-Marquardt damping, m²."""


def drive_to(
    gas: Tensor,
    turn: Tensor,
    speed: Tensor,
    points: Tensor,
    heading: Tensor,
    aligned: Tensor,
    config: PriorConfig,
    corrections: int = 3,
) -> RollOut:
    """Roll out raw controls after small corrections (damped Gauss-Newton) that bring the end to its goal.

    A correction is kept only where it helps. The bounds of `roll_out` hold as before: what cannot be reached within
    them is missed.

    Args:
        gas, turn: [..., knots] raw controls.
        speed: [...] m/s.
        points: [..., 2] goals, m.
        heading: [...] of the goals, rad.
        aligned: [...] 1 where the heading is to be met as well (lanes), 0 where it is not.
        config: The bounds.
        corrections: Iterations.
    """
    bumps = knot_weights(BUMPS, gas.shape[-1]).to(gas.dtype)
    none = torch.zeros_like(bumps)
    gas_moves, turn_moves = torch.cat([bumps * 0.2, none]), torch.cat([none, bumps * 0.05])
    probe = torch.tensor([0.2] * BUMPS + [0.05] * BUMPS)
    spread = torch.tensor([GAS_STEP**2] * BUMPS + [TURN_STEP**2] * BUMPS)

    def misses(path: RollOut, extra: int) -> Tensor:
        shape = (..., *([None] * extra))
        away = path.points[..., -1, :] - points[(*shape, slice(None))]
        turned = torch.remainder(path.heading[..., -1] - heading[shape] + math.pi, 2 * math.pi) - math.pi
        return torch.cat([away, (HEADING_WEIGHT * aligned[shape] * turned)[..., None]], -1)

    path = roll_out(gas, turn, speed, config)
    miss = misses(path, 0)
    for _ in range(corrections):
        trial = roll_out(gas[..., None, :] + gas_moves, turn[..., None, :] + turn_moves, speed[..., None], config)
        slope = (misses(trial, 1) - miss[..., None, :]) / probe[:, None]  # [..., 2 BUMPS, 3]
        weighted = slope.transpose(-1, -2) * spread
        system = weighted @ slope + DAMPING * torch.eye(3)
        move = (weighted.transpose(-1, -2) @ torch.linalg.solve(system, -miss[..., None])).squeeze(-1)
        move = move.clamp(-3.0 * spread.sqrt(), 3.0 * spread.sqrt())
        new_gas, new_turn = gas + move[..., :BUMPS] @ bumps, turn + move[..., BUMPS:] @ bumps
        new_path = roll_out(new_gas, new_turn, speed, config)
        new_miss = misses(new_path, 0)
        better = new_miss.square().sum(-1) < miss.square().sum(-1)
        keep = better[..., None]
        gas, turn = torch.where(keep, new_gas, gas), torch.where(keep, new_turn, turn)
        miss = torch.where(keep, new_miss, miss)
        path = RollOut(
            torch.where(keep[..., None], new_path.points, path.points),
            torch.where(keep, new_path.heading, path.heading),
            torch.where(keep, new_path.speed, path.speed),
        )
    return path

"""What a vehicle can do, as a set of controls, and the nearest way back into it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from adversaries.gradient.bicycle import Start, integrate_speed
from harness.errors import ConfigError

STANDSTILL: Final = 0.25
"""Below this mean speed (m/s) a step is too short to turn."""
HALVINGS: Final = 8
"""Times that a drive is drawn half-way towards the unprovoked one before it is given up."""
SPEED_TOLERANCE: Final = 1e-9
"""Rounding, m/s."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Physical limits of a trajectory.

    Origin: AdvTrajOpt (Zhang et al., CVPR 2022) bounds the same quantities by the largest values of its data set. In
    WOMD the largest are tracking noise (accelerations of 20 m/s², jerks of 170 m/s³), so these are round numbers near
    the 99.9th percentile (jerk: 99th) of the moving vehicles of the train split, positions fitted by cubics over 1.1 s.

    Attributes:
        speed: m/s.
        acceleration, braking: Longitudinal, m/s².
        lateral: m/s².
        jerk: Change of longitudinal acceleration, m/s³ (coming to a stand ends braking at once and is exempt).
        lateral_jerk: Change of lateral acceleration, m/s³.
        curvature: Curvature of the path, 1/m (a turning radius of 5 m).
    """

    speed: float = 30.0
    acceleration: float = 4.0
    braking: float = 7.0
    lateral: float = 4.5
    jerk: float = 15.0
    lateral_jerk: float = 5.0
    curvature: float = 0.2

    def __post_init__(self) -> None:
        """Reject limits that no motion keeps."""
        values = (self.speed, self.acceleration, self.braking, self.lateral, self.jerk, self.lateral_jerk)
        if min(*values, self.curvature) <= 0:
            raise ConfigError(f"Bounds: expected positive limits, got {self}.")


def lipschitz(values: Tensor, slope: float) -> Tensor:
    """`values` [..., T] with changes of at most `slope` per step; what keeps that already is unchanged.

    The mean of the largest such function below and the smallest above, both within the range of `values`.
    """
    cone = _cone(values, slope)
    lower = (values[..., None, :] + cone).amin(-1)
    upper = (values[..., None, :] - cone).amax(-1)
    return 0.5 * (lower + upper)


def _cone(values: Tensor, slope: float) -> Tensor:
    step = torch.arange(values.shape[-1], dtype=values.dtype)
    return slope * (step[:, None] - step).abs()


def mean_squared_speed(start: Start, gas: Tensor, dt: float) -> Tensor:
    """Square of the mean speed [..., T] (m²/s²) during each step."""
    after = integrate_speed(start.speed, gas, dt)
    before = torch.cat([torch.full_like(after[..., :1], start.speed), after[..., :-1]], -1)
    return (0.5 * (before + after)).square()


def project_gas(gas: Tensor, start: Start, bounds: Bounds, dt: float, base: Tensor | None = None) -> Tensor:
    """Accelerations [K, T] (m/s²) within bounds.

    Args:
        gas: [K, T].
        start: The state before the first step.
        bounds: The limits.
        dt: s.
        base: [1, T] within bounds. A drive that gets too fast is drawn towards it as a whole, until it keeps the
            speed limit: the projection of AdvTrajOpt.
    """
    gas = lipschitz(gas.clamp(-bounds.braking, bounds.acceleration), bounds.jerk * dt)
    if base is None:
        return gas
    excess = integrate_speed(start.speed, gas, dt) - bounds.speed
    # Where a drive stands still in between, speeds are not linear in the share kept: halve until it fits.
    share = torch.ones_like(gas[:, :1])
    for _ in range(HALVINGS):
        over = (excess > SPEED_TOLERANCE).any(-1, keepdim=True)
        if not over.any():
            return base + share * (gas - base)
        share = torch.where(over, 0.5 * share, share)
        excess = integrate_speed(start.speed, base + share * (gas - base), dt) - bounds.speed
    return base + torch.where((excess > SPEED_TOLERANCE).any(-1, keepdim=True), 0.0, share) * (gas - base)


def project_turn(turn: Tensor, start: Start, gas: Tensor, bounds: Bounds, dt: float) -> Tensor:
    """Curvatures [..., T] (1/m) within bounds at the speeds that accelerations `gas` [..., T] lead to."""
    squared = mean_squared_speed(start, gas, dt)
    limit = (bounds.curvature * squared).clamp_max(bounds.lateral)
    # Slow cars cannot turn sharply enough to use the lateral limit; the limit itself must not change too fast either.
    limit = (limit[..., None, :] + _cone(limit, bounds.lateral_jerk * dt)).amin(-1)
    lateral = lipschitz(turn.clamp(-bounds.curvature, bounds.curvature) * squared, bounds.lateral_jerk * dt)
    lateral = torch.maximum(torch.minimum(lateral, limit), -limit)
    moving = squared > STANDSTILL**2
    return torch.where(moving, lateral / squared.clamp_min(STANDSTILL**2), torch.zeros_like(lateral))


def widened(bounds: Bounds, start: Start, gas: Tensor, dt: float) -> Bounds:
    """`bounds` whose speed limit allows what the unprovoked drive `gas` [1, T] does already."""
    fastest = float(integrate_speed(start.speed, gas, dt).max())
    return replace(bounds, speed=max(bounds.speed, start.speed, fastest))

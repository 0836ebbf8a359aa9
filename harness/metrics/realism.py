"""Realism penalties of SAGE (appendix B.2, equations 12 and 13), and what becomes of them on foot and on bicycles.

Both have a floor: a vehicle that drives straight at constant speed scores P_kin ≈ 1.872 and P_beh ≈ 0.212,
because the soft threshold S is never zero.

Other limits have other floors, so that penalties of different kinds of road users cannot be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.metrics.profiles import Differences, Headings, masked_mean, profile
from harness.metrics.road_users import MOTION_LIMITS
from scenarios.scenario import Kind

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Thresholds are the paper's; the weights, which it leaves open, are those of the published code (`sage/rewards.py`).
ACCELERATION_LIMIT: Final = 7.0
"""Longitudinal, m/s²."""
LATERAL_LIMIT: Final = 6.0
"""Lateral acceleration, m/s²."""
YAW_RATE_LIMIT: Final = 0.8
"""Yaw rate above which the penalty grows, rad/s."""
TURN_LIMIT: Final = np.pi
"""Change of heading over the whole trajectory, rad."""


class SoftLimits(NamedTuple):
    """Where equation 12 begins to grow: longitudinal and lateral acceleration, m/s², and yaw rate, rad/s."""

    acceleration: float
    lateral: float
    yaw_rate: float


VEHICLE_LIMITS: Final = SoftLimits(ACCELERATION_LIMIT, LATERAL_LIMIT, YAW_RATE_LIMIT)
"""Those of the paper."""
SOFT_LIMITS: Final[Mapping[Kind, SoftLimits]] = {
    kind: SoftLimits(max(own.acceleration, own.braking), own.lateral, own.yaw_rate)
    for kind, own in MOTION_LIMITS.items()
}
"""Those of kinds of road users that the paper does not know."""
ACCELERATION_WEIGHT: Final = 5.0
YAW_RATE_WEIGHT: Final = 5.0
TURN_WEIGHT: Final = 5.0
STOP_TURN_WEIGHT: Final = 3.0
SPEED_FLOOR: Final = 0.01
"""ε of equation 13, m/s."""


def soft_excess(value: Floats, limit: float) -> Floats:
    """S(x, c) = log(1 + exp(|x| - c)), elementwise (overflow-safe)."""
    return np.logaddexp(0.0, np.abs(value) - limit)


def kinematic_penalty(
    states: Floats,
    valid: Bools | None = None,
    dt: float = 0.1,
    *,
    differences: Differences = "backward",
    headings: Headings = "states",
    limits: SoftLimits = VEHICLE_LIMITS,
) -> Floats:
    """P_kin, equation 12: mean soft excess of accelerations and yaw rate over comfort limits.

    Args:
        states: [..., T, ≥3] x, y, heading (m, rad).
        valid: [..., T], or None for all.
        dt: s.
        differences: `backward` (paper) or `gradient` (published code).
        headings: The states' own (paper) or recomputed from the `path` (published code).
        limits: The limits of the road user.

    Returns:
        [...]; NaN where fewer than three consecutive steps are valid. Each term is averaged over the steps
        at which it is defined.
    """
    mask = np.ones(np.shape(states)[:-1], dtype=bool) if valid is None else np.asarray(valid, dtype=bool)
    kinematics = profile(states, mask, dt, differences=differences, headings=headings)
    lateral = kinematics.speed * kinematics.yaw_rate
    lateral_valid = kinematics.speed_valid & kinematics.yaw_rate_valid
    return ACCELERATION_WEIGHT * (
        masked_mean(soft_excess(kinematics.acceleration, limits.acceleration), kinematics.acceleration_valid)
        + masked_mean(soft_excess(lateral, limits.lateral), lateral_valid)
    ) + YAW_RATE_WEIGHT * masked_mean(soft_excess(kinematics.yaw_rate, limits.yaw_rate), kinematics.yaw_rate_valid)


def behavioural_penalty(
    states: Floats,
    valid: Bools | None = None,
    dt: float = 0.1,
    *,
    differences: Differences = "backward",
    headings: Headings = "states",
) -> Floats:
    """P_beh, equation 13: total turn above π, and turning while (nearly) standing still.

    Arguments as for `kinematic_penalty`.

    Returns:
        [...]; NaN where fewer than two consecutive steps are valid.
    """
    mask = np.ones(np.shape(states)[:-1], dtype=bool) if valid is None else np.asarray(valid, dtype=bool)
    kinematics = profile(states, mask, dt, differences=differences, headings=headings)
    total_turn = kinematics.heading[..., -1] - kinematics.heading[..., 0]
    slow_turn = np.abs(kinematics.yaw_rate) / (kinematics.speed + SPEED_FLOOR)
    turning = masked_mean(slow_turn, kinematics.yaw_rate_valid & kinematics.speed_valid)
    return TURN_WEIGHT * soft_excess(total_turn, TURN_LIMIT) + STOP_TURN_WEIGHT * turning


def realism_of(
    kind: Kind,
    states: Floats,
    valid: Bools,
    dt: float,
    *,
    differences: Differences = "backward",
    headings: Headings = "states",
) -> tuple[Floats, Floats]:
    """P_kin and P_beh of a road user, each [...]; other arguments as for `kinematic_penalty`.

    P_kin goes by the limits of the kind. P_beh is NaN for a pedestrian: equation 13 is against turning while standing,
    which a person on foot may do.
    """
    limits = SOFT_LIMITS.get(kind, VEHICLE_LIMITS)
    kinematic = kinematic_penalty(states, valid, dt, differences=differences, headings=headings, limits=limits)
    if kind == Kind.PEDESTRIAN:
        return kinematic, np.full(kinematic.shape, np.nan)
    return kinematic, behavioural_penalty(states, valid, dt, differences=differences, headings=headings)

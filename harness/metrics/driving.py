"""How a vehicle drove: speed, jerk and progress along its route."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.geometry import arc_lengths, project_to_polyline
from harness.metrics.profiles import difference, masked_mean

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def speeds(states: Floats) -> Floats:
    """Speed [..., T], m/s, from the velocity columns of states [..., T, 5]."""
    return np.hypot(states[..., 3], states[..., 4])


def mean_speed(states: Floats, valid: Bools) -> Floats:
    """Mean speed over the valid steps of states [..., T, 5], m/s; NaN where there are none; [...]."""
    return masked_mean(speeds(states), valid)


def mean_jerk(states: Floats, valid: Bools, dt: float = 0.1) -> Floats:
    """Mean absolute longitudinal jerk, m/s³; [...].

    Speed is taken from the velocity columns of states [..., T, 5] and differenced twice, backwards.

    Returns:
        [...]; NaN where fewer than three consecutive steps are valid.
    """
    acceleration, acceleration_valid = difference(np.where(valid, speeds(states), 0.0), valid, dt, "backward")
    jerk, jerk_valid = difference(acceleration, acceleration_valid, dt, "backward")
    return masked_mean(np.abs(jerk), jerk_valid)


def route_completion(states: Floats, valid: Bools, route: Floats) -> Floats:
    """Furthest share of `route` that was reached, 0 … 1; [...].

    Progress is the arc length of the nearest point on the route, counted from where the vehicle began.

    Args:
        states: [..., T, ≥2] positions, m.
        valid: [..., T].
        route: [N, 2] polyline, m, N ≥ 2.

    Returns:
        [...]; 1 where no route is left to drive (under a millimetre), NaN where no step is valid.
    """
    length = arc_lengths(route)[-1]
    along, _, _ = project_to_polyline(np.where(valid[..., None], states[..., :2], route[0]), route)
    begin = np.take_along_axis(along, valid.argmax(-1)[..., None], -1)[..., 0]
    reached = np.where(valid, along, -np.inf).max(-1)
    left = length - begin
    share = np.where(left < 1e-3, 1.0, np.clip((reached - begin) / np.maximum(left, 1e-3), 0.0, 1.0))
    return np.where(valid.any(-1), share, np.nan)

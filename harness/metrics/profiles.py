"""Speeds, accelerations and yaw rates of trajectories that may have gaps."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Differences = Literal["backward", "gradient"]
Headings = Literal["states", "path"]

SMOOTHING: Final = 5
"""Steps of the moving average over headings taken from a path (CAT and SAGE code)."""
UNWRAP_AT: Final = 1.5 * np.pi
"""Jump (rad) that CAT's code takes for a wrap of the heading; smaller jumps stay as they are."""


class Profile(NamedTuple):
    """Kinematics of trajectories; every array is [..., T], each quantity with its own validity.

    Attributes:
        speed: m/s.
        speed_valid: Where `speed` is defined.
        acceleration: Longitudinal, m/s².
        acceleration_valid: Where `acceleration` is defined.
        yaw_rate: rad/s.
        yaw_rate_valid: Where `yaw_rate` is defined.
        heading: Unwrapped, rad; held over invalid steps.
    """

    speed: Floats
    speed_valid: Bools
    acceleration: Floats
    acceleration_valid: Bools
    yaw_rate: Floats
    yaw_rate_valid: Bools
    heading: Floats


def nearest_valid(valid: Bools) -> NDArray[np.intp]:
    """For every step the last valid step at or before it, else the first valid one, else 0; [..., T]."""
    steps = np.arange(valid.shape[-1])
    last = np.maximum.accumulate(np.where(valid, steps, -1), axis=-1)
    first = np.argmax(valid, axis=-1)
    return np.where(last >= 0, last, first[..., None])


def hold(values: Floats, valid: Bools) -> Floats:
    """`values` [..., T] with every invalid step replaced by the value held before it (or the first valid one)."""
    return np.take_along_axis(values, nearest_valid(valid), axis=-1)


def path_headings(positions: Floats, valid: Bools) -> Floats:
    """Headings as CAT's and SAGE's code derives them from positions, [..., T], rad.

    Direction to the next position (the last step repeats its predecessor), jumps above 1.5 π unwrapped, then a
    moving average over 5 steps with repeated ends. A vehicle that stands still points east: that is the published
    behaviour, and the reason why the corrected protocol uses the states' own headings.

    Args:
        positions: [..., T, 2], m, T ≥ 2.
        valid: [..., T].
    """
    delta = np.diff(positions, axis=-2)
    direction = np.arctan2(delta[..., 1], delta[..., 0])
    direction = np.concatenate([direction, direction[..., -1:]], axis=-1)
    known = valid.copy()
    known[..., :-1] &= valid[..., 1:]
    known[..., -1] = False
    direction = hold(direction, known)
    for step in range(direction.shape[-1] - 1):
        jump = direction[..., step + 1] - direction[..., step]
        direction[..., step + 1] -= 2 * np.pi * ((jump > UNWRAP_AT).astype(float) - (jump < -UNWRAP_AT))
    half = SMOOTHING // 2
    padded = np.pad(hold(direction, valid), [(0, 0)] * (direction.ndim - 1) + [(half, half)], mode="edge")
    return np.mean([padded[..., i : i + direction.shape[-1]] for i in range(SMOOTHING)], axis=0)


def difference(values: Floats, valid: Bools, dt: float, kind: Differences) -> tuple[Floats, Bools]:
    """Time derivative of `values` [..., T] and where it is defined [..., T].

    `backward` is (x_t - x_{t-1}) / dt. `gradient` is `np.gradient(..., edge_order=2)` on every run of valid
    steps: central inside, one-sided of second order at the ends.
    """
    out, defined = np.zeros_like(values), np.zeros_like(valid)
    if kind == "backward":
        out[..., 1:] = np.diff(values, axis=-1) / dt
        defined[..., 1:] = valid[..., 1:] & valid[..., :-1]
        return np.where(defined, out, 0.0), defined
    triple = valid[..., 2:] & valid[..., 1:-1] & valid[..., :-2]
    before, now, after = values[..., :-2], values[..., 1:-1], values[..., 2:]
    # Later writes win: the central form replaces one-sided forms wherever both neighbours are valid.
    for shift, slope in (
        (0, (-3 * before + 4 * now - after) / (2 * dt)),
        (2, (before - 4 * now + 3 * after) / (2 * dt)),
        (1, (after - before) / (2 * dt)),
    ):
        rows = slice(shift, values.shape[-1] - 2 + shift)
        out[..., rows] = np.where(triple, slope, out[..., rows])
        defined[..., rows] |= triple
    return out, defined


def profile(
    states: Floats, valid: Bools, dt: float, *, differences: Differences = "backward", headings: Headings = "states"
) -> Profile:
    """Kinematics from positions and headings (the velocity columns are not used).

    Args:
        states: [..., T, ≥3] x, y, heading, ….
        valid: [..., T].
        dt: s.
        differences: `backward` as SAGE's appendix B.2 writes, or `gradient` as its code computes.
        headings: The states' own, or those of the `path` (published code, see `path_headings`).
    """
    states = np.where(valid[..., None], np.asarray(states, dtype=np.float64), 0.0)
    if differences == "backward":
        step = np.diff(states[..., :2], axis=-2)
        speed_valid = np.zeros_like(valid)
        speed_valid[..., 1:] = valid[..., 1:] & valid[..., :-1]
        speed = np.zeros(valid.shape)
        speed[..., 1:] = np.hypot(step[..., 0], step[..., 1]) / dt
    else:
        vx, speed_valid = difference(states[..., 0], valid, dt, differences)
        vy, _ = difference(states[..., 1], valid, dt, differences)
        speed = np.hypot(vx, vy)
    speed = np.where(speed_valid, speed, 0.0)
    heading = states[..., 2] if headings == "states" else path_headings(states[..., :2], valid)
    heading = np.unwrap(hold(heading, valid), axis=-1)
    acceleration, acceleration_valid = difference(speed, speed_valid, dt, differences)
    yaw_rate, yaw_rate_valid = difference(heading, valid, dt, differences)
    return Profile(speed, speed_valid, acceleration, acceleration_valid, yaw_rate, yaw_rate_valid, heading)


def masked_mean(values: Floats, valid: Bools) -> Floats:
    """Mean over the valid steps of `values` [..., T]; NaN where there are none; [...]."""
    count = valid.sum(-1)
    total = np.where(valid, values, 0.0).sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)

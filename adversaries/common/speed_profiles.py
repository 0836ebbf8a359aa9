"""Other speeds along the paths of candidates: the same goal at the same time, the way there sooner or later."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from adversaries.common.plans import current_state
from adversaries.prior.config import PriorConfig
from harness.errors import ConfigError
from harness.geometry import wrap_angle
from harness.interfaces import HEADING, VX, AttackContext

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

SHIFT: Final = 0.125
"""Share of the horizon T by which the outermost profiles are ahead of the candidate, or behind it, where they differ
most (after two thirds of it): 1 s of 8."""
SHARES: Final = (1.0, 0.75, 0.5, 0.25)
"""Parts of that shift that are tried, until one keeps the limits."""
MOVED: Final = 0.5
"""A profile that is nowhere farther than this from the candidate, m, adds nothing and is left out."""
MOST: Final = 9
"""Most profiles for each goal."""
LIMITS: Final = PriorConfig()
"""Bounds of acceleration, braking, lateral acceleration and yaw rate: those of the prior's own completion."""


def check_profiles(name: str, profiles: int) -> None:
    """Refuse a number of profiles that has no middle.

    Raises:
        ConfigError: The number is even or out of range; the message begins with `name`.
    """
    if not 1 <= profiles <= MOST or profiles % 2 == 0:
        raise ConfigError(
            f"{name}: expected profiles to be an odd number from 1 to {MOST} (the candidate's own speeds, and as many "
            f"profiles ahead as behind), got {profiles}."
        )


def paced(context: AttackContext, own: Floats, valid: Bools, profiles: int) -> tuple[Floats, Ints]:
    """Further speed profiles of candidates.

    A profile follows its candidate's path by another clock: w(t) = t ± S T · 27/4 · u² (1 - u), u = t / T. It begins at
    the present speed and ends at the goal after the same T, and between them it is up to S T ahead (faster first,
    slower at the end) or behind. S is `SHIFT` for the outermost pair of profiles, and evenly less for those between.
    Where accelerations or the yaw rate would exceed `LIMITS` (and the candidate's own extremes) smaller parts of S are
    tried, and where none is left, or nothing moves by `MOVED`, there is no such profile.

    Args:
        context: The attack.
        own: [K, T, 5] candidates by absolute step.
        valid: [T]; only what comes after the current step counts.
        profiles: Number of profiles for each candidate, its own included; odd.

    Returns:
        The further profiles [P, T, 5], one kind after the other, and which candidate each is of [P].
    """
    states, origin, pairs = [own[:0]], [np.zeros(0, dtype=np.intp)], profiles // 2
    for number in range(pairs, 0, -1):
        for sign in (1.0, -1.0):
            made, kept = _paced(context, own, valid, sign * SHIFT * number / pairs)
            states.append(made[kept])
            origin.append(np.flatnonzero(kept))
    return np.concatenate(states), np.concatenate(origin)


def _paced(context: AttackContext, states: Floats, valid: Bools, shift: float) -> tuple[Floats, Bools]:
    """States [K, T, 5] of the candidates by the clock with the largest part of `shift` (of T), and which exist [K]."""
    first = context.step + 1
    rows = first + np.flatnonzero(valid[first:])
    now = np.broadcast_to(current_state(context), (len(states), 1, states.shape[-1]))
    own = np.concatenate([now, states[:, rows]], 1)
    own[..., HEADING] = np.unwrap(own[..., HEADING], axis=-1)
    found, kept = own.copy(), np.zeros(len(own), dtype=bool)
    limits = _extremes(own, context.scenario.dt)
    for share in SHARES:
        trial = _by_clock(own, share * shift)
        moved = np.hypot(*np.moveaxis(trial[..., :2] - own[..., :2], -1, 0)).max(-1) >= MOVED
        fits = ~kept & moved & (_extremes(trial, context.scenario.dt) <= _bounds(limits)).all(-1)
        found[fits] = trial[fits]
        kept |= fits
    states = states.copy()
    found[..., HEADING] = wrap_angle(found[..., HEADING])
    states[:, rows] = found[:, 1:]
    states[:, rows[-1] + 1 :] = states[:, rows[-1], None]
    return states, kept


def _by_clock(own: Floats, shift: float) -> Floats:
    """States [K, N + 1, 5] of drives [K, N + 1, 5] (from the present on, headings unwrapped) by a clock that is up to
    `shift` of their duration ahead.
    """
    count = own.shape[1] - 1
    share = np.linspace(0.0, 1.0, count + 1)
    clock = np.arange(count + 1) + shift * count * 6.75 * share**2 * (1.0 - share)
    rate = 1.0 + shift * 6.75 * share * (2.0 - 3.0 * share)
    before = np.clip(np.floor(clock).astype(np.intp), 0, count - 1)
    rest = (clock - before)[:, None]
    states = (1.0 - rest) * own[:, before] + rest * own[:, before + 1]
    states[..., VX:] *= rate[:, None]
    return states


def _extremes(states: Floats, dt: float) -> Floats:
    """Largest acceleration, braking, lateral acceleration and yaw rate [K, 4] of drives [K, N, 5]."""
    speed = np.hypot(states[..., VX], states[..., VX + 1])
    gas = np.diff(speed, axis=-1) / dt
    yaw_rate = np.abs(np.diff(states[..., HEADING], axis=-1)) / dt
    lateral = yaw_rate * 0.5 * (speed[:, 1:] + speed[:, :-1])
    return np.stack([gas.max(-1), -gas.min(-1), lateral.max(-1), yaw_rate.max(-1)], -1)


def _bounds(own: Floats) -> Floats:
    """Bounds [K, 4] for profiles of drives with extremes `own` [K, 4]: what the drive does already is allowed."""
    limits = LIMITS.max_acceleration, LIMITS.max_braking, LIMITS.max_lateral, LIMITS.max_yaw_rate
    return np.maximum(own, limits)

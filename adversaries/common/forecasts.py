"""Where others will be, as far as somebody can tell who knows nothing of the future."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from adversaries.common.driving import SHARPEST, extrapolate
from harness.geometry import wrap_angle
from harness.interfaces import HEADING, VX, Trajectory

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NEAR: Final = 4.0
"""An ego further than this from everywhere on an earlier drive, m, is on another way."""
TURNED: Final = np.deg2rad(45.0)
"""And so is one whose heading differs by more."""
SAME: Final = 0.5
"""Places of a drive that are as near as the nearest but for so much, m: of those the one nearest in time counts."""
TURN_STEPS: Final = 5
"""Steps over which a turn rate is measured: headings in logs are noisy."""


def go_on(states: Floats, valid: Bools, step: int, steps: int, dt: float) -> Floats:
    """Everybody goes on at the present speed and turn rate.

    Args:
        states: [A, T, STATE] up to `step`, with `valid` [A, T].
        valid: See `states`.
        step: The present.
        steps: How far to look.
        dt: s.

    Returns:
        [A, steps, STATE], the states 1 … `steps` steps from now; meaningless for whoever is not there now.
    """
    before = max(step - TURN_STEPS, 0)
    turned = wrap_angle(states[:, step, HEADING] - states[:, before, HEADING]) / (max(step - before, 1) * dt)
    turn = np.where(valid[:, before], np.clip(turned, -SHARPEST, SHARPEST), 0.0)
    return extrapolate(states[:, step], np.zeros(len(states)), turn, steps, dt)


def along_drive(drive: Trajectory, now: Floats, step: int, steps: int, dt: float) -> Floats | None:
    """Go on along an earlier drive, from its place nearest to the present one.

    The way is the drive's, moved to begin where the ego is. The speed is the drive's from that place on, plus the
    difference that there is now, and never backwards: whoever stands where the drive went on is expected to stand.

    Args:
        drive: By absolute step.
        now: [STATE] of the ego.
        step: The present: a drive may wait at a place.
        steps: How far to look.
        dt: s.

    Returns:
        [steps, STATE], the states 1 … `steps` steps from now; None where the ego is on another way.
    """
    known = np.flatnonzero(drive.valid & np.isfinite(drive.states).all(-1))
    if len(known) == 0:
        return None
    at = drive.states[known]
    gap = np.hypot(*(at[:, :2] - now[:2]).T)
    fits = (gap <= NEAR) & (np.abs(wrap_angle(at[:, HEADING] - now[HEADING])) <= TURNED)
    if not fits.any():
        return None
    close = known[fits & (gap <= gap[fits].min() + SAME)]
    place = int(close[np.abs(close - step).argmin()])
    return _drive_on(_stretch(drive, place), now, steps, dt)


def _stretch(drive: Trajectory, place: int) -> Floats:
    """The drive from a row on, as long as it is known without a gap."""
    gone = np.flatnonzero(~drive.valid[place:])
    return drive.states[place : place + int(gone[0])] if len(gone) else drive.states[place:]


def _drive_on(way: Floats, now: Floats, steps: int, dt: float) -> Floats:
    """[steps, STATE] along states [n, STATE], of which the first is where the ego is now."""
    hops = np.hypot(*np.diff(way[:, :2], axis=0).T)
    covered = np.concatenate([[0.0], np.cumsum(hops)])
    pace = np.hypot(*way[0, VX:])
    last = hops[-1] if len(hops) else pace * dt
    usual = np.concatenate([hops, np.full(steps, last)])[:steps]
    moved = np.maximum(usual + (np.hypot(*now[VX:]) - pace) * dt, 0.0)
    reached = np.cumsum(moved)
    heading = np.interp(reached, covered, np.unwrap(way[:, HEADING]))
    direction = np.stack([np.cos(heading), np.sin(heading)], -1)
    beyond = np.maximum(reached - covered[-1], 0.0)[:, None]
    xy = np.stack([np.interp(reached, covered, way[:, axis]) for axis in (0, 1)], -1) + beyond * direction
    xy += now[:2] - way[0, :2]
    return np.concatenate([xy, wrap_angle(heading)[:, None], moved[:, None] / dt * direction], -1)

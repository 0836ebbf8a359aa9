"""How far two engines agree on the same sequences: numbers from arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.engine.config import ROUTE_VIEW_SIZE, SENSORS
from harness.performance.sequences import DrivenSequence, PolicyOutcome

Bools = NDArray[np.bool_]

TOLERANCE: Final = 0.01
"""Observed numbers that differ by more are counted."""
SECOND: Final = 10
"""Steps in a second."""
_DRIVING: Final = 6
"""Numbers between the side rays and the lane rays."""


def line_rays(observation: str) -> Bools:
    """Which numbers of an observation [D] are rays against lines."""
    sensors = SENSORS[observation]
    found = np.zeros(sensors.size, bool)
    if sensors.route:
        # See the table of `harness.fast.route_view`: rays by colour, and the room along the route and beside the car.
        found[40:88] = found[236:ROUTE_VIEW_SIZE] = True
        return found
    found[: sensors.side] = True
    lane = max(sensors.side, 2) + _DRIVING
    found[lane : lane + sensors.lane_line] = True
    return found


def first_of(flags: Bools) -> int | None:
    """First row of [T, …] with any flag, or None."""
    rows = np.flatnonzero(flags.reshape(len(flags), -1).any(axis=1))
    return int(rows[0]) if len(rows) else None


def error_until_contact(one: DrivenSequence, two: DrivenSequence) -> float:
    """Largest distance (m) between the egos before the step of the first contact in `one`."""
    contact = first_of(one.contacts)
    away = np.hypot(*(one.xy - two.xy).T)
    return float(away[: None if contact is None else contact + 1].max())


def error_after_contact(one: DrivenSequence, two: DrivenSequence) -> float | None:
    """Distance (m) between the egos one second after the first contact in `one`, or None without any."""
    contact = first_of(one.contacts)
    if contact is None:
        return None
    row = min(contact + 1 + SECOND, len(one.xy) - 1)
    return float(np.hypot(*(one.xy[row] - two.xy[row])))


def compare(ones: Sequence[DrivenSequence], twos: Sequence[DrivenSequence], rays: Bools) -> dict[str, float]:
    """Numbers of agreement; those of contacts are missing where there is none.

    Args:
        ones, twos: The same sequences in MetaDrive and in the fast engine.
        rays: See `line_rays`.

    Returns:
        `sequences`; `position_error_50`, `_95`, `_99` (m, largest until the first contact); `contacts` (sequences with
        one in either engine), `contact_agreement` (share of those with one in both), `contact_same_step` (share of
        these with the first one at the same step), `second_after_contact_50` (m); `line_rays_beyond_0.01` and
        `others_beyond_0.01` (shares of observed numbers until the first contact), `rewards_beyond_0.01`;
        `first_ending_same_step` (share of sequences). In traffic that does not follow the log also, until the first
        contact: `background_error_50`, `_95`, `_99` (m, the largest of a sequence), `background_presence` (share of
        others' steps in which somebody is there in one engine only).
    """
    pairs = list(zip(ones, twos, strict=True))
    found: dict[str, float] = {"sequences": len(pairs)}
    errors = np.percentile([error_until_contact(one, two) for one, two in pairs], (50, 95, 99))
    found |= dict(zip(("position_error_50", "position_error_95", "position_error_99"), errors.tolist(), strict=True))
    contacts = [(first_of(one.contacts), first_of(two.contacts)) for one, two in pairs]
    either = [pair for pair in contacts if pair != (None, None)]
    both = [pair for pair in either if None not in pair]
    found["contacts"] = len(either)
    if either:
        found["contact_agreement"] = len(both) / len(either)
    if both:
        found["contact_same_step"] = float(np.mean([one == two for one, two in both]))
    after = [error for one, two in pairs if (error := error_after_contact(one, two)) is not None]
    if after:
        found["second_after_contact_50"] = float(np.median(after))
    gaps, rewards = [], []
    for (one, two), (contact, _) in zip(pairs, contacts, strict=True):
        rows = len(one.rewards) if contact is None else contact
        gaps.append(np.abs(one.observations[: rows + 1] - two.observations[: rows + 1]) > TOLERANCE)
        rewards.append(np.abs(one.rewards[:rows] - two.rewards[:rows]) > TOLERANCE)
    beyond = np.concatenate(gaps)
    if rays.any():
        found["line_rays_beyond_0.01"] = float(beyond[:, rays].mean())
    found["others_beyond_0.01"] = float(beyond[:, ~rays].mean())
    if any(map(len, rewards)):
        found["rewards_beyond_0.01"] = float(np.concatenate(rewards).mean())
    found |= _background(pairs, contacts)
    found["first_ending_same_step"] = float(np.mean([first_of(one.ended) == first_of(two.ended) for one, two in pairs]))
    return found


def _background(
    pairs: Sequence[tuple[DrivenSequence, DrivenSequence]], contacts: Sequence[tuple[int | None, int | None]]
) -> dict[str, float]:
    """How far others differ, see `compare`; nothing where they follow the log."""
    largest, alone, steps = [], 0, 0
    for (one, two), (contact, _) in zip(pairs, contacts, strict=True):
        rows = slice(None, None if contact is None else contact + 1)
        ones, twos = one.others[rows], two.others[rows]
        away = np.hypot(*np.moveaxis(ones - twos, -1, 0))
        here, there = (np.isfinite(places[..., 0]) for places in (ones, twos))
        alone, steps = alone + int((here ^ there).sum()), steps + int((here | there).sum())
        if (here & there).any():
            largest.append(float(np.nanmax(away)))
    if not largest:
        return {}
    errors = np.percentile(largest, (50, 95, 99)).tolist()
    names = ("background_error_50", "background_error_95", "background_error_99")
    return {**dict(zip(names, errors, strict=True)), "background_presence": alone / steps}


def compare_outcomes(ones: Sequence[PolicyOutcome], twos: Sequence[PolicyOutcome]) -> dict[str, float]:
    """`outcomes`, their number; and `outcome_agreement`, the share that are equal in both engines."""
    same = [one == two for one, two in zip(ones, twos, strict=True)]
    return {"outcomes": len(same), "outcome_agreement": float(np.mean(same))}

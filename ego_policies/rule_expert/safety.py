"""Which target speed leads to no collision: oriented boxes, checked at every step of the forecasts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.geometry import box_separation

Floats = NDArray[np.float64]

_FULL_MARGIN: int = 10
"""Forecast steps after which the whole margin is kept: right now a narrow gap is a fact, not a risk."""


class Contact(NamedTuple):
    """First collisions of imagined egos.

    Attributes:
        step: [K] index of the first forecast step with an overlap; H where there is none.
        agent: [K] row of the agent that is met; -1 where there is none.
    """

    step: NDArray[np.intp]
    agent: NDArray[np.intp]


def first_contact(ego: Floats, ego_size: tuple[float, float], others: Floats, sizes: Floats, margin: float) -> Contact:
    """The first forecast step at which each imagined ego's box comes closer than `margin` to anybody's.

    Args:
        ego: Poses [K, H, 3].
        ego_size: Length and width, m.
        others: Poses [M, H, 3]; NaN where an agent is gone.
        sizes: [M, 2], m.
        margin: m.
    """
    count, steps = ego.shape[:2]
    none = Contact(np.full(count, steps), np.full(count, -1))
    near = _within_reach(ego, ego_size, others, sizes, margin)
    if len(near) == 0:
        return none
    own = np.asarray(ego_size)
    gap = box_separation(ego[:, None], own, others[None, near], sizes[None, near, None])
    wanted = margin * np.minimum(np.arange(steps) / _FULL_MARGIN, 1.0)
    met = gap <= wanted  # NaN compares as False: who is gone is met by nobody
    hit = met.any(1)
    step = np.where(hit.any(-1), hit.argmax(-1), steps)
    rows = np.arange(count)
    last = np.minimum(step, steps - 1)
    agent = np.where(step < steps, near[met[rows, :, last].argmax(-1)], -1)
    return Contact(step, agent)


def _within_reach(
    ego: Floats, ego_size: tuple[float, float], others: Floats, sizes: Floats, margin: float
) -> NDArray[np.intp]:
    """Rows of the agents that come near any imagined ego at any time: most of a scene never does."""
    if len(others) == 0 or ego.shape[1] == 0:
        return np.zeros(0, dtype=np.intp)
    low, high = ego[..., :2].min(axis=0), ego[..., :2].max(axis=0)
    beside = np.maximum(np.maximum(low - others[..., :2], others[..., :2] - high), 0.0)
    reach = (np.hypot(*ego_size) + np.hypot(sizes[:, 0], sizes[:, 1])) / 2 + margin
    close = np.hypot(beside[..., 0], beside[..., 1]) <= reach[:, None]
    return np.flatnonzero(close.any(-1))


def choose(contacts: NDArray[np.intp], speeds: Floats, steps: int) -> int:
    """The first candidate without a contact, or else the one whose contact is latest, then slowest.

    Args:
        contacts: [K] first contact per candidate, `steps` where there is none; candidates in order of preference.
        speeds: [K] speeds of the ego at the contact, m/s.
        steps: Length of the forecast.
    """
    free = np.flatnonzero(contacts >= steps)
    if len(free):
        return int(free[0])
    return int(np.lexsort((speeds, -contacts))[0])

"""Which target speed leads to no collision: oriented boxes, checked at every step of the forecasts."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.geometry import box_separation

Floats = NDArray[np.float64]

_FULL_MARGIN: Final = 10
"""Forecast steps after which the whole margin is kept: right now a narrow gap is a fact, not a risk."""


class Margin(NamedTuple):
    """Room that the ego's box must have ahead of it and on either side, m."""

    ahead: float
    beside: float


BARE: Final = Margin(0.0, 0.0)


class Contact(NamedTuple):
    """First collisions of imagined egos.

    Attributes:
        step: [K] index of the first forecast step with an overlap; H where there is none.
        agent: [K] row of the agent that is met; -1 where there is none.
    """

    step: NDArray[np.intp]
    agent: NDArray[np.intp]


def first_contact(ego: Floats, ego_size: tuple[float, float], others: Floats, sizes: Floats, margin: Margin) -> Contact:
    """The first forecast step at which each imagined ego's box, with its margin, meets anybody's.

    Args:
        ego: Poses [K, H, 3].
        ego_size: Length and width, m.
        others: Poses [M, H, 3]; NaN where an agent is gone.
        sizes: [M, 2], m.
        margin: Grows from nothing over the first second.
    """
    count, steps = ego.shape[:2]
    none = Contact(np.full(count, steps), np.full(count, -1))
    near = _within_reach(ego, ego_size, others, sizes, margin)
    if len(near) == 0:
        return none
    share = np.minimum(np.arange(steps) / _FULL_MARGIN, 1.0)
    ahead, beside = margin.ahead * share, margin.beside * share
    own = np.stack([ego_size[0] + ahead, ego_size[1] + 2 * beside], -1)
    poses = ego.copy()
    poses[..., 0] += ahead / 2 * np.cos(ego[..., 2])
    poses[..., 1] += ahead / 2 * np.sin(ego[..., 2])
    # NaN compares as False: who is gone is met by nobody.
    met = box_separation(poses[:, None], own, others[None, near], sizes[None, near, None]) <= 0.0
    hit = met.any(1)
    step = np.where(hit.any(-1), hit.argmax(-1), steps)
    rows = np.arange(count)
    last = np.minimum(step, steps - 1)
    agent = np.where(step < steps, near[met[rows, :, last].argmax(-1)], -1)
    return Contact(step, agent)


def _within_reach(
    ego: Floats, ego_size: tuple[float, float], others: Floats, sizes: Floats, margin: Margin
) -> NDArray[np.intp]:
    """Rows of the agents that come near any imagined ego at any time: most of a scene never does."""
    if len(others) == 0 or ego.shape[1] == 0:
        return np.zeros(0, dtype=np.intp)
    low, high = ego[..., :2].min(axis=0), ego[..., :2].max(axis=0)
    beside = np.maximum(np.maximum(low - others[..., :2], others[..., :2] - high), 0.0)
    reach = (np.hypot(*ego_size) + np.hypot(sizes[:, 0], sizes[:, 1])) / 2 + margin.ahead + margin.beside
    close = np.hypot(beside[..., 0], beside[..., 1]) <= reach[:, None]
    return np.flatnonzero(close.any(-1))


def choose(careful: NDArray[np.intp], bare: NDArray[np.intp], speeds: Floats, steps: int) -> int:
    """The first candidate that keeps its margin, or else the one whose collision is latest.

    Ties go to the one that keeps its margin longer, then to the slower one.

    Args:
        careful: [K] first step at which the margin is lost, `steps` where never; candidates in order of preference.
        bare: [K] first step at which the boxes themselves meet, `steps` where never.
        speeds: [K] speeds of the ego when they do, m/s.
        steps: Length of the forecast.
    """
    free = np.flatnonzero(careful >= steps)
    if len(free):
        return int(free[0])
    return int(np.lexsort((speeds, -careful, -bare))[0])

"""The adversarial reward of SAGE (appendix B.2, equation 11)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.metrics.collision import closest_approach, first_contact, first_overlap

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

COLLISION_REWARD: Final = 10.0
"""C_coll."""
PROXIMITY_REWARD: Final = 1.0
"""C_prox."""
PROXIMITY_DECAY: Final = 0.2
"""λ_prox, 1/m."""
PUBLISHED_CUTOFF: Final = 20.0
"""Centre distance (m) above which the published code pays nothing; the paper has no such cut-off."""


def adversarial_reward(
    adversary: Floats,
    adversary_valid: Bools,
    adversary_size: ArrayLike,
    ego: Floats,
    ego_valid: Bools,
    ego_size: ArrayLike,
    start: int = 0,
    *,
    as_published: bool = False,
) -> Floats:
    """R_adv, equation 11: early contact pays most, near misses pay by distance; leading dimensions broadcast.

    R_adv = 10 (1 - t/T) for a first overlap at the t-th of T steps, else exp(-0.2 d_min), with d_min the
    smallest centre distance (m). Contact is judged at every step with true headings; one that began before `start` and
    goes on is none.

    Args:
        adversary, ego: [..., T', ≥3] states by absolute step.
        adversary_valid, ego_valid: [..., T'].
        adversary_size, ego_size: [..., 2] length and width, m.
        start: First absolute step that counts; it has t = 1, and T = T' - start is the full horizon.
        as_published: As the published code does: t counts from 0, T is the number of common steps (so that an
            episode which ends at the crash pays little), nothing is paid beyond 20 m, and a contact that began before
            `start` is one at `start`.

    Returns:
        [...]; NaN where the two are never valid together.
    """
    common = (adversary_valid & ego_valid)[..., start:]
    judge = first_overlap if as_published else first_contact
    hit = judge(adversary, adversary_valid, adversary_size, ego, ego_valid, ego_size, start)
    nearest = closest_approach(adversary, adversary_valid, ego, ego_valid, start)
    if as_published:
        elapsed, horizon = hit - start, np.maximum(common.sum(-1), 1)
        nearest = np.where(nearest <= PUBLISHED_CUTOFF, nearest, np.inf)
    else:
        elapsed, horizon = hit - start + 1, np.full(hit.shape, max(common.shape[-1], 1))
    return np.where(common.any(-1), encounter_reward(hit >= 0, elapsed / horizon, nearest), np.nan)


def encounter_reward(hit: Bools, elapsed: Floats, nearest: Floats) -> Floats:
    """Equation 11 of its ingredients; [...].

    Args:
        hit: Whether the boxes overlap.
        elapsed: Share t/T of the horizon until they do.
        nearest: d_min, m.
    """
    proximity = PROXIMITY_REWARD * np.exp(-PROXIMITY_DECAY * nearest)
    return np.where(hit, COLLISION_REWARD * (1 - elapsed), proximity)

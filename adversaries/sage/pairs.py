"""From a group of judged candidates to preference pairs (section 3.2 of the paper, lines 8 to 14 of algorithm 1)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

MARGIN: Final = 0.2
"""δ_m: smaller differences of reward are noise (appendix B.1)."""
LIMIT: Final = 8
"""Pairs per scene (appendix B.1)."""


def group_pairs(
    feasible: Bools, reward: Floats, rng: np.random.Generator, limit: int = LIMIT, margin: float = MARGIN
) -> Ints:
    """HGPO's pairs: feasible over infeasible, then better over worse among the feasible.

    The budget is shared evenly between the two rules; what one rule cannot use goes to the other (so that many
    infeasible candidates cannot crowd out the soft preferences, as they do in the public code).

    Args:
        feasible: [K].
        reward: [K] preference reward R_pref.
        rng: Draws the pairs.
        limit: Most pairs.
        margin: δ_m.

    Returns:
        [P, 2] indices (winner, loser), P ≤ limit.
    """
    good, bad = np.flatnonzero(feasible), np.flatnonzero(~feasible)
    first = np.stack(np.meshgrid(good, bad, indexing="ij"), -1).reshape(-1, 2)
    winner, loser = np.nonzero(reward[good][:, None] > reward[good][None] + margin)
    second = np.stack([good[winner], good[loser]], -1)
    share = limit // 2
    from_second = min(len(second), max(limit - len(first), limit - share))
    from_first = min(len(first), limit - from_second)
    return np.concatenate([_draw(first, from_first, rng), _draw(second, from_second, rng)])


def best_worst(feasible: Bools, reward: Floats, margin: float = MARGIN) -> Ints:
    """Standard DPO's one pair: the best over the worst feasible candidate; [1, 2], or [0, 2] without a preference."""
    good = np.flatnonzero(feasible)
    if len(good) < 2:
        return np.zeros((0, 2), dtype=np.intp)
    pair = np.array([[good[reward[good].argmax()], good[reward[good].argmin()]]], dtype=np.intp)
    return pair if reward[pair[0, 0]] > reward[pair[0, 1]] + margin else pair[:0]


def _draw(pairs: Ints, count: int, rng: np.random.Generator) -> Ints:
    return pairs[rng.choice(len(pairs), count, replace=False)] if count else np.zeros((0, 2), dtype=np.intp)

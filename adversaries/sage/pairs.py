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

    Rule 1: every infeasible candidate loses to a feasible one, drawn at random. Rule 2: what is left of the limit goes
    to pairs of feasible candidates, drawn at random among those whose rewards differ by more than the margin. Where
    the infeasible ones alone exceed the limit (line 14), a random part of them is paired, and rule 2 waits until the
    policy proposes fewer.

    Args:
        feasible: [K].
        reward: [K] preference reward R_pref.
        rng: Draws the pairs.
        limit: Most pairs.
        margin: δ_m.

    Returns:
        [P, 2] indices (winner, loser), P ≤ limit, those of rule 1 first.
    """
    good, bad = np.flatnonzero(feasible), np.flatnonzero(~feasible)
    if len(good) == 0:
        return np.zeros((0, 2), dtype=np.intp)
    losers = rng.permutation(bad)[:limit]
    first = np.stack([rng.choice(good, len(losers)), losers], -1)
    winner, loser = np.nonzero(reward[good][:, None] > reward[good][None] + margin)
    second = np.stack([good[winner], good[loser]], -1)
    drawn = rng.choice(len(second), min(limit - len(first), len(second)), replace=False)
    return np.concatenate([first, second[drawn]])


def best_worst(feasible: Bools, reward: Floats, margin: float = MARGIN) -> Ints:
    """Standard DPO's one pair: the best over the worst feasible candidate; [1, 2], or [0, 2] without a preference."""
    good = np.flatnonzero(feasible)
    if len(good) < 2:
        return np.zeros((0, 2), dtype=np.intp)
    pair = np.array([[good[reward[good].argmax()], good[reward[good].argmin()]]], dtype=np.intp)
    return pair if reward[pair[0, 0]] > reward[pair[0, 1]] + margin else pair[:0]

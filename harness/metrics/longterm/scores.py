"""RMM-F1: the realism of behaviour and of traffic flow in one number, and how stable it is (RosettaSim)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.metrics.wosac.config import BUCKETS, weights

Floats = NDArray[np.float64]

YEAR: Final = "2024"
"""Weights that reproduce RosettaSim's tables 7 and 9; those of 2025 do not."""
LONG_TERM_BUCKETS: Final[dict[str, tuple[str, ...]]] = {
    bucket: tuple(name for name in members if weights(YEAR)[name] > 0) for bucket, members in BUCKETS.items()
}
"""Features of each bucket: those of the challenge but the traffic lights, which have no weight."""


def behaviour_buckets(features: Mapping[str, ArrayLike]) -> dict[str, Floats]:
    """The realism of behaviour from that of its features: `kinematic`, `interactive`, `map`, and `behaviour`.

    Args:
        features: Score of every feature in `LONG_TERM_BUCKETS`, all of one shape [...]; NaN where undefined.

    Returns:
        [...] each: weighted means, NaN where a feature is.
    """
    weight = weights(YEAR)
    sums = {
        bucket: np.sum([weight[name] * np.asarray(features[name], dtype=np.float64) for name in members], 0)
        for bucket, members in LONG_TERM_BUCKETS.items()
    }
    whole = {bucket: sum(weight[name] for name in members) for bucket, members in LONG_TERM_BUCKETS.items()}
    total = np.sum([sums[bucket] for bucket in sums], 0) / sum(whole.values())
    return {**{bucket: np.asarray(sums[bucket] / whole[bucket]) for bucket in sums}, "behaviour": np.asarray(total)}


def flow_realism(enter: ArrayLike, leave: ArrayLike) -> Floats:
    """The realism of the traffic flow [...]: the mean of #enter and #exit (distances are left out, appendix F.4)."""
    return np.asarray((np.asarray(enter, dtype=np.float64) + np.asarray(leave, dtype=np.float64)) / 2)


def rmm_f1(behaviour: ArrayLike, flow: ArrayLike) -> Floats:
    """Harmonic mean [...] of both kinds of realism (section 5.3, β = 1); 0 where both are."""
    one, two = np.asarray(behaviour, dtype=np.float64), np.asarray(flow, dtype=np.float64)
    total = one + two
    return np.asarray(np.divide(2 * one * two, total, out=np.where(np.isnan(total), np.nan, 0.0), where=total > 0))


def stability(per_window: ArrayLike) -> Floats:
    """Relative change of scores [..., W] against the first window (appendix F.6); NaN where that is 0 or undefined."""
    scores = np.asarray(per_window, dtype=np.float64)
    first = np.broadcast_to(scores[..., :1], scores.shape)
    return np.asarray(np.divide(scores - first, first, out=np.full_like(scores, np.nan), where=first > 0))

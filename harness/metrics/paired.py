"""Tests between two methods that were run on the same scenes. Seeded, so tables repeat exactly."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ConfigError
from harness.metrics.intervals import CONFIDENCE, Interval, bootstrap_mean, resampled

Floats = NDArray[np.float64]

RESAMPLES: Final = 10_000
"""Bootstrap resamples: the smallest p value that can be reported is then 1e-4."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean of `first - second` over scenes.

    Attributes:
        difference: With its percentile-bootstrap interval.
        p_value: Two-sided, of no difference; NaN without pairs.
        scenes: Pairs where both numbers are defined.
    """

    difference: Interval
    p_value: float
    scenes: int


@dataclass(frozen=True, slots=True)
class McNemar:
    """Exact McNemar test of two success rates on the same scenes.

    Attributes:
        only_first, only_second: Scenes where just one of the two succeeded; the others say nothing.
        both, neither: The other scenes.
        p_value: Two-sided binomial; 1 where the two never differ.
    """

    only_first: int
    only_second: int
    both: int
    neither: int
    p_value: float


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    seed: int = 0,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> PairedDifference:
    """Mean paired difference with a bootstrap interval and p value.

    The p value resamples the *centred* differences (Efron and Tibshirani 1993, §16.4): the share of resampled means
    at least as far from 0 as the observed one, itself counted, so that it is never 0.

    Args:
        first, second: [S], one number per scene in the same order; a pair with a NaN is left out.
        seed: Seed of the resampling.
        confidence: Probability mass of the interval, 0 … 1.
        resamples: Number of resamples.

    Raises:
        ConfigError: The two have different shapes.
    """
    a, b = _pair(first, second)
    gap = a - b
    gap = gap[np.isfinite(gap)]
    interval = bootstrap_mean(gap, seed, confidence=confidence, resamples=resamples)
    if len(gap) == 0:
        return PairedDifference(interval, float("nan"), 0)
    observed, centred = gap.mean(), gap - gap.mean()
    drawn = resampled(lambda picks: centred[picks].mean(-1), [len(gap)], seed, resamples=resamples)
    # The tolerance keeps rounding from turning a tie into a smaller value (identical inputs must give p = 1).
    extreme = np.abs(drawn) >= abs(observed) - 1e-12
    return PairedDifference(interval, float((1 + extreme.sum()) / (resamples + 1)), len(gap))


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Exact McNemar test (two-sided binomial on the discordant pairs).

    Args:
        first, second: [S] successes (bool, or 0 / 1; NaN pairs are left out) in the same order of scenes.

    Raises:
        ConfigError: The two have different shapes.
    """
    a, b = _pair(first, second)
    known = np.isfinite(a) & np.isfinite(b)
    x, y = a[known] > 0.5, b[known] > 0.5
    only_first, only_second = int((x & ~y).sum()), int((~x & y).sum())
    total, smaller = only_first + only_second, min(only_first, only_second)
    tail = sum(comb(total, k) for k in range(smaller + 1)) / 2**total
    return McNemar(only_first, only_second, int((x & y).sum()), int((~x & ~y).sum()), min(1.0, 2 * tail))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down adjustment of several p values [N] tested together (NaN stays NaN and is not counted)."""
    raw = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(raw.shape, np.nan)
    known = np.flatnonzero(np.isfinite(raw))
    order = known[np.argsort(raw[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(raw[order] * factors), 1.0)
    return adjusted


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ConfigError(f"paired test: expected one number per scene on both sides, got {a.shape}, {b.shape}.")
    return a, b

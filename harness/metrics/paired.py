"""Tests between two methods that were run on the same scenes. Seeded, so tables repeat exactly."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Final

import numpy as np
import scipy.special
from numpy.typing import ArrayLike, NDArray

from harness.errors import ConfigError
from harness.metrics.intervals import CONFIDENCE, Interval, bootstrap_mean, resampled

Floats = NDArray[np.float64]

RESAMPLES: Final = 10_000
"""Bootstrap resamples: the smallest p value that can be reported is then 1e-4."""
SMALLEST_P: Final = 1e-4
"""No smaller p value of `crossed_difference` is reported."""
_NOTHING: Final = 1e-12
"""Differences and variances below this are rounding."""


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


def crossed_difference(first: ArrayLike, second: ArrayLike, *, confidence: float = CONFIDENCE) -> PairedDifference:
    """Difference of two methods' means where scenes *and* training seeds vary: t test of a model of random effects.

    An outcome is the method's mean, plus what the scene does to it, plus what the seed does, plus noise. Both methods
    drove the same scenes; seeds of two methods have nothing in common but the number. With `d` the difference by scene
    of means over seeds, `m` the means over scenes by seed, and `e` what remains of a method's table [R, S] without its
    row and column means, the variance of the observed difference is estimated by

        var(d) / S  +  for both methods: max(var(m) / R - sum(e²) / ((R - 1) (S - 1)) / (R S), 0)

    The first term holds scenes and noise, the second what seeds add; a method with one seed adds none, so that the test
    then speaks of that ego alone, as `paired_difference` does (with one seed each it is the paired t test). Degrees of
    freedom: Satterthwaite 1946. In simulated rates of five seeds and 69 scenes it calls .03 to .07 of equal methods
    different at p ≤ .05 (.08 with two seeds). A bootstrap of seeds and scenes counts the noise of single episodes
    several times (Owen 2007, *The pigeonhole bootstrap*): it calls .01 to .06 of them different, and misses half of the
    true differences where this test misses a quarter.

    Args:
        first, second: [R, S], one row per seed (R may differ) and one column per scene, in the same order. A scene with
            a NaN in any row is left out.
        confidence: Probability mass of the interval, 0 … 1.

    Returns:
        Difference, interval (not cut to possible values) and p value, no smaller than 1e-4: how the tails of rates
        differ from the t distribution's further out is not known. Interval and p value are NaN with fewer than two
        scenes.

    Raises:
        ConfigError: The two have different scenes.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ConfigError(
            f"crossed test: expected tables [seeds, scenes] of the same scenes, got {a.shape}, {b.shape}."
        )
    known = np.isfinite(a).all(0) & np.isfinite(b).all(0)
    a, b, scenes = a[:, known], b[:, known], int(known.sum())
    gap = a.mean(0) - b.mean(0) if scenes else np.zeros(0)
    mean = float(gap.mean()) if scenes else float("nan")
    if scenes < 2:
        return PairedDifference(Interval(mean, float("nan"), float("nan")), float("nan"), scenes)
    parts = [(gap.var(ddof=1) / scenes, scenes - 1), *(_seeds_part(table) for table in (a, b) if len(table) > 1)]
    variance = sum(part for part, _ in parts)
    if variance <= _NOTHING:
        p_value = 1.0 if abs(mean) <= _NOTHING else SMALLEST_P
        return PairedDifference(Interval(mean, mean, mean), p_value, scenes)
    freedom = variance**2 / sum(part**2 / own for part, own in parts)
    error = float(np.sqrt(variance))
    reach = error * float(scipy.special.stdtrit(freedom, 0.5 + confidence / 2))
    p_value = 2 * float(scipy.special.stdtr(freedom, -abs(mean) / error))
    return PairedDifference(Interval(mean, mean - reach, mean + reach), max(p_value, SMALLEST_P), scenes)


def _seeds_part(table: Floats) -> tuple[float, int]:
    """What the seeds of a method [R, S] add to the variance of its mean, and its degrees of freedom."""
    seeds, scenes = table.shape
    by_seed = table.mean(1)
    rest = table - table.mean(0) - by_seed[:, None] + table.mean()
    noise = (rest**2).sum() / ((seeds - 1) * (scenes - 1))
    return max(float(by_seed.var(ddof=1) / seeds - noise / (seeds * scenes)), 0.0), seeds - 1


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

"""Confidence intervals: bootstrap over scenes, and Wilson's for rates. Seeded, so tables repeat exactly."""

from __future__ import annotations

from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import ConfigError

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 2000
"""Bootstrap resamples; the percentile ends then move by about 1 % of the interval between seeds."""


class Interval(NamedTuple):
    """A mean or a rate with the ends of its confidence interval (NaN when there is nothing to average)."""

    mean: float
    low: float
    high: float


def bootstrap_mean(
    values: ArrayLike, seed: int = 0, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES
) -> Interval:
    """Mean with a percentile-bootstrap interval over scenes.

    Args:
        values: [S], one number per scene, or [S, R] with repeats: scenes are resampled, repeats stay together.
            NaN (undefined) numbers are left out; count them beside the table.
        seed: Of the resampling.
        confidence: Probability mass of the interval, 0 … 1.
        resamples: Number of resamples.
    """
    _check(confidence)
    scenes = np.asarray(values, dtype=np.float64)
    if scenes.ndim == 1:
        scenes = scenes[:, None]
    scenes = scenes[np.isfinite(scenes).any(-1)]
    if len(scenes) == 0:
        return Interval(np.nan, np.nan, np.nan)
    means = np.nanmean(scenes, axis=-1)
    picks = np.random.default_rng(seed).integers(len(means), size=(resamples, len(means)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means[picks].mean(-1), [tail, 1 - tail])
    return Interval(float(means.mean()), float(low), float(high))


def bootstrap_difference(
    first: ArrayLike, second: ArrayLike, seed: int = 0, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES
) -> Interval:
    """Mean of `first - second` over the same scenes [S], with its interval (paired, hence narrower)."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ConfigError(
            f"bootstrap_difference: expected one number per scene on both sides, got {a.shape}, {b.shape}."
        )
    return bootstrap_mean(a - b, seed, confidence=confidence, resamples=resamples)


def wilson(successes: int, total: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Rate `successes / total` with Wilson's score interval (sound for small counts and for 0 or 100 %)."""
    _check(confidence)
    if not 0 <= successes <= total:
        raise ConfigError(f"wilson: expected 0 <= successes <= total, got {successes} of {total}.")
    if total == 0:
        return Interval(np.nan, np.nan, np.nan)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, spread = successes / total, z * z / total
    centre = (rate + spread / 2) / (1 + spread)
    margin = z / (1 + spread) * np.sqrt(rate * (1 - rate) / total + spread / (4 * total))
    return Interval(rate, float(max(centre - margin, 0.0)), float(min(centre + margin, 1.0)))


def _check(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence: expected a probability strictly between 0 and 1, got {confidence}.")

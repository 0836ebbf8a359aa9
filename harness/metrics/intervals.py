"""Confidence intervals: one bootstrap over scenes, and Wilson's for rates. Seeded, so tables repeat exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ConfigError

Floats = NDArray[np.float64]
Picks = NDArray[np.int64]

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 2000
"""Bootstrap resamples; the percentile ends then move by about 1 % of the interval between seeds."""


_PIECE: Final = 2_000_000
"""Indices that are drawn at a time."""


class Interval(NamedTuple):
    """A mean or a rate with the ends of its confidence interval (NaN when there is nothing to average)."""

    mean: float
    low: float
    high: float


class Estimate(NamedTuple):
    """A mean or a rate with what a table says beside it.

    Attributes:
        interval: The number with its ends.
        scenes: Where it is defined.
        spread: Standard deviation over training seeds, NaN where there is only one.
    """

    interval: Interval
    scenes: int
    spread: float = float("nan")


def resampled(
    statistic: Callable[..., Floats], sizes: Sequence[int], seed: int = 0, *, resamples: int = RESAMPLES
) -> Floats:
    """A statistic of bootstrap resamples: every bootstrap of this code base draws here.

    Args:
        statistic: Gets one array of indices [some resamples, size] per size and returns [as many, …], each row from
            its own indices alone: with one size, it is asked for a few rows at a time.
        sizes: Numbers of units that vary independently: scenes, or seeds and scenes.
        seed: Seed of the drawing.
        resamples: Number of resamples.
    """
    rng = np.random.default_rng(seed)
    if len(sizes) > 1:
        return statistic(*(rng.integers(size, size=(resamples, size)) for size in sizes))
    # Drawn piece by piece the indices are the same, and never more than a few megabytes.
    (size,) = sizes
    piece = max(1, _PIECE // max(size, 1))
    parts = [min(piece, resamples - first) for first in range(0, resamples, piece)]
    return np.concatenate([statistic(rng.integers(size, size=(rows, size))) for rows in parts])


def percentile_interval(value: float, drawn: Floats, *, confidence: float = CONFIDENCE) -> Interval:
    """A value with the percentiles of its resamples [R] as ends (NaN resamples are left out).

    Raises:
        ConfigError: The confidence is no probability.
    """
    _check(confidence)
    known = drawn[np.isfinite(drawn)]
    if len(known) == 0:
        return Interval(value, np.nan, np.nan)
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def bootstrap_mean(
    values: ArrayLike,
    seed: int = 0,
    *,
    crossed: bool = False,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Interval:
    """Mean with a percentile-bootstrap interval over scenes.

    Args:
        values: [S], one number per scene, or [S, R] with repeats. NaN (undefined) numbers are left out; count them
            beside the table.
        seed: Seed of the resampling.
        crossed: Whether repeats vary independently too (one per training seed) and are resampled as well. Otherwise
            the repeats of a scene stay together.
        confidence: Probability mass of the interval, 0 … 1.
        resamples: Number of resamples.
    """
    scenes = np.asarray(values, dtype=np.float64)
    if scenes.ndim == 1:
        scenes = scenes[:, None]
    scenes = scenes[np.isfinite(scenes).any(-1)]
    if len(scenes) == 0:
        return percentile_interval(np.nan, np.zeros(0), confidence=confidence)
    if crossed:
        table = scenes.T.copy()
        mean = np.nanmean(table)
        drawn = resampled(
            lambda repeats, picks: np.nanmean(table[repeats[:, :, None], picks[:, None, :]], axis=(1, 2)),
            table.shape,
            seed,
            resamples=resamples,
        )
    else:
        means = np.nanmean(scenes, axis=-1)
        mean = means.mean()
        drawn = resampled(lambda picks: means[picks].mean(-1), means.shape, seed, resamples=resamples)
    return percentile_interval(float(mean), drawn, confidence=confidence)


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


def rate_beside_share(counts: tuple[int, int], others: tuple[int, int], share: float) -> Interval:
    """A rate minus a share of another one, with an interval of 95 %: below 0 it is less than that share.

    Wilson's ends of both rates are put together by MOVER (Newcombe 1998, method 10; Zou and Donner 2008), which is
    sound for small counts and for 0 or 100 %. The two are taken as independent; where both were counted on the same
    scenes and go together, the interval is somewhat too wide.

    Args:
        counts, others: Successes and total of either rate.
        share: What the other rate is multiplied with.
    """
    one, two = wilson(*counts), wilson(*others)
    low = np.hypot(one.mean - one.low, share * (two.high - two.mean))
    high = np.hypot(one.high - one.mean, share * (two.mean - two.low))
    value = one.mean - share * two.mean
    return Interval(float(value), float(value - low), float(value + high))


def _check(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence: expected a probability strictly between 0 and 1, got {confidence}.")

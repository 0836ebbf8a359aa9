"""Zipf's law: how well frequencies by rank follow a power, and samples whose frequencies do by construction.

The probability of the r-th most frequent of V types is r^-s / (1^-s + … + V^-s). Paper: RosettaSim, section 4.1 and
figure 2 (c), which compares motion tokens with words in log-log space and gives no number; figure 7 draws tokens by
such a law.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ConfigError

Floats = NDArray[np.float64]

STEEPEST: Final = 20.0
"""Largest exponent that is looked for: the second type would then be a millionth as frequent as the first."""
FEWEST: Final = 3
"""Different types that a fit needs: any two points lie on a line."""
_NOTHING: Final = 1e-12
"""A variance below this is rounding: equal frequencies lie on a line."""
_HALVINGS: Final = 60
"""Halvings of the interval in which the exponent lies: its error is then rounding."""


class ZipfFit(NamedTuple):
    """How frequencies follow Zipf's law.

    Attributes:
        tokens: Number of tokens.
        types: Number of different ones.
        exponent: Exponent s by likelihood; every token counts alike, so that the most frequent types say most.
        ks: Largest distance between the cumulative frequencies and those of the law with that exponent
            (Kolmogorov–Smirnov), 0 to 1.
        slope: Exponent of the straight line through log frequency over log rank, by least squares; every type counts
            alike, so that the many rare ones say most.
        r2: Share of the variance of log frequency that the line explains.
        top: Share of the most frequent type.
    """

    tokens: int
    types: int
    exponent: float
    ks: float
    slope: float
    r2: float
    top: float


def by_rank(counts: ArrayLike) -> Floats:
    """Counts [R] of the types that occur, the most frequent first, of counts [V] in any order."""
    found = np.asarray(counts, dtype=np.float64)
    return np.sort(found[found > 0])[::-1]


def fit_zipf(counts: ArrayLike) -> ZipfFit:
    """Fit Zipf's law to counts [V] of types in any order; those that do not occur have no rank.

    Raises:
        ConfigError: Fewer than `FEWEST` types occur.
    """
    frequency = by_rank(counts)
    if len(frequency) < FEWEST:
        raise ConfigError(
            f"Zipf's law: {len(frequency)} different tokens occur, expected at least {FEWEST}. Give more data."
        )
    share = frequency / frequency.sum()
    exponent = _likeliest(share)
    gap = np.cumsum(share) - np.cumsum(zipf_masses(len(share), exponent))
    slope, r2 = _line(frequency)
    return ZipfFit(
        tokens=round(frequency.sum()),
        types=len(frequency),
        exponent=exponent,
        ks=float(np.abs(gap).max()),
        slope=slope,
        r2=r2,
        top=float(share[0]),
    )


def zipf_masses(types: int, exponent: float) -> Floats:
    """Probabilities [types] of the ranks 1, 2, … under Zipf's law; exponent 0 is the uniform distribution."""
    weight = np.exp(-exponent * np.log(np.arange(1, types + 1)))
    return np.asarray(weight / weight.sum())


def zipf_weights(counts: ArrayLike, exponent: float) -> Floats:
    """Weights [V] that give tokens of counts [V] Zipf's law: a type's mass by its rank, over its share of the counts.

    The ranks are those of the counts; equal ones rank in their order. Types that do not occur weigh 0. Drawing tokens
    with probabilities in proportion to their weights makes the r-th most frequent type occur with `zipf_masses`; the
    mean weight of a token is 1.
    """
    found = np.asarray(counts, dtype=np.float64)
    order = np.argsort(-found, kind="stable")[: int((found > 0).sum())]
    weights = np.zeros_like(found)
    if len(order):
        weights[order] = zipf_masses(len(order), exponent) / (found[order] / found.sum())
    return weights


def _likeliest(share: Floats) -> float:
    """The exponent of the largest likelihood of shares [R] by rank: there the mean log rank is that of the law."""
    rank = np.log(np.arange(1, len(share) + 1))
    wanted, low, high = float(share @ rank), 0.0, STEEPEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if zipf_masses(len(share), middle) @ rank > wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _line(frequency: Floats) -> tuple[float, float]:
    """Minus slope of the line through log frequency [R] over log rank, and its share of the variance."""
    x, y = np.log(np.arange(1, len(frequency) + 1)), np.log(frequency)
    x, y = x - x.mean(), y - y.mean()
    slope, spread = (x @ y) / (x @ x), y @ y
    rest = y - slope * x
    return float(-slope), float(1 - rest @ rest / spread) if spread > _NOTHING else 1.0

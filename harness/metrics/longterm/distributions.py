"""Histograms of simulated and logged values, and how alike two of them are."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from harness.metrics.wosac.config import HISTOGRAM_PSEUDOCOUNT, Histogram
from harness.metrics.wosac.estimators import histogram_bins

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

LOG_2: Final = float(np.log(2.0))
"""The largest Jensen-Shannon divergence, nats."""


def counts_per_step(values: Floats, use: NDArray[np.bool_], histogram: Histogram) -> Counts:
    """How many values fall into each bin at every step.

    Args:
        values: [A, T] in the unit of the histogram; values beyond its range count in the bin at that end.
        use: [A, T] which count; those that are NaN never do.
        histogram: The bins; each holds its lower edge, the last one both (RosettaSim, algorithm 2).

    Returns:
        [T, bins].
    """
    values = np.asarray(values, dtype=np.float64)
    row, step = np.nonzero(use & ~np.isnan(values))
    bins = histogram_bins(torch.as_tensor(values[row, step]), histogram).numpy()
    steps = values.shape[1]
    flat = np.bincount(step * histogram.bins + bins, minlength=steps * histogram.bins)
    return flat.reshape(steps, histogram.bins).astype(np.int64)


def masses(counts: Counts | Floats, pseudocount: float = HISTOGRAM_PSEUDOCOUNT) -> Floats:
    """Probability of each bin [..., bins] after adding `pseudocount` (> 0) to every count [..., bins]."""
    smooth = np.asarray(counts, dtype=np.float64) + pseudocount
    return np.asarray(smooth / smooth.sum(-1, keepdims=True))


def js_divergence(one: Floats, two: Floats) -> Floats:
    """Jensen-Shannon divergence [...] of distributions [..., bins], nats: 0 … ln 2. Bins of mass 0 are allowed."""
    middle = (one + two) / 2

    def towards(part: Floats) -> Floats:
        ratio = np.divide(part, middle, out=np.ones_like(middle), where=part > 0)
        return np.asarray((part * np.log(ratio)).sum(-1))

    return np.asarray((towards(one) + towards(two)) / 2)


def js_score(one: Floats, two: Floats) -> Floats:
    """How alike distributions [..., bins] are: 1 - JS / ln 2, from 0 (nothing in common) to 1 (equal) [...]."""
    return np.maximum(0.0, 1.0 - js_divergence(one, two) / LOG_2)


def likelihood(counts: Counts, reference: Floats) -> Floats:
    """Geometric mean [...] of the probabilities that a reference gives to what was counted.

    Args:
        counts: [..., bins].
        reference: Masses [..., bins].

    Returns:
        exp(mean of ln p), NaN where nothing was counted, 0 where something was to which the reference gives no mass.
    """
    total = np.asarray(counts.sum(-1), dtype=np.float64)
    logs = np.log(reference, out=np.zeros_like(reference), where=reference > 0)
    summed = np.asarray((counts * logs).sum(-1))
    mean = np.exp(np.divide(summed, total, out=np.full_like(summed, np.nan), where=total > 0))
    return np.where(((counts > 0) & (reference <= 0)).any(-1), 0.0, mean)

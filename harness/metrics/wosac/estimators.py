"""Log-likelihood of logged values under the distribution of simulated ones; torch, batched over groups and agents.

A *group* is a set of roll-outs that are pooled: all of them for the official score, one each for per-roll-out scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.metrics.wosac.config import BERNOULLI_PSEUDOCOUNT, HISTOGRAM_PSEUDOCOUNT, Histogram


def histogram_bins(values: Tensor, estimator: Histogram) -> Tensor:
    """Bin number per value (int64, same shape): clipped to the range; NaN falls into the top bin."""
    edges = torch.linspace(
        estimator.low, estimator.high, estimator.bins + 1, dtype=torch.float64, device=values.device
    ).float()
    clipped = values.float().clamp(estimator.low, estimator.high)
    # A bin holds its lower edge; the last one holds both.
    return (torch.bucketize(clipped, edges, right=True) - 1).clamp(0, estimator.bins - 1)


def histogram_log_likelihood(
    log_bins: Tensor, simulated: Tensor, use: Tensor | None, estimator: Histogram, groups: int
) -> Tensor:
    """Log probability mass (not density: no division by the bin width) of logged values.

    Args:
        log_bins: [E, S] bins of the logged values (`histogram_bins`).
        simulated: [R, E, S] values.
        use: [R, E, S] or broadcastable bool: which simulated values count; None: all.
        estimator: The histogram.
        groups: G; R is divided into G runs of R / G roll-outs.

    Returns:
        [G, E, S] float64.
    """
    rollouts, agents, _ = simulated.shape
    bins = histogram_bins(simulated, estimator)
    cell = torch.arange(groups * agents, device=bins.device).reshape(groups, 1, agents, 1) * estimator.bins
    flat = bins.reshape(groups, rollouts // groups, agents, -1) + cell
    if use is not None:
        flat = flat[use.expand(simulated.shape).reshape(flat.shape)]
    counts = torch.bincount(flat.flatten(), minlength=groups * agents * estimator.bins)
    smooth = counts.reshape(groups, agents, estimator.bins).double() + HISTOGRAM_PSEUDOCOUNT
    mass = (smooth / smooth.sum(-1, keepdim=True)).log()
    return mass.gather(2, log_bins.expand(groups, *log_bins.shape))


def bernoulli_log_likelihood(logged: Tensor, simulated: Tensor, groups: int) -> Tensor:
    """Log probability of logged yes/no values [E] under simulated ones [R, E], both bool: [G, E] float64."""
    rollouts, agents = simulated.shape
    yes = simulated.reshape(groups, rollouts // groups, agents).double().mean(1) * (rollouts // groups)
    count = torch.where(logged, yes, rollouts // groups - yes)
    return ((count + BERNOULLI_PSEUDOCOUNT) / (rollouts // groups + 2 * BERNOULLI_PSEUDOCOUNT)).log()


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of `values` [..., E, S] over the valid [..., E, S] agents and steps: [...]; NaN where nothing is valid."""
    return torch.where(valid, values, 0.0).sum((-1, -2)) / valid.sum((-1, -2))

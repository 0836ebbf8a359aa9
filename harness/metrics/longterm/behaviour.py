"""The realism of behaviour in windows, against reference windows instead of the same agents' log (RosettaSim).

Section 5.3 and appendix E.2. Values of a simulated window are compared with those of its references together: kinematic
features by the Jensen-Shannon divergence of their distributions; distances and times to collision by the geometric mean
of the probabilities that the references give to them; collisions and departures from the road by the mean of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.metrics.longterm.distributions import Counts, Floats, js_score, likelihood, masses
from harness.metrics.longterm.scores import LONG_TERM_BUCKETS
from harness.metrics.wosac.config import BERNOULLI_PSEUDOCOUNT, ESTIMATORS, HISTOGRAM_PSEUDOCOUNT

BY_DIVERGENCE: Final = LONG_TERM_BUCKETS["kinematic"]
"""Features that are compared by their distributions alone."""
BY_BOTH: Final = ("collision_indication", "offroad_indication")
"""Features whose score is the mean of likelihood and divergence."""


def behaviour_scores(simulated: Mapping[str, Counts], reference: Mapping[str, Counts]) -> dict[str, Floats]:
    """Score [W] of every feature in every window, 0 … 1.

    Args:
        simulated: `window_counts` of a roll-out, [W, bins] each.
        reference: What each window is compared with: [W, bins] each, or [bins] for all of them; `pooled_references`.

    Returns:
        Per feature; NaN in windows in which it is undefined on one of the two sides.
    """
    scores = {}
    for name in simulated:
        count, other = simulated[name], np.broadcast_to(reference[name], simulated[name].shape)
        pseudocount = HISTOGRAM_PSEUDOCOUNT if ESTIMATORS[name] is not None else BERNOULLI_PSEUDOCOUNT
        mass = masses(other, pseudocount)
        alike, likely = js_score(masses(count, pseudocount), mass), likelihood(count, mass)
        score = alike if name in BY_DIVERGENCE else (alike + likely) / 2 if name in BY_BOTH else likely
        scores[name] = np.where((count.sum(-1) > 0) & (other.sum(-1) > 0), score, np.nan)
    return scores


def pooled_references(base: Mapping[str, Counts], chosen: NDArray[np.integer]) -> dict[str, Counts]:
    """Counts of several reference windows together.

    Args:
        base: Counts of N windows of logs, [N, bins] each.
        chosen: [W, K] which of them each window is compared with.

    Returns:
        [W, bins] each.

    Raises:
        ConfigError: There is nothing to choose.
    """
    if chosen.ndim != 2 or chosen.shape[1] == 0:
        raise ConfigError(f"references: expected at least one per window, got an array of shape {chosen.shape}.")
    return {name: count[chosen].sum(1) for name, count in base.items()}

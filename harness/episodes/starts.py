"""Where episodes of training may begin: at the log's first step, or at later ones with a way left to drive.

An ego that always begins at the first step rarely sees the end of long scenes, and meets every crossing at one speed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError

LEFT: Final = 0.2
"""Share of the logged path that must be left: who begins where it ends has arrived at once."""

SHORTEST: Final = 10
"""Steps that an episode must be able to last: shorter ones teach little, and cost a reset each."""


def beginnings(xy: NDArray[np.float64], there: NDArray[np.bool_], most: int, horizon: int | None) -> NDArray[np.intp]:
    """Steps at which an episode in a scene may begin, ascending; the first one is 0.

    Args:
        xy: [T, 2] where the log has the ego, m.
        there: [T] at which steps it does.
        most: Last step that is wanted.
        horizon: Step at which episodes are truncated; None where the log ends.

    Raises:
        ConfigError: `most` is negative.
    """
    if most < 0:
        raise ConfigError(f"start_steps is {most}; expected 0 or a later step of the log.")
    steps = np.flatnonzero(there)
    driven = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy[steps], axis=0).T))])
    last = len(there) - 1 if horizon is None else min(horizon, len(there))
    fit = steps[(driven <= (1 - LEFT) * driven[-1]) & (steps <= min(most, last - SHORTEST))]
    return np.union1d([0], fit).astype(np.intp)


def draw_start(steps: NDArray[np.intp], rng: np.random.Generator) -> int:
    """One of these steps, each as likely; nothing is drawn where there is one."""
    return int(steps[rng.integers(len(steps))]) if len(steps) > 1 else int(steps[0])

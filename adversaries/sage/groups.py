"""Groups of goals, drawn from the goal distribution: the K likeliest, at a distance from one another if wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError

SPACING: Final = 4.0
"""Default spacing of a group, m; see `Draw`."""


@dataclass(frozen=True)
class Draw:
    """How a group is drawn."""

    spacing: float = SPACING
    """Goals closer than this to a likelier one are left out, m. 0 is the paper's plain top K, which, from a dense set
    of goals, is K near-duplicates; a car is about 4.5 m long."""
    at_random: bool = False
    """Draw at random without replacement (Gumbel noise on the log-probabilities) instead of taking the likeliest."""

    def __post_init__(self) -> None:
        """Reject what cannot work."""
        if self.spacing < 0:
            raise ConfigError(f"group: expected a spacing >= 0 m, got {self.spacing}.")


def draw_goals(
    log_probs: NDArray[np.floating],
    points: NDArray[np.floating],
    mask: NDArray[np.bool_],
    num: int,
    draw: Draw,
    rng: np.random.Generator | None = None,
) -> NDArray[np.intp]:
    """Indices of `num` goals, the likeliest first (fewer only where there are fewer goals).

    Where the spacing leaves too few, the likeliest of the rest follow.

    Args:
        log_probs: [G].
        points: [G, 2] m.
        mask: [G] which goals exist.
        num: How many.
        draw: How.
        rng: For a random draw.
    """
    scores = np.asarray(log_probs, dtype=np.float64)
    if draw.at_random:
        # Adding Gumbel noise and taking the top K draws K goals without replacement from the distribution.
        scores = scores + (rng or np.random.default_rng(0)).gumbel(size=scores.shape)
    order = np.flatnonzero(mask)
    order = order[np.argsort(-scores[order], kind="stable")]
    if draw.spacing == 0:
        return order[:num]
    place = np.asarray(points, dtype=np.float64)[order]
    free = np.ones(len(order), dtype=bool)
    kept: list[int] = []
    limit = draw.spacing**2
    while len(kept) < num and free.any():
        best = int(free.argmax())
        kept.append(best)
        gap = place - place[best]
        free &= gap[:, 0] ** 2 + gap[:, 1] ** 2 >= limit
        free[best] = False
    if len(kept) < num:
        rest = np.setdiff1d(np.arange(len(order)), kept)
        kept += rest[: num - len(kept)].tolist()
    return order[kept]

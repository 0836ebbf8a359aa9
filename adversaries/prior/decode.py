"""From goal log-probabilities to K goals: non-maximum suppression, or the plain top K."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError

Decode = Literal["nms", "topk"]

NMS_RADIUS: Final = 7.2
"""Suppression radius at speed, m (CAT's DenseTNT)."""
SLOW: Final = 1.4
"""At or below this speed (m/s) the radius is halved (CAT's DenseTNT)."""
FAST: Final = 11.0
"""At or above this speed (m/s) the radius is full (CAT's DenseTNT)."""
DUPLICATE: Final = 0.5
"""Goals closer than this are the same when a shortfall is filled, m."""


def nms_radius(speed: float) -> float:
    """Suppression radius (m) for a vehicle at `speed` (m/s)."""
    factor = 0.5 + 0.5 * (speed - SLOW) / (FAST - SLOW)
    return NMS_RADIUS * float(np.clip(factor, 0.5, 1.0))


def choose(
    log_probs: NDArray[np.floating],
    points: NDArray[np.floating],
    mask: NDArray[np.bool_],
    num: int,
    speed: float,
    decode: Decode = "nms",
) -> NDArray[np.intp]:
    """Indices of `num` goals, best first (fewer where there are fewer candidates).

    With `nms` no two of the leading modes lie within the radius. Where too few are left, the shortfall is filled by
    the next best goals that are no duplicates (published code takes random ones), after the leading modes.

    Args:
        log_probs: [G].
        points: [G, 2] m.
        mask: [G].
        num: How many.
        speed: Speed of the agent, m/s.
        decode: `nms` or `topk`.

    Raises:
        ConfigError: Unknown decoding, or `num` < 1.
    """
    if num < 1:
        raise ConfigError(f"num must be at least 1, found {num}.")
    order = np.flatnonzero(mask)
    order = order[np.argsort(-log_probs[order], kind="stable")]
    if decode == "topk":
        return order[:num]
    if decode != "nms":
        raise ConfigError(f"unknown decoding {decode!r}; known: nms, topk.")
    chosen = _suppress(points[order], nms_radius(speed), num, [])
    if len(chosen) < num:
        chosen = _suppress(points[order], DUPLICATE, num, chosen)
    if len(chosen) < num:
        chosen += [k for k in range(len(order)) if k not in set(chosen)][: num - len(chosen)]
    return order[chosen]


def _suppress(points: NDArray[np.floating], radius: float, num: int, kept: list[int]) -> list[int]:
    """Greedy selection in the order of `points` [N, 2]: each new one is at least `radius` from all kept."""
    kept = list(kept)
    gaps = points[:, None] - points[kept][None]
    free = ((gaps**2).sum(-1) >= radius**2).all(1) if kept else np.ones(len(points), dtype=bool)
    free[kept] = False
    while len(kept) < num:
        best = int(free.argmax())
        if not free[best]:
            break
        kept.append(best)
        gap = points - points[best]
        free &= gap[:, 0] ** 2 + gap[:, 1] ** 2 >= radius**2
        free[best] = False
    return kept

"""Displacement errors of a set of predictions: minADE, minFDE, miss rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

MISS: Final = 2.0
"""A sample is missed when no mode ends within this distance of the true place after 8 s, m (Argoverse)."""
MODES: Final = (1, 6, 32)
"""Numbers of modes that are reported."""


def displacement(points: Floats, future: Floats, valid: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Average and final displacement of every mode.

    Args:
        points: [N, K, T, 2] predictions, m.
        future: [N, T, 2] truth, m.
        valid: [N, T].

    Returns:
        ADE [N, K] over valid steps (NaN where there is none) and FDE [N, K] at the last step (NaN where it is not
        valid), m.
    """
    gap = points - future[:, None]
    distance = np.hypot(gap[..., 0], gap[..., 1])
    count = valid.sum(-1)[:, None]
    total = np.where(valid[:, None], distance, 0.0).sum(-1)
    ade = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    fde = np.where(valid[:, None, -1], distance[..., -1], np.nan)
    return ade, fde


def summarise(ade: Floats, fde: Floats, modes: Sequence[int] = MODES) -> dict[str, float]:
    """Means over samples of the best of the first k modes, for every k that is available (or the largest).

    Args:
        ade: [N, K] with modes in order of preference.
        fde: [N, K].
        modes: The values of k.

    Returns:
        `minADE_k` (m), `minFDE_k` (m), `miss_k` (share of samples), and `samples`.
    """
    out: dict[str, float] = {"samples": float(len(ade))}
    ended = np.isfinite(fde).all(1)
    moved = np.isfinite(ade).all(1)
    for k in modes:
        best = ade[moved, :k].min(1)
        last = fde[ended, :k].min(1)
        out[f"minADE_{k}"] = float(best.mean()) if len(best) else float("nan")
        out[f"minFDE_{k}"] = float(last.mean()) if len(last) else float("nan")
        out[f"miss_{k}"] = float((last > MISS).mean()) if len(last) else float("nan")
    return out

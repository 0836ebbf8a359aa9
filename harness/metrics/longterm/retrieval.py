"""Retrieval-based evaluation: which recorded windows a simulated one is compared with (RosettaSim, section 5.2).

Two engines give distances between windows: latents of a scene encoder, given as arrays (equations 9 and 10), and raw
trajectories (`harness.metrics.longterm.trajectories`), which need no learned model. What is done with the distances is
the same.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from harness.errors import ConfigError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

REFERENCES: Final = 5
"""Windows that are retrieved, K; ours: the paper gives no number, and finds that it hardly matters (fig. 8)."""
MAP_WEIGHT: Final = 1.0
"""Weight λ of the map's distance, on distances divided by the data base's medians; ours, for the same reason."""
_SAMPLE: Final = 400
"""Windows of the data base from whose pairs its medians are taken."""


class WindowLatents(NamedTuple):
    """Latents of N windows: diagonal Gaussians of what moves and of the map.

    Attributes:
        object_mean, object_std: [N, D].
        map_mean, map_std: [N, E].
    """

    object_mean: Floats
    object_std: Floats
    map_mean: Floats
    map_std: Floats


def average_latents(means: Floats, stds: Floats, starts: NDArray[np.intp], length: int) -> tuple[Floats, Floats]:
    """Latents of windows: means over their steps of those of single steps (equation 9).

    Args:
        means, stds: [T, D] of the scene at each step.
        starts: [W] first steps.
        length: Steps of a window.

    Returns:
        Means and standard deviations, [W, D] each.
    """

    def average(values: Floats) -> Floats:
        total = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, 0)])
        return np.asarray((total[starts + length] - total[starts]) / length)

    return average(np.asarray(means, dtype=np.float64)), average(np.asarray(stds, dtype=np.float64))


def gaussian_w2(mean: Floats, std: Floats, other_mean: Floats, other_std: Floats) -> Floats:
    """2-Wasserstein distances [Q, N] between diagonal Gaussians [Q, D] and [N, D]: (|Δμ|² + |Δσ|²)^½."""
    one = np.concatenate([mean, std], -1).astype(np.float64)
    two = np.concatenate([other_mean, other_std], -1).astype(np.float64)
    return cdist(one, two)


def median_scales(base: WindowLatents) -> tuple[float, float]:
    """Median distance between windows of a data base, of objects and of maps: what λ = 1 weighs equally.

    Distances of 0, as between windows of one map, are left out; 1 where there is no other.

    Raises:
        ConfigError: The data base is empty.
    """
    if not len(base.object_mean):
        raise ConfigError("retrieval: the data base has no windows.")
    rows = np.unique(np.linspace(0, len(base.object_mean) - 1, _SAMPLE).astype(int))
    pairs = np.triu_indices(len(rows), 1)

    def median(mean: Floats, std: Floats) -> float:
        gaps = gaussian_w2(mean[rows], std[rows], mean[rows], std[rows])[pairs]
        gaps = gaps[gaps > 0]
        return float(np.median(gaps)) if len(gaps) else 1.0

    return median(base.object_mean, base.object_std), median(base.map_mean, base.map_std)


def latent_distances(
    query: WindowLatents,
    base: WindowLatents,
    map_weight: float = MAP_WEIGHT,
    scales: tuple[float, float] = (1.0, 1.0),
) -> Floats:
    """Distances [Q, N] of windows: W₂ of the objects plus λ times W₂ of the maps (equation 10).

    Args:
        query: Q windows.
        base: N windows of the data base.
        map_weight: The weight λ.
        scales: What both are divided by: `median_scales` of the data base; 1 as the paper writes it.
    """
    objects = gaussian_w2(query.object_mean, query.object_std, base.object_mean, base.object_std)
    maps = gaussian_w2(query.map_mean, query.map_std, base.map_mean, base.map_std)
    return np.asarray(objects / scales[0] + map_weight * maps / scales[1])


def nearest_windows(
    distances: Floats, count: int = REFERENCES, *, allowed: Bools | None = None, skip: float = 0.0
) -> NDArray[np.intp]:
    """The most similar windows of a data base, the nearest first [Q, K]; of equally near ones the first.

    Args:
        distances: [Q, N]; NaN where two windows cannot be compared.
        count: How many, K.
        allowed: [Q, N] which may be chosen; without it all. To leave a query's own scene out, say.
        skip: Share of the most similar ones that is passed over: .8 is the degraded retrieval of table 10.

    Raises:
        ConfigError: There are fewer than K for some query, or the share is none.
    """
    if count < 1 or not 0 <= skip < 1:
        raise ConfigError(f"retrieval: {count} references, skipping {skip}; expected at least 1, and a share below 1.")
    cost = np.where(np.isnan(distances), np.inf, distances)
    if allowed is not None:
        cost = np.where(allowed, cost, np.inf)
    known = np.isfinite(cost).sum(1)
    passed = np.floor(skip * known).astype(int)
    if len(cost) and (known - passed).min() < count:
        raise ConfigError(
            f"retrieval: only {(known - passed).min()} windows can be retrieved for some query; expected {count}. Give "
            "more scenes, or retrieve fewer."
        )
    order = np.argsort(cost, axis=1, kind="stable")
    return np.asarray(np.take_along_axis(order, passed[:, None] + np.arange(count), 1), dtype=np.intp)


def retrieval_hits(chosen: NDArray[np.intp], base_scene: NDArray[np.integer], own: NDArray[np.integer]) -> Bools:
    """Whether a window of its own scene is among those retrieved for each query [Q]; their mean is F.1's accuracy.

    Args:
        chosen: [Q, K] of `nearest_windows`.
        base_scene: [N] scene of each window of the data base.
        own: [Q] scene of each query.
    """
    return np.asarray((base_scene[chosen] == own[:, None]).any(1))

"""Centres of k-disks: picked at random among the samples that no earlier centre covers.

Paper: 'Trajeglish: Learning the Language of Driving Scenarios', as used by SMART and CAT-K for motion tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Disks:
    """A covering.

    Attributes:
        centres: [V] sample index of each centre.
        owner: [N] which centre covers a sample, -1 where none does.
    """

    centres: NDArray[np.intp]
    owner: NDArray[np.intp]

    @property
    def covered(self) -> float:
        """Share of samples within the radius of a centre."""
        return float((self.owner >= 0).mean())


def k_disks(points: Floats, radius: Floats, count: int, seed: int, first: int | None = None) -> Disks:
    """At most `count` disks over samples.

    Args:
        points: [N, P, 2] contours; the distance between samples is the mean over P of point distances, m.
        radius: [N] radius of the disk around each sample, if it becomes a centre, m.
        count: Centres at most; fewer where all samples are covered earlier.
        seed: Seed of the random choice.
        first: Sample that is the first centre (the standing one); random if None.
    """
    rng = np.random.default_rng(seed)
    left = rng.permutation(len(points))
    if first is not None:
        left = np.concatenate([[first], left[left != first]])
    owner = np.full(len(points), -1, dtype=np.intp)
    centres: list[int] = []
    remaining = points[left]
    while len(left) and len(centres) < count:
        gap = remaining - remaining[0]
        distance = np.hypot(gap[..., 0], gap[..., 1]).mean(-1)
        inside = distance <= radius[left[0]]
        owner[left[inside]] = len(centres)
        centres.append(int(left[0]))
        left, remaining = left[~inside], remaining[~inside]
    return Disks(np.array(centres, dtype=np.intp), owner)


def fitted_disks(
    points: Floats, scale: Floats, count: int, seed: int, first: int | None = None, cover: float = 0.999
) -> tuple[Disks, float]:
    """The finest covering by `count` disks: radius is `base · scale`, and `base` is found by bisection.

    Args:
        points, count, seed, first: See `k_disks`.
        scale: [N] relative radius of each sample.
        cover: Share of the samples that has to be covered.

    Returns:
        The disks and the base radius, m.
    """
    low, high = 1e-4, 1.0
    best: tuple[Disks, float] | None = None
    for _ in range(_ROUNDS):
        middle = float(np.sqrt(low * high))
        disks = k_disks(points, middle * scale, count, seed, first)
        if disks.covered >= cover:
            high, best = middle, (disks, middle)
        else:
            low = middle
    if best is None:
        return k_disks(points, high * scale, count, seed, first), high
    return best

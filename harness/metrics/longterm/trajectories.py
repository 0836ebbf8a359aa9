"""Distances between windows by raw trajectories: retrieval without a learned encoder (RosettaSim, appendix F.8).

The paper compares the ego's trajectories. Here the ego drives as recorded, so that its own would find nothing but the
recording that it comes from, and where somebody fixed watches there is none. So everybody's trajectories are compared
as sets, by the best assignment of one window's agents to the other's.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from harness.geometry import to_frame

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Starts = NDArray[np.intp]

EVERY: Final = 10
"""Steps between the points of a trajectory that sets are compared by, 1 s."""
CUTOFF: Final = 30.0
"""An agent that has no counterpart counts as one at this distance, m; ours: some six car lengths."""


def traffic_paths(
    poses: Floats, counted: Bools, observer: Floats, starts: Starts, length: int, every: int = EVERY
) -> list[Floats]:
    """Everybody's ways in each window, in the observer's frame at its first step.

    Args:
        poses: [A, T, 2+] x, y, m.
        counted: [A, T] who is there.
        observer: [T, 3] x, y (m), heading (rad).
        starts: [W] first steps.
        length: Steps of a window.
        every: Steps between points.

    Returns:
        Per window [agents that are there at some point, points, 2], m, NaN where one is not there.
    """
    ways = []
    for start in starts:
        steps = np.arange(start + every, start + length + 1, every)
        there = counted[:, steps]
        some = there.any(1)
        local = to_frame(poses[some][:, steps, :2], observer[start, :3])
        ways.append(np.where(there[some][..., None], local, np.nan))
    return ways


def set_distance(one: Floats, two: Floats, cutoff: float = CUTOFF) -> float:
    """Distance (m) between two sets of ways [A, P, 2] and [B, P, 2], NaN where an agent is not there; 0 … cutoff.

    OSPA(2) of order 2 (Beard, Vo and Vo, "OSPA(2): Using the OSPA metric to evaluate multi-target tracking
    performance", 2017): the distance of two agents is the root mean square over the steps at which either is there, cut
    at `cutoff`, which also holds at steps at which only one of them is; agents are assigned at least cost, and whoever
    is left over counts with `cutoff`. Two empty sets are equal.
    """
    fewer, more = (one, two) if len(one) <= len(two) else (two, one)
    if len(more) == 0:
        return 0.0
    if len(fewer) == 0:
        return cutoff
    here, there = ~np.isnan(fewer[:, None, :, 0]), ~np.isnan(more[None, :, :, 0])
    squared = ((fewer[:, None] - more[None]) ** 2).sum(-1)
    both, either = here & there, here | there
    gaps = np.where(both, np.minimum(np.where(both, squared, 0.0), cutoff**2), cutoff**2)
    cost = np.where(either, gaps, 0.0).sum(-1) / np.maximum(either.sum(-1), 1)
    rows, columns = linear_sum_assignment(cost)
    total = cost[rows, columns].sum() + cutoff**2 * (len(more) - len(fewer))
    return float(np.sqrt(total / len(more)))


def set_distances(query: list[Floats], base: list[Floats], cutoff: float = CUTOFF) -> Floats:
    """Distances [Q, N] (m) between windows of `traffic_paths`."""
    found = [[set_distance(one, two, cutoff) for two in base] for one in query]
    return np.array(found, dtype=np.float64).reshape(len(query), len(base))

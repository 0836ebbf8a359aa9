"""Where many candidates first touch many egos, and how near they come: what a choice among candidates asks.

Compiled, and equal to `first_overlap` and `closest_approach` of `harness.metrics.collision` to the last digit. The
kernel decides only what rounding cannot change; what lies within `ROUNDING` of a limit is left to those functions.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.kernels import Bools, Floats, exact
from harness.metrics.collision import closest_approach, first_overlap

Ints = NDArray[np.intp]

ROUNDING: Final = 1e-9
"""Gaps (m) and relative differences of distances below this are not decided by the kernel, whose arithmetic errs by
less than 1e-12."""
UNDECIDED: Final = -2
"""What the kernel writes where it does not decide."""


class Meetings(NamedTuple):
    """How K candidates meet N egos; each field [K, N].

    Attributes:
        first: First absolute step at which the boxes overlap, or -1.
        nearest: Smallest distance between the centres at a common step, m; infinite where there is no common step.
    """

    first: Ints
    nearest: Floats


def meet(
    states: Floats,
    valid: Bools,
    size: tuple[float, float],
    ego: Floats,
    ego_valid: Bools,
    ego_size: tuple[float, float],
    start: int,
) -> Meetings:
    """First overlap and closest approach of every candidate with every ego.

    Args:
        states: [K, T, ≥3] x, y, heading (m, rad), finite where `valid`.
        valid: [T], the same for all candidates.
        size: Length and width of the candidates' box, m.
        ego: [N, T, ≥3], finite where `ego_valid`.
        ego_valid: [N, T].
        ego_size: Length and width of the egos' box, m.
        start: First absolute step that counts.
    """
    common = ego_valid & valid
    common[:, :start] = False
    first, at = np.empty((2, len(states), len(ego)), dtype=np.intp)
    box = (size[0] / 2, size[1] / 2, ego_size[0] / 2, ego_size[1] / 2)
    _scan(_fixed(states), _fixed(ego), _fixed(common), box, first, at)
    which = np.arange(len(ego))
    offset = states[np.arange(len(states))[:, None], at, :2] - ego[which, at, :2]
    # The same call as the plain function's: its last digit is the library's.
    nearest = np.where(common.any(-1), np.hypot(offset[..., 0], offset[..., 1]), np.inf)
    for row, column in np.argwhere(first == UNDECIDED):
        pair = states[row], valid, size, ego[column], ego_valid[column], ego_size, start
        first[row, column] = first_overlap(*pair)
    for row, column in np.argwhere(at == UNDECIDED):
        nearest[row, column] = closest_approach(states[row], valid, ego[column], ego_valid[column], start)
    return Meetings(first, nearest)


def _fixed(values: NDArray) -> NDArray:
    """A read-only view in C's order: one kind of argument, so that the kernel is compiled once."""
    view = np.ascontiguousarray(values).view()
    view.setflags(write=False)
    return view


@exact
def _scan(
    states: Floats, ego: Floats, common: Bools, box: tuple[float, float, float, float], first: Ints, at: Ints
) -> None:
    """Write first overlaps and steps of closest approach, both [K, N]; half lengths and widths in `box`, m."""
    own, other = math.hypot(box[0], box[1]), math.hypot(box[2], box[3])
    far = (own + other) ** 2 * (1 + ROUNDING)
    touching = max(min(box[0], box[1]) + min(box[2], box[3]), 0.0) ** 2 * (1 - ROUNDING)
    steps = common.shape[1]
    squared = np.empty(steps)
    for row in range(states.shape[0]):
        for column in range(ego.shape[0]):
            least, best, hit = np.inf, 0, -1
            for step in range(steps):
                squared[step] = np.inf
                if not common[column, step]:
                    continue
                dx = states[row, step, 0] - ego[column, step, 0]
                dy = states[row, step, 1] - ego[column, step, 1]
                squared[step] = dx * dx + dy * dy
                if squared[step] < least:
                    least, best = squared[step], step
                if hit == -1 and squared[step] <= far:
                    if squared[step] < touching:
                        hit = step
                        continue
                    gap = _gap(dx, dy, states[row, step, 2], ego[column, step, 2], box)
                    if gap <= ROUNDING:
                        hit = step if gap < -ROUNDING else UNDECIDED
            first[row, column] = hit
            at[row, column] = best
            # Squares rank as distances do, but for rounding: nearly equal ones are left undecided, unless alike.
            limit = least * (1 + ROUNDING) + 1e-300
            for step in range(steps):
                if squared[step] <= limit and step != best and least < np.inf:
                    dx = states[row, step, 0] - ego[column, step, 0]
                    dy = states[row, step, 1] - ego[column, step, 1]
                    ex = states[row, best, 0] - ego[column, best, 0]
                    ey = states[row, best, 1] - ego[column, best, 1]
                    if dx != ex or dy != ey:
                        at[row, column] = UNDECIDED
                        break


@exact
def _gap(dx: float, dy: float, heading: float, other: float, box: tuple[float, float, float, float]) -> float:
    """`harness.geometry.box_separation` of a box displaced by (dx, dy) m from another, up to rounding, m."""
    c, s, oc, os = math.cos(heading), math.sin(heading), math.cos(other), math.sin(other)
    cos, sin = abs(c * oc + s * os), abs(s * oc - c * os)
    length, width, other_length, other_width = box
    along = abs(c * dx + s * dy) - length - (other_length * cos + other_width * sin)
    across = abs(c * dy - s * dx) - width - (other_length * sin + other_width * cos)
    other_along = abs(oc * dx + os * dy) - other_length - (length * cos + width * sin)
    other_across = abs(oc * dy - os * dx) - other_width - (length * sin + width * cos)
    return max(max(along, across), max(other_along, other_across))

"""When two trajectories collide, judged by box geometry; batched.

`EVERY_STEP` is Gauntlet's own judgement: true headings, every step, separating axes. `AS_PUBLISHED` repeats the
check of CAT's code, with what it misses, for comparison with published tables only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ConfigError
from harness.geometry import box_corners, box_separation, boxes_overlap
from harness.metrics.profiles import Headings, path_headings

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

CONTACT_GAP: Final = 0.3
"""Largest gap between two boxes at which a contact that the engine reports is put down to them, m: the engine checks
its bodies, which are not of the logged size, a fraction of a step earlier, at up to 3 m/s of approach per 0.1 s."""


@dataclass(frozen=True, slots=True)
class OverlapCheck:
    """How contact between two boxes is judged over time.

    Attributes:
        stride: Steps from one check to the next, counted from the first checked step.
        edges_only: Only strictly crossing box edges count: a box inside another and boxes that touch are missed.
        headings: The states' own, or recomputed from the `path` over the checked steps.
    """

    stride: int = 1
    edges_only: bool = False
    headings: Headings = "states"

    def __post_init__(self) -> None:
        """Reject a stride that cannot work."""
        if self.stride < 1:
            raise ConfigError(f"OverlapCheck.stride: expected at least 1 step, got {self.stride}.")


EVERY_STEP: Final = OverlapCheck()
AS_PUBLISHED: Final = OverlapCheck(stride=5, edges_only=True, headings="path")
"""CAT's `adv_generator.py`: every fifth step, edge against edge, headings from positions."""


def overlaps(
    states_a: Floats,
    valid_a: Bools,
    size_a: ArrayLike,
    states_b: Floats,
    valid_b: Bools,
    size_b: ArrayLike,
    start: int = 0,
    check: OverlapCheck = EVERY_STEP,
) -> Bools:
    """Whether boxes overlap at each step; leading dimensions broadcast.

    Args:
        states_a, states_b: [..., T, ≥3] x, y, heading (m, rad).
        valid_a, valid_b: [..., T]; steps where either is invalid never count.
        size_a, size_b: [..., 2] length and width, m.
        start: First absolute step to check.
        check: How contact is judged.

    Returns:
        [..., T] bool; False before `start` and at steps that `check` skips.
    """
    steps = states_a.shape[-2]
    lead = np.broadcast_shapes(states_a.shape[:-2], states_b.shape[:-2])
    result = np.zeros((*lead, steps), dtype=bool)
    if start >= steps:
        return result
    rows = slice(start, steps, check.stride)
    poses_a, poses_b = (_poses(s, v, start, check) for s, v in ((states_a, valid_a), (states_b, valid_b)))
    sizes_a, sizes_b = (np.asarray(size, dtype=np.float64)[..., None, :] for size in (size_a, size_b))
    offset = poses_a[..., :2] - poses_b[..., :2]
    distance = np.hypot(offset[..., 0], offset[..., 1])
    # Broad phase: boxes further apart than both half diagonals cannot meet, and most pairs are.
    reach = (np.hypot(sizes_a[..., 0], sizes_a[..., 1]) + np.hypot(sizes_b[..., 0], sizes_b[..., 1])) / 2
    near = (distance < reach) if check.edges_only else (distance <= reach)
    near = near & valid_a[..., rows] & valid_b[..., rows]
    where = np.nonzero(near)
    if len(where[0]) == 0:
        return result

    def pick(values: Floats) -> Floats:
        return np.broadcast_to(values, (*near.shape, values.shape[-1]))[where]

    hit = np.zeros(near.shape, dtype=bool)
    judge = _edges_cross if check.edges_only else boxes_overlap
    hit[where] = judge(pick(poses_a), pick(sizes_a), pick(poses_b), pick(sizes_b))
    result[..., rows] = hit
    return result


def first_step(flags: Bools) -> Ints:
    """First step at which `flags` [..., T] is set, or -1; [...]."""
    return np.where(flags.any(-1), flags.argmax(-1), -1)


def first_overlap(
    states_a: Floats,
    valid_a: Bools,
    size_a: ArrayLike,
    states_b: Floats,
    valid_b: Bools,
    size_b: ArrayLike,
    start: int = 0,
    check: OverlapCheck = EVERY_STEP,
) -> Ints:
    """First absolute step at which the boxes overlap, or -1; [...] (arguments as for `overlaps`)."""
    return first_step(overlaps(states_a, valid_a, size_a, states_b, valid_b, size_b, start, check))


def first_contact(
    states_a: Floats,
    valid_a: Bools,
    size_a: ArrayLike,
    states_b: Floats,
    valid_b: Bools,
    size_b: ArrayLike,
    start: int = 0,
) -> Ints:
    """First absolute step from `start` on at which a contact begins, or -1; [...] (arguments as for `overlaps`).

    A contact that began before `start` and goes on is none: nothing that happens from `start` on has caused it. Once
    the boxes have parted, the next contact counts. Steps at which either is invalid do not part them.
    """
    hits = overlaps(states_a, valid_a, size_a, states_b, valid_b, size_b)
    common = np.broadcast_to(valid_a & valid_b, hits.shape)
    last = np.maximum.accumulate(np.where(common, np.arange(hits.shape[-1]), -1), axis=-1)[..., :-1]
    together = np.zeros_like(hits)
    together[..., 1:] = (last >= 0) & np.take_along_axis(hits, np.maximum(last, 0), -1)
    return first_step(hits & ~together & (np.arange(hits.shape[-1]) >= start))


def near_contact(
    step: int,
    states_a: Floats,
    valid_a: Bools,
    size_a: ArrayLike,
    states_b: Floats,
    valid_b: Bools,
    size_b: ArrayLike,
) -> bool:
    """Whether a contact that the engine reports in a step may be that of these two: their boxes are `CONTACT_GAP` near.

    The boxes of the step and of the one before are looked at, because the engine checks its bodies in between.

    Args:
        step: Absolute step of the report, at least 1.
        states_a, states_b: [T, STATE].
        valid_a, valid_b: [T].
        size_a, size_b: Length and width, m.
    """
    rows = [row for row in (step - 1, step) if valid_a[row] and valid_b[row]]
    if not rows:
        return False
    gap = box_separation(states_a[rows, :3], np.asarray(size_a), states_b[rows, :3], np.asarray(size_b))
    return bool(gap.min() <= CONTACT_GAP)


def closest_approach(
    states_a: Floats, valid_a: Bools, states_b: Floats, valid_b: Bools, start: int = 0, stride: int = 1
) -> Floats:
    """Smallest distance between the centres at a common step, m; leading dimensions broadcast.

    Args:
        states_a, states_b: [..., T, ≥2].
        valid_a, valid_b: [..., T].
        start: First absolute step.
        stride: Steps from one check to the next.

    Returns:
        [...]; infinite where the two are never valid together.
    """
    rows = slice(start, None, stride)
    offset = states_a[..., rows, :2] - states_b[..., rows, :2]
    distance = np.hypot(offset[..., 0], offset[..., 1])
    return np.where(valid_a[..., rows] & valid_b[..., rows], distance, np.inf).min(-1, initial=np.inf)


def _poses(states: Floats, valid: Bools, start: int, check: OverlapCheck) -> Floats:
    """Poses [..., n, 3] at the checked steps, with the headings that `check` asks for."""
    future = states[..., start:, :3]
    if check.headings == "path" and future.shape[-2] > 1:
        headings = path_headings(future[..., :2], np.broadcast_to(valid[..., start:], future.shape[:-1]))
        future = np.concatenate([future[..., :2], headings[..., None]], axis=-1)
    return future[..., :: check.stride, :]


def _edges_cross(poses_a: Floats, sizes_a: Floats, poses_b: Floats, sizes_b: Floats) -> Bools:
    """Whether any edge of one box strictly crosses any edge of the other; [N]."""
    a, b = box_corners(poses_a, sizes_a)[:, :, None], box_corners(poses_b, sizes_b)[:, None]
    a_next, b_next = np.roll(a, -1, axis=1), np.roll(b, -1, axis=2)

    def side(origin: Floats, tip: Floats, point: Floats) -> Floats:
        along, to = tip - origin, point - origin
        return along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0]

    split_b = side(a, a_next, b) * side(a, a_next, b_next) < 0
    split_a = side(b, b_next, a) * side(b, b_next, a_next) < 0
    return np.asarray((split_a & split_b).any((-2, -1)))

"""From tracks to tokens and back.

Sequential: each token starts where the tokens before have led, not where the log was, so errors do not add up.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from harness.geometry import box_corners, wrap_angle
from harness.traffic.tokens.shapes import KIND_SIZES, TOKEN_KINDS, TOKEN_STEPS, corner_distance
from harness.traffic.tokens.tracks import Tracks
from harness.traffic.tokens.vocabulary import Vocabulary

Floats = NDArray[np.float64]

_CENTRES: Final = 24
"""So many tokens with the nearest centres are compared by their corners; seldom are more needed."""


class MotionTokens(NamedTuple):
    """Tokenised tracks. N tokens; token n leads from step 5n to step 5n+5.

    Attributes:
        token: [A, N] int64 token of the agent's own kind (0 where invalid).
        valid: [A, N] whether the log holds both ends.
        poses: [A, N+1, 3] reconstructed poses at steps 0, 5, …; where a track begins, the log's.
    """

    token: NDArray[np.int64]
    valid: NDArray[np.bool_]
    poses: Floats


def relative_poses(poses: Floats, base: Floats) -> Floats:
    """`poses` [..., 3] in the frame of `base` [..., 3]; headings wrapped."""
    cos, sin = np.cos(base[..., 2]), np.sin(base[..., 2])
    dx, dy = poses[..., 0] - base[..., 0], poses[..., 1] - base[..., 1]
    return np.stack([cos * dx + sin * dy, cos * dy - sin * dx, wrap_angle(poses[..., 2] - base[..., 2])], -1)


def apply(base: Floats, motion: Floats) -> Floats:
    """World poses [..., 3] of `motion` [..., 3] that starts at `base` [..., 3]."""
    cos, sin = np.cos(base[..., 2]), np.sin(base[..., 2])
    x = base[..., 0] + cos * motion[..., 0] - sin * motion[..., 1]
    y = base[..., 1] + sin * motion[..., 0] + cos * motion[..., 1]
    return np.stack([x, y, base[..., 2] + motion[..., 2]], -1)


class TokenFinder:
    """Finds the tokens whose final contours are nearest to given ones.

    The summed distance of the corners is at least four times that of the centres. So the nearest among a few tokens
    with the nearest centres is the nearest of all, unless one with its centre farther away could still be nearer.

    Args:
        vocabulary: Motion tokens.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        ends = vocabulary.ends.astype(np.float64)
        self._corners = [box_corners(own, size) for own, size in zip(ends, KIND_SIZES, strict=True)]
        self._centres = [cKDTree(own[:, :2]) for own in ends]
        self._count = min(_CENTRES, ends.shape[1])

    def __call__(self, motions: Floats, kinds: NDArray[np.int64]) -> NDArray[np.int64]:
        """Token [A] of `motions` [A, 3] (final poses in the start frame) of agents of `kinds` [A]."""
        found = np.zeros(len(motions), dtype=np.int64)
        for kind in range(TOKEN_KINDS):
            rows = np.flatnonzero(kinds == kind)
            if len(rows):
                found[rows] = self._nearest(motions[rows], kind)
        return found

    def _nearest(self, motions: Floats, kind: int) -> NDArray[np.int64]:
        corners, wanted = self._corners[kind], box_corners(motions, KIND_SIZES[kind])[:, None]
        far, near = self._centres[kind].query(motions[:, :2], k=self._count)
        far, near = far.reshape(len(motions), -1), near.reshape(len(motions), -1)
        # In the order of the tokens: of equally near ones the first counts, as among all of them.
        near.sort(1)
        distance = _summed(wanted - corners[near])
        found = np.take_along_axis(near, distance.argmin(1)[:, None], 1)[:, 0]
        unsure = np.flatnonzero(distance.min(1) >= 4.0 * far[:, -1])
        found[unsure] = _summed(wanted[unsure] - corners).argmin(1)
        return np.asarray(found, dtype=np.int64)


def _summed(gap: Floats) -> Floats:
    """Summed length [...] of four vectors [..., 4, 2]."""
    return np.asarray(np.hypot(gap[..., 0], gap[..., 1]).sum(-1))


def tokenise(tracks: Tracks, kinds: NDArray[np.int64], vocabulary: Vocabulary) -> MotionTokens:
    """Tokens of tracks.

    Args:
        tracks: Clean tracks of A agents.
        kinds: [A] token kinds.
        vocabulary: Motion tokens.
    """
    goal, known = tracks.poses[:, ::TOKEN_STEPS], tracks.valid[:, ::TOKEN_STEPS]
    count = goal.shape[1] - 1
    index = np.zeros((len(goal), count), dtype=np.int64)
    valid = known[:, :-1] & known[:, 1:]
    poses = goal.copy()
    nearest = TokenFinder(vocabulary)
    for step in range(count):
        # A reset to the log where the track has just begun; `poses` holds the log there.
        rows = np.flatnonzero(valid[:, step])
        if len(rows) == 0:
            continue
        base = poses[rows, step]
        chosen = nearest(relative_poses(goal[rows, step + 1], base), kinds[rows])
        index[rows, step] = chosen
        poses[rows, step + 1] = apply(base, vocabulary.ends[kinds[rows], chosen].astype(np.float64))
    return MotionTokens(index, valid, poses)


class Reconstruction(NamedTuple):
    """Mean corner error (m) of tokenised tracks, over all 10 Hz steps of one kind: mean, 95 %, and count of steps."""

    mean: float
    high: float
    steps: int


def reconstruction_errors(tracks: Tracks, kinds: NDArray[np.int64], vocabulary: Vocabulary) -> list[Floats]:
    """Mean corner distance (m) between log and reconstruction at every valid 10 Hz step, per kind."""
    tokens = tokenise(tracks, kinds, vocabulary)
    errors: list[Floats] = []
    for kind in range(TOKEN_KINDS):
        parts = [np.zeros(0)]
        rows = np.flatnonzero(kinds == kind)
        for step in range(tokens.token.shape[1]):
            live = rows[tokens.valid[rows, step]]
            span = slice(step * TOKEN_STEPS + 1, (step + 1) * TOKEN_STEPS + 1)
            made = apply(
                tokens.poses[live, step][:, None], vocabulary.motions[kind, tokens.token[live, step], 1:].astype(float)
            )
            gap = corner_distance(made, tracks.poses[live, span], KIND_SIZES[kind])
            parts.append(gap[tracks.valid[live, span]])
        errors.append(np.concatenate(parts))
    return errors

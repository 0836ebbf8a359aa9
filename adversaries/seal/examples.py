"""What SEAL's scorers learn from: relative tracks with what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adversaries.common.driving import extrapolate, present_motion
from adversaries.seal.rollouts import Rollouts
from adversaries.seal.tracks import closeness, deviation, relative_track
from harness.metrics.collision import closest_approach

Singles = NDArray[np.float32]

REACTIVE_STEPS: Final = 20
"""How far the reactive scorer looks: 2 s."""
WINDOWS: Final = 8
"""Moments per roll-out at which the reactive scorer learns, besides every step of the lead-up to a contact."""
WINDOW_RANGE: Final = 40.0
"""Moments at which the two are further apart than this teach nothing, m."""


class Examples(NamedTuple):
    """Relative tracks [N, T, 3] with their two targets [N, 2]."""

    tracks: Singles
    targets: Singles


def candidate_examples(rollouts: Rollouts) -> Examples:
    """Every candidate of a scene against the undisturbed ego, with what came of it."""
    tracks = relative_track(rollouts.ego, rollouts.ego_valid, rollouts.opponent, rollouts.opponent_valid)
    gap = closest_approach(rollouts.opponent, rollouts.opponent_valid, rollouts.induced, rollouts.induced_valid)
    close = closeness(gap, rollouts.contact >= 0)
    away = deviation(rollouts.ego, rollouts.induced, rollouts.ego_valid & rollouts.induced_valid)
    return Examples(tracks, np.stack([close, away], -1).astype(np.float32))


def reactive_examples(rollouts: Rollouts, rng: np.random.Generator) -> Examples:
    """Moments of the roll-outs: what the ego would do if it went on as it does, with what came of it within 2 s."""
    cases = [(k, s) for k in range(len(rollouts.contact)) for s in _moments(rollouts, k, rng)]
    if not cases:
        return Examples(np.zeros((0, REACTIVE_STEPS, 3), np.float32), np.zeros((0, 2), np.float32))
    k, s = np.array(cases).T
    rows = s[:, None] + np.arange(1, REACTIVE_STEPS + 1)
    dt = float(rollouts.dt)
    now, before = rollouts.induced[k, s], rollouts.induced[k, s - 1]
    expected = extrapolate(now, *present_motion(before, now, dt), REACTIVE_STEPS, dt)
    opponent, present = rollouts.opponent[k[:, None], rows], rollouts.opponent_valid[rows]
    happened, valid = rollouts.induced[k[:, None], rows], rollouts.induced_valid[k[:, None], rows]
    contact = rollouts.contact[k]
    soon = (contact > s) & (contact <= s + REACTIVE_STEPS)
    close = closeness(closest_approach(opponent, present, happened, valid), soon)
    away = deviation(expected, happened, valid)
    tracks = relative_track(expected, np.ones_like(present), opponent, present)
    return Examples(tracks, np.stack([close, away], -1).astype(np.float32))


def _moments(rollouts: Rollouts, k: int, rng: np.random.Generator) -> list[int]:
    """Steps of roll-out k to learn at."""
    valid = rollouts.opponent_valid & rollouts.induced_valid[k]
    near = np.hypot(*(rollouts.opponent[k, :, :2] - rollouts.induced[k, :, :2]).T) < WINDOW_RANGE
    usable = valid & near
    usable[1:] &= valid[:-1]
    usable[0] = False
    usable[-REACTIVE_STEPS:] = False
    end = int(rollouts.contact[k])
    chosen = set()
    if end >= 0:
        usable[end:] = False
        chosen = set(range(max(end - REACTIVE_STEPS, 1), end))
        # The window may reach past the scene's end only if the contact comes first.
        chosen = {s for s in chosen if s + REACTIVE_STEPS < len(valid) and valid[s] and valid[s - 1]}
    steps = np.flatnonzero(usable)
    chosen |= set(rng.choice(steps, min(WINDOWS, len(steps)), replace=False).tolist())
    return sorted(chosen)


def together(parts: Sequence[Examples]) -> Examples:
    """All examples in one, tracks as long as the longest.

    Shorter tracks repeat their last row: the scorer takes maxima over rows, so that this changes nothing.
    """
    longest = max(part.tracks.shape[1] for part in parts)
    tracks = [np.pad(part.tracks, ((0, 0), (0, longest - part.tracks.shape[1]), (0, 0)), "edge") for part in parts]
    return Examples(np.concatenate(tracks), np.concatenate([part.targets for part in parts]))

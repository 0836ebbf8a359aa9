"""Logged tracks made ready for tokens: gaps filled, headings repaired, starts aligned to token boundaries."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.geometry import wrap_angle
from harness.traffic.tokens.shapes import TOKEN_STEPS
from scenarios.scenario import CURRENT_STEP, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

HEADING_JUMP: Final = 1.5
"""A larger change of heading in one step (rad) is a flip of the tracker (CAT-K's preprocessing)."""


class Tracks(NamedTuple):
    """Clean tracks of A agents.

    Attributes:
        poses: [A, T, 3] x, y (m), heading (rad), world frame, float64.
        valid: [A, T].
    """

    poses: Floats
    valid: Bools


def _fill(poses: Floats, valid: Bools) -> Bools:
    """Interpolate linearly, in place, inside first..last valid step of every agent; the new validity."""
    steps = np.arange(valid.shape[1])
    filled = valid.copy()
    for agent in np.flatnonzero(valid.any(1)):
        seen = np.flatnonzero(valid[agent])
        span = steps[seen[0] : seen[-1] + 1]
        if len(seen) < len(span):
            poses[agent, span, 0] = np.interp(span, seen, poses[agent, seen, 0])
            poses[agent, span, 1] = np.interp(span, seen, poses[agent, seen, 1])
            poses[agent, span, 2] = np.interp(span, seen, np.unwrap(poses[agent, seen, 2]))
            filled[agent, span] = True
    return filled


def _mend_headings(poses: Floats, valid: Bools) -> None:
    """Where the heading jumps by more than `HEADING_JUMP` between valid neighbours, keep the earlier one."""
    for step in range(1, valid.shape[1]):
        jump = np.abs(wrap_angle(poses[:, step, 2] - poses[:, step - 1, 2])) > HEADING_JUMP
        flip = jump & valid[:, step] & valid[:, step - 1]
        poses[flip, step, 2] = poses[flip, step - 1, 2]


def _extend_back(poses: Floats, velocity: Floats, valid: Bools) -> None:
    """Continue tracks backwards at constant velocity to the token boundary before, in place.

    A track that starts exactly at the current step gets a whole token, so that every simulated agent has a past.
    """
    for agent in np.flatnonzero(valid.any(1)):
        first = int(np.argmax(valid[agent]))
        extra = TOKEN_STEPS if first == CURRENT_STEP else first % TOKEN_STEPS
        if extra == 0:
            continue
        back = np.arange(extra, 0, -1)
        poses[agent, first - extra : first, :2] = poses[agent, first, :2] - 0.1 * back[:, None] * velocity[agent, first]
        poses[agent, first - extra : first, 2] = poses[agent, first, 2]
        valid[agent, first - extra : first] = True


def clean_tracks(scenario: Scenario, agents: NDArray[np.intp], until: int | None = None) -> Tracks:
    """Tracks of some agents of a scene.

    Args:
        scenario: A scene at 10 Hz.
        agents: [A] indices.
        until: Look at steps up to and including this one only (what a simulator may know); None for all.
    """
    end = scenario.num_steps if until is None else until + 1
    poses = np.concatenate([scenario.position[agents, :end, :2], scenario.heading[agents, :end, None]], -1)
    poses, valid = np.array(poses, dtype=np.float64), scenario.valid[agents, :end].copy()
    velocity = scenario.velocity[agents, :end]
    valid &= np.isfinite(poses).all(-1)
    valid = _fill(poses, valid)
    _mend_headings(poses, valid)
    _extend_back(poses, velocity, valid)
    poses[~valid] = 0.0
    return Tracks(poses, valid)

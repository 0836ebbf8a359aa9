"""Skills as data: what a driver sees, what it does, and sequences of both cut out of recorded and simulated tracks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adversaries.seal.networks import ACTIONS, OBSERVATION, SKILL_STEPS
from adversaries.seal.rollouts import Rollouts
from harness.geometry import to_frame, wrap_angle
from harness.interfaces import HEADING, VX, VY
from scenarios.scenario import Kind, Scenario

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Bools = NDArray[np.bool_]

MAX_PUSH: Final = 8.0
"""Acceleration of action 1, m/s²."""
MAX_CURVATURE: Final = 0.2
"""Curvature of action 1, 1/m (a turning circle of 5 m)."""
SMOOTHING: Final = 5
"""Steps over which recorded accelerations and turn rates are averaged: recorded headings jitter."""
MIN_SPEED: Final = 1.0
"""Below it curvature is not to be had from a heading rate, m/s."""
STRIDE: Final = 5
"""Steps from one sequence of a recorded track to the next."""
MIN_MOVE: Final = 0.5
"""Sequences that cover less teach nothing, m."""
LEAD_UP: Final = 2 * SKILL_STEPS
"""The last steps before a contact are adversarial (SEAL's code: twice the length of a skill)."""


class Sequences(NamedTuple):
    """Observations [N, S, 9] and actions [N, S, 2] in [-1, 1] of N skills."""

    seen: Singles
    actions: Singles


def observe(own: Floats, other: Floats, push: Floats, curvature: Floats) -> Singles:
    """What a driver sees: its own motion and one other vehicle.

    Our reading. SEAL feeds MetaDrive's 101 numbers (lidar, lines, navigation) to its skills; they exist only for a car
    that the simulator equips with sensors, so skills could not be learnt from recorded tracks with them.

    Args:
        own, other: [..., 5].
        push, curvature: [...] what the driver did last, m/s² and 1/m.

    Returns:
        [..., 9] speed, last acceleration, last curvature; the other's place, direction and velocity seen from here.
    """
    speed = np.hypot(own[..., VX], own[..., VY])
    place = to_frame(other[..., :2], own[..., :3])
    turn = other[..., HEADING] - own[..., HEADING]
    pace = other[..., VX : VY + 1] - own[..., VX : VY + 1]
    axes = np.concatenate([np.zeros_like(own[..., :2]), own[..., HEADING : HEADING + 1]], -1)
    pace = to_frame(pace, axes)
    parts = [speed / 15.0, push / MAX_PUSH, curvature / MAX_CURVATURE, *np.moveaxis(place, -1, 0) / 30.0]
    parts += [np.cos(turn), np.sin(turn), *np.moveaxis(pace, -1, 0) / 10.0]
    return np.stack(np.broadcast_arrays(*parts), -1).astype(np.float32)


def controls(states: Floats, dt: float) -> tuple[Floats, Floats]:
    """Acceleration (m/s²) and curvature (1/m) [..., T - 1] between the states [..., T, 5] of smooth, gapless tracks."""
    speed = np.hypot(states[..., VX], states[..., VY])
    push = np.diff(speed, axis=-1) / dt
    turn = wrap_angle(np.diff(states[..., HEADING], axis=-1)) / dt
    mean = np.maximum((speed[..., 1:] + speed[..., :-1]) / 2, MIN_SPEED)
    return _smooth(push), _smooth(turn) / mean


def _smooth(values: Floats) -> Floats:
    half = SMOOTHING // 2
    padded = np.concatenate([values[..., :1].repeat(half, -1), values, values[..., -1:].repeat(half, -1)], -1)
    total = np.cumsum(np.concatenate([np.zeros_like(padded[..., :1]), padded], -1), -1)
    return (total[..., SMOOTHING:] - total[..., :-SMOOTHING]) / SMOOTHING


def cut(own: Floats, other: Floats, starts: Sequence[int], dt: float) -> Sequences:
    """Sequences of one gapless track [T, 5] that begin at `starts` (at least 1, at most T - 1 - SKILL_STEPS)."""
    push, curvature = controls(own, dt)
    last = np.arange(len(own)) - 1
    seen = observe(own, other, push[last.clip(0).clip(max=len(push) - 1)], curvature[last.clip(0)])
    actions = np.stack([push / MAX_PUSH, curvature / MAX_CURVATURE], -1).clip(-1.0, 1.0).astype(np.float32)
    rows = np.asarray(starts, dtype=np.intp)[:, None] + np.arange(SKILL_STEPS)
    return Sequences(seen[rows], actions[rows])


def recorded(scenario: Scenario) -> Sequences:
    """Skills of everyone who drives in a scene, each with the vehicle that is nearest when the skill begins."""
    vehicles = np.flatnonzero((scenario.kinds == Kind.VEHICLE) & scenario.valid.any(-1))
    if not len(vehicles):
        return join([])
    states = np.stack([scenario.states(int(agent)) for agent in vehicles])
    valid = scenario.valid[vehicles]
    found = []
    # Parked cars are most of a scene and teach nothing.
    extent = np.where(valid[..., None], states[..., :2], np.nan)
    moves = np.nan_to_num(np.nanmax(extent, axis=1) - np.nanmin(extent, axis=1)).max(-1) > MIN_MOVE
    for row in np.flatnonzero(moves):
        for start in range(1, scenario.num_steps - SKILL_STEPS - 1, STRIDE):
            rows = slice(start - 1, start + SKILL_STEPS + 1)
            path = states[row, rows]
            if not valid[row, rows].all() or np.hypot(*(path[-1, :2] - path[0, :2])) < MIN_MOVE:
                continue
            together = valid[:, rows].all(-1) & (np.arange(len(vehicles)) != row)
            if not together.any():
                continue
            gap = np.hypot(*(states[:, start, :2] - states[row, start, :2]).T)
            partner = int(np.where(together, gap, np.inf).argmin())
            found.append(cut(path, states[partner, rows], [1], scenario.dt))
    return join(found)


def adversarial(rollouts: Rollouts) -> Sequences:
    """Skills of the candidates that ended in a contact: every sequence within the last 20 steps before it."""
    found = []
    for k in np.flatnonzero(rollouts.contact >= 0):
        end = int(rollouts.contact[k])
        both = rollouts.opponent_valid & rollouts.induced_valid[k]
        gaps = np.flatnonzero(~both[: end + 1])
        first = max(end - LEAD_UP, int(gaps[-1]) + 1 if len(gaps) else 0)
        starts = range(1, end - first - SKILL_STEPS)
        if len(starts):
            rows = slice(first, end + 1)
            found.append(cut(rollouts.opponent[k, rows], rollouts.induced[k, rows], starts, float(rollouts.dt)))
    return join(found)


def mirrored(part: Sequences) -> Sequences:
    """The same with left and right exchanged."""
    seen, actions = part.seen.copy(), part.actions.copy()
    # Curvature; the other's place, direction and velocity to the left.
    seen[..., [2, 4, 6, 8]] *= -1.0
    actions[..., 1] *= -1.0
    return Sequences(seen, actions)


def join(parts: Iterable[Sequences]) -> Sequences:
    """All sequences in one."""
    kept = [part for part in parts if len(part.seen)]
    if not kept:
        empty = np.zeros((0, SKILL_STEPS, OBSERVATION), np.float32)
        return Sequences(empty, np.zeros((0, SKILL_STEPS, ACTIONS), np.float32))
    return Sequences(np.concatenate([p.seen for p in kept]), np.concatenate([p.actions for p in kept]))

"""What every adversary needs around its own idea: checks, ego trajectories, and rows of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.episodes.protocol import Protocol
from harness.errors import AdversaryError
from harness.interfaces import HEADING, STATE, VX, VY, AttackContext
from harness.metrics.profiles import path_headings

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MIN_EGO_STEPS: Final = 10
"""Future steps an ego trajectory needs to say anything about the policy (CAT's code rejects shorter ones)."""


def check_context(context: AttackContext) -> None:
    """Reject a scene that cannot be attacked.

    Raises:
        AdversaryError: The opponent does not exist, is the ego, was never seen, or no future is left.
    """
    scene, agent = context.scenario, context.opponent
    where = f"scenario {scene.id}"
    if not 0 <= agent < scene.num_agents or agent == scene.ego:
        raise AdversaryError(
            f"{where}: opponent {agent} cannot attack: expected the index of another agent than the ego "
            f"({scene.ego}) among {scene.num_agents}. Choose one with scenarios.opponents.select_opponent."
        )
    if not 0 <= context.step < scene.num_steps - 1:
        raise AdversaryError(
            f"{where}: nothing to plan after step {context.step} of {scene.num_steps}: the scene is too short. "
            "Leave it out (scenarios.filters) or attack earlier."
        )
    if not scene.valid[agent, : context.step + 1].any():
        raise AdversaryError(
            f"{where}: opponent {scene.agent_ids[agent]!r} is never seen up to step {context.step}, so there is "
            "no motion to continue. Choose another opponent."
        )


class EgoFutures(NamedTuple):
    """The ego trajectories to attack, each distinct one once.

    Attributes:
        states: [D, T, 5], zeros where invalid.
        valid: [D, T].
        places: [N] which of them each trajectory of the context is, in its order; values of D become those of N by it.
    """

    states: Floats
    valid: Bools
    places: NDArray[np.intp]


def distinct_futures(context: AttackContext, *, history: bool = False) -> EgoFutures:
    """What `ego_futures` gives, with trajectories that are one and the same object judged once (a buffer's copies).

    Raises:
        AdversaryError: Not even the log holds an ego after `context.step`.
    """
    scene, start = context.scenario, context.step + 1
    distinct = {id(driven): driven for driven in context.ego_trajectories}
    states, valid = _padded([(t.states, t.valid) for t in distinct.values()], scene.num_steps, 0 if history else start)
    enough = valid[:, start:].sum(-1) >= MIN_EGO_STEPS
    place = {name: row for row, name in enumerate(distinct)}
    index = np.array([place[id(driven)] for driven in context.ego_trajectories], dtype=np.intp)
    if not enough.any():
        log = (scene.states(scene.ego), scene.valid[scene.ego])
        states, valid = _padded([log], scene.num_steps, 0 if history else start)
        index = np.zeros(1, dtype=np.intp)
        if not valid[:, start:].any():
            raise AdversaryError(f"scenario {scene.id}: no ego trajectory and no logged ego after step {context.step}.")
    elif not enough.all():
        states, valid = states[enough], valid[enough]
        index = (np.cumsum(enough) - 1)[index[enough[index]]]
    return EgoFutures(states, valid, index)


def ego_futures(context: AttackContext, *, history: bool = False) -> tuple[Floats, Bools]:
    """The ego trajectories to attack, padded to the length of the scene.

    Trajectories with fewer than 10 steps after `context.step` are left out; if none remains, the logged ego
    stands in.

    Args:
        context: The attack.
        history: Whether rows up to `context.step` are kept.

    Returns:
        States [N, T, 5] and validity [N, T] (False up to and including `context.step`, unless `history`).

    Raises:
        AdversaryError: Not even the log holds an ego after `context.step`.
    """
    states, valid, places = distinct_futures(context, history=history)
    return states[places], valid[places]


def _padded(drives: Sequence[tuple[Floats, Bools]], steps: int, start: int) -> tuple[Floats, Bools]:
    """Drives as states [D, T, 5] and validity [D, T]; zeros where invalid, not finite, or before `start`."""
    states, valid = np.zeros((len(drives), steps, STATE)), np.zeros((len(drives), steps), dtype=bool)
    for row, (driven, seen) in enumerate(drives):
        rows = slice(start, min(len(seen), steps))
        states[row, rows], valid[row, rows] = driven[rows], seen[rows]
    valid &= np.isfinite(states).all(-1)
    states[~valid] = 0.0
    return states, valid


def current_state(context: AttackContext) -> Floats:
    """The opponent's state [5] at `context.step`: its last valid row, moved on at constant velocity if older."""
    scene, agent = context.scenario, context.opponent
    last = int(np.flatnonzero(scene.valid[agent, : context.step + 1])[-1])
    state = scene.states(agent)[last].copy()
    state[:2] += state[VX:] * (context.step - last) * scene.dt
    return state


def with_history(context: AttackContext, future: Floats, last: int) -> tuple[Floats, Bools]:
    """Plan rows: the log up to `context.step`, `future` from there to absolute step `last` (inclusive).

    Args:
        context: The attack.
        future: [T, 5] by absolute step; rows up to `context.step` are ignored.
        last: Last step at which the opponent still exists.

    Returns:
        States [T, 5] and validity [T]; a late opponent's missing history stays invalid (zero rows).
    """
    scene, start = context.scenario, context.step + 1
    states, valid = np.zeros((scene.num_steps, STATE)), np.zeros(scene.num_steps, dtype=bool)
    valid[:start] = scene.valid[context.opponent, :start]
    states[:start] = np.where(valid[:start, None], scene.states(context.opponent)[:start], 0.0)
    states[start : last + 1], valid[start : last + 1] = future[start : last + 1], True
    return states, valid


def plan_rows(context: AttackContext, future: Floats, last: int, protocol: Protocol) -> tuple[Floats, Bools]:
    """`with_history`, with headings and velocities taken from positions where the protocol's code does so."""
    rows, valid = with_history(context, future, last)
    if protocol.path_headings or protocol.forward_velocity:
        headings, velocity = protocol.path_headings, protocol.forward_velocity
        rows = recompute_motion(rows, valid, context.scenario.dt, headings=headings, velocity=velocity)
    return rows, valid


def recompute_motion(states: Floats, valid: Bools, dt: float, *, headings: bool, velocity: bool) -> Floats:
    """Plan states [T, 5] with headings and velocities taken from positions, as CAT's code does.

    Args:
        states: [T, 5].
        valid: [T].
        dt: s.
        headings: Replace headings by `path_headings` over the whole plan.
        velocity: Replace velocities by forward differences (zero in the last valid row).
    """
    states = states.copy()
    if headings:
        states[:, HEADING] = np.where(valid, path_headings(states[:, :2], valid), 0.0)
    if velocity:
        ahead = np.zeros((len(states), 2))
        moving = valid[1:] & valid[:-1]
        ahead[:-1] = np.where(moving[:, None], np.diff(states[:, :2], axis=0) / dt, 0.0)
        states[:, [VX, VY]] = ahead
    return states

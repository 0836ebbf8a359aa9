"""What every adversary needs around its own idea: checks, ego trajectories, and rows of a plan."""

from __future__ import annotations

from typing import Final

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
    scene, start = context.scenario, context.step + 1
    log = (scene.states(scene.ego), scene.valid[scene.ego])
    kept = []
    for states, valid in (*((t.states, t.valid) for t in context.ego_trajectories), log):
        rows = min(len(valid), scene.num_steps)
        padded, mask = np.zeros((scene.num_steps, STATE)), np.zeros(scene.num_steps, dtype=bool)
        padded[:rows], mask[:rows] = states[:rows], valid[:rows]
        mask &= np.isfinite(padded).all(-1)
        if not history:
            mask[:start] = False
        padded[~mask] = 0.0
        kept.append((padded, mask))
    driven, fallback = kept[:-1], kept[-1]
    chosen = [item for item in driven if item[1][start:].sum() >= MIN_EGO_STEPS] or [fallback]
    if not any(mask[start:].any() for _, mask in chosen):
        raise AdversaryError(f"scenario {scene.id}: no ego trajectory and no logged ego after step {context.step}.")
    return np.stack([states for states, _ in chosen]), np.stack([mask for _, mask in chosen])


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

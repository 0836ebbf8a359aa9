"""Where everybody will be, for the policies that are allowed to know."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.engine.scene import Scene
from harness.interfaces import STATE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Foreseen(NamedTuple):
    """`futures` [M, H, STATE] and `foreseen` [M] of an `EgoView`."""

    states: Floats
    known: NDArray[np.intp]


def foresee(
    scene: Scene,
    agents: NDArray[np.intp],
    step: int,
    plan: tuple[Floats, Bools] | None,
    *,
    logged: bool,
    takeover: int | None = None,
) -> Foreseen:
    """The coming states of some agents.

    Args:
        scene: The scene.
        agents: [M] who.
        step: The present absolute step.
        plan: Rows [T, STATE] relative to the scene's origin and their validity [T], for the scene's opponent.
        logged: Whether the others follow the log; if they react instead, nobody knows their future (NaN).
        takeover: First absolute step at which a controller drives the opponent, if one does: from there on nobody
            knows its future either (NaN).

    Returns:
        States in the scenario's frame, row h after step `step + 1 + h`, H = logged steps left, and how many of these
        rows are known [M]. NaN where the agent will be gone, or where nobody knows.
    """
    ahead, opponent = slice(step + 1, None), agents == scene.scenario.opponent
    # With a plan the opponent exists whenever its log says so, whatever the filters say of it (as the engine has it).
    present = scene.may_appear[agents, ahead]
    if plan is not None:
        present = np.where(opponent[:, None], scene.scenario.valid[agents, ahead], present)
    known = present & (opponent | logged)[:, None]
    parts = (scene.xy[agents, ahead], scene.theta[agents, ahead, None], scene.velocity[agents, ahead])
    found = np.where(known[..., None], np.concatenate(parts, axis=-1), np.nan)
    if plan is not None and opponent.any():
        found[opponent] = _planned(*plan, np.arange(step + 1, scene.steps), found[opponent][0])
    steps = found.shape[1]
    until = np.where(opponent | logged, steps, 0)
    if takeover is not None:
        until[opponent] = min(max(takeover - step - 1, 0), steps)
        found[opponent, until[opponent].max(initial=0) :] = np.nan
    found[..., :2] += scene.origin
    return Foreseen(found, until)


def _planned(rows: Floats, valid: Bools, steps: NDArray[np.intp], log: Floats) -> Floats:
    """The log [H, STATE] before the plan's first valid row, the plan where it is valid, nobody where it is not."""
    planned = np.full((len(steps), STATE), np.nan)
    within = (steps < len(valid)) & valid[np.minimum(steps, len(valid) - 1)]
    planned[within] = rows[steps[within]]
    return np.where((steps >= np.flatnonzero(valid)[0])[:, None], planned, log)

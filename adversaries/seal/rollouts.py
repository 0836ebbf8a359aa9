"""What an ego did against every candidate of one scene: the data that SEAL's scorers and skills are learnt from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from adversaries.common.candidates import Decode, Drawn, Prior, draw_candidates
from adversaries.common.plans import check_context, with_history
from harness.errors import RunError
from harness.files import read_arrays, write_arrays
from harness.fitting.identity import Identity, fingerprint
from harness.interfaces import AttackContext, AttackPlan, Trajectory

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

IDENTITY_FILE = "made_by.json"
"""Beside roll-outs: the prior, the ego and the seed that they come from."""
CANDIDATES = 32
"""Candidates per scene (SEAL, as CAT)."""


@dataclass(frozen=True)
class Rollouts:
    """One scene. K candidates, T steps, absolute.

    Attributes:
        ego, ego_valid: [T, 5], [T]: what the ego did undisturbed.
        opponent, opponent_valid: [K, T, 5], [T]: the candidates, history included.
        induced, induced_valid: [K, T, 5], [K, T]: what the ego did against each; ends with the contact.
        contact: [K] first step of contact with the opponent, -1 for none.
        ego_size, opponent_size: [2] length and width, m.
        dt: s, shape [].
    """

    ego: Floats
    ego_valid: Bools
    opponent: Floats
    opponent_valid: Bools
    induced: Floats
    induced_valid: Bools
    contact: NDArray[np.int64]
    ego_size: Floats
    opponent_size: Floats
    dt: Floats

    def save(self, file: Path) -> None:
        """Write an npz, all or nothing."""
        write_arrays(file, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, file: Path) -> Rollouts:
        """Read what `save` wrote.

        Raises:
            RunError: Not such a file.
        """
        try:
            return cls(**read_arrays(file))  # type: ignore[arg-type]
        except (RunError, TypeError) as error:
            raise RunError(f"{file} holds no roll-outs ({error}). Delete it: the command makes it again.") from error


Play = Callable[[AttackPlan], tuple[Trajectory, int]]
"""Plays one plan against the ego: what the ego did, and the step of contact with the opponent (-1: none)."""


def candidate_plans(drawn: Drawn, context: AttackContext) -> list[AttackPlan]:
    """One plan per candidate."""
    last = int(np.flatnonzero(drawn.valid)[-1])
    return [AttackPlan(*with_history(context, states, last)) for states in drawn.states]


def roll_out(prior: Prior, context: AttackContext, play: Play, decode: Decode = "nms") -> Rollouts:
    """Play every candidate of a scene.

    Args:
        prior: Draws the candidates.
        context: The newest of its ego trajectories is the undisturbed drive.
        play: Simulates.
        decode: See `SealAdversary`.

    Raises:
        AdversaryError: The scene cannot be attacked.
    """
    check_context(context)
    plans = candidate_plans(draw_candidates(prior, context, CANDIDATES, decode), context)
    steps, undisturbed = context.scenario.num_steps, context.ego_trajectories[-1]
    played = [play(plan) for plan in plans]
    padded = [fit(trajectory, steps) for trajectory, _ in played]
    ego = fit(undisturbed, steps)
    return Rollouts(
        ego=ego.states,
        ego_valid=ego.valid,
        opponent=np.stack([plan.states for plan in plans]),
        opponent_valid=plans[0].valid,
        induced=np.stack([trajectory.states for trajectory in padded]),
        induced_valid=np.stack([trajectory.valid for trajectory in padded]),
        contact=np.array([contact for _, contact in played], dtype=np.int64),
        ego_size=np.array(context.ego_size),
        opponent_size=np.array(context.scenario.box(context.opponent)),
        dt=np.array(context.scenario.dt),
    )


def fit(trajectory: Trajectory, steps: int) -> Trajectory:
    """The trajectory with exactly `steps` rows: cut off, or filled up with invalid ones."""
    rows = min(steps, len(trajectory.valid))
    states, valid = np.zeros((steps, trajectory.states.shape[1])), np.zeros(steps, dtype=bool)
    states[:rows], valid[:rows] = trajectory.states[:rows], trajectory.valid[:rows]
    return Trajectory(states, valid)


def load_all(folder: Path, names: Sequence[str]) -> list[Rollouts]:
    """The roll-outs of these scenes, where they exist."""
    return [Rollouts.load(folder / f"{name}.npz") for name in names if (folder / f"{name}.npz").is_file()]


def claim_rollouts(folder: Path, prior: nn.Module, policy: str, seed: int) -> None:
    """Note in a folder whose roll-outs it holds; roll-outs of different kinds are never mixed.

    Args:
        folder: Exists.
        prior: The network that draws the candidates.
        policy: The ego's name.
        seed: Seed of the episodes.

    Raises:
        RunError: The folder holds roll-outs of another prior, ego or seed.
    """
    Identity({"prior": fingerprint(prior), "policy": policy, "seed": seed}).claim(folder / IDENTITY_FILE)

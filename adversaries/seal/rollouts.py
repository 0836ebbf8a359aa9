"""What an ego did against every candidate of one scene: the data that SEAL's scorers and skills are learnt from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from adversaries.common.candidates import Decode, Drawn, Prior, draw_candidates
from adversaries.common.plans import check_context, with_history
from harness.errors import RunError
from harness.files import MEGABYTE, read_arrays, write_arrays
from harness.fitting.identity import Identity, fingerprint
from harness.fitting.stored import check_layout
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
            found = cls(**read_arrays(file, MAX_BYTES))  # type: ignore[arg-type]
            found.check()
            return found
        except (RunError, TypeError, ValueError) as error:
            raise RunError(f"{file} holds no roll-outs ({error}). Delete it: the command makes it again.") from error

    def check(self) -> None:
        """Compare types, shapes and bounds of what a file held; ValueError where they cannot be."""
        arrays = {name: getattr(self, name) for name in _LAYOUT}
        steps = check_layout(arrays, _LAYOUT)["T"]
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not (np.abs(array) < _LARGEST).all():
                raise ValueError(f"{name} holds numbers that are none, or beyond any road")
        if not ((self.contact >= -1) & (self.contact < steps)).all():
            raise ValueError(f"a contact is in none of its {steps} steps")
        if not (min(*self.ego_size, *self.opponent_size) > 0 and 0 < self.dt < 1):
            raise ValueError("a size or the length of a step is none")


_LAYOUT: Final = {
    "ego": "f8 T 5", "ego_valid": "b1 T", "opponent": "f8 K T 5", "opponent_valid": "b1 T", "induced": "f8 K T 5",
    "induced_valid": "b1 K T", "contact": "i8 K", "ego_size": "f8 2", "opponent_size": "f8 2", "dt": "f8",
}  # fmt: skip
MAX_BYTES: Final = 300 * MEGABYTE
"""Bytes of the roll-outs of one scene, unpacked; those of 9 s have 230 kB."""
_LARGEST: Final = 1e9
"""Metres (m/s, rad): what is farther away lies on no map."""

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

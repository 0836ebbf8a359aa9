"""Recent ego trajectories per scene, so that an attack is tailored to what the ego does now, not to its log."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np

from harness.errors import ConfigError
from harness.interfaces import STATE, Trajectory
from scenarios.scenario import CURRENT_STEP, Scenario

MIN_FUTURE_STEPS: Final = 10
"""A drive shorter than this after the current step says too little about where the ego goes (CAT drops it too)."""

MAX_DRIVES: Final = 1_000
"""Most trajectories per scene: each is looked at before every attack."""

Prefill = Literal["copies", "once", "none"]
Remembered = Literal["all", "undisturbed"]


def log_trajectory(scenario: Scenario) -> Trajectory:
    """The logged ego as a `Trajectory`."""
    return Trajectory(scenario.states(scenario.ego), scenario.valid[scenario.ego].copy())


class EgoBuffer:
    """The last few ego trajectories of every scene.

    Before the ego ever drove in a scene, its log stands in. CAT fills the buffer with copies of the log, so that
    the log fades out as the ego's own drives come in; `prefill` chooses.

    Attributes:
        maxlen: Trajectories kept per scene.
        min_future: Valid steps after `CURRENT_STEP` that a trajectory needs to be kept.
        prefill: `copies` tops every answer up to `maxlen` with the log (as CAT does), `once` answers with the log
            and all own drives, `none` with the log only while there are no own drives.
        remember: `all` drives, as CAT does, or `undisturbed` ones only, in which nobody attacked. A drive that evaded
            an attack is not how the ego drives before the next one shows: what is planned against it misses.
    """

    def __init__(
        self,
        maxlen: int = 5,
        *,
        min_future: int = MIN_FUTURE_STEPS,
        prefill: Prefill = "copies",
        remember: Remembered = "all",
    ) -> None:
        """Make an empty buffer.

        Raises:
            ConfigError: `maxlen` is no whole number from 1 to `MAX_DRIVES`, or an unknown `prefill` or `remember`.
        """
        if not isinstance(maxlen, int | np.integer) or not 1 <= maxlen <= MAX_DRIVES:
            raise ConfigError(
                f"ego buffer: maxlen must be at least 1, a whole number up to {MAX_DRIVES:,}, got {maxlen!r:.80}."
            )
        if prefill not in ("copies", "once", "none"):
            raise ConfigError(f"ego buffer: prefill must be 'copies', 'once' or 'none', got {prefill!r}.")
        if remember not in ("all", "undisturbed"):
            raise ConfigError(f"ego buffer: remember must be 'all' or 'undisturbed', got {remember!r:.80}.")
        self.maxlen = int(maxlen)
        self.min_future = min_future
        self.prefill = prefill
        self.remember = remember
        self._drives: dict[str, deque[Trajectory]] = {}

    def __len__(self) -> int:
        """Number of scenes with at least one own drive."""
        return len(self._drives)

    def drives(self, scenario_id: str) -> tuple[Trajectory, ...]:
        """The ego's own drives in a scene, newest last; empty before the first."""
        return tuple(self._drives.get(scenario_id, ()))

    def get(self, scenario: Scenario) -> tuple[Trajectory, ...]:
        """What an adversary may plan against: newest last, never empty, at most `maxlen` long.

        Repeated logs are one and the same object, so that an adversary may count them once and weigh them.
        """
        own = self.drives(scenario.id)
        copies = {"copies": self.maxlen - len(own), "once": 1, "none": 0 if own else 1}[self.prefill]
        if copies < 1:
            return own
        return ((log_trajectory(scenario),) * copies + own)[-self.maxlen :]

    def add(self, scenario_id: str, trajectory: Trajectory, *, attacked: bool = False) -> bool:
        """Remember a drive. Arrays are copied.

        Args:
            scenario_id: Scene it happened in.
            trajectory: States [T, 5] by absolute step and `valid` [T].
            attacked: Whether somebody attacked in it.

        Returns:
            False if the drive was too short to keep, began after the current step, where attacks begin, or was
            attacked, where undisturbed drives are remembered.
        """
        if attacked and self.remember == "undisturbed":
            return False
        states = np.array(trajectory.states, dtype=np.float64)
        valid = np.array(trajectory.valid, dtype=np.bool_)
        if states.shape != (len(valid), STATE):
            raise ConfigError(
                f"ego buffer: scene {scenario_id}: expected states [T, {STATE}] and valid [T], "
                f"got {states.shape} and {valid.shape}."
            )
        if not valid[CURRENT_STEP : CURRENT_STEP + 1].all() or valid[CURRENT_STEP + 1 :].sum() < self.min_future:
            return False
        states.setflags(write=False)
        valid.setflags(write=False)
        self._drives.setdefault(scenario_id, deque(maxlen=self.maxlen)).append(Trajectory(states, valid))
        return True

    def clear(self) -> None:
        """Forget every drive."""
        self._drives.clear()

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays (no objects), ready for `np.savez`: resuming is exact.

        Keys: `maxlen` [], `ids` [S] str, `counts` [S], `lengths` [N], `states` [ΣT, 5], `valid` [ΣT].
        """
        drives = [drive for kept in self._drives.values() for drive in kept]
        return {
            "maxlen": np.array(self.maxlen),
            "ids": np.array(list(self._drives), dtype=np.str_),
            "counts": np.array([len(kept) for kept in self._drives.values()], dtype=np.int64),
            "lengths": np.array([len(drive.valid) for drive in drives], dtype=np.int64),
            "states": np.concatenate([drive.states for drive in drives]) if drives else np.zeros((0, STATE)),
            "valid": np.concatenate([drive.valid for drive in drives]) if drives else np.zeros(0, dtype=np.bool_),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, replacing everything held now.

        Raises:
            ConfigError: The arrays do not fit together.
        """
        counts, lengths = np.asarray(state["counts"]), np.asarray(state["lengths"])
        states, valid = np.asarray(state["states"], dtype=np.float64), np.asarray(state["valid"], dtype=np.bool_)
        if counts.sum() != len(lengths) or lengths.sum() != len(states) or len(states) != len(valid):
            raise ConfigError(
                f"ego buffer: the saved state is inconsistent: {counts.sum()} drives counted, {len(lengths)} lengths, "
                f"{lengths.sum()} rows expected, {len(states)} found. Start from another checkpoint."
            )
        self.maxlen = int(state["maxlen"])
        ends = np.cumsum(lengths)
        rows = iter(zip(ends - lengths, ends, strict=True))
        self._drives = {}
        for name, count in zip(state["ids"], counts, strict=True):
            kept: deque[Trajectory] = deque(maxlen=self.maxlen)
            for _ in range(int(count)):
                start, end = next(rows)
                drive = Trajectory(states[start:end].copy(), valid[start:end].copy())
                drive.states.setflags(write=False)
                drive.valid.setflags(write=False)
                kept.append(drive)
            self._drives[str(name)] = kept

"""Who decides whether an episode is attacked, and how hard."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from harness.errors import ConfigError, foreign
from harness.files import plain
from harness.interfaces import AttackSchedule, Curriculum, EpisodeOutcome

ROUNDING: Final = 1e-9
"""A computed probability may lie outside [0, 1] by so much."""


@runtime_checkable
class ChoosingCurriculum(Curriculum, Protocol):
    """A curriculum that also chooses the scenes of training episodes, optional beside it.

    `record` is then told the scene and the regret of every attacked episode.
    """

    def choose(self, scenes: Sequence[str], progress: float, rng: np.random.Generator) -> tuple[int, AttackSchedule]:
        """Place of an episode's scene among these ids, and its schedule, whose probability is 0 or 1.

        Args:
            scenes: Ids of all scenes, the same ones and in the same order throughout a run.
            progress: In [0, 1] of the training budget.
            rng: The only source of randomness.
        """
        ...

    def unattackable(self, scene: str, intensity: float) -> None:
        """Hear that the attack which was chosen last cannot be made, or is refused."""
        ...


class Scheduler(Protocol):
    """Decides about attacks over the life of an environment. Its state survives through the state dict.

    Attributes:
        learns: Whether it changes with experience, which then outlives seeds: a seed decides what is drawn, not how far
            a training has come.
    """

    learns: bool

    @property
    def chooses(self) -> bool:
        """Whether `choose` gives anything, so that regrets are wanted."""
        ...

    def current(self) -> AttackSchedule:
        """Probability and intensity for an episode that begins now."""
        ...

    def choose(self, scenes: Sequence[str], rng: np.random.Generator) -> tuple[int, AttackSchedule] | None:
        """Place of the next scene among these ids and its schedule; None leaves both to others (`current`)."""
        ...

    def unattackable(self, scene: str, intensity: float) -> None:
        """Hear that a chosen attack cannot be made."""
        ...

    def advance(self, steps: int) -> None:
        """Count simulated steps."""
        ...

    def record(self, outcome: EpisodeOutcome) -> None:
        """Learn from a finished episode."""
        ...

    def restart(self) -> None:
        """Begin again, as if new."""
        ...

    def set_progress(self, progress: float) -> None:
        """Go on at a share of the budget, 0 … 1."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """JSON-able state."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore."""
        ...


class FixedSchedule:
    """The same probability and intensity for ever."""

    learns = False
    chooses = False

    def __init__(self, probability: float, intensity: float) -> None:
        """Fix them.

        Raises:
            ConfigError: The probability is not in [0, 1], or the intensity is not finite.
        """
        if not _finite(probability) or not 0.0 <= probability <= 1.0:
            raise ConfigError(f"attack probability must lie in [0, 1], got {probability!r}.")
        if not _finite(intensity):
            raise ConfigError(f"attack intensity must be a finite number, got {intensity!r}.")
        self._schedule = AttackSchedule(float(probability), float(intensity))

    def current(self) -> AttackSchedule:
        """The fixed schedule."""
        return self._schedule

    def choose(self, scenes: Sequence[str], rng: np.random.Generator) -> None:
        """Nothing is chosen."""

    def unattackable(self, scene: str, intensity: float) -> None:
        """Nothing is learnt."""

    def advance(self, steps: int) -> None:
        """Nothing changes with time."""

    def record(self, outcome: EpisodeOutcome) -> None:
        """Nothing is learnt."""

    def restart(self) -> None:
        """Nothing to forget."""

    def set_progress(self, progress: float) -> None:
        """Refuse: nothing progresses here.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("set_progress: attacks of this environment follow no curriculum; use Gauntlet/Curriculum-v0.")

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""


class CurriculumSchedule:
    """Follows a curriculum over a budget of simulated steps.

    Attributes:
        curriculum: The curriculum.
        total_steps: Budget: progress is `steps / total_steps`, at most 1.
        steps: Simulated so far, over all resets.
    """

    learns = True

    def __init__(self, curriculum: Curriculum, total_steps: int) -> None:
        """Begin at progress 0.

        Raises:
            ConfigError: The budget is not positive, or the curriculum's state is none.
        """
        if not _finite(total_steps) or total_steps < 1:
            raise ConfigError(f"total_steps must be at least 1, got {total_steps!r:.80}.")
        self.curriculum = curriculum
        self.total_steps = int(total_steps)
        self.steps = 0
        self._fresh = self.state_dict()["curriculum"]

    @property
    def chooses(self) -> bool:
        """Whether the curriculum chooses scenes, too."""
        return isinstance(self.curriculum, ChoosingCurriculum)

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0 … 1."""
        return min(self.steps / self.total_steps, 1.0)

    def current(self) -> AttackSchedule:
        """The curriculum's schedule at the present progress.

        Raises:
            ConfigError: It fails, or gives anything but a probability in [0, 1] and a finite intensity.
        """
        found = self._asked("schedule", self.progress)
        known = isinstance(found, tuple) and len(found) == 2 and all(map(_finite, found))
        if not known or not -ROUNDING <= found[0] <= 1.0 + ROUNDING:
            raise ConfigError(
                f"curriculum {type(self.curriculum).__name__}: schedule() gave {found!r:.80}, expected an "
                "AttackSchedule of a probability in [0, 1] and a finite intensity."
            )
        return AttackSchedule(*found)

    def choose(self, scenes: Sequence[str], rng: np.random.Generator) -> tuple[int, AttackSchedule] | None:
        """The curriculum's choice, where it makes one.

        Raises:
            ConfigError: It fails, or chooses no scene, a probability that is neither 0 nor 1, or no finite intensity.
        """
        if not self.chooses:
            return None
        found = self._asked("choose", scenes, self.progress, rng)
        try:
            place, (probability, intensity) = found
            sound = 0 <= int(place) < len(scenes) and probability in (0.0, 1.0) and _finite(intensity)
        except (TypeError, ValueError):
            sound = False
        if not sound:
            raise ConfigError(
                f"curriculum {type(self.curriculum).__name__}: choose() gave {found!r:.80}, expected a place among "
                f"{len(scenes)} scenes and an AttackSchedule with probability 0 or 1 and a finite intensity."
            )
        return int(place), AttackSchedule(float(probability), float(intensity))

    def unattackable(self, scene: str, intensity: float) -> None:
        """Pass it on to a curriculum that chooses."""
        if self.chooses:
            self._asked("unattackable", scene, intensity)

    def advance(self, steps: int) -> None:
        """Spend budget."""
        self.steps += steps

    def record(self, outcome: EpisodeOutcome) -> None:
        """Pass the outcome on."""
        self._asked("record", outcome)

    def restart(self) -> None:
        """Back to progress 0 and a curriculum without experience."""
        self.steps = 0
        self._asked("load_state_dict", self._fresh)

    def set_progress(self, progress: float) -> None:
        """Go on at a share of the budget; what the curriculum has learnt stays.

        Raises:
            ConfigError: It is not in [0, 1].
        """
        if not _finite(progress) or not 0.0 <= progress <= 1.0:
            raise ConfigError(f"progress must lie in [0, 1], the share of total_steps that is spent, got {progress!r}.")
        self.steps = round(progress * self.total_steps)

    def state_dict(self) -> dict[str, Any]:
        """Steps and the curriculum's own state.

        Raises:
            ConfigError: That cannot be written as JSON, so that no checkpoint could hold it.
        """
        state = self._asked("state_dict")
        try:
            json.dumps(plain(state))
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"curriculum {type(self.curriculum).__name__}: state_dict() cannot be written as JSON ({error})."
            ) from error
        return {"steps": self.steps, "curriculum": state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore."""
        self.steps = int(state["steps"])
        self._asked("load_state_dict", state["curriculum"])

    def _asked(self, method: str, *args: object) -> Any:
        with foreign(f"curriculum {type(self.curriculum).__name__}: {method}() failed", ConfigError):
            return getattr(self.curriculum, method)(*args)


def _finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)

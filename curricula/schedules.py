"""What every curriculum shares: the ramp, checked numbers, and the stateless base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.errors import ConfigError
from harness.interfaces import AttackSchedule, EpisodeOutcome


def ramp(progress: float, start: float, end: float, reached_at: float) -> float:
    """Straight line from `start` at progress 0 to `end` at progress `reached_at`, constant after it."""
    return start + (end - start) * min(max(progress, 0.0) / reached_at, 1.0)


def check_fraction(name: str, value: float, *, positive: bool = False) -> float:
    """`value`, if it lies in [0, 1] (above 0 where `positive`).

    Raises:
        ConfigError: It does not.
    """
    if not (0.0 < value <= 1.0 if positive else 0.0 <= value <= 1.0):
        raise ConfigError(
            f"curriculum option {name} = {value}: expected a number in {'(0, 1]' if positive else '[0, 1]'}."
        )
    return float(value)


class OpenLoopCurriculum:
    """A schedule that depends on progress alone: nothing to learn, nothing to save."""

    name: ClassVar[str] = ""

    def schedule(self, progress: float) -> AttackSchedule:
        """Attack probability and intensity at `progress` in [0, 1]."""
        raise NotImplementedError

    def record(self, outcome: EpisodeOutcome) -> None:
        """Ignore the outcome: this schedule is open loop."""

    def state_dict(self) -> dict[str, object]:
        """Empty: progress is all there is."""
        return {}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Nothing to restore."""

"""The control experiment: attack as often and as hard from the first episode to the last."""

from __future__ import annotations

from typing import ClassVar

from curricula.schedules import OpenLoopCurriculum, check_fraction
from harness.interfaces import AttackSchedule


class ConstantCurriculum(OpenLoopCurriculum):
    """A fixed attack probability and intensity."""

    name: ClassVar[str] = "constant"

    def __init__(self, probability: float = 0.5, intensity: float = 1.0) -> None:
        """Fix both axes.

        Args:
            probability: Share of training episodes with an attack, 0 … 1.
            intensity: Intensity of every attack; 0 natural … 1 vicious.

        Raises:
            ConfigError: `probability` is outside [0, 1].
        """
        self._schedule = AttackSchedule(check_fraction("probability", probability), float(intensity))

    def schedule(self, progress: float) -> AttackSchedule:
        """The same at every progress."""
        return self._schedule

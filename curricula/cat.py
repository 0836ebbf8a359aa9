"""CAT's schedule: attacks become frequent over the first half of training, always at full strength."""

from __future__ import annotations

from typing import ClassVar, Final

from curricula.schedules import OpenLoopCurriculum, check_fraction, ramp
from harness.interfaces import AttackSchedule

FINAL_PROBABILITY: Final = 0.9
"""Ceiling of CAT's attack probability (its released training script)."""
RAMP_END: Final = 0.5
"""Progress at which CAT's ramp p = min(0.9, 1.8·t/T) reaches the ceiling."""


class CatCurriculum(OpenLoopCurriculum):
    """Attacks with probability min(0.9, 1.8·t/T), intensity 1.

    Paper: Zhang et al., CAT (CoRL 2023); the numbers are those of its released training script.
    """

    name: ClassVar[str] = "cat"

    def __init__(self, final_probability: float = FINAL_PROBABILITY, ramp_end: float = RAMP_END) -> None:
        """Set the ramp.

        Args:
            final_probability: Attack probability from `ramp_end` on.
            ramp_end: Progress in (0, 1] at which it is reached.

        Raises:
            ConfigError: A value is out of range.
        """
        self._final = check_fraction("final_probability", final_probability)
        self._ramp_end = check_fraction("ramp_end", ramp_end, positive=True)

    def schedule(self, progress: float) -> AttackSchedule:
        """From probability 0 up to the ceiling; intensity 1."""
        return AttackSchedule(ramp(progress, 0.0, self._final, self._ramp_end), 1.0)

"""SAGE's dual-axis curriculum: attacks become both more frequent and more intense."""

from __future__ import annotations

from typing import ClassVar

from curricula.schedules import OpenLoopCurriculum, check_fraction, ramp
from harness.interfaces import AttackSchedule


class DualAxisCurriculum(OpenLoopCurriculum):
    """Frequency 0.1 → 0.9 by half-way, intensity 0.5 → 1.0 over the whole run, both linear.

    Paper: SAGE, appendix B.1 and algorithm 2, line 14.

    The paper contradicts itself on the frequency: its formula, p_start + (p_end − p_start)·min(t/T, 1), reaches
    0.9 at the end of the run, while its text says that it "achieves 0.9 by the halfway point". The text is
    followed by default, because it is specific and agrees with CAT's ramp, on which the experiment builds;
    `frequency_end=1.0` gives the formula.
    """

    name: ClassVar[str] = "dual_axis"

    def __init__(
        self,
        probability_start: float = 0.1,
        probability_end: float = 0.9,
        frequency_end: float = 0.5,
        intensity_start: float = 0.5,
        intensity_end: float = 1.0,
        anneal_frequency: bool = True,
        anneal_intensity: bool = True,
    ) -> None:
        """Set both axes.

        Args:
            probability_start, probability_end: Attack probability at progress 0 and from `frequency_end` on.
            frequency_end: Progress in (0, 1] at which `probability_end` is reached.
            intensity_start, intensity_end: Intensity at progress 0 and 1.
            anneal_frequency: False (ablation) holds the probability at `probability_end` throughout.
            anneal_intensity: False (ablation) holds the intensity at `intensity_end` throughout.

        Raises:
            ConfigError: A probability or `frequency_end` is out of range.
        """
        self._probability_end = check_fraction("probability_end", probability_end)
        start = check_fraction("probability_start", probability_start)
        self._probability_start = start if anneal_frequency else self._probability_end
        self._frequency_end = check_fraction("frequency_end", frequency_end, positive=True)
        self._intensity_end = float(intensity_end)
        self._intensity_start = float(intensity_start) if anneal_intensity else self._intensity_end

    def schedule(self, progress: float) -> AttackSchedule:
        """Both ramps at `progress`."""
        return AttackSchedule(
            probability=ramp(progress, self._probability_start, self._probability_end, self._frequency_end),
            intensity=ramp(progress, self._intensity_start, self._intensity_end, 1.0),
        )


class FrequencyAxisCurriculum(DualAxisCurriculum):
    """Ablation: only the frequency follows its ramp; every attack has full intensity."""

    name: ClassVar[str] = "frequency_axis"

    def __init__(self) -> None:
        """As published, but for the intensity."""
        super().__init__(anneal_intensity=False)


class IntensityAxisCurriculum(DualAxisCurriculum):
    """Ablation: only the intensity follows its ramp; attacks are as frequent from the start as they become at last."""

    name: ClassVar[str] = "intensity_axis"

    def __init__(self) -> None:
        """As published, but for the frequency."""
        super().__init__(anneal_frequency=False)

"""A curriculum by regret: attacks on which a careful driver does well and the ego does not come more often.

Papers: Jiang et al., "Prioritized Level Replay" (ICML 2021), sections 3 and 4 (priorities and staleness); Dennis et
al., "Emergent Complexity and Zero-shot Transfer via Unsupervised Environment Design" (NeurIPS 2020), section 4 (regret
as what makes a level worth training on).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from curricula.schedules import check_fraction, ramp
from harness.errors import ConfigError
from harness.interfaces import AttackSchedule, EpisodeOutcome

Floats = NDArray[np.float64]


class RegretCurriculum:
    """A level is a scene attacked at one of a few intensities; levels are drawn by the ego's regret.

    Levels follow P = (1 - ρ) P_S + ρ P_C (Jiang et al., section 3): P_S is proportional to S^(1/β), with the level's
    score S, and P_C to the number of attacks since the level was last drawn. The score is a moving average of the
    regret of its episodes. A level that was never played has score 1, so that each is tried; one whose attack cannot be
    made has score 0, and comes back as it grows stale. Levels by proportion instead of by rank: where most regrets
    are 0 or 1, ranks are ties.

    The share of attacked episodes is that of `dual_axis`. Episodes without an attack take any scene, each as likely.
    """

    name: ClassVar[str] = "regret"

    def __init__(
        self,
        intensities: tuple[float, ...] = (0.5, 0.75, 1.0),
        memory: float = 0.5,
        temperature: float = 1.0,
        staleness: float = 0.1,
        probability_start: float = 0.1,
        probability_end: float = 0.9,
        frequency_end: float = 0.5,
    ) -> None:
        """Set levels and priorities.

        Args:
            intensities: Intensities of attacks; with `sage?levels=4` its candidates at multiples of 0.25 are kept.
            memory: Share of a level's score that stays when it is played again, 0 … 1.
            temperature: β; smaller values concentrate on the largest regrets.
            staleness: ρ, share of attacks that are drawn by staleness, 0 … 1.
            probability_start, probability_end: Attack probability at progress 0 and from `frequency_end` on.
            frequency_end: Progress in (0, 1] at which `probability_end` is reached.

        Raises:
            ConfigError: A value is out of range.
        """
        self._intensities = tuple(float(value) for value in intensities)
        if not self._intensities or len(set(self._intensities)) < len(self._intensities):
            raise ConfigError(
                f"curriculum option intensities = {intensities}: expected different numbers, at least one."
            )
        if not temperature > 0.0:
            raise ConfigError(f"curriculum option temperature = {temperature}: expected a number above 0.")
        self._memory, self._temperature = check_fraction("memory", memory), float(temperature)
        self._staleness = check_fraction("staleness", staleness)
        self._probability_start = check_fraction("probability_start", probability_start)
        self._probability_end = check_fraction("probability_end", probability_end)
        self._frequency_end = check_fraction("frequency_end", frequency_end, positive=True)
        self._attacks = 0
        self._rows: dict[str, int] = {}
        self._scores, self._played, self._drawn = self._empty(0)

    def schedule(self, progress: float) -> AttackSchedule:
        """The share of attacked episodes, and the intensity that is expected of the next one."""
        chances = self._chances(np.arange(len(self._rows))).sum(0) if self._rows else np.ones(len(self._intensities))
        expected = float(np.average(self._intensities, weights=chances))
        return AttackSchedule(self._probability(progress), expected)

    def choose(self, scenes: Sequence[str], progress: float, rng: np.random.Generator) -> tuple[int, AttackSchedule]:
        """Draw whether an episode is attacked, its scene and its intensity; see `ChoosingCurriculum`."""
        if rng.random() >= self._probability(progress):
            return int(rng.integers(len(scenes))), AttackSchedule(0.0, 0.0)
        rows = np.array([self._row(scene) for scene in scenes])
        chances = self._chances(rows)
        place, level = divmod(int(rng.choice(chances.size, p=chances.ravel())), len(self._intensities))
        self._attacks += 1
        self._drawn[rows[place], level] = self._attacks
        return place, AttackSchedule(1.0, self._intensities[level])

    def unattackable(self, scene: str, intensity: float) -> None:
        """Nothing is learnt from a level whose attack cannot be made."""
        if intensity in self._intensities:
            at = self._row(scene), self._intensities.index(intensity)
            self._scores[at], self._played[at] = 0.0, 1.0

    def record(self, outcome: EpisodeOutcome) -> None:
        """Move the score of the level that was played towards its regret; other outcomes say nothing."""
        if not outcome.attacked or outcome.regret is None or outcome.intensity not in self._intensities:
            return
        at = self._row(outcome.scene), self._intensities.index(outcome.intensity)
        kept = self._memory if self._played[at] else 0.0
        self._scores[at] = kept * self._scores[at] + (1.0 - kept) * outcome.regret
        self._played[at] = 1.0

    def state_dict(self) -> dict[str, object]:
        """Scores, and what was played and drawn when, of every scene so far."""
        levels = np.stack([self._scores, self._played, self._drawn])
        return {
            "attacks": self._attacks,
            "intensities": list(self._intensities),
            "scenes": {scene: levels[:, row].tolist() for scene, row in self._rows.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ConfigError: The state is not one of this curriculum with these intensities.
        """
        count = len(self._intensities)
        try:
            levels = np.array([values for values in state["scenes"].values()], np.float64).reshape(-1, 3, count)
            attacks, rows = int(state["attacks"]), {str(scene): row for row, scene in enumerate(state["scenes"])}
            same = list(state["intensities"]) == list(self._intensities) and np.isfinite(levels).all()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"curriculum state cannot be read ({error}): it was not saved by 'regret'. Resume with the run's own "
                "curriculum."
            ) from error
        if not same or (levels < 0).any():
            raise ConfigError(
                f"curriculum state has the intensities {state['intensities']!r:.80} or a negative score, expected "
                f"{list(self._intensities)}. Resume with the run's own curriculum and options."
            )
        self._attacks, self._rows = attacks, rows
        self._scores, self._played, self._drawn = (levels[:, part].copy() for part in range(3))

    def _probability(self, progress: float) -> float:
        return ramp(progress, self._probability_start, self._probability_end, self._frequency_end)

    def _empty(self, count: int) -> tuple[Floats, Floats, Floats]:
        """Score 1, never played and never drawn, of so many scenes."""
        shape = count, len(self._intensities)
        return np.ones(shape), np.zeros(shape), np.zeros(shape)

    def _row(self, scene: str) -> int:
        """Where the levels of a scene lie."""
        if scene not in self._rows:
            self._rows[scene] = len(self._rows)
            kept = self._scores, self._played, self._drawn
            self._scores, self._played, self._drawn = (
                np.concatenate([old, new]) for old, new in zip(kept, self._empty(1), strict=True)
            )
        return self._rows[scene]

    def _chances(self, rows: NDArray[np.intp]) -> Floats:
        """Probability of every level of these scenes, [N, I]."""
        urgent = self._scores[rows] ** (1.0 / self._temperature)
        stale = self._attacks - self._drawn[rows]
        return (1.0 - self._staleness) * _shares(urgent) + self._staleness * _shares(stale)


def _shares(values: Floats) -> Floats:
    """Values over their sum; all alike where that is 0."""
    total = values.sum()
    return values / total if total > 0 else np.full(values.shape, 1.0 / values.size)

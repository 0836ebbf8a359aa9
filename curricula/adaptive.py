"""A curriculum that follows the ego: harder while it succeeds, easier while it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from curricula.schedules import check_fraction
from harness.errors import ConfigError
from harness.interfaces import AttackSchedule, EpisodeOutcome


@dataclass(frozen=True, slots=True)
class Axis:
    """One bounded quantity that moves by fixed steps.

    Attributes:
        low, high: Bounds; the axis starts at `low`.
        step: Size of one move.
    """

    low: float
    high: float
    step: float

    def moved(self, value: float, direction: int) -> float:
        """`value` after one move in `direction` (−1, 0, 1), kept within the bounds."""
        # Rounded so that going up and down again returns to the same number, whatever the order.
        return round(min(max(value + direction * self.step, self.low), self.high), 9)


class AdaptiveCurriculum:
    """Each axis listens to the kind of episode that it can break.

    *Intensity* follows success in attacked episodes: an ego that masters the present attacks gets harder ones.
    *Probability* follows success in normal episodes: an ego that drives well undisturbed is attacked more often,
    and one that forgets normal driving (the failure that SAGE's curriculum is meant to prevent) gets it back.
    An axis judges the last `window` episodes of its kind, then moves by at most one step and waits for a window of
    new episodes, so that a move is judged by what followed it. Deterministic; progress is not used.
    """

    name: ClassVar[str] = "adaptive"

    def __init__(
        self,
        window: int = 50,
        raise_above: float = 0.6,
        lower_below: float = 0.35,
        completion: float = 0.5,
        probability: tuple[float, float, float] = (0.1, 0.9, 0.1),
        intensity: tuple[float, float, float] = (0.5, 1.0, 0.1),
    ) -> None:
        """Set thresholds and axes.

        Args:
            window: Episodes of one kind (attacked or normal) between two moves of its axis.
            raise_above: Success rate at or above which an axis moves up.
            lower_below: Success rate at or below which it moves down.
            completion: Share of the route that an ego must have driven, without a crash and on the road, for a success.
            probability: Lowest (and first), highest and step of the attack probability.
            intensity: Lowest (and first), highest and step of the attack intensity.

        Raises:
            ConfigError: The options cannot work together.
        """
        if window < 1:
            raise ConfigError(f"curriculum option window = {window}: expected at least 1 episode.")
        if not 0.0 <= lower_below < raise_above <= 1.0:
            raise ConfigError(
                f"curriculum options lower_below = {lower_below}, raise_above = {raise_above}: "
                "expected 0 ≤ lower_below < raise_above ≤ 1."
            )
        for name, (low, high, step) in {"probability": probability, "intensity": intensity}.items():
            if not (low <= high and step > 0.0):
                raise ConfigError(f"curriculum option {name} = {(low, high, step)}: expected low ≤ high and step > 0.")
        check_fraction("probability low", probability[0])
        check_fraction("probability high", probability[1])
        self._window = int(window)
        self._raise_above, self._lower_below = float(raise_above), float(lower_below)
        self._completion = check_fraction("completion", completion)
        self._axes = {"probability": Axis(*probability), "intensity": Axis(*intensity)}
        self._values = {name: axis.low for name, axis in self._axes.items()}
        self._successes: dict[str, list[bool]] = {name: [] for name in self._axes}

    def schedule(self, progress: float) -> AttackSchedule:
        """The present level of both axes; `progress` is not used."""
        return AttackSchedule(self._values["probability"], self._values["intensity"])

    def succeeded(self, outcome: EpisodeOutcome) -> bool:
        """Whether the ego got far enough, without a crash and without leaving the road."""
        failed = outcome.crashed or outcome.off_road
        # A route that leads nowhere (a parked ego) has no completion: NaN is no shortfall.
        short = outcome.route_completion < self._completion
        return not failed and (outcome.arrived or not short)

    def record(self, outcome: EpisodeOutcome) -> None:
        """Count the episode on its axis, and move that axis once its window is full."""
        name = "intensity" if outcome.attacked else "probability"
        seen = self._successes[name]
        seen.append(self.succeeded(outcome))
        if len(seen) < self._window:
            return
        rate = sum(seen) / len(seen)
        direction = int(rate >= self._raise_above) - int(rate <= self._lower_below)
        moved = self._axes[name].moved(self._values[name], direction)
        if moved != self._values[name]:
            self._values[name] = moved
            seen.clear()
        else:
            del seen[0]

    def state_dict(self) -> dict[str, object]:
        """Levels and open windows."""
        return {"values": dict(self._values), "successes": {name: list(seen) for name, seen in self._successes.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ConfigError: The state is not one of this curriculum.
        """
        try:
            self._values = {name: float(state["values"][name]) for name in self._axes}
            self._successes = {name: [bool(flag) for flag in state["successes"][name]] for name in self._axes}
        except KeyError as error:
            raise ConfigError(
                f"curriculum state lacks {error}: it was not saved by 'adaptive'. Resume with the run's own curriculum."
            ) from error

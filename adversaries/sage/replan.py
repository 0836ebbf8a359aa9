"""`sage_replan`: SAGE among traffic that reacts, planned anew every second and driven by wheel physics.

Paper: Nie et al., "Steerable Adversarial Scenario Generation through Test-Time Preference Alignment", section 3.3, for
each single plan. That plans are made anew is Gauntlet's own.

Cost: As `sage`, and for each new plan of an episode as much as a first plan of `sage` in a new scene.

Limits: Only vehicles are driven by physics: other opponents follow the first plan to its end. The fast engine does not
play plans with controllers.
"""

from __future__ import annotations

from dataclasses import replace
from os import PathLike

from adversaries.prior.prior import MotionPrior
from adversaries.sage.adversary import SageAdversary
from adversaries.sage.experts import Experts
from adversaries.sage.replanning import FORECASTS, PERIOD, Choice, Forecast, ReplanningController, Weights, arrays_of
from adversaries.sage.steered import Drives
from adversaries.sage.steering import Coefficient, coefficient_at
from harness.episodes.protocol import Protocol, protocol_of
from harness.errors import ConfigError
from harness.interfaces import AttackContext, AttackPlan
from scenarios.scenario import Kind


class ReplanningSageAdversary(SageAdversary):
    """The plan of `sage`, followed by physics, and made anew from where everybody truly is.

    What `intensity` means is said of `SteeredAdversary`. Up to the context's step the opponent follows its log; from
    there a `ReplanningController` drives it. The plan's rows are the first plan's: what was expected, not what was
    driven. There is no published code, so both protocols plan alike.
    """

    name = "sage_replan"

    def __init__(
        self,
        experts: Experts | str | PathLike[str] | None = None,
        prior: MotionPrior | str | PathLike[str] | None = None,
        protocol: str | Protocol = "corrected",
        candidates: int | None = None,
        spacing: float | None = None,
        cache_scenes: int = 64,
        drives: Drives = "mean",
        coefficient: Coefficient = "equal",
        profiles: int = 1,
        period: int = PERIOD,
        forecast: Forecast = "drives",
    ) -> None:
        """Load the experts and fix the options.

        Args:
            experts, prior, candidates, spacing, cache_scenes, drives, coefficient, profiles: See `SageAdversary`.
            protocol: Both plan alike; only the plan's label differs.
            period: Steps from one plan to the next, 10 a second. 0 makes the plan once, and only follows it.
            forecast: What the ego is expected to do at a new plan: `drives`, to go on along its remembered drives from
                where it is by then, or `motion`, to keep its speed and turn rate.

        Raises:
            WeightsError: Weights are missing, or the experts come from another prior.
            ConfigError: An option cannot work.
        """
        super().__init__(
            experts,
            prior,
            "corrected",
            candidates,
            spacing,
            cache_scenes=cache_scenes,
            drives=drives,
            coefficient=coefficient,
            profiles=profiles,
        )
        if period < 0 or forecast not in FORECASTS:
            raise ConfigError(
                f"{self.name}: expected a period >= 0 and a forecast among {', '.join(FORECASTS)}, got {period}, "
                f"{forecast!r:.80}."
            )
        self.period, self.forecast = period, forecast
        self._label = protocol_of(protocol).name
        self._reference: tuple[int, Weights] | None = None

    def plan(self, context: AttackContext) -> AttackPlan:
        """The plan of `sage`, with a controller where the opponent is a vehicle.

        Raises:
            AdversaryError: See `SteeredAdversary.plan`.
        """
        first = super().plan(context)
        info = {**first.info, "protocol": self._label}
        if context.scenario.kinds[context.opponent] != Kind.VEHICLE:
            return replace(first, info=info)
        controller = ReplanningController(self._choice(context), context.ego_trajectories, self.period, self.forecast)
        return replace(first, info=info, takeover_step=context.step + 1, controller=controller)

    def _choice(self, context: AttackContext) -> Choice:
        place = coefficient_at(float(context.intensity), self.coefficient, self.expert_weight)
        version = self.prior.version
        if self._reference is None or self._reference[0] != version:
            self._reference = version, arrays_of(self.prior.network)
        return Choice(
            config=self.prior.config,
            prior=self._reference[1],
            mixture=arrays_of(self.dial.turn(place)),
            intensity=float(context.intensity),
            candidates=self.num,
            spacing=self.draw.spacing,
            profiles=self.profiles,
            drives=self.drives,
        )

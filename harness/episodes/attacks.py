"""The one way to attack an episode: who is attacked, what the adversary is told, and what is played of its plan."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from harness.episodes.ego_buffer import log_trajectory
from harness.episodes.protocol import CORRECTED, Protocol
from harness.errors import AdversaryError, GauntletError, foreign
from harness.interfaces import Adversary, AttackContext, AttackPlan, EpisodeOutcome, Trajectory
from scenarios.scenario import CURRENT_STEP, Scenario

if TYPE_CHECKING:
    from harness.engine import Recording

logger = logging.getLogger(__name__)

NO_ADVERSARY: Final = "none"
"""Registry name of the adversary that never attacks."""
Attacks = Literal["all", "avoidable", "preventable"]
"""Which attacks are played in training: `all`, or those that some motion or the careful human driver escapes."""
Precondition = Callable[[Scenario, AttackPlan, Trajectory, tuple[float, float]], bool]
"""Whether a plan may be played, given the ego's newest drive in the scene and its length and width, m."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What came of asking an adversary.

    Attributes:
        planned: The plan as the adversary made it, or None where the scene stays as recorded.
        plan: What the simulator plays of it: the same, or one step late (`Protocol.plan_one_step_late`).
        intensity: What was asked for.
        seconds: Time to plan and to judge the plan, s.
        error: Why the scene could not be attacked, or empty.
        refused: Whether there is a plan that is not played, because it fails the precondition.
    """

    planned: AttackPlan | None = None
    plan: AttackPlan | None = None
    intensity: float = 0.0
    seconds: float = 0.0
    error: str = ""
    refused: bool = False

    @property
    def played_intensity(self) -> float:
        """The intensity of what is played: 0 where nobody attacks."""
        return self.intensity if self.plan is not None else 0.0


def attack_context(
    scenario: Scenario,
    rng: np.random.Generator,
    *,
    intensity: float = 1.0,
    ego: tuple[Trajectory, ...] | None = None,
    ego_size: tuple[float, float] | None = None,
) -> AttackContext:
    """What an adversary may look at, at the scene's current step.

    Args:
        scenario: The recorded scene; its `opponent` attacks.
        rng: For the adversary.
        intensity: Intensity of the attack, 0 natural … 1 vicious.
        ego: What the ego did here before, newest last; by default its log.
        ego_size: Length and width of the ego, m; by default as logged.

    Raises:
        AdversaryError: The scene has no opponent.
    """
    if scenario.opponent is None:
        raise AdversaryError(f"scenario {scenario.id}: no opponent; choose one with scenarios.opponents.")
    return AttackContext(
        scenario=scenario,
        opponent=scenario.opponent,
        ego_trajectories=(log_trajectory(scenario),) if ego is None else ego,
        intensity=intensity,
        rng=rng,
        ego_size=scenario.box(scenario.ego) if ego_size is None else ego_size,
        step=CURRENT_STEP,
    )


def plan_attack(
    adversary: Adversary | None,
    scenario: Scenario,
    rng: np.random.Generator,
    *,
    intensity: float = 1.0,
    ego: tuple[Trajectory, ...] | None = None,
    ego_size: tuple[float, float] | None = None,
    protocol: Protocol = CORRECTED,
    on_error: Literal["raise", "tell"] = "raise",
    precondition: Precondition | None = None,
) -> Attack:
    """Ask an adversary for its attack.

    Args:
        adversary: Who attacks; None (or one called `none`) leaves the scene as recorded.
        scenario, rng, intensity, ego, ego_size: See `attack_context`.
        protocol: Decides whether the plan is played one step late.
        on_error: At a scene that cannot be attacked, `raise`, or `tell`: the attack then has no plan, but the reason.
        precondition: A plan that fails it leaves the scene as recorded; None for any plan.

    Raises:
        AdversaryError: No opponent, or the adversary cannot plan here (not with `tell`).
    """
    if adversary is None or adversary.name == NO_ADVERSARY:
        return Attack(intensity=intensity)
    planned, error, began = None, "", time.perf_counter()
    # An adversary says by an AdversaryError that a scene cannot be attacked; everything else is a fault of its own.
    with foreign(f"adversary {adversary.name!r} failed in scene {scenario.id}", AdversaryError, (GauntletError,)):
        try:
            planned = adversary.plan(attack_context(scenario, rng, intensity=intensity, ego=ego, ego_size=ego_size))
        except AdversaryError as failure:
            if on_error == "raise":
                raise
            error = str(failure)
            logger.warning("scene %s is played without an attack: %s", scenario.id, error)
    if not isinstance(planned, AttackPlan | None):
        raise AdversaryError(
            f"adversary {adversary.name!r} in scene {scenario.id}: plan() gave {type(planned).__name__}, expected an "
            "AttackPlan of harness.interfaces, or None to leave the scene as recorded."
        )
    plan = planned
    if planned is not None and protocol.plan_one_step_late:
        plan = one_step_late(planned, CURRENT_STEP)
    refused = False
    if plan is not None and precondition is not None:
        drive = log_trajectory(scenario) if ego is None else ego[-1]
        refused = not precondition(scenario, plan, drive, scenario.box(scenario.ego) if ego_size is None else ego_size)
    seconds = time.perf_counter() - began
    return Attack(planned, None if refused else plan, intensity, seconds, error, refused)


def one_step_late(plan: AttackPlan, step: int) -> AttackPlan:
    """The plan with row k played at step k + 1, for all k ≥ `step` (the published simulators' lag).

    At `step + 1` the opponent is where it was at `step`; the last row is never played.
    """
    states, valid = plan.states.copy(), plan.valid.copy()
    states[step + 1 :], valid[step + 1 :] = plan.states[step:-1], plan.valid[step:-1]
    if not plan.valid[step]:
        # Nothing is known of the step before: the first planned row is played twice.
        first = min(step + 1, len(valid) - 1)
        states[first], valid[first] = plan.states[first], plan.valid[first]
    return replace(plan, states=np.ascontiguousarray(states), valid=valid)


def outcome_of(attack: Attack, recording: Recording, info: Mapping[str, Any]) -> EpisodeOutcome:
    """What a curriculum learns from a finished episode.

    Args:
        attack: What was played.
        recording: Recording of the episode.
        info: Info of the last step.
    """
    return EpisodeOutcome(
        attacked=attack.plan is not None,
        intensity=attack.played_intensity,
        crashed=recording.crash_contact is not None or recording.crash_geometry is not None,
        route_completion=float(info["route_completion"]),
        arrived=bool(info["arrive_dest"]),
        off_road=bool(info["out_of_road"]),
    )

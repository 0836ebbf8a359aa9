"""What every steered adversary shares: candidates at an intensity are judged, and the user's reward chooses one.

Paper: Nie et al., "Steerable Adversarial Scenario Generation through Test-Time Preference Alignment", section 3.3.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adversaries.common.candidates import Drawn
from adversaries.common.plans import EgoFutures, check_context, distinct_futures, plan_rows
from adversaries.sage.config import EXTREME
from adversaries.sage.objectives import Objectives, Style, Values, concatenate, judged, threat_of
from adversaries.sage.steering import COEFFICIENTS, MIXINGS, Coefficient, Mixing, coefficient_at, mix_trajectories
from harness.episodes.protocol import Protocol, protocol_of
from harness.errors import ConfigError
from harness.interfaces import AttackContext, AttackPlan
from scenarios.scenario import FUTURE_STEPS

Floats = NDArray[np.float64]

CANDIDATES: Final = 32
"""Candidates K from which R_μ chooses (appendix B.1)."""
MORE_CANDIDATES: Final = 64
"""Candidates of `sage` where nothing is repeated as published: more goals hit more often (measured: `docs/sage.md`)."""

Drives = Literal["mean", "latest"]
"""Which drives of the ego R_adv looks at: the mean over all that are remembered, or the latest alone (appendix B.1)."""
DRIVES: Final[tuple[Drives, ...]] = ("mean", "latest")


class Proposal(NamedTuple):
    """Judged candidates: states [K, T, 5], log-probabilities [K], objectives and selection score [K]."""

    states: Floats
    log_prob: Floats
    values: Values
    score: Floats

    def drawn(self, context: AttackContext) -> Drawn:
        """The candidates as such, valid for as long as the model sees."""
        scene = context.scenario
        steps = np.arange(scene.num_steps)
        valid = (steps > context.step) & (steps <= context.step + FUTURE_STEPS)
        return Drawn(states=self.states, valid=valid, log_prob=self.log_prob, size=scene.box(context.opponent))

    def joined(self, other: Proposal) -> Proposal:
        """These candidates, followed by others."""
        return Proposal(
            np.concatenate([self.states, other.states]),
            np.concatenate([self.log_prob, other.log_prob]),
            concatenate([self.values, other.values]),
            np.concatenate([self.score, other.score]),
        )


class Rated(NamedTuple):
    """Candidates, and how they are driven."""

    drawn: Drawn
    style: Style


class SteeredAdversary(ABC):
    """Weight-mixed experts propose candidates, the user's reward chooses one.

    `intensity` is both λ (weights, eq. 6) and μ (choice): 0 natural … 1 vicious, continuous; beyond [0, 1] the weights
    extrapolate by preference vectors (eq. 16) and μ stays at its end. With the coefficient `matched` it is μ, and λ
    follows from it by eq. 27. The choice is
    argmax R_μ = μ R_adv - (1 - μ) P_real - P_map: the paper ranks by the first two terms, its code subtracts the flags
    P_map as well (50 for a road boundary, 10 for an object), so that feasibility comes first here too.

    Corrected: the attack is aimed at the ego trajectories of the context (R_adv is averaged over them, or is that of
    the latest, by `drives`), contact is judged at every step, boxes are turned the right way. As published: aimed at
    the logged ego, as the public code does, with its objectives (see `Objectives`) and with headings and velocities
    from positions.
    """

    name: str

    def __init__(
        self,
        protocol: str | Protocol,
        candidates: int,
        mixing: Mixing,
        cache_scenes: int,
        drives: Drives,
        coefficient: Coefficient = "equal",
        expert_weight: float = EXTREME,
    ) -> None:
        """Check and keep what all have; `expert_weight` is w* of eq. 5, with which the experts were aligned.

        Raises:
            ConfigError: An option cannot work.
        """
        if candidates < 1 or cache_scenes < 1:
            raise ConfigError(
                f"{self.name}: expected candidates >= 1 and cache_scenes >= 1, got {candidates}, {cache_scenes}."
            )
        if mixing not in MIXINGS:
            raise ConfigError(f"{self.name}: expected mixing to be one of {', '.join(MIXINGS)}, got {mixing!r}.")
        if coefficient not in COEFFICIENTS:
            raise ConfigError(
                f"{self.name}: expected coefficient to be one of {', '.join(COEFFICIENTS)}, got {coefficient!r:.80}."
            )
        # Refuses a weight that eq. 27 does not know.
        coefficient_at(0.0, coefficient, expert_weight)
        if drives not in DRIVES:
            raise ConfigError(f"{self.name}: expected drives to be one of {', '.join(DRIVES)}, got {drives!r:.80}.")
        self.protocol, self.num, self.mixing, self.drives = protocol_of(protocol), candidates, mixing, drives
        self.coefficient, self.expert_weight = coefficient, expert_weight

    @abstractmethod
    def _draw(self, context: AttackContext, intensity: float) -> Drawn:
        """Candidates of the mixture at λ."""

    @abstractmethod
    def _objectives(self, context: AttackContext) -> Objectives:
        """What judges candidates of the context's opponent."""

    def _rated(self, context: AttackContext, intensity: float) -> Rated:
        """Candidates of the mixture at λ, and what of their objectives does not depend on the ego."""
        return self._rate(context, self._draw(context, intensity))

    def _rate(self, context: AttackContext, drawn: Drawn) -> Rated:
        return Rated(drawn, self._objectives(context).style(drawn.states, drawn.valid))

    def plan(self, context: AttackContext) -> AttackPlan:
        """Propose, judge, choose (see the class).

        Raises:
            AdversaryError: No opponent, no future, no ego, or the opponent is absent at the current step.
        """
        check_context(context)
        scene = context.scenario
        proposal = self.propose(context)
        chosen = int(proposal.score.argmax())
        last = min(context.step + FUTURE_STEPS, scene.num_steps - 1)
        rows, valid = plan_rows(context, proposal.states[chosen], last, self.protocol)
        values = proposal.values
        judged = bool(values.edges[chosen])
        return AttackPlan(
            rows,
            valid,
            candidates=proposal.states,
            scores={
                "log_prob": proposal.log_prob,
                "adversarial": values.adversarial,
                "kinematic": values.kinematic,
                "behavioural": values.behavioural,
                "score": proposal.score,
                **({"feasible": values.feasible.astype(np.float64)} if judged else {}),
            },
            chosen=chosen,
            info={
                "protocol": self.protocol.name,
                "mixing": self.mixing,
                "intensity": float(context.intensity),
                "expects_contact": bool(values.hits[chosen]),
                "colliding_candidates": int(values.hits.sum()),
                **(_feasibility(values, chosen) if judged else {}),
            },
        )

    def propose(self, context: AttackContext) -> Proposal:
        """The judged candidates at the context's intensity.

        Raises:
            AdversaryError: See `plan`.
        """
        intensity = float(context.intensity)
        place = coefficient_at(intensity, self.coefficient, self.expert_weight)
        if self.mixing == "trajectories":
            return self._mixed(context, intensity, place)
        return self._judged(context, self._rated(context, place), intensity)

    def _judged(self, context: AttackContext, rated: Rated, intensity: float) -> Proposal:
        drawn = rated.drawn
        if self.protocol.sage_as_written:
            scene = context.scenario
            log = scene.states(scene.ego)[None], scene.valid[scene.ego][None]
            threat = self._objectives(context).threat(drawn.states, drawn.valid, *log, context.ego_size)
        else:
            threat = threat_of(drawn, self._egos(context), context.ego_size, context.step + 1)
        values = judged(threat, rated.style)
        mu = min(max(intensity, 0.0), 1.0)
        return Proposal(drawn.states, drawn.log_prob, values, values.total(mu, 1.0 - mu, 1.0))

    def _egos(self, context: AttackContext) -> EgoFutures:
        """The ego trajectories that the corrected R_adv looks at."""
        egos = distinct_futures(context)
        return latest_of(egos) if self.drives == "latest" else egos

    def _mixed(self, context: AttackContext, intensity: float, place: float) -> Proposal:
        """Trajectory mixing: the experts' own choices (μ at their ends), averaged at λ; judged as one candidate."""
        ends = []
        for end in (0.0, 1.0):
            rated = self._rated(context, end)
            found = self._judged(context, rated, end)
            best = int(found.score.argmax())
            ends.append((found.states[best], rated.drawn.valid, found.log_prob[best]))
        (real, valid, real_log_prob), (adv, _, adv_log_prob) = ends
        states = real.copy()[None]
        future = slice(context.step + 1, None)
        states[0, future] = mix_trajectories(real[future], adv[future], place)
        log_prob = np.array([(1.0 - place) * real_log_prob + place * adv_log_prob])
        mixed = Drawn(states=states, valid=valid, log_prob=log_prob, size=rated.drawn.size)
        return self._judged(context, self._rate(context, mixed), intensity)


def latest_of(egos: EgoFutures) -> EgoFutures:
    """The newest of the ego trajectories alone."""
    newest = egos.places[-1:]
    return EgoFutures(egos.states[newest], egos.valid[newest], np.zeros(1, dtype=np.intp))


def _feasibility(values: Values, chosen: int) -> dict[str, float | int | str | bool]:
    """What a plan tells of feasibility where the map has road edges."""
    return {"feasible": bool(values.feasible[chosen]), "feasible_candidates": int(values.feasible.sum())}


def only_seen(context: AttackContext, states: Floats) -> Floats:
    """Candidates [K, T, 5] with zeros where the opponent was not seen up to the current step, in place."""
    history = slice(context.step + 1)
    seen = context.scenario.valid[context.opponent, history]
    states[:, history] = np.where(seen[:, None], states[:, history], 0.0)
    return states

"""`sage`: an adversary whose aggression is dialled between two experts, by mixing their weights.

Paper: Nie et al., "Steerable Adversarial Scenario Generation through Test-Time Preference Alignment", section 3.3.
"""

from __future__ import annotations

from os import PathLike
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from adversaries._plans import check_context, ego_futures, recompute_motion, with_history
from adversaries.prior import Features, MotionPrior
from adversaries.prior.cache import SceneCache
from adversaries.prior.config import HORIZON
from adversaries.prior.network import Encoding, GoalNetwork, to_batch
from adversaries.protocol import CORRECTED, protocol_of
from adversaries.protocol import Protocol as AttackProtocol
from adversaries.sage.backbone import complete
from adversaries.sage.experts import Experts, load_experts
from adversaries.sage.groups import SPACING, Draw, draw_goals
from adversaries.sage.objectives import Objectives, Values
from adversaries.sage.steering import MIXINGS, Dial, Extrapolation, Mixing, mix_logits, mix_trajectories
from harness.errors import ConfigError
from harness.interfaces import AttackContext, AttackPlan
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CANDIDATES: Final = 32
"""Candidates K from which R_μ chooses (appendix B.1)."""


class Scene(NamedTuple):
    """What an attack needs of a scene, whatever λ and the ego are."""

    case: Features
    encoding: Encoding
    objectives: Objectives


class Proposal(NamedTuple):
    """Judged candidates: states [K, T, 5], log-probabilities [K], objectives and selection score [K]."""

    states: Floats
    log_prob: Floats
    values: Values
    score: Floats


class SageAdversary:
    """Weight-mixed experts propose candidates, the user's reward chooses one.

    `intensity` is both λ (weights, eq. 6) and μ (choice): 0 natural … 1 vicious, continuous; beyond [0, 1] the weights
    extrapolate by preference vectors (eq. 16) and μ stays at its end. The choice is
    argmax R_μ = μ R_adv - (1 - μ) P_real - P_map: the paper ranks by the first two terms, its code subtracts the flags
    P_map as well (50 for a road boundary, 10 for an object), so that feasibility comes first here too.

    Corrected: the attack is aimed at the ego trajectories of the context (R_adv is averaged over them), contact is
    judged at every step, boxes are turned the right way. As published: aimed at the logged ego, as the public code
    does, with its objectives (see `Objectives`) and with headings and velocities from positions.
    """

    name = "sage"

    def __init__(
        self,
        experts: Experts | str | PathLike[str] | None = None,
        prior: MotionPrior | str | PathLike[str] | None = None,
        protocol: str | AttackProtocol = "corrected",
        candidates: int = CANDIDATES,
        spacing: float | None = None,
        mixing: Mixing = "weights",
        extrapolation: Extrapolation = "vector",
        cache_scenes: int = 64,
    ) -> None:
        """Load the experts and fix the options.

        Args:
            experts: Experts, or a folder that `train_experts` wrote. By default those beside `prior`, or else those
                that ship with Gauntlet.
            prior: The motion prior of the experts or its file; found beside the experts by default.
            protocol: `corrected` or `as-published`.
            candidates: Candidates from which R_μ chooses.
            spacing: Candidates keep this distance, m (0: the plain likeliest, the published decoding). By default 4 m,
                and 0 as published. See `groups.Draw`.
            mixing: `weights` (SAGE), or one of the paper's rivals, `logits` and `trajectories`.
            extrapolation: How weights go on beyond [0, 1]: `vector` (eq. 16) or `direct` (eq. 6 as it stands).
            cache_scenes: Scenes whose features and encodings are kept, about 0.5 MB each.

        Raises:
            WeightsError: Weights are missing, or the experts come from another prior.
            ConfigError: An option cannot work.
        """
        if candidates < 1 or cache_scenes < 1:
            raise ConfigError(
                f"sage: expected candidates >= 1 and cache_scenes >= 1, got {candidates}, {cache_scenes}."
            )
        if mixing not in MIXINGS:
            raise ConfigError(f"sage: expected mixing to be one of {', '.join(MIXINGS)}, got {mixing!r}.")
        self.protocol, self.num, self.mixing = protocol_of(protocol), candidates, mixing
        default = SPACING if self.protocol is CORRECTED else 0.0
        self.draw = Draw(default if spacing is None else spacing)
        self.experts = experts if isinstance(experts, Experts) else load_experts(experts, prior, cache_scenes)
        self.prior = self.experts.prior
        self.dial = Dial(GoalNetwork(self.prior.config).eval(), self.experts.vectors, extrapolation)
        self._scenes: SceneCache[Scene] = SceneCache(cache_scenes)

    def plan(self, context: AttackContext) -> AttackPlan:
        """Propose, judge, choose (see the class).

        Raises:
            AdversaryError: No opponent, no future, no ego, or the opponent is absent at the current step.
        """
        check_context(context)
        scene = context.scenario
        proposal = self.propose(context)
        chosen = int(proposal.score.argmax())
        last = min(context.step + HORIZON, scene.num_steps - 1)
        rows, valid = with_history(context, proposal.states[chosen], last)
        if self.protocol.path_headings or self.protocol.forward_velocity:
            rows = recompute_motion(
                rows,
                valid,
                scene.dt,
                headings=self.protocol.path_headings,
                velocity=self.protocol.forward_velocity,
            )
        values = proposal.values
        return AttackPlan(
            rows,
            valid,
            candidates=proposal.states,
            scores={
                "log_prob": proposal.log_prob,
                "adversarial": values.adversarial,
                "kinematic": values.kinematic,
                "behavioural": values.behavioural,
                "feasible": values.feasible.astype(np.float64),
                "score": proposal.score,
            },
            chosen=chosen,
            info={
                "protocol": self.protocol.name,
                "mixing": self.mixing,
                "intensity": float(context.intensity),
                "expects_contact": bool(values.hits[chosen]),
                "feasible": bool(values.feasible[chosen]),
                "feasible_candidates": int(values.feasible.sum()),
                "colliding_candidates": int(values.hits.sum()),
            },
        )

    def propose(self, context: AttackContext) -> Proposal:
        """The judged candidates at the context's intensity.

        Raises:
            AdversaryError: See `plan`.
        """
        intensity = float(context.intensity)
        if self.mixing == "trajectories":
            return self._mixed(context, intensity)
        return self._judged(context, *self._candidates(context, self._log_probs(context, intensity)), intensity)

    def _log_probs(self, context: AttackContext, intensity: float) -> torch.Tensor:
        """Goal log-probabilities [G] at λ."""
        batch = to_batch([self._scene(context).case])
        with torch.inference_mode():
            if self.mixing == "logits":
                real, adv = (self.dial.turn(end)(batch)[1][0].clone() for end in (0.0, 1.0))
                return mix_logits(real, adv, intensity)
            return self.dial.turn(intensity)(batch)[1][0]

    def _candidates(self, context: AttackContext, log_probs: torch.Tensor) -> tuple[Floats, Bools, Floats]:
        """The likeliest goals, completed: states [K, T, 5], validity [T], log-probabilities [K]."""
        scene = self._scene(context)
        scores = log_probs.double().numpy()
        case = scene.case
        goals = draw_goals(scores, case.goal_points, case.goal_mask, self.num, self.draw)
        states, valid = complete(
            self.prior, scene.encoding, context.scenario, context.opponent, context.step, case, goals
        )
        history = slice(context.step + 1)
        seen = context.scenario.valid[context.opponent, history]
        states[:, history] = np.where(seen[:, None], states[:, history], 0.0)
        return states, valid, scores[goals]

    def _judged(
        self, context: AttackContext, states: Floats, valid: Bools, log_prob: Floats, intensity: float
    ) -> Proposal:
        if self.protocol is CORRECTED:
            ego, ego_valid = ego_futures(context)
        else:
            scene = context.scenario
            ego, ego_valid = scene.states(scene.ego)[None], scene.valid[scene.ego][None]
        values = self._scene(context).objectives(states, valid, ego, ego_valid, context.ego_size)
        mu = min(max(intensity, 0.0), 1.0)
        return Proposal(states, log_prob, values, values.total(mu, 1.0 - mu, 1.0))

    def _mixed(self, context: AttackContext, intensity: float) -> Proposal:
        """Trajectory mixing: the two experts' own choices (μ at their ends), averaged; judged as one candidate."""
        ends = []
        for end in (0.0, 1.0):
            with torch.inference_mode():
                log_probs = self.dial.turn(end)(to_batch([self._scene(context).case]))[1][0]
            found = self._judged(context, *(drawn := self._candidates(context, log_probs)), end)
            best = int(found.score.argmax())
            ends.append((found.states[best], drawn[1], found.log_prob[best]))
        (real, valid, real_log_prob), (adv, _, adv_log_prob) = ends
        states = real.copy()[None]
        future = slice(context.step + 1, None)
        states[0, future] = mix_trajectories(real[future], adv[future], intensity)
        log_prob = np.array([(1.0 - intensity) * real_log_prob + intensity * adv_log_prob])
        return self._judged(context, states, valid, log_prob, intensity)

    def _scene(self, context: AttackContext) -> Scene:
        key = (context.opponent, context.step)
        return self._scenes.get(context.scenario, key, lambda: self._prepare(context.scenario, *key))

    @torch.inference_mode()
    def _prepare(self, scenario: Scenario, opponent: int, step: int) -> Scene:
        case = self.prior.features(scenario, opponent, step)
        encoding = self.prior.network.encode(to_batch([case]))
        published = self.protocol is not CORRECTED
        return Scene(case, encoding, Objectives(scenario, opponent, step, published=published))

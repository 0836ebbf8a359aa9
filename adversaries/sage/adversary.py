"""`sage`: an adversary whose aggression is dialled between two experts, by mixing their weights.

Paper: Nie et al., "Steerable Adversarial Scenario Generation through Test-Time Preference Alignment", section 3.3.

Cost: Tens of milliseconds for the first plan in a scene, less than one for a later plan at the same intensity.

Limits: The experts that come with the package have learnt from procedural scenes: `train_experts` makes those of
recorded scenes. Feasibility goes by road edges, where the map has some, and by other traffic as it was recorded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch

from adversaries.common.candidates import Drawn, drawn_of
from adversaries.common.speed_profiles import check_profiles
from adversaries.common.stock import MAKING, Stock, entry
from adversaries.prior.cache import SceneCache
from adversaries.prior.network import GoalNetwork, to_batch
from adversaries.prior.prior import MotionPrior
from adversaries.sage.co_training import CoTrainedExpert
from adversaries.sage.experts import Experts, load_aligned, load_experts, merger_of, read_coefficients
from adversaries.sage.goal_scenes import GoalScene, drawn_goals, goal_scene
from adversaries.sage.groups import SPACING, Draw
from adversaries.sage.merging import Merge, Merger
from adversaries.sage.merging_config import DENSITY
from adversaries.sage.novelty import bonus, kinds_met
from adversaries.sage.objectives import Objectives, Style
from adversaries.sage.refining import BEST, refined
from adversaries.sage.steered import CANDIDATES, MORE_CANDIDATES, Drives, Proposal, Rated, SteeredAdversary
from adversaries.sage.steering import Coefficient, Dial, Extrapolation, Mixing, mix_logits
from harness.caching import Arrays
from harness.episodes.protocol import Protocol, protocol_of
from harness.errors import ConfigError
from harness.interfaces import AttackContext
from scenarios.scenario import Scenario

MAX_LEVELS: Final = 1_000
"""Most `levels`: each is one more entry per scene."""
MAX_STEPS: Final = 1_000
"""Most steps of `refine`."""


class SageAdversary(SteeredAdversary):
    """The steered adversary over the goal-conditioned prior: candidates are its mixture's likeliest goals, completed.

    What `intensity` and the protocols mean is said of `SteeredAdversary`. It is an adversary that adapts
    (`harness.training.co_training.AdaptingAdversary`): its adversarial expert goes on learning by HGPO.
    """

    name = "sage"
    scenes_per_update: ClassVar[int] = 8

    def __init__(
        self,
        experts: Experts | str | PathLike[str] | None = None,
        prior: MotionPrior | str | PathLike[str] | None = None,
        protocol: str | Protocol = "corrected",
        candidates: int | None = None,
        spacing: float | None = None,
        mixing: Mixing = "weights",
        extrapolation: Extrapolation = "vector",
        cache_scenes: int = 64,
        levels: int = 0,
        on_disk: bool = False,
        drives: Drives = "mean",
        coefficient: Coefficient = "equal",
        merge: Merge = "linear",
        density: float = DENSITY,
        coefficients: str | PathLike[str] | Sequence[Mapping[str, float]] | None = None,
        third: GoalNetwork | str | PathLike[str] | None = None,
        third_share: float = 0.0,
        profiles: int = 1,
        refine: int = 0,
        novelty: float = 0.0,
    ) -> None:
        """Load the experts and fix the options.

        Args:
            experts: Experts, or a folder that `train_experts` wrote. By default those beside `prior`, or else those
                that ship with Gauntlet.
            prior: The motion prior of the experts or its file; found beside the experts by default.
            protocol: `corrected` or `as-published`.
            candidates: Candidates from which R_μ chooses. By default 64, and 32 as published (appendix B.1).
            spacing: Candidates keep this distance, m (0: the plain likeliest, the published decoding). By default 4 m,
                and 0 as published. See `groups.Draw`.
            mixing: `weights` (SAGE), or one of the paper's rivals, `logits` and `trajectories`.
            extrapolation: How weights go on beyond [0, 1]: `vector` (eq. 16) or `direct` (eq. 6 as it stands).
            cache_scenes: Scenes whose features and encodings are kept, about 0.5 MB each, and whose candidates are,
                0.26 MB for each λ: those of the last `cache_scenes` · (`levels` + 1) scenes and λ.
            levels: Candidates are drawn at the nearest of the λ 0, 1/`levels`, …, 1 (and beyond, in the same steps):
                an approximation, so that a λ that glides meets candidates that are kept. The choice among them keeps
                μ as asked for. 0 draws at every λ as it is.
            on_disk: Whether candidates are also kept in the user's cache folder, for the next run: those at one of
                the `levels`, or else at a λ of at most two decimals, which may come again.
            drives: R_adv is its `mean` over the ego's remembered drives, or that against the `latest` alone (the
                paper's). As published, the log counts whatever was driven.
            coefficient: How λ follows from μ, the intensity: `equal` (λ = μ) or `matched` (eq. 27 with the weight of
                the experts' own alignment).
            merge: How weights are merged (see `adversaries.sage.merging`): `linear`, the straight line; `ties`; `task`,
                task arithmetic with a coefficient per expert and layer; or `geodesic`, along a sphere.
            density: Share of the weights that `ties` keeps, in (0, 1]. Below 1 the dial ends at trimmed experts.
            coefficients: File of coefficients for `task`, which `sage_analysis` writes; or those themselves.
            third: A third expert, such as `novel`, or its file; it must come from the same prior.
            third_share: Share ρ of the third expert, in [0, 1]. The other two share 1 - ρ as λ says; μ stays as it is.
            profiles: Speed profiles for each goal: 1, the prior's own, or 3 (5, 7, 9) with the same path driven up to
                a second sooner and later. Times and memory grow alike.
            refine: Steps of gradient ascent on R_μ that move the speeds of the best candidates along their paths, so
                that what is driven changes with μ, too. Nothing of it is kept: each attack takes about 8 ms a step
                longer. Corrected only.
            novelty: Spreads attacks over kinds of encounter (`harness.metrics.encounter_kinds`): μ times up to so much
                R_μ is added to feasible candidates that hit, by an order of the kinds that is drawn for each scene.
                Corrected only.

        Raises:
            WeightsError: Weights are missing, or the experts come from another prior.
            ConfigError: An option cannot work.
        """
        own = experts if isinstance(experts, Experts) else load_experts(experts, prior, cache_scenes)
        chosen = protocol_of(protocol)
        if candidates is None:
            candidates = CANDIDATES if chosen.sage_as_written else MORE_CANDIDATES
        super().__init__(chosen, candidates, mixing, cache_scenes, drives, coefficient, own.weight)
        if not 0 <= levels <= MAX_LEVELS:
            raise ConfigError(f"{self.name}: expected levels from 0 (λ as it is) to {MAX_LEVELS}, got {levels}.")
        default = 0.0 if self.protocol.sage_as_written else SPACING
        self.draw = Draw(default if spacing is None else spacing)
        self.experts = own
        self.prior = self.experts.prior
        self._vectors = self.experts.vectors
        self._merger = self._merge(merge, density, coefficients, third, third_share, extrapolation)
        own_weights = None if self._merger is None else partial(self._merger.dialled, third=third_share)
        self.dial = Dial(GoalNetwork(self.prior.config).eval(), self._vectors, extrapolation, own_weights)
        self._third_share = third_share
        self._expert: CoTrainedExpert | None = None
        self._scenes: SceneCache[GoalScene] = SceneCache(cache_scenes)
        check_profiles(self.name, profiles)
        self._check_choice(refine, novelty)
        self.levels, self.profiles, self.refine, self.novelty = levels, profiles, refine, novelty
        self._stock = Stock(cache_scenes * (levels + 1), self._maker if on_disk else None)

    def _merge(
        self,
        merge: Merge,
        density: float,
        coefficients: str | PathLike[str] | Sequence[Mapping[str, float]] | None,
        third: GoalNetwork | str | PathLike[str] | None,
        third_share: float,
        extrapolation: Extrapolation,
    ) -> Merger | None:
        """How the experts are merged; None for two of them on a straight line.

        Raises:
            ConfigError: Options that cannot work, or not together.
            WeightsError: The third expert's file is missing or unreadable, or of another prior.
        """
        if not 0.0 <= third_share <= 1.0 or (third is None and third_share > 0.0):
            raise ConfigError(
                f"{self.name}: expected a third_share in [0, 1], and a third expert, got {third_share!r}."
            )
        if (coefficients is not None) != (merge == "task"):
            raise ConfigError(
                f"{self.name}: merge=task and coefficients=FILE belong together, got merge={merge!r:.80}. "
                "`sage_analysis` writes such a file."
            )
        if merge == "linear" and third is None:
            return None
        if self.mixing != "weights" or extrapolation != "vector":
            raise ConfigError(
                f"{self.name}: merge={merge} and a third expert mix weights and follow their vectors beyond [0, 1]; "
                f"got mixing={self.mixing}, extrapolation={extrapolation}."
            )
        network = load_aligned(Path(third), self.prior)[0] if isinstance(third, str | PathLike) else third
        if isinstance(coefficients, str | PathLike):
            coefficients = read_coefficients(Path(coefficients), 2 if network is None else 3)
        return merger_of(self.experts, network, merge, density, coefficients or ())

    def adapt(self, contexts: Sequence[AttackContext], updates: int, seed: int) -> Mapping[str, float]:
        """Go on learning against the drives of these contexts; see `CoTrainedExpert.adapt`."""
        told = self._learning().adapt(contexts, updates, seed)
        self._take_over()
        return told

    def state_dict(self) -> dict[str, Any]:
        """What was learnt since the experts were loaded."""
        return self._learning().state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            WeightsError: It belongs to another network.
        """
        self._learning().load_state_dict(state)
        self._take_over()

    def save(self, folder: Path) -> None:
        """Write the experts as they are now, for `sage:FOLDER`."""
        self._learning().save(folder)

    def _learning(self) -> CoTrainedExpert:
        if self._merger is not None:
            raise ConfigError(f"{self.name}: two experts on a straight line go on learning; leave merge and third out.")
        if self._expert is None:
            self._expert = CoTrainedExpert(self.experts, self.draw)
        return self._expert

    def _take_over(self) -> None:
        """Mix with the expert as it is now; candidates of before are found no more."""
        self.experts = replace(self.experts, adv=self._learning().policy.module)
        self._vectors = self.experts.vectors
        self.dial = Dial(GoalNetwork(self.prior.config).eval(), self._vectors, self.dial.extrapolation)
        self.__dict__.pop("_weights", None)

    def _check_choice(self, refine: int, novelty: float) -> None:
        """Refuse what the choice cannot do.

        Raises:
            ConfigError: An option cannot work, or not as published.
        """
        if not 0 <= refine <= MAX_STEPS or not 0 <= novelty < np.inf:
            raise ConfigError(
                f"{self.name}: expected refine from 0 to {MAX_STEPS} and a finite novelty >= 0, got {refine}, "
                f"{novelty}."
            )
        if self.protocol.sage_as_written and (refine or novelty):
            raise ConfigError(
                f"{self.name}: the published method neither refines nor spreads; leave refine and novelty out as "
                "published, or attack by the protocol corrected."
            )

    def propose(self, context: AttackContext) -> Proposal:
        """The judged candidates at the context's intensity, those that `refine` made behind the others.

        Raises:
            AdversaryError: See `plan`.
        """
        proposal = super().propose(context)
        if self.refine:
            proposal = self._refined(context, proposal)
        if self.novelty:
            values = proposal.values
            liked = bonus(context, kinds_met(context, proposal.drawn(context), self._egos(context)))
            weight = self.novelty * min(max(float(context.intensity), 0.0), 1.0)
            proposal = proposal._replace(score=proposal.score + weight * liked * (values.hits & values.feasible))
        return proposal

    def _refined(self, context: AttackContext, proposal: Proposal) -> Proposal:
        intensity = float(context.intensity)
        best = np.argsort(-proposal.score, kind="stable")[:BEST]
        drawn = proposal.drawn(context)
        last = int(np.flatnonzero(drawn.valid)[-1])
        mu = min(max(intensity, 0.0), 1.0)
        states = refined(context, proposal.states[best], last, self._egos(context), mu, self.refine)
        log_prob = np.tile(proposal.log_prob[best], len(states) // len(best))
        rated = self._rate(context, replace(drawn, states=states, log_prob=log_prob))
        return proposal.joined(self._judged(context, rated, intensity))

    def _rated(self, context: AttackContext, intensity: float) -> Rated:
        """Candidates at λ, or at the nearest of the levels, as they are kept."""
        # The sum turns -0 into 0.
        at = round(intensity * self.levels) / self.levels + 0.0 if self.levels else intensity
        again = self.levels > 0 or round(at, 2) == at
        adapted = 0 if self._expert is None else self._expert.adaptations
        # Candidates of an expert that goes on learning do not come again in another run.
        made = self._stock.get(
            context,
            (at, adapted) if adapted else (at,),
            lambda: self._make(context, at),
            version=self.prior.version,
            on_disk=again and not adapted,
        )
        return Rated(drawn_of(made), Style(*(made[name] for name in Style._fields)))

    def _make(self, context: AttackContext, intensity: float) -> Arrays:
        drawn, style = super()._rated(context, intensity)
        return entry(drawn.states, drawn.valid, drawn.log_prob, drawn.size, **style._asdict())

    def _maker(self) -> str:
        """Weights and options that decide the candidates."""
        options: list[object] = [
            self.num,
            self.draw.spacing,
            self.profiles,
            self.mixing,
            self.dial.extrapolation,
            self.protocol.sage_as_written,
        ]
        if self._merger is not None:
            options += [self._merger.identity, self._third_share]
        return json.dumps([self.name, self.prior.identity, self._weights, *options])

    @cached_property
    def _weights(self) -> str:
        """A check sum of the experts, whose mixtures `dial` has taken over."""
        return hashlib.sha256(b"".join(vector.numpy().tobytes() for vector in self._vectors)).hexdigest()

    def _draw(self, context: AttackContext, intensity: float) -> Drawn:
        """The likeliest goals at λ, completed."""
        scores = self._log_probs(context, intensity).double().numpy()
        return drawn_goals(self.prior, self._scene(context), scores, context, self.num, self.draw, self.profiles)

    def _objectives(self, context: AttackContext) -> Objectives:
        return self._scene(context).objectives

    def _log_probs(self, context: AttackContext, intensity: float) -> torch.Tensor:
        """Goal log-probabilities [G] at λ."""
        batch = to_batch([self._scene(context).case])
        with torch.inference_mode():
            if self.mixing == "logits":
                real, adv = (self.dial.turn(end)(batch)[1][0].clone() for end in (0.0, 1.0))
                return mix_logits(real, adv, intensity)
            return self.dial.turn(intensity)(batch)[1][0]

    def _scene(self, context: AttackContext) -> GoalScene:
        key = (context.opponent, context.step)
        with MAKING:
            return self._scenes.get(context.scenario, key, lambda: self._prepare(context.scenario, *key))

    def _prepare(self, scenario: Scenario, opponent: int, step: int) -> GoalScene:
        case = self.prior.features(scenario, opponent, step)
        return goal_scene(self.prior, case, scenario, opponent, step, published=self.protocol.sage_as_written)

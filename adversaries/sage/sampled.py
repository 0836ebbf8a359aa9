"""The steered adversary over any backbone that draws futures, such as a token model's roll-outs.

Paper: Nie et al., "Steerable Adversarial Scenario Generation through Test-Time Preference Alignment", which calls SAGE
backbone-agnostic and shows it on DenseTNT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from adversaries.common.candidates import Drawn
from adversaries.prior.cache import SceneCache
from adversaries.sage.backbone import Backbone, Case
from adversaries.sage.experts import PRIOR_FILE, check_origin, expert_file
from adversaries.sage.objectives import Objectives
from adversaries.sage.steered import CANDIDATES, Drives, SteeredAdversary, only_seen
from adversaries.sage.steering import Dial, Extrapolation, Mixing, PreferenceVectors, preference_vectors
from harness.episodes.protocol import Protocol
from harness.errors import ConfigError
from harness.interfaces import AttackContext


@dataclass(frozen=True)
class SampledExperts:
    """Two experts and the backbone that they come from.

    Attributes:
        reference: Where both started.
        vectors: Reference and preference vectors (eq. 14).
        info: What the experts' files say of their making, by expert.
    """

    reference: Backbone
    vectors: PreferenceVectors
    info: dict[str, dict[str, object]]


def load_sampled(folder: Path, load: Callable[[Path | None], Backbone]) -> SampledExperts:
    """Experts of a folder that `train_experts` wrote.

    Args:
        folder: With `adv.safetensors` and `real.safetensors`, and their reference unless it is the shipped one.
        load: Reads a backbone; None means the shipped one.

    Raises:
        WeightsError: A file is missing or unreadable, or the experts come from another reference.
    """
    own = folder / PRIOR_FILE
    reference = load(own if own.is_file() else None)
    experts = {}
    for name in ("adv", "real"):
        file = expert_file(folder, name)
        experts[name] = load(file)
        check_origin(file, experts[name].info, reference.module)
    vectors = preference_vectors(reference.module, experts["adv"].module, experts["real"].module)
    return SampledExperts(reference, vectors, {name: expert.info for name, expert in experts.items()})


class SampledScene(NamedTuple):
    """What an attack needs of a scene, whatever λ and the ego are."""

    case: Case
    objectives: Objectives


class SampledSageAdversary(SteeredAdversary):
    """The steered adversary over a backbone: candidates are drawn from its mixture (see `SteeredAdversary`).

    Args:
        experts: Experts and their backbone.
        protocol: `corrected` or `as-published`.
        candidates: Futures drawn, from which R_μ chooses.
        mixing: `weights` (SAGE) or `trajectories`. The paper's logit mixing is defined on one distribution over
            candidates, which a model that draws its futures step by step does not have.
        extrapolation: How weights go on beyond [0, 1]: `vector` (eq. 16) or `direct` (eq. 6 as it stands).
        cache_scenes: Scenes whose cases are kept.
        name: Registry name, for messages and records.
        drives: R_adv is its `mean` over the ego's remembered drives, or that against the `latest` alone (the paper's).

    Raises:
        ConfigError: An option cannot work.
    """

    name = "sage_sampled"

    def __init__(
        self,
        experts: SampledExperts,
        protocol: str | Protocol = "corrected",
        candidates: int = CANDIDATES,
        mixing: Mixing = "weights",
        extrapolation: Extrapolation = "vector",
        cache_scenes: int = 64,
        name: str | None = None,
        drives: Drives = "mean",
    ) -> None:
        self.name = name or self.name
        super().__init__(protocol, candidates, mixing, cache_scenes, drives)
        if mixing == "logits":
            raise ConfigError(
                f"{self.name}: logit mixing needs one distribution over candidates, and this backbone draws its "
                "futures step by step. Choose weights or trajectories."
            )
        self.experts = experts
        self.backbone = experts.reference.clone()
        self.dial = Dial(self.backbone.module, experts.vectors, extrapolation)
        self._scenes: SceneCache[SampledScene] = SceneCache(cache_scenes)

    @torch.no_grad()
    def _draw(self, context: AttackContext, intensity: float) -> Drawn:
        """Futures drawn at λ."""
        case = self._scene(context).case
        self.dial.turn(intensity)
        made = self.backbone.distribution([case])
        tokens = made.sample(self.num, context.rng)[0]
        states, valid = self.backbone.futures(context.scenario, context.opponent, context.step, case, tokens)
        log_prob = made.log_prob([tokens])[0].double().cpu().numpy()
        size = context.scenario.box(context.opponent)
        return Drawn(states=only_seen(context, states), valid=valid, log_prob=np.asarray(log_prob), size=size)

    def _objectives(self, context: AttackContext) -> Objectives:
        return self._scene(context).objectives

    def _scene(self, context: AttackContext) -> SampledScene:
        key = (context.opponent, context.step)
        return self._scenes.get(context.scenario, key, lambda: self._prepare(context))

    def _prepare(self, context: AttackContext) -> SampledScene:
        case = self.backbone.prepare(context.scenario, context.opponent, context.step)
        return SampledScene(
            case, Objectives(context.scenario, context.opponent, context.step, published=self.protocol.sage_as_written)
        )

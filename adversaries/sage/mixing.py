"""Where mixing happens: the policies' own distributions, the parts of the network, and which weights alignment moves.

Paper: section 3.3, proposition 1, appendix B.1 (weight, logit and trajectory mixing). The choice by R_μ among many
candidates hides what the policies propose; single samples show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adversaries.common.candidates import Drawn
from adversaries.prior.network import GoalNetwork, to_batch
from adversaries.prior.prior import MotionPrior
from adversaries.sage.adversary import SageAdversary
from adversaries.sage.backbone import GoalBackbone, complete
from adversaries.sage.bank import Entry
from adversaries.sage.config import HgpoConfig, Recipe
from adversaries.sage.experts import Experts
from adversaries.sage.fronts import MONOTONE, Progress, Row, attack
from adversaries.sage.groups import draw_goals
from adversaries.sage.hgpo import group_loss
from adversaries.sage.landscape import SCENES, Probe
from adversaries.sage.objectives import Values
from adversaries.sage.steered import only_seen
from adversaries.sage.steering import PreferenceVectors, mix_logits
from harness.errors import ConfigError
from harness.interfaces import AttackContext
from harness.metrics.intervals import bootstrap_mean
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "encoder": ("agent_in", "target_in", "map_in", "layers", "norm"),
    "goals": ("goal_in", "goal_query", "scene_keys", "goal_out", "score_goal", "score_target", "score"),
    "completion": ("drive_in", "drive_target", "drive_hidden", "drive_out"),
}
"""Modules of the goal-conditioned prior: what reads the scene, what scores goals, and what drives to one. Completion
reads the scene and the goals through the first two, too."""
ROUNDING: Final = 1e-5
"""A gradient of less than this share of the whole is rounding: it is zero in exact arithmetic."""


def part_of(parameter: str) -> str:
    """The part of the network that a parameter belongs to.

    Raises:
        ConfigError: None.
    """
    module = parameter.split(".")[0]
    for part, modules in PARTS.items():
        if module in modules:
            return part
    raise ConfigError(f"sage: the weights {parameter!r} belong to no part of the motion prior.")


def part_mask(network: nn.Module, parts: Sequence[str]) -> Tensor:
    """Which weights [P] of the flat vector belong to some of the parts; bool."""
    return torch.cat(
        [
            torch.full((parameter.numel(),), part_of(name) in parts, dtype=torch.bool)
            for name, parameter in network.named_parameters()
        ]
    )


def part_weights(vectors: PreferenceVectors, mask: Tensor, place: float, rest: float = 0.5) -> Tensor:
    """Weights [P] that are θ(λ) where `mask` [P] is True and θ(`rest`) elsewhere."""
    coefficient = torch.where(mask, place, rest)
    return vectors.reference + coefficient * vectors.adv + (1.0 - coefficient) * vectors.real


def sampled(log_prob: Floats, values: Values) -> dict[str, float]:
    """Expected objectives of one sample of a distribution [V] over futures; NaN where feasibility cannot be judged."""
    mass = np.exp(log_prob)
    mass = mass / mass.sum()
    judged = bool(values.edges[0])
    return {
        "success": float(mass @ values.hits),
        "adversarial": float(mass @ values.adversarial),
        "realism": float(mass @ values.realism),
        "feasible": float(mass @ values.feasible) if judged else float("nan"),
    }


def total_variation(first: Floats, second: Floats) -> float:
    """½ Σ |p - q| of two distributions given by log-probabilities [V]: the share of samples that differ at least."""
    return float(0.5 * np.abs(np.exp(first) - np.exp(second)).sum())


def samples_row(log_probs: Sequence[Floats], tables: Sequence[Values]) -> Row:
    """`sampled` over scenes, means with 95 % intervals [mean, low, high]."""
    rows = [sampled(row, table) for row, table in zip(log_probs, tables, strict=True)]
    return {name: list(bootstrap_mean([row[name] for row in rows])) for name in rows[0]}


def single_samples(probe: Probe, intensities: Sequence[float] = MONOTONE) -> Row:
    """Weight and logit mixing by what one sample of each is worth, exactly.

    Returns:
        `weights` and `logits`: rows by λ, means over scenes with 95 % intervals; `apart`: by λ, the total variation
        between both distributions, mean over scenes; `experts`: the same between the experts.
    """
    real, adv = probe.log_probs(probe.between(0.0)), probe.log_probs(probe.between(1.0))
    found: Row = {"weights": [], "logits": [], "apart": []}
    for place in intensities:
        mixed = probe.log_probs(probe.between(place))
        logits = [
            mix_logits(torch.from_numpy(first), torch.from_numpy(second), place).numpy()
            for first, second in zip(real, adv, strict=True)
        ]
        found["weights"].append({"intensity": place, **samples_row(mixed, probe.tables)})
        found["logits"].append({"intensity": place, **samples_row(logits, probe.tables)})
        found["apart"].append(_apart(mixed, logits))
    return found | {"experts": _apart(real, adv)}


def _apart(first: Sequence[Floats], second: Sequence[Floats]) -> float:
    return float(np.mean([total_variation(one, other) for one, other in zip(first, second, strict=True)]))


def part_samples(probe: Probe, intensities: Sequence[float] = MONOTONE) -> Row:
    """What one sample is worth where λ moves a part of the network alone, the others staying at λ = ½; rows by part."""
    network = probe.policy.module
    masks = {name: part_mask(network, parts) for name, parts in ((part, (part,)) for part in PARTS)}
    masks = {"whole": part_mask(network, tuple(PARTS)), **masks}
    return {
        name: [
            {
                "intensity": place,
                **samples_row(probe.log_probs(part_weights(probe.vectors, mask, place)), probe.tables),
            }
            for place in intensities
        ]
        for name, mask in masks.items()
    }


class OwnCompletion(SageAdversary):
    """SAGE's adversary with every weight mixed: the mixture drives to its goals itself.

    The paper interpolates the whole of its motion model. Here the completion's own layers are those of the prior in
    both experts, but it reads the scene and the goals through layers that alignment moves.
    """

    def _draw(self, context: AttackContext, intensity: float) -> Drawn:
        scores = self._log_probs(context, intensity).double().numpy()
        case = self._scene(context).case
        goals = draw_goals(scores, case.goal_points, case.goal_mask, self.num, self.draw)
        mixture = MotionPrior(self._network(intensity))
        with torch.inference_mode():
            encoding = mixture.network.encode(to_batch([case]))
        scene, opponent = context.scenario, context.opponent
        states, valid = complete(mixture, encoding, scene, opponent, context.step, case, goals)
        size = scene.box(opponent)
        return Drawn(states=only_seen(context, states), valid=valid, log_prob=scores[goals], size=size)

    def _network(self, intensity: float) -> GoalNetwork:
        network = self.dial.turn(intensity)
        assert isinstance(network, GoalNetwork), "the dial turns the network that it was made of"
        return network


def whole_network(
    experts: Experts, scenes: Iterable[Scenario], tick: Progress, intensities: Sequence[float] = MONOTONE
) -> list[Row]:
    """Attacks of `OwnCompletion`, rows of `fronts.attack` by λ; those of `sage` mix the goal distribution alone."""
    adversary = OwnCompletion(experts)
    return attack({f"whole {x:g}": (adversary, x) for x in intensities}, scenes, tick)


def gradient_norms(
    policy: GoalBackbone, entries: Sequence[Entry], recipe: Recipe, config: HgpoConfig
) -> dict[str, float | None]:
    """Length of the gradient of HGPO's loss by parameter of a policy; None where the loss does not depend on it.

    Raises:
        ConfigError: The scenes make no pair.
    """
    own = policy.clone()
    loss = group_loss(own, entries, recipe, config, np.random.default_rng(0)).loss
    if loss is None:
        raise ConfigError(f"sage: none of {len(entries)} scenes makes a preference pair, so there is no gradient.")
    loss.backward()
    return {
        name: None if parameter.grad is None else float(parameter.grad.double().norm())
        for name, parameter in own.module.named_parameters()
    }


def gradient_report(probe: Probe, recipe: Recipe) -> list[Row]:
    """Which weights HGPO's loss moves, by part of the network.

    Returns:
        Per part: number of `weights`; `gradient`, the length of the loss's gradient at the reference; `adv` and `real`,
        the lengths of Δ; `still`: parameters without a gradient; `rounding`: those whose gradient is zero but for
        rounding (a bias that shifts every goal's score alike changes no probability).
    """
    policy = probe.put(probe.vectors.reference)
    norms = gradient_norms(policy, probe.bank.entries[:SCENES], recipe, probe.config)
    whole = float(np.sqrt(sum(norm**2 for norm in norms.values() if norm is not None)))
    found = []
    for part in PARTS:
        names = [name for name in norms if part_of(name) == part]
        mask = part_mask(policy.module, (part,))
        moved = {name: norm for name in names if (norm := norms[name]) is not None}
        found.append(
            {
                "part": part,
                "weights": int(mask.sum()),
                "gradient": float(np.sqrt(sum(norm**2 for norm in moved.values()))),
                "adv": float(probe.vectors.adv[mask].norm()),
                "real": float(probe.vectors.real[mask].norm()),
                "still": [name for name in names if name not in moved],
                "rounding": [name for name, norm in moved.items() if norm < ROUNDING * whole],
            }
        )
    return found

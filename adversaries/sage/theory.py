"""The theory of weight mixing, measured on experts as they are: the best λ, and how far it is from what can be reached.

Paper: section 3.4, appendix C. Its R(θ) is the expected reward of one sample of the policy (C.2.1): with a policy over
listed goals that is a sum, so that rewards and their gradients are exact. μ weighs R_adv, as in section 3.3 and
appendix C.1; appendix C.2 has it the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adversaries.sage.alignment import summary
from adversaries.sage.config import Recipe
from adversaries.sage.fronts import Progress, Row
from adversaries.sage.landscape import SCENES, Probe
from adversaries.sage.objectives import Values
from adversaries.sage.steering import matched_coefficient

Floats = NDArray[np.float64]

PREFERENCES: Final = tuple(np.linspace(0.0, 1.0, 11).tolist())
"""Preferences μ at which the best λ is sought."""
MEASURES: Final = {"reward": "group", "chosen_reward": "choice"}
"""Numbers of `alignment.summary`: R_μ of the group's mean, and of the feasible candidate that R_μ would choose."""
BEYOND: Final = 0.5
"""How far beyond the experts theorem 2 is tried, in λ."""


class Rewards(NamedTuple):
    """Expected rewards of one sample, averaged over scenes: R_adv, and R_real = -P_real."""

    adv: float
    real: float

    def at(self, preference: float) -> float:
        """R_μ."""
        return preference * self.adv + (1.0 - preference) * self.real


def expected_rewards(probe: Probe, weights: Tensor) -> Rewards:
    """Rewards of one sample of the policy with given weights [P]."""
    log_probs = probe.log_probs(weights)
    adv = [np.exp(row) @ table.adversarial for row, table in zip(log_probs, probe.tables, strict=True)]
    real = [-np.exp(row) @ table.realism for row, table in zip(log_probs, probe.tables, strict=True)]
    return Rewards(float(np.mean(adv)), float(np.mean(real)))


def reward_gradients(probe: Probe, weights: Tensor) -> tuple[Floats, Floats]:
    """∇R_adv and ∇R_real [P] of the expected rewards, at given weights [P]."""
    policy = probe.put(weights)
    parameters = [parameter.requires_grad_(True) for parameter in policy.module.parameters()]
    totals = [np.zeros(len(weights)), np.zeros(len(weights))]
    tables = iter(probe.tables)
    for entries in probe.bank.batches(SCENES):
        mass = policy.distribution([entry.case for entry in entries]).log_probs.exp()
        judged = [next(tables) for _ in entries]
        for total, values in zip(totals, ("adversarial", "realism"), strict=True):
            prices = torch.as_tensor(np.stack([getattr(table, values) for table in judged]), dtype=mass.dtype)
            parts = torch.autograd.grad((mass * prices).sum(), parameters, retain_graph=True, allow_unused=True)
            flat = [
                np.zeros(parameter.numel()) if part is None else part.reshape(-1).double().numpy()
                for part, parameter in zip(parts, parameters, strict=True)
            ]
            total += np.concatenate(flat) / len(probe.bank)
    for parameter in parameters:
        parameter.requires_grad_(False)
    return totals[0], -totals[1]


def coefficient_curve(
    groups: Mapping[float, Sequence[Values]], expert_weight: float, preferences: Sequence[float] = PREFERENCES
) -> list[Row]:
    """λ(μ) of eq. 27 beside the best λ that search finds, for the group's mean R_μ and for the choice by R_μ.

    Args:
        groups: Judged groups of every scene by λ; the best λ is one of these.
        expert_weight: w* of eq. 5.
        preferences: Each μ. Itself and its λ(μ) must be among the λ.

    Returns:
        Per μ: `preference`, `matched` (eq. 27), and under `group` and `choice` the `best` λ (the lowest of equals), its
        `reward`, and what λ = μ (`equal`) and λ(μ) (`matched`) fall short of it.
    """
    places = sorted(groups)
    found = []
    for mu in preferences:
        matched = matched_coefficient(mu, expert_weight)
        row: Row = {"preference": mu, "matched": matched}
        rows = [summary(list(groups[place]), Recipe(mu, 1.0 - mu)) for place in places]
        for measure, name in MEASURES.items():
            rewards = np.array([entry[measure] for entry in rows])
            best = int(rewards.argmax())
            lost = {
                rule: float(rewards[best] - rewards[int(np.abs(np.array(places) - place).argmin())])
                for rule, place in (("equal", mu), ("matched", matched))
            }
            row[name] = {"best": places[best], "reward": float(rewards[best]), **lost}
        found.append(row)
    return found


def curve_places(expert_weight: float, preferences: Sequence[float] = PREFERENCES, count: int = 21) -> list[float]:
    """λ at which `coefficient_curve` needs groups: an even grid over [0, 1], every μ and every λ(μ)."""
    matched = [matched_coefficient(mu, expert_weight) for mu in preferences]
    return sorted({round(x, 9) for x in (*np.linspace(0.0, 1.0, count).tolist(), *preferences, *matched)})


def quadratic(places: Sequence[float], values: Sequence[float]) -> Row:
    """The parabola through values along λ, by least squares.

    Returns:
        `curvature`: minus its second derivative, positive where it is concave; `peak`: λ of its highest point, NaN
        where it has none; `explained`: share of the variance.
    """
    second, first, constant = np.polyfit(places, values, 2)
    numbers = np.asarray(values, dtype=np.float64)
    left = numbers - np.polyval((second, first, constant), places)
    spread = float(((numbers - numbers.mean()) ** 2).sum())
    return {
        "curvature": float(-2.0 * second),
        "peak": float(-first / (2.0 * second)) if second < 0 else float("nan"),
        "explained": 1.0 - float((left**2).sum()) / spread if spread > 1e-12 else float("nan"),
    }


def quadratic_gap(preference: float, expert_weight: float, curvature: float, distance: float) -> float:
    """Theorem 2, eq. 30: how far the best mixture falls short of the optimum for μ, if rewards are quadratic.

    The distance of the pure optima follows from that of the experts by eq. 25: |θ*_adv - θ*_real| = |θ_1 - θ_2| /
    (2 β - 1). NaN where the curvature is not positive: such rewards have no optimum.

    Args:
        preference: μ.
        expert_weight: β of appendix C, w* of eq. 5.
        curvature: η, the curvature of both rewards in weight space.
        distance: |θ_1 - θ_2|.
    """
    if curvature <= 0:
        return float("nan")
    outside = preference - min(max(preference, 1.0 - expert_weight), expert_weight)
    return 0.5 * curvature * outside**2 * (distance / (2.0 * expert_weight - 1.0)) ** 2


def gap_bound(
    preference: float, expert_weight: float, smooth: tuple[float, float], concave: tuple[float, float], distance: float
) -> float:
    """Theorem 1, eq. 44: bound of the same for rewards that are L-smooth and m-strongly concave.

    NaN where they are not concave: then the theorem says nothing.

    Args:
        preference: μ, the weight of R_adv.
        expert_weight: β of appendix C, w* of eq. 5.
        smooth: L_adv and L_real.
        concave: m_adv and m_real.
        distance: |θ_1 - θ_2|.
    """
    w = expert_weight
    concavity = preference * concave[0] + (1.0 - preference) * concave[1]
    if min(concave) <= 0 or concavity <= 0:
        return float("nan")
    steep_1, steep_2 = w * smooth[0] + (1.0 - w) * smooth[1], (1.0 - w) * smooth[0] + w * smooth[1]
    # ∇R_μ = c_1 ∇R_1 + c_2 ∇R_2 with R_1 the adversarial expert's reward: c_1 is λ(μ) of eq. 27 before it is clipped.
    first = (preference + w - 1.0) / (2.0 * w - 1.0)
    steepest = max(abs(first) * steep_1, abs(1.0 - first) * steep_2)
    return (steepest * distance) ** 2 / (2.0 * concavity)


def bends(gradients: Sequence[Floats], places: Sequence[float], step: Floats) -> tuple[float, float]:
    """Smallest L and largest m of assumptions 3 and 4 that gradients [P] along the segment admit.

    A bound with them is the least that the theorem can promise: off the segment L may be larger and m smaller.

    Args:
        gradients: At each λ.
        places: λ, ascending.
        step: θ_adv - θ_real [P].
    """
    length = float(np.linalg.norm(step))
    smooth, concave = 0.0, float("inf")
    for i in range(len(places)):
        for j in range(i):
            apart = gradients[i] - gradients[j]
            across = (places[i] - places[j]) * length
            smooth = max(smooth, float(np.linalg.norm(apart)) / across)
            concave = min(concave, -float(apart @ step) / (length * across))
    return smooth, concave


def gaps(
    probe: Probe, expert_weight: float, separate: Mapping[str, tuple[Recipe, Tensor]], tick: Progress, count: int = 11
) -> Row:
    """Theorems 1 and 2 on real experts, with expected rewards of one sample.

    Args:
        probe: The experts on prepared scenes.
        expert_weight: w* of eq. 5.
        separate: Weights [P] that were aligned on other weightings: they stand for the optimum θ̂_μ of their μ.
        tick: Told about progress.
        count: Places on the segment.

    Returns:
        `distance`: |θ_1 - θ_2|; `smooth` and `concave`: L and m of both rewards on the segment (`bends`); `gradients`:
        |∇R| of each expert's own reward at the expert, where theorem 1 takes it to be 0, and at the reference; `fits`:
        parabolas along the segment, and `peaks`, where theorem 2 expects theirs; `rows`: per μ what the best mixture
        falls short of the best on the line up to 0.5 beyond the experts (`measured`), what theorem 2 expects and what
        theorem 1 allows; `separate`: per separately trained network its R_μ, the best mixture's and their difference,
        for one sample, the group and the choice.
    """
    places = np.linspace(0.0, 1.0, count).tolist()
    step = (probe.vectors.adv - probe.vectors.real).double().numpy()
    distance = float(np.linalg.norm(step))
    slopes = []
    for number, place in enumerate(places):
        slopes.append(reward_gradients(probe, probe.between(place)))
        tick("gradients", number + 1, count)
    bent = [bends([pair[side] for pair in slopes], places, step) for side in (0, 1)]
    wide = np.linspace(-BEYOND, 1.0 + BEYOND, 4 * (count - 1) + 1).tolist()
    rewards = [expected_rewards(probe, probe.between(x)) for x in wide]
    inside = [rewards[i] for i, x in enumerate(wide) if -1e-9 <= x <= 1.0 + 1e-9]
    spots = [x for x in wide if -1e-9 <= x <= 1.0 + 1e-9]
    fits = {name: quadratic(spots, [getattr(reward, name) for reward in inside]) for name in ("adv", "real")}
    # Curvature is per λ: in weight space a unit of λ is as long as the experts are apart.
    eta = 0.5 * (fits["adv"]["curvature"] + fits["real"]["curvature"]) / distance**2
    span = 2.0 * expert_weight - 1.0
    rows = []
    for mu in PREFERENCES:
        mixture = max(reward.at(mu) for reward in inside)
        rows.append(
            {
                "preference": mu,
                "measured": max(reward.at(mu) for reward in rewards) - mixture,
                "theorem_2": quadratic_gap(mu, expert_weight, eta, distance),
                "theorem_1": gap_bound(mu, expert_weight, (bent[0][0], bent[1][0]), (bent[0][1], bent[1][1]), distance),
            }
        )
    return {
        "distance": distance,
        "smooth": [bent[0][0], bent[1][0]],
        "concave": [bent[0][1], bent[1][1]],
        "gradients": _premise(probe, expert_weight),
        "fits": fits,
        "peaks": {"adv": expert_weight / span, "real": (expert_weight - 1.0) / span},
        "rows": rows,
        "separate": _separate(probe, inside, separate),
    }


def _premise(probe: Probe, expert_weight: float) -> Row:
    """|∇R_1| and |∇R_2| at the expert that should have its optimum there, and at the reference."""
    found: Row = {}
    for name, weight, place in (("adv", expert_weight, 1.0), ("real", 1.0 - expert_weight, 0.0)):
        for where, weights in (("expert", probe.between(place)), ("reference", probe.at(0.0, 0.0))):
            adv, real = reward_gradients(probe, weights)
            found[f"{name}_at_{where}"] = float(np.linalg.norm(weight * adv + (1.0 - weight) * real))
    return found


def _separate(probe: Probe, inside: Sequence[Rewards], separate: Mapping[str, tuple[Recipe, Tensor]]) -> list[Row]:
    """Each separately trained network beside the best mixture."""
    places = np.linspace(0.0, 1.0, len(inside)).tolist()
    mixtures = [probe.groups(probe.between(x)) for x in places] if separate else []
    found = []
    for name, (recipe, weights) in separate.items():
        mu = recipe.w_adv
        own = expected_rewards(probe, weights).at(mu)
        best = max(reward.at(mu) for reward in inside)
        row: Row = {"name": name, "preference": mu, "sample": {"own": own, "mixture": best, "gap": own - best}}
        theirs = summary(probe.groups(weights), recipe)
        ours = [summary(groups, recipe) for groups in mixtures]
        for measure, kind in MEASURES.items():
            best = max(entry[measure] for entry in ours)
            row[kind] = {"own": theirs[measure], "mixture": best, "gap": theirs[measure] - best}
        found.append(row)
    return found

"""Proposition 1 measured: what mixing weights loses or gains against mixing outputs, and the two terms that say so.

Paper: section 3.4 (eq. 8), appendix C.3 (lemma 1, eq. 45 to 57). A model's output f(x; θ) is the mean trajectory of its
policy, and the ideal trajectory y that of the feasible future with the highest R_μ (assumption 5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adversaries.sage.fronts import Row
from adversaries.sage.landscape import Probe
from adversaries.sage.objectives import Values
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS, Scenario

Floats = NDArray[np.float64]


class ListedPaths(NamedTuple):
    """What an agent may do in one scene.

    Attributes:
        paths: [V, T, 2] positions after the current step, m, world frame, for every listed future.
        values: Their objectives.
    """

    paths: NDArray[np.float32]
    values: Values


def listed_paths(probe: Probe, scene: Scenario, index: int) -> ListedPaths:
    """Every future of the opponent of a scene that is entry `index` of the probe's bank."""
    case, opponent = probe.bank.entries[index].case, scene.opponent
    assert opponent is not None, "a bank has scenes with opponents only"
    tokens = probe.policy.vocabulary(case)
    states, _ = probe.policy.futures(scene, opponent, CURRENT_STEP, case, tokens)
    later = slice(CURRENT_STEP + 1, CURRENT_STEP + 1 + FUTURE_STEPS)
    return ListedPaths(states[:, later, :2].astype(np.float32), probe.tables[index])


def ideal(futures: ListedPaths, preference: float) -> int:
    """The future that stands for what is wanted (assumption 5): the feasible one with the highest R_μ."""
    rewards = futures.values.preference(preference, 1.0 - preference)
    feasible = futures.values.feasible
    return int(np.where(feasible, rewards, -np.inf).argmax() if feasible.any() else rewards.argmax())


def square_loss(outputs: Sequence[Floats], wanted: Sequence[Floats]) -> float:
    """½ |f - y|² of trajectories [T, 2] and wanted ones, scene by scene; mean over steps and scenes, m²."""
    parts = [0.5 * ((ours - theirs) ** 2).sum(-1).mean() for ours, theirs in zip(outputs, wanted, strict=True)]
    return float(np.mean(parts))


def proposition(means: Mapping[float, Sequence[Floats]], wanted: Sequence[Floats]) -> list[Row]:
    """Proposition 1 (eq. 8, lemma 1): loss of the weight-mixed and of the output-mixed model, and the two terms.

    Args:
        means: By λ, evenly from 0 to 1: per scene, the mean trajectory [T, 2] of θ(λ), m.
        wanted: Per scene, the ideal trajectory y [T, 2].

    Returns:
        Per λ between the ends: `weights` and `outputs`, the losses in m² (mean over scenes and steps); `difference` of
        them; `curvature`: term 1, -λ (1 - λ) / 2 d²L/dλ² by central differences; `diversity`: term 2, λ (1 - λ) / 2
        E|Δτ|²; `predicted`: their sum.
    """
    places = sorted(means)
    real, adv = means[places[0]], means[places[-1]]
    losses = [square_loss(means[place], wanted) for place in places]
    apart = 2.0 * square_loss(adv, real)
    found = []
    for i in range(1, len(places) - 1):
        x, width = places[i], places[i + 1] - places[i]
        half = 0.5 * x * (1.0 - x)
        curvature = -half * (losses[i + 1] - 2.0 * losses[i] + losses[i - 1]) / width**2
        mixed = [(1.0 - x) * first + x * second for first, second in zip(real, adv, strict=True)]
        outputs = square_loss(mixed, wanted)
        found.append(
            {
                "intensity": x,
                "weights": losses[i],
                "outputs": outputs,
                "difference": losses[i] - outputs,
                "curvature": curvature,
                "diversity": half * apart,
                "predicted": curvature + half * apart,
            }
        )
    return found


def propositions(probe: Probe, futures: Sequence[ListedPaths], preferences: Sequence[float] = (0.0, 0.5, 1.0)) -> Row:
    """Proposition 1 on real experts, for several ideals.

    Args:
        probe: The experts.
        futures: Those of every scene of the bank, in its order.
        preferences: μ of the ideals.

    Returns:
        Rows of `proposition` by μ, as text.
    """
    means = {}
    for place in np.linspace(0.0, 1.0, 11).tolist():
        log_probs = probe.log_probs(probe.between(place))
        means[place] = [np.tensordot(np.exp(row), one.paths, 1) for row, one in zip(log_probs, futures, strict=True)]
    return {
        f"{mu:g}": proposition(means, [one.paths[ideal(one, mu)].astype(np.float64) for one in futures])
        for mu in preferences
    }

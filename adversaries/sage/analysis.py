"""What the experts' weights do: fronts of the mixing strategies, preference vectors, reward landscape, extrapolation.

Paper: section 4.2 and 4.3 (figures 3 and 5), appendix D.4 (figure 8). Everything here is judged against the logged
ego, by geometry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from adversaries.sage.adversary import SageAdversary
from adversaries.sage.alignment import evaluate
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.bank import Bank, build_bank
from adversaries.sage.config import EXTREME, GROUP, Recipe
from adversaries.sage.experts import Experts, load_experts
from adversaries.sage.objectives import Values, concatenate
from adversaries.sage.steering import MIXINGS, Dial, PreferenceVectors, extrapolated, weights_at
from harness.episodes.attacks import attack_context
from harness.errors import ConfigError
from harness.files import JsonDict
from harness.metrics.intervals import bootstrap_mean, wilson
from scenarios.scenario import Scenario, ScenarioSource

Floats = NDArray[np.float64]
Row = JsonDict
Progress = Callable[[str, int, int], None]

MONOTONE: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Intensities whose response must be monotone."""
NEUTRAL: Final = Recipe(0.5, 0.5)


def describe(values: Values, seed: int = 0) -> Row:
    """Means over scenes with 95 % intervals [mean, low, high]: bootstrap for rewards, Wilson for rates.

    `off_road` and `feasible` are shares of the scenes with road edges; NaN where there is none.
    """
    means = {
        "adversarial": values.adversarial,
        "kinematic": values.kinematic,
        "behavioural": values.behavioural,
        "realism": values.realism,
    }
    rates = {
        "success": values.hits,
        "off_road": values.off_road[values.edges],
        "contact": values.contact,
        "feasible": values.feasible[values.edges],
    }
    row: Row = {name: list(bootstrap_mean(numbers, seed)) for name, numbers in means.items()}
    return row | {name: list(wilson(int(flags.sum()), len(flags))) for name, flags in rates.items()}


def attack(variants: dict[str, tuple[SageAdversary, float]], scenes: Iterable[Scenario], tick: Progress) -> list[Row]:
    """The chosen trajectory of every variant (adversary, λ) on every scene, described over scenes."""
    chosen: dict[str, list[Values]] = {name: [] for name in variants}
    for number, scene in enumerate(scenes):
        for name, (adversary, intensity) in variants.items():
            context = attack_context(scene, np.random.default_rng(0), intensity=intensity)
            proposal = adversary.propose(context)
            best = int(proposal.score.argmax())
            chosen[name].append(proposal.values.take(slice(best, best + 1)))
        tick("attacks", number + 1, 0)
    return [
        {"variant": name, "intensity": variants[name][1], **describe(concatenate(parts))}
        for name, parts in chosen.items()
        if parts
    ]


def fronts(
    experts: Experts, scenes: Iterable[Scenario], intensities: Sequence[float], beyond: Sequence[float], tick: Progress
) -> Row:
    """Figures 3 and 8: every mixing strategy at `intensities` in [0, 1], and both extrapolations `beyond`.

    Returns:
        `fronts`: rows by mixing; `extrapolation`: rows by kind; `monotone`: Spearman's ρ of λ (0, 0.25 … 1) with
        success, R_adv and P_real under weight mixing; `dominated`: interior points of the weight front that another
        strategy's point beats in both R_adv and P_real; `hypervolume`: area between front and its worst corner.
    """
    adversaries = {mixing: SageAdversary(experts, mixing=mixing) for mixing in MIXINGS}
    direct = SageAdversary(experts, extrapolation="direct")
    variants = {f"{mixing} {x:g}": (adversaries[mixing], x) for mixing in MIXINGS for x in intensities}
    variants |= {f"vector {x:g}": (adversaries["weights"], x) for x in beyond}
    variants |= {f"direct {x:g}": (direct, x) for x in beyond}
    rows = attack(variants, scenes, tick)
    by = {kind: [row for row in rows if row["variant"].split()[0] == kind] for kind in (*MIXINGS, "vector", "direct")}
    found: dict[str, list[Row]] = {mixing: by[mixing] for mixing in MIXINGS}
    return {
        "fronts": found,
        "extrapolation": {kind: by[kind] for kind in ("vector", "direct")},
        "monotone": monotone(by["weights"]),
        "dominated": dominated(found),
        "hypervolume": hypervolume(found),
    }


def monotone(rows: Sequence[Row]) -> dict[str, float]:
    """Spearman's ρ of λ with what it should raise; 1 where a quantity never changes against λ."""
    rows = [row for row in rows if any(np.isclose(row["intensity"], x) for x in MONOTONE)]
    found = {}
    for key in ("success", "adversarial", "realism"):
        numbers = [row[key][0] for row in rows]
        steady = len(set(numbers)) < 2
        found[key] = float("nan") if steady else float(spearmanr([row["intensity"] for row in rows], numbers)[0])
    return found


def points(rows: Sequence[Row]) -> Floats:
    """(R_adv, -P_real) of rows, [n, 2]: larger is better in both."""
    return np.array([(row["adversarial"][0], -row["realism"][0]) for row in rows]).reshape(-1, 2)


def dominated(fronts_: Mapping[str, list[Row]], tolerance: float = 1e-3) -> list[Row]:
    """Points of the weight front that some other strategy's point beats by more than `tolerance` in both."""
    ours, found = points(fronts_["weights"]), []
    for mixing, rows in fronts_.items():
        if mixing == "weights":
            continue
        for row, point in zip(fronts_["weights"], ours, strict=True):
            better = (points(rows) > point + tolerance).all(-1)
            if better.any():
                found.append({"intensity": row["intensity"], "by": mixing, "points": int(better.sum())})
    return found


def hypervolume(fronts_: Mapping[str, list[Row]]) -> dict[str, float]:
    """Area that each front dominates, above the worst R_adv and P_real of all fronts together."""
    corner = np.concatenate([points(rows) for rows in fronts_.values()]).min(0)
    areas = {}
    for mixing, rows in fronts_.items():
        gain = points(rows) - corner
        area, height = 0.0, 0.0
        for width, tall in gain[np.argsort(-gain[:, 0], kind="stable")]:
            area += width * max(tall - height, 0.0)
            height = max(height, tall)
        areas[mixing] = float(area)
    return areas


def vectors_report(vectors: PreferenceVectors, intensities: Sequence[float], beyond: Sequence[float]) -> Row:
    """Figure 5 (a, b): norms, angle, and the principal plane of experts, mixtures and extrapolations.

    All of them lie in the plane of Δ_adv and Δ_real, so two principal components show everything.
    """
    adv, real = (vector.double().numpy() for vector in (vectors.adv, vectors.real))
    norm_adv, norm_real = np.linalg.norm(adv), np.linalg.norm(real)
    cosine = float(adv @ real / max(norm_adv * norm_real, 1e-12))
    names: list[str] = ["reference"]
    offsets = [np.zeros_like(adv)]
    for kind, places in (("vector", [*intensities, *beyond]), ("direct", beyond)):
        for x in places:
            names.append(f"{kind} {x:g}")
            offsets.append((weights_at(vectors, x, kind) - vectors.reference).double().numpy())  # type: ignore[arg-type]
    cloud = np.array(offsets)
    centred = cloud - cloud.mean(0)
    # A handful of points in a space of many dimensions: decompose their Gram matrix instead.
    left, singular, _ = np.linalg.svd(centred @ centred.T)
    scale = np.sqrt(singular)
    share = singular / max(singular.sum(), 1e-12)
    along = []
    for x in intensities:
        offset = (weights_at(vectors, x) - vectors.reference).double().numpy()
        size = float(np.linalg.norm(offset))
        along.append({"intensity": x, "norm": size, "cosine_adv": float(offset @ adv / max(size * norm_adv, 1e-12))})
    return {
        "parameters": len(adv),
        "norm_reference": float(vectors.reference.norm()),
        "norm_adv": float(norm_adv),
        "norm_real": float(norm_real),
        "cosine": cosine,
        "angle_degrees": float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
        "path": along,
        "plane": {name: (left[i, :2] * scale[:2]).tolist() for i, name in enumerate(names)},
        "explained": share[:2].tolist(),
    }


class Probe:
    """Groups of any weight vector, judged on prepared scenes."""

    def __init__(self, experts: Experts, bank: Bank) -> None:
        self.vectors, self.bank = experts.vectors, bank
        self._policy = GoalBackbone(experts.prior)
        self._dial = Dial(self._policy.module, self.vectors)

    def __call__(self, base: float, phi_adv: float, phi_real: float, recipe: Recipe = NEUTRAL) -> dict[str, float]:
        """`alignment.summary` of the weights of eq. 16."""
        self._dial.put(extrapolated(self.vectors, base, phi_adv, phi_real))
        return evaluate(self._policy, self.bank, recipe, GROUP)


def landscape(probe: Probe, low: float, high: float, count: int, tick: Progress) -> Row:
    """Figure 5 (c): group means on the grid θ_ref + a Δ_adv + b Δ_real, a and b from `low` to `high`."""
    axis = np.linspace(low, high, count)
    keys = ("adversarial", "realism", "feasible")
    grid = {key: np.zeros((count, count)) for key in keys}
    for i, a in enumerate(axis):
        for j, b in enumerate(axis):
            # Base 0 is the realism expert, so its Δ is taken off again.
            row = probe(0.0, a, b - 1.0)
            for key in keys:
                grid[key][i, j] = row[key]
        tick("landscape", i + 1, count)
    return {"axis": axis.tolist(), **{key: values.tolist() for key, values in grid.items()}}


def linearity(probe: Probe, count: int = 11) -> Row:
    """Figure 5 (d): rewards along the segment beside the straight line between the experts' rewards.

    Returns:
        Per reward (`adv`: 0.9/0.1, `real`: 0.1/0.9, `even`: 0.5/0.5) the `measured` group means, the `line`, the
        largest shortfall below the line and that shortfall over the difference of the ends.
    """
    places = np.linspace(0.0, 1.0, count)
    rows = [probe(x, 0.0, 0.0) for x in places]
    adversarial = np.array([row["adversarial"] for row in rows])
    realism = np.array([row["realism"] for row in rows])
    found: Row = {"intensities": places.tolist()}
    for name, w in (("adv", EXTREME), ("real", 1 - EXTREME), ("even", 0.5)):
        measured = w * adversarial - (1 - w) * realism
        line = (1 - places) * measured[0] + places * measured[-1]
        shortfall = float(np.maximum(line - measured, 0.0).max())
        span = float(abs(measured[-1] - measured[0]))
        found[name] = {
            "measured": measured.tolist(),
            "line": line.tolist(),
            "shortfall": shortfall,
            "relative": shortfall / span if span > 1e-9 else float("nan"),
        }
    return found


def analyse(
    experts: Experts | str,
    scenes: ScenarioSource,
    *,
    prior: str | None = None,
    intensities: Sequence[float] = tuple(np.linspace(0, 1, 9)),
    beyond: Sequence[float] = (-1.0, -0.5, 1.25, 1.5, 2.0),
    grid: int = 9,
    tick: Progress = lambda what, done, total: None,
) -> Row:
    """Everything, as plain numbers.

    Args:
        experts: Experts or their folder (empty: the shipped ones).
        scenes: Scenes to judge on; those that `scenarios.filters` rejects are left out.
        prior: Prior weights, where they are not beside the experts.
        intensities: λ of the fronts; 0, 0.25, 0.5, 0.75 and 1 are added.
        beyond: λ of the extrapolations.
        grid: Points per side of the landscape.
        tick: Told about progress (what, done, total).

    Raises:
        GauntletError: Weights or scenes cannot be used.
    """
    if grid < 2:
        raise ConfigError(f"sage_analysis: the landscape needs at least 2 points per side, got {grid}.")
    loaded = experts if isinstance(experts, Experts) else load_experts(experts or None, prior)
    places = sorted({round(float(x), 6) for x in (*intensities, *MONOTONE)})
    bank = build_bank(scenes, GoalBackbone(loaded.prior), progress=lambda done, total: tick("scenes", done, total))
    kept = {entry.id for entry in bank.entries}
    used = (scene for index in range(len(scenes)) if (scene := scenes[index]).id in kept)
    probe = Probe(loaded, bank)
    return {
        "scenes": len(bank),
        "without_edges": sum(not entry.edges for entry in bank.entries),
        "rejected": [list(pair) for pair in bank.rejected],
        "recipes": {"adv": loaded.info.get("adv", {}), "real": loaded.info.get("real", {}), "neutral": asdict(NEUTRAL)},
        **fronts(loaded, used, places, beyond, tick),
        "vectors": vectors_report(loaded.vectors, places, beyond),
        "linearity": linearity(probe),
        "landscape": landscape(probe, -0.5, 1.5, grid, tick),
    }

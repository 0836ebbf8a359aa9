"""What attacks are like along λ: rewards, rates and distances of every way of mixing, and how their fronts compare.

Paper: section 4.2 (figure 3), appendix D.4 (figure 8). Attacks are planned and judged against the logged ego, by
geometry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from adversaries.common.plans import distinct_futures
from adversaries.sage.adversary import SageAdversary
from adversaries.sage.experts import Experts
from adversaries.sage.novelty import kinds_met
from adversaries.sage.objectives import Values, concatenate
from adversaries.sage.steering import MIXINGS
from harness.episodes.attacks import attack_context
from harness.files import JsonDict
from harness.interfaces import AttackContext
from harness.metrics.distribution import KinematicSamples, kinematic_samples, wasserstein_over_scenes
from harness.metrics.encounter_kinds import NO_ENCOUNTER, coverage
from harness.metrics.intervals import bootstrap_mean, wilson
from scenarios.scenario import FUTURE_STEPS, Scenario

Floats = NDArray[np.float64]
Row = JsonDict
Progress = Callable[[str, int, int], None]

MONOTONE: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Intensities whose response must be monotone."""
DISTANCES: Final = ("acceleration", "speed", "yaw_rate")
"""Wasserstein distances from the log of the same vehicles, m/s², m/s and rad/s."""


@dataclass
class Choices:
    """What an adversary chose, scene by scene.

    Attributes:
        values: Objectives of the choices, one row per scene.
        plans: Trajectories [T, 5].
        attack, log: How the attacker drives, and how the same vehicle drove in the recording at the same steps.
        kinds: The kind of encounter of each choice (`harness.metrics.encounter_kinds`).
    """

    values: list[Values] = field(default_factory=list)
    plans: list[Floats] = field(default_factory=list)
    attack: list[KinematicSamples] = field(default_factory=list)
    log: list[KinematicSamples] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)

    def add(self, adversary: SageAdversary, context: AttackContext) -> None:
        """Attack a scene and keep what is chosen."""
        proposal = adversary.propose(context)
        best = int(proposal.score.argmax())
        scene, steps = context.scenario, np.arange(context.scenario.num_steps)
        later = steps >= context.step
        self.values.append(proposal.values.take(slice(best, best + 1)))
        drawn = proposal.drawn(context)
        own = replace(drawn, states=drawn.states[best : best + 1], log_prob=drawn.log_prob[best : best + 1])
        self.kinds.extend(kinds_met(context, own, distinct_futures(context)).tolist())
        self.plans.append(np.array(proposal.states[best]))
        planned = later & (steps <= context.step + FUTURE_STEPS)
        self.attack.append(kinematic_samples(proposal.states[best], planned, scene.dt))
        seen = scene.valid[context.opponent] & later
        self.log.append(kinematic_samples(scene.states(context.opponent), seen, scene.dt))

    def row(self) -> Row:
        """Means, rates, distances and coverage with 95 % intervals [value, low, high]; the number of `kinds`."""
        apart = wasserstein_over_scenes(self.attack, self.log)
        distances = {name: list(getattr(apart, name)) for name in DISTANCES}
        spread = {"coverage": list(coverage(self.kinds)), "kinds": len({*self.kinds} - {NO_ENCOUNTER})}
        return describe(concatenate(self.values)) | distances | spread


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


def choose(
    variants: Mapping[str, tuple[SageAdversary, float]], scenes: Iterable[Scenario], what: str, tick: Progress
) -> dict[str, Choices]:
    """What every variant (adversary, λ) chooses on every scene."""
    chosen = {name: Choices() for name in variants}
    for number, scene in enumerate(scenes):
        for name, (adversary, intensity) in variants.items():
            chosen[name].add(adversary, attack_context(scene, np.random.default_rng(0), intensity=intensity))
        tick(what, number + 1, 0)
    return chosen


def attack(
    variants: Mapping[str, tuple[SageAdversary, float]], scenes: Iterable[Scenario], tick: Progress
) -> list[Row]:
    """The choice of every variant (adversary, λ), described over scenes."""
    chosen = choose(variants, scenes, "attacks", tick)
    return [
        {"variant": name, "intensity": variants[name][1], **choices.row()}
        for name, choices in chosen.items()
        if choices.values
    ]


def fronts(
    experts: Experts, scenes: Iterable[Scenario], intensities: Sequence[float], beyond: Sequence[float], tick: Progress
) -> Row:
    """Figures 3 and 8: every mixing strategy at `intensities` in [0, 1], and both extrapolations `beyond`.

    Returns:
        `fronts`: rows by mixing; `extrapolation`: rows by kind; `monotone`: Spearman's ρ of λ (0, 0.25 … 1) with
        success, R_adv, P_real and the distances from the log under weight mixing; `dominated`: interior points of the
        weight front that another strategy's point beats in both R_adv and P_real; `hypervolume`: area between front and
        its worst corner.
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


def by_candidates(
    experts: Experts,
    scenes: Iterable[Scenario],
    counts: Sequence[int],
    tick: Progress,
    intensities: Sequence[float] = MONOTONE,
) -> list[Row]:
    """The strategies of mixing where R_μ chooses among K candidates: the fewer, the more the policies decide.

    With K = 1 the attack is the mixture's likeliest goal, whatever its reward.

    Args:
        experts: Experts.
        scenes: Scenes.
        counts: Each K.
        tick: Told about progress.
        intensities: λ.

    Returns:
        Per K: `candidates`, `fronts` (rows by mixing), `hypervolume`, `dominated`, and `same`: the share of scenes in
        which weight and logit mixing choose the same trajectory, by λ.
    """
    variants: dict[str, tuple[SageAdversary, float]] = {}
    for count in counts:
        for mixing in MIXINGS:
            adversary = SageAdversary(experts, mixing=mixing, candidates=count)
            variants |= {f"{count} {mixing} {x:g}": (adversary, x) for x in intensities}
    chosen = choose(variants, scenes, "candidates", tick)
    found = []
    for count in counts:
        by: dict[str, list[Row]] = {
            mixing: [{"intensity": x, **chosen[f"{count} {mixing} {x:g}"].row()} for x in intensities]
            for mixing in MIXINGS
        }
        same = [
            same_share(chosen[f"{count} weights {x:g}"].plans, chosen[f"{count} logits {x:g}"].plans)
            for x in intensities
        ]
        worth = {"hypervolume": hypervolume(by), "dominated": dominated(by)}
        found.append({"candidates": count, "fronts": by, **worth, "same": same})
    return found


def spread(experts: Experts, scenes: Iterable[Scenario], weights: Sequence[float], tick: Progress) -> list[Row]:
    """Attacks at λ = 1 by weight of novelty: rows of `attack` with `novelty`; `coverage` is what it is to raise."""
    variants = {f"novelty {weight:g}": (SageAdversary(experts, novelty=weight), 1.0) for weight in weights}
    rows = attack(variants, scenes, tick)
    return [{"novelty": weight, **row} for weight, row in zip(weights, rows, strict=True)]


def same_share(first: Sequence[Floats], second: Sequence[Floats], tolerance: float = 0.01) -> float:
    """Share of scenes in which two trajectories [T, 5] are within `tolerance` (m, rad, m/s) of one another."""
    return float(np.mean([np.abs(a - b).max() <= tolerance for a, b in zip(first, second, strict=True)]))


def monotone(rows: Sequence[Row]) -> dict[str, float]:
    """Spearman's ρ of λ with what it should raise; NaN where a quantity never changes."""
    rows = [row for row in rows if any(np.isclose(row["intensity"], x) for x in MONOTONE)]
    found = {}
    for key in ("success", "adversarial", "realism", *DISTANCES):
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
    return {mixing: area(points(rows) - corner) for mixing, rows in fronts_.items()}


def area(gains: Floats) -> float:
    """Area of the union of the rectangles from the origin to points [n, 2] with coordinates ≥ 0."""
    found, height = 0.0, 0.0
    for width, tall in gains[np.argsort(-gains[:, 0], kind="stable")]:
        found += width * max(tall - height, 0.0)
        height = max(height, tall)
    return float(found)


def efficient(gains: Floats) -> NDArray[np.bool_]:
    """Which points [n, 2] no other point beats: none is at least as large in both and larger in one."""
    beaten = (gains[None] >= gains[:, None]).all(-1) & (gains[None] > gains[:, None]).any(-1)
    return np.asarray(~beaten.any(-1), dtype=np.bool_)

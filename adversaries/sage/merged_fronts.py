"""What ways of merging are worth, and what a third expert adds: fronts and hypervolume with intervals over scenes.

Paper: section 5 names "a richer set of objectives, such as scenario novelty", and "more advanced model merging
techniques", as future work. Attacks are judged against the logged ego, by geometry, as in `fronts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adversaries.prior.network import GoalNetwork
from adversaries.sage.adversary import SageAdversary
from adversaries.sage.coefficients import fit_coefficients
from adversaries.sage.config import HgpoConfig
from adversaries.sage.experts import NAMES, Experts, load_aligned, merger_of
from adversaries.sage.fronts import MONOTONE, Choices, Progress, Row, area, choose, describe
from adversaries.sage.landscape import Probe
from adversaries.sage.merging import Merger, simplex
from adversaries.sage.merging_config import MergingConfig
from adversaries.sage.mixing import sampled, samples_row
from adversaries.sage.objectives import concatenate
from adversaries.sage.surprise import surprise_of
from harness.metrics.encounter_kinds import NO_ENCOUNTER, coverage
from harness.metrics.intervals import bootstrap_mean, percentile_interval, resampled
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]

SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the third expert at which whole dials are attacked with."""
BASE: Final = "linear"
"""What the others are compared with."""


def volumes(fronts: Mapping[str, Floats], base: str, seed: int = 0) -> Row:
    """Hypervolume of several fronts with 95 % intervals over scenes, and their differences from one of them.

    The corner is the worst R_adv and P_real of all fronts together, in every resample anew. An area over the best of
    noisy points is too large by as much as the noise lets a point look better: compare fronts of equally many points.

    Args:
        fronts: By name, R_adv and -P_real of every scene at every point of the front [S, L, 2].
        base: Name of the front that the others are compared with.
        seed: Seed of the resampling.

    Returns:
        By name, `volume` and `gain` over `base`, each [value, low, high].
    """
    names = list(fronts)
    stacked = np.stack([fronts[name] for name in names])

    def areas(picks: NDArray[np.int64]) -> Floats:
        rows = []
        for own in picks:
            points = stacked[:, own].mean(1)
            corner = points.min((0, 1))
            rows.append([area(front - corner) for front in points])
        return np.array(rows)

    scenes = stacked.shape[1]
    value, drawn = areas(np.arange(scenes)[None])[0], resampled(areas, (scenes,), seed)
    at = names.index(base)
    return {
        name: {
            "volume": list(percentile_interval(float(value[i]), drawn[:, i])),
            "gain": list(percentile_interval(float(value[i] - value[at]), drawn[:, i] - drawn[:, at])),
        }
        for i, name in enumerate(names)
    }


def gains_of(chosen: Sequence[Choices]) -> Floats:
    """R_adv and -P_real [S, L, 2] of choices at L places on the same S scenes."""
    values = [concatenate(choices.values) for choices in chosen]
    return np.stack([np.stack([one.adversarial, -one.realism], -1) for one in values], 1)


def dials(
    adversaries: Mapping[str, SageAdversary], scenes: Iterable[Scenario], what: str, tick: Progress
) -> dict[str, list[Choices]]:
    """What adversaries choose at every λ of `MONOTONE`, by name."""
    variants = {f"{name}@{x:g}": (adversary, x) for name, adversary in adversaries.items() for x in MONOTONE}
    chosen = choose(variants, scenes, what, tick)
    return {name: [chosen[f"{name}@{x:g}"] for x in MONOTONE] for name in adversaries}


def front_rows(chosen: Sequence[Choices]) -> list[Row]:
    """`fronts.describe` of choices at every λ of `MONOTONE`, with `coverage` and the number of `kinds` of encounter."""
    return [
        {
            "intensity": x,
            **describe(concatenate(choices.values)),
            "coverage": list(coverage(choices.kinds)),
            "kinds": len({*choices.kinds} - {NO_ENCOUNTER}),
        }
        for x, choices in zip(MONOTONE, chosen, strict=True)
    ]


def ways_of_merging(
    experts: Experts, probe: Probe, scenes: Iterable[Scenario], config: MergingConfig, tick: Progress
) -> Row:
    """Fronts of the ways of merging two experts.

    The coefficients of task arithmetic are fitted on every other scene, and judged on the rest, once either way, so
    that no scene is judged with coefficients that it had a say in.

    Args:
        experts: The experts.
        probe: The same on prepared scenes.
        scenes: Those of the probe's bank, in its order.
        config: What is measured.
        tick: Told about progress.

    Returns:
        `fronts`: rows by λ, by way; `volumes` of them; `samples`: the same volumes of what one sample of the policy is
        worth, which no choice by R_μ evens out; `coefficients`: fitted on all scenes, by expert and layer.
    """
    tasks = merger_of(experts).tasks
    count = len(probe.bank)
    halves = [[i for i in range(count) if i % 2 != fold] or [0] for fold in (0, 1)]
    fitted = []
    for number, part in enumerate((*halves, list(range(count)))):
        fitted.append(fit_coefficients(probe, tasks, part))
        tick("coefficients", number + 1, 3)
    adversaries = {BASE: SageAdversary(experts), "geodesic": SageAdversary(experts, merge="geodesic")}
    adversaries |= {f"ties {x:g}": SageAdversary(experts, merge="ties", density=x) for x in config.densities}
    chosen = dials(adversaries, scenes, "merging", tick)
    gains = {name: gains_of(rows) for name, rows in chosen.items()}
    halved: list[list[Choices]] = []
    for fold in (0, 1):
        adversary = SageAdversary(experts, merge="task", coefficients=fitted[fold])
        own = (scene for i, scene in enumerate(scenes) if i % 2 == fold)
        halved.append(dials({"task": adversary}, own, "task arithmetic", tick)["task"])
    chosen["task"] = [_woven(*pair) for pair in zip(*halved, strict=True)]
    gains["task"] = gains_of(chosen["task"])
    return {
        "fronts": {name: front_rows(rows) for name, rows in chosen.items()},
        "volumes": volumes(gains, BASE),
        "samples": volumes(sampled_gains(experts, probe, config, fitted), BASE),
        "coefficients": dict(zip(NAMES, fitted[2], strict=False)),
    }


def sampled_gains(
    experts: Experts, probe: Probe, config: MergingConfig, fitted: Sequence[Sequence[Mapping[str, float]]]
) -> dict[str, Floats]:
    """Expected R_adv and -P_real of one sample [S, L, 2] at every λ of `MONOTONE`, by way of merging.

    Args:
        experts: The experts.
        probe: The same on prepared scenes.
        config: What is measured.
        fitted: Coefficients of task arithmetic for scenes of even and of odd number.
    """

    def of(*mergers: Merger) -> Floats:
        """Scene by scene, with the mergers in turn."""
        places = []
        for x in MONOTONE:
            turns = [probe.log_probs(merger.dialled(x)) for merger in mergers]
            rows = [turns[i % len(mergers)][i] for i in range(len(probe.tables))]
            found = [sampled(row, table) for row, table in zip(rows, probe.tables, strict=True)]
            places.append([(one["adversarial"], -one["realism"]) for one in found])
        return np.array(places).swapaxes(0, 1)

    found = {BASE: of(merger_of(experts)), "geodesic": of(merger_of(experts, merge="geodesic"))}
    found |= {f"ties {x:g}": of(merger_of(experts, merge="ties", density=x)) for x in config.densities}
    return found | {"task": of(*(merger_of(experts, merge="task", coefficients=own) for own in fitted[:2]))}


def _woven(even: Choices, odd: Choices) -> Choices:
    """Choices in the order of the scenes again."""
    found = Choices()
    for i in range(len(even.values) + len(odd.values)):
        part = (even, odd)[i % 2]
        for name in ("values", "plans", "attack", "log", "kinds"):
            getattr(found, name).append(getattr(part, name)[i // 2])
    return found


def sweep(
    experts: Experts,
    third: GoalNetwork,
    probe: Probe,
    scenes: Iterable[Scenario],
    config: MergingConfig,
    tick: Progress,
) -> Row:
    """The simplex of three experts on straight lines.

    Returns:
        `dials`: by share ρ of the third, rows by λ as of `front_rows`; `volumes` of the dials, against ρ = 0;
        `simplex`: per point, its `shares` and what one sample of the policy is worth, with `novelty`, its expected
        surprise (nats).
    """
    adversaries = {f"{x:g}": SageAdversary(experts, third=third, third_share=x) for x in SHARES}
    chosen = dials(adversaries, scenes, "three experts", tick)
    rows = {share: front_rows(choices) for share, choices in chosen.items()}
    found = []
    surprise = surprise_of(probe.put(probe.vectors.reference), probe.bank, HgpoConfig())
    surprises = [surprise[entry.all_kinds()] for entry in probe.bank.entries]
    merger = merger_of(experts, third)
    points = simplex(config.parts, 3)
    for number, shares in enumerate(points):
        log_probs = probe.log_probs(merger.weights(shares))
        novelty = [float(np.exp(row) @ own) for row, own in zip(log_probs, surprises, strict=True)]
        row = samples_row(log_probs, probe.tables) | {"novelty": list(bootstrap_mean(novelty))}
        found.append({"shares": list(shares), **row})
        tick("simplex", number + 1, len(points))
    return {
        "dials": rows,
        "volumes": volumes({name: gains_of(one) for name, one in chosen.items()}, f"{SHARES[0]:g}"),
        "simplex": found,
    }


def measure(experts: Experts, probe: Probe, scenes: Iterable[Scenario], config: MergingConfig, tick: Progress) -> Row:
    """`ways_of_merging`, and `sweep` where there is a third expert (else None); see there for the arguments.

    Raises:
        WeightsError: The third expert cannot be read, or comes from another prior.
    """
    third = None if config.third is None else load_aligned(config.third, experts.prior)[0]
    return {
        "scenes": len(probe.bank),
        "ways": ways_of_merging(experts, probe, scenes, config, tick),
        "sweep": None if third is None else sweep(experts, third, probe, scenes, config, tick),
    }

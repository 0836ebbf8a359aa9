"""What the experts' weights do: fronts of the mixing strategies, preference vectors, landscapes, theory and mixing.

Paper: section 3.4, 4.2 and 4.3 (figures 3 and 5), appendix C and D.4 (figure 8). Everything here is judged against the
logged ego, by geometry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np

from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.bank import build_bank
from adversaries.sage.config import RECIPES
from adversaries.sage.experts import Experts, load_experts, load_separate
from adversaries.sage.fronts import MONOTONE, Progress, Row, by_candidates, fronts, spread
from adversaries.sage.landscape import NEUTRAL, Probe, extrapolation_front, landscape, linearity
from adversaries.sage.merged_fronts import measure
from adversaries.sage.merging_config import MergingConfig
from adversaries.sage.mixing import gradient_report, part_samples, single_samples, whole_network
from adversaries.sage.proposition import listed_paths, propositions
from adversaries.sage.steering import PreferenceVectors, flatten, weights_at
from adversaries.sage.theory import coefficient_curve, curve_places, gaps
from harness.errors import ConfigError
from scenarios.scenario import Scenario, ScenarioSource

CANDIDATES: Final = (1, 2, 4, 32)
"""Numbers of candidates K at which the strategies of mixing are compared."""


NOVELTIES: Final = (0.0, 1.0, 3.0, 10.0)
"""Weights of novelty that are compared: none, and up to the reward of a contact at once."""


class _Kept:
    """The scenes of a source that a bank has, read anew each time they are gone through."""

    def __init__(self, source: ScenarioSource, ids: frozenset[str]) -> None:
        self.source, self.ids = source, ids

    def __iter__(self) -> Iterator[Scenario]:
        return (scene for index in range(len(self.source)) if (scene := self.source[index]).id in self.ids)


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


def theory(probe: Probe, loaded: Experts, folder: Path | None, scenes: Iterable[Scenario], tick: Progress) -> Row:
    """λ(μ) beside the best λ, the gaps of theorems 1 and 2, and proposition 1, on real experts.

    Args:
        probe: The experts on prepared scenes.
        loaded: The experts.
        folder: Where separately trained networks may lie, or None.
        scenes: Those of the probe's bank, in its order.
        tick: Told about progress.
    """
    groups = {}
    places = curve_places(loaded.weight)
    for number, place in enumerate(places):
        groups[place] = probe.groups(probe.between(place))
        tick("λ(μ)", number + 1, len(places))
    separate = {} if folder is None else load_separate(folder, loaded.prior)
    trained = {name: (recipe, flatten(network)) for name, (recipe, network) in separate.items()}
    futures = [listed_paths(probe, scene, index) for index, scene in enumerate(scenes)]
    return {
        "weight": loaded.weight,
        "coefficients": coefficient_curve(groups, loaded.weight),
        "gaps": gaps(probe, loaded.weight, trained, tick),
        "proposition": propositions(probe, futures),
    }


def analyse(
    experts: Experts | str,
    scenes: ScenarioSource,
    *,
    prior: str | None = None,
    intensities: Sequence[float] = tuple(np.linspace(0, 1, 9)),
    beyond: Sequence[float] = (-1.0, -0.5, 1.25, 1.5, 2.0),
    grid: int = 9,
    candidates: Sequence[int] = CANDIDATES,
    merging: MergingConfig | None = None,
    novelties: Sequence[float] = NOVELTIES,
    tick: Progress = lambda what, done, total: None,
) -> Row:
    """Everything, as plain numbers.

    Args:
        experts: Experts or their folder (empty: the shipped ones). Networks of the folder that were trained on other
            weightings, such as `scalar_55`, are compared with the mixtures.
        scenes: Scenes to judge on; those that `scenarios.filters` rejects are left out.
        prior: Prior weights, where they are not beside the experts.
        intensities: λ of the fronts; 0, 0.25, 0.5, 0.75 and 1 are added.
        beyond: λ of the extrapolations.
        grid: Points per side of the landscape.
        candidates: Numbers of candidates at which the strategies of mixing are compared.
        merging: Ways of merging that are measured, and the third expert; None measures none.
        novelties: Weights of novelty by which attacks are spread over kinds of encounter.
        tick: Told about progress (what, done, total).

    Raises:
        GauntletError: Weights or scenes cannot be used.
    """
    if grid < 2:
        raise ConfigError(f"sage_analysis: the landscape needs at least 2 points per side, got {grid}.")
    loaded = experts if isinstance(experts, Experts) else load_experts(experts or None, prior)
    folder = Path(experts) if isinstance(experts, str) and experts else None
    places = sorted({round(float(x), 6) for x in (*intensities, *MONOTONE)})
    bank = build_bank(scenes, GoalBackbone(loaded.prior), progress=lambda done, total: tick("scenes", done, total))
    used = _Kept(scenes, frozenset(entry.id for entry in bank.entries))
    probe = Probe(loaded, bank)
    about = {
        "scenes": len(bank),
        "without_edges": sum(not entry.edges for entry in bank.entries),
        "rejected": [list(pair) for pair in bank.rejected],
        "merging": None if merging is None else measure(loaded, probe, used, merging, tick),
    }
    if merging is not None and merging.only:
        return about
    by_mixing = fronts(loaded, used, places, beyond, tick)
    even = [row for row in by_mixing["fronts"]["weights"] if row["intensity"] in MONOTONE]
    along = linearity(probe)
    plane = landscape(probe, -0.5, 1.5, grid, tick)
    return {
        **about,
        "recipes": {"adv": loaded.info.get("adv", {}), "real": loaded.info.get("real", {}), "neutral": asdict(NEUTRAL)},
        **by_mixing,
        "candidates": by_candidates(loaded, used, sorted(set(candidates)), tick),
        "novelty": spread(loaded, used, sorted(set(novelties)), tick),
        "samples": single_samples(probe),
        "parts": part_samples(probe),
        "completions": {"goals": even, "whole": whole_network(loaded, used, tick)},
        "updated": {name: gradient_report(probe, RECIPES[name]) for name in ("adv", "real")},
        "theory": theory(probe, loaded, folder, used, tick),
        "vectors": vectors_report(loaded.vectors, places, beyond),
        "linearity": along,
        "landscape": plane,
        "beyond": {
            name: extrapolation_front(plane, along["groups"], prefix)
            for name, prefix in (("group", ""), ("choice", "chosen_"))
        },
    }

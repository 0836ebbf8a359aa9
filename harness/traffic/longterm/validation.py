"""Whether a retrieval can be trusted (RosettaSim, section 6.2 and appendices F.1 and F.8).

- Accuracy (F.1): how often a roll-out finds the recording that it began from, among as many recordings as there are
  roll-outs, and among more.
- Correlation (figure 8, left): whether scores against retrieved windows follow those of the challenge, from one way of
  decoding to the other, and whether scores against all windows at once do.
- Both over the number of references K and the weight λ of the map (figure 8, right).
- Degraded retrieval (table 10): how models rank with this retrieval, by raw trajectories, and where the most similar
  four fifths are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr

from harness import specs
from harness.commands.runs import provenance
from harness.errors import ConfigError
from harness.files import Json, JsonDict
from harness.interfaces import TrafficPolicy
from harness.metrics.longterm.retrieval import nearest_windows, retrieval_hits
from harness.traffic.longterm.config import TRAJECTORIES, EvaluateLongtermConfig
from harness.traffic.longterm.engines import load_vae
from harness.traffic.longterm.evaluation import LOG, run_long, score_long
from harness.traffic.longterm.short_runs import (
    CHALLENGE,
    ShortRun,
    run_short,
    scores_against,
    scores_by_retrieval,
    stacked,
)
from harness.traffic.longterm.validation_config import ValidateRetrievalConfig
from harness.traffic.make import make_simulator, make_traffic
from harness.traffic.scene_vae.model import SceneVae
from scenarios.scenario import Scenario, ScenarioSource

PASSED_OVER: Final = 0.8
"""Share of the most similar windows that degraded retrieval passes over (table 10)."""
FEWEST: Final = 3
"""Variants below which there is no correlation."""


Track = Callable[[Iterable[Scenario], str, int], Iterable[Scenario]]
"""Gets scenes, what is done with them and their number, and gives them back while it shows how far it is."""


def validate_retrieval(config: ValidateRetrievalConfig, source: ScenarioSource, track: Track) -> JsonDict:
    """Validate as `config` says.

    Args:
        config: What to validate, and how.
        source: All scenes that it names; they are loaded one at a time, those that are rolled out twice.
        track: Shows the progress.

    Returns:
        What the JSON file of `evaluate_longterm retrieval` holds: `accuracy` (rows of setting, model, λ, K),
        `sweep` (rows of λ, K with mean accuracies and the correlation of the meta metric), `correlation` (score →
        `retrieved`, `all` and `variants`, with which λ and K), `variants` (every way of decoding with its scores), and
        `degraded` (rows of retrieval and model with score and rank).

    Raises:
        ConfigError: A model cannot be built, or no scene can be used.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    vae = load_vae(config.retrieval)
    variants = decoded_names(config)
    names = dict.fromkeys((*config.traffic, *variants))
    count = len(source)
    queries = config.asked(count)

    def scenes(number: int, text: str) -> Iterable[Scenario]:
        return track((source[index] for index in range(number)), text, number)

    simulators = {name: make_simulator(name) for name in names}
    policies = {name: make_traffic(name) for name in config.traffic if name != LOG}
    run = run_short(simulators, scenes(count, "simulating 8 s"), queries, config, vae)
    if not run.queries:
        reason = next(iter(run.left_out.values()), "there are none")
        raise ConfigError(f"none of the scenes of {config.data} can be used: {reason}")
    accuracy, found = accuracies(run, config), follow(run, variants, config)
    return {
        "settings": asdict(config),
        "provenance": provenance(),
        "scenes": run.scenes,
        "queries": run.queries,
        "left_out": run.left_out,
        "accuracy": accuracy,
        **found,
        "sweep": [_sweep_row(row, accuracy) for row in found["sweep"]],
        "degraded": degraded(policies, scenes(queries, "rolling out"), config, vae),
    }


def decoded_names(config: ValidateRetrievalConfig) -> list[str]:
    """Every model that is decoded in many ways, in every way."""
    names = []
    for model, decoding in product(config.decoded, config.decodings):
        name = model
        for key, value in specs.parse(f"any?{decoding}").options.items():
            name = specs.with_option(name, key, str(value))
        names.append(name)
    return names


def _nearest(
    run: ShortRun, model: str, scenes: int, config: ValidateRetrievalConfig, weight: float
) -> NDArray[np.intp]:
    """The most similar recordings of each roll-out of a model, as many as any K asks for and there are."""
    base, most = run.base(scenes), min(max(config.references), scenes)
    distances = [base.distances(record, config.retrieval, weight) for record in run.windows(model)[0]]
    return nearest_windows(np.concatenate(distances), most)


def _weights(config: ValidateRetrievalConfig) -> tuple[float, ...]:
    """The weights λ that make a difference: raw trajectories know no map."""
    return config.map_weights[:1] if config.retrieval == TRAJECTORIES else config.map_weights


def _possible(config: ValidateRetrievalConfig, recordings: int) -> tuple[int, ...]:
    """The numbers K of references that are fewer than the recordings; the smallest one where none is."""
    return tuple(count for count in config.references if count < recordings) or (min(config.references),)


def accuracies(run: ShortRun, config: ValidateRetrievalConfig) -> list[JsonDict]:
    """How often the own recording is among the K most similar ones, in both settings of F.1.

    Returns:
        Rows of `setting` (`equal`: as many recordings as scenes that were rolled out; `more`: all), `recordings`,
        `model`, `map_weight`, `references`, `accuracy`.
    """
    rows: list[JsonDict] = []
    settings = {"equal": run.queries, "more": len(run.scenes)}
    for (setting, count), model, weight in product(settings.items(), config.traffic, _weights(config)):
        chosen, own = _nearest(run, model, count, config, weight), run.windows(model)[1]
        for references in _possible(config, count):
            hits = retrieval_hits(chosen[:, :references], np.arange(count), own)
            rows.append(
                {
                    "setting": setting,
                    "recordings": count,
                    "model": model,
                    "map_weight": weight,
                    "references": references,
                    "accuracy": float(hits.mean()),
                }
            )
    return rows


def follow(run: ShortRun, variants: Sequence[str], config: ValidateRetrievalConfig) -> JsonDict:
    """How scores against retrieved windows and against all windows follow those of the challenge, over variants.

    Args:
        run: The roll-outs.
        variants: Ways of decoding.
        config: K and λ.

    Returns:
        `variants`, `correlation` and `sweep` of `validate_retrieval`.
    """
    base = run.counts()
    everything = {name: count.sum(0) for name, count in base.items()}
    told = _closest(_possible(config, len(run.scenes)), 5), _closest(_weights(config), 1.0)
    rows: list[JsonDict] = [{"variant": name, "challenge": run.challenge_means(name)} for name in variants]
    sweep: list[JsonDict] = []
    counts = [stacked(run.windows(name)[0]) for name in variants]
    for row, count in zip(rows, counts, strict=True):
        row["all"] = scores_against(count, everything)
    for weight in _weights(config):
        chosen = [_nearest(run, name, len(run.scenes), config, weight) for name in variants]
        for references in _possible(config, len(run.scenes)):
            scores = [
                scores_by_retrieval(count, base, picked[:, :references])
                for count, picked in zip(counts, chosen, strict=True)
            ]
            sweep.append({"map_weight": weight, "references": references, "r": _correlation(rows, scores, "behaviour")})
            if (references, weight) == told:
                for row, score in zip(rows, scores, strict=True):
                    row["retrieved"] = score
    correlation = {
        name: {kind: _correlation(rows, [row[kind] for row in rows], name) for kind in ("retrieved", "all")}
        for name in CHALLENGE
    }
    about = {"references": told[0], "map_weight": told[1], "variants": len(variants)}
    return {"variants": rows, "correlation": {**about, "scores": correlation}, "sweep": sweep}


def _closest(values: Sequence[float], wanted: float) -> float:
    return min(values, key=lambda value: abs(value - wanted))


def _correlation(rows: Sequence[JsonDict], scores: Sequence[dict[str, float]], name: str) -> float:
    """Pearson's r of a score with the challenge's, over variants where both are known; NaN where nothing varies."""
    pairs = np.array([(row["challenge"][name], score[name]) for row, score in zip(rows, scores, strict=True)])
    pairs = pairs.reshape(-1, 2)
    pairs = pairs[~np.isnan(pairs).any(1)]
    if len(pairs) < FEWEST or (np.ptp(pairs, axis=0) == 0).any():
        return float("nan")
    return float(pearsonr(*pairs.T)[0])


def _sweep_row(row: JsonDict, accuracy: Sequence[JsonDict]) -> JsonDict:
    """A row of the sweep with the mean accuracies of all models."""
    same = [one for one in accuracy if all(one[key] == row[key] for key in ("map_weight", "references"))]
    settings = {one["setting"] for one in same}
    means = {
        setting: float(np.mean([one["accuracy"] for one in same if one["setting"] == setting])) for setting in settings
    }
    return {**row, **means}


def degraded(
    policies: Mapping[str, TrafficPolicy],
    scenes: Iterable[Scenario],
    config: ValidateRetrievalConfig,
    vae: SceneVae | None,
) -> list[JsonDict]:
    """How models rank in the realism of behaviour with good and with bad retrieval, over the scenes' whole length.

    Args:
        policies: All models but the log, by name.
        scenes: Those that are rolled out, and whose windows can be retrieved.
        config: Models and retrieval.
        vae: Encodes windows, where they are to be retrieved by latents.

    Returns:
        Rows of `retrieval`, `passed_over`, `model`, `behaviour`, `rank` (1 for the largest score; NaN has none).
    """
    plain = EvaluateLongtermConfig(
        data=config.data,
        traffic=config.traffic,
        horizon=config.horizon,
        rollouts=config.rollouts,
        references=int(_closest(config.references, 5)),
        map_weight=_closest(_weights(config), 1.0),
        seed=config.seed,
    )
    run = run_long(policies, scenes, plain, vae)
    rows: list[JsonDict] = []
    kinds = (config.retrieval, 0.0), (TRAJECTORIES, 0.0), (config.retrieval, PASSED_OVER)
    for retrieval, passed_over in dict.fromkeys(kinds):
        scores = cast(Json, score_long(run, replace(plain, retrieval=retrieval, passed_over=passed_over)))
        values = {name: float(scores[name]["behaviour"]) for name in config.traffic}
        order = sorted((name for name in values if values[name] == values[name]), key=lambda name: -values[name])
        for name, value in values.items():
            rank = order.index(name) + 1 if name in order else None
            rows.append(
                {"retrieval": retrieval, "passed_over": passed_over, "model": name, "behaviour": value, "rank": rank}
            )
    return rows

"""What `traffic_analysis` finds, as its files hold it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import reduce
from typing import Final

import numpy as np

from harness.files import JsonDict
from harness.metrics.intervals import bootstrap_mean
from harness.metrics.zipf import FEWEST, by_rank, fit_zipf
from harness.traffic.analysis.attention import DISTANCES, OWN, PARTS, AttentionRun, AttentionSums, look_at
from harness.traffic.analysis.config import AttentionConfig, TokenFrequencyConfig
from harness.traffic.analysis.frequencies import ALL_KINDS, Counts, count_motion_tokens, count_words, texts
from harness.traffic.observers import check_observer
from harness.traffic.rosetta.model import RosettaModel
from harness.traffic.tokens.vocabulary import Vocabulary
from scenarios.scenario import Scenario

SHOWN: Final = 300
"""Most points of a curve over ranks, evenly spread over their logarithm."""


def frequency_result(config: TokenFrequencyConfig, scenes: Iterable[Scenario]) -> JsonDict:
    """Zipf fits of motion tokens and of words.

    Returns:
        `settings`, `scenes` (their number), `rows`: name → the numbers of `ZipfFit`, `motion` (whether they are
        motion tokens), `ranks` and `shares` (points of the curve); and `skipped`: name → how many different tokens
        occur, where they are too few for a fit.

    Raises:
        ConfigError: A text cannot be read, or motion tokens of all kinds together are too few for a fit.
        WeightsError: The vocabulary cannot be used.
    """
    words = {name: count_words(text) for name, text in texts(config.text).items()}
    found = count_motion_tokens(scenes, Vocabulary.load(config.vocabulary))
    motion = found.groups()
    fit_zipf(motion[ALL_KINDS])
    counted = {**motion, **words}
    types = {name: int((counts > 0).sum()) for name, counts in counted.items()}
    return {
        "settings": asdict(config),
        "scenes": found.scenes,
        "rows": {
            name: {**_fitted(counts), "motion": name in motion}
            for name, counts in counted.items()
            if types[name] >= FEWEST
        },
        "skipped": {name: number for name, number in types.items() if number < FEWEST},
    }


def _fitted(counts: Counts) -> JsonDict:
    share = by_rank(counts) / counts.sum()
    ranks = np.unique(np.geomspace(1, len(share), SHOWN).round().astype(int))
    return {**fit_zipf(counts)._asdict(), "ranks": ranks.tolist(), "shares": share[ranks - 1].tolist()}


def attention_result(config: AttentionConfig, scenes: Callable[[str], Iterable[Scenario]]) -> JsonDict:
    """Attention of every model on the same scenes.

    Args:
        config: Models, and how many decisions.
        scenes: Loads the scenes, one at a time; gets what they are loaded for.

    Returns:
        `settings`, and `models`: name of the file → `scenes`, `left_out`, `layers` (locality of each, with interval,
        and by part), `even` (the locality of even attention), `distance` (part → share of each bin) and `between`
        (part → part → share), both mean over layers.

    Raises:
        ConfigError: No scene could be used, or a model does not show its attention, or was trained around another
            observer.
        WeightsError: A model cannot be used.
    """
    models = {}
    for file in config.weights:
        model = RosettaModel.load(file, device=config.device)
        check_observer(model.observer, config.observer, str(file), "give --observer as it was trained")
        models[str(file)] = attention_numbers(
            look_at(model, scenes(file.name), config.decisions, config.seed, config.observer)
        )
    return {"settings": asdict(config), "distances": list(DISTANCES), "models": models}


def attention_numbers(run: AttentionRun) -> JsonDict:
    """Numbers of one model; see `attention_result`."""
    total: AttentionSums = reduce(AttentionSums.plus, run.sums)
    there = {part: number for number, part in enumerate(PARTS) if total.tokens[number] > 0}
    locality = np.stack([one.locality for one in run.sums])
    layers = [
        {
            "locality": bootstrap_mean(locality[:, layer])._asdict(),
            **{part: float(total.near[layer, number] / total.tokens[number]) for part, number in there.items()},
        }
        for layer in range(locality.shape[1])
    ]
    # A scene counts once, whatever its length, as in the interval beside it.
    even = float(np.mean([one.evenly for one in run.sums]))
    return {
        "scenes": run.scenes,
        "left_out": run.left_out,
        "layers": layers,
        "even": even,
        "distance": {part: _mean_share(total.distance, total, number) for part, number in there.items()},
        "between": {
            part: dict(zip((OWN, *PARTS), _mean_share(total.between, total, number), strict=True))
            for part, number in there.items()
        },
    }


def _mean_share(table: np.ndarray, total: AttentionSums, part: int) -> list[float]:
    """Shares of what a part gives, of a table [Y, P, n]: mean over layers."""
    return [float(share) for share in table[:, part].mean(0) / total.tokens[part]]

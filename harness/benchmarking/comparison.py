"""Which differences between adversaries are more than chance: paired tests over the same scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.benchmarking.summary import Cell
from harness.episodes.records import UNDISTURBED
from harness.metrics.paired import holm, mcnemar, paired_difference

Floats = NDArray[np.float64]

TESTED: Final = ("success", "reward", "behavioural", "kinematic")
"""Scores that are compared; `success` by McNemar's exact test, the others by the paired bootstrap."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One score of two adversaries against the same system in the same scenes.

    Attributes:
        sut, first, second: Labels.
        score: Which one.
        test: `mcnemar` or `bootstrap`.
        difference, low, high: Mean of first minus second, with its 95 % interval over scenes.
        p_value: Two-sided.
        p_holm: Adjusted (Holm) for all comparisons of this score against this system.
        scenes: Pairs.
    """

    sut: str
    first: str
    second: str
    score: str
    test: str
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    scenes: int


def compare(cells: Sequence[Cell]) -> list[Comparison]:
    """Every pair of adversaries, for every system and score."""
    found = []
    for label in dict.fromkeys(cell.system.label for cell in cells):
        own = [cell for cell in cells if cell.system.label == label and cell.adversary != UNDISTURBED]
        for score in TESTED:
            found += _family(label, [cell for cell in own if score in cell.outcomes], score)
    return found


def _family(label: str, cells: Sequence[Cell], score: str) -> list[Comparison]:
    raw = []
    for first, second in combinations(cells, 2):
        # Seeds are averaged within a scene: scenes are what varies independently.
        a, b = per_scene(first.outcomes[score]), per_scene(second.outcomes[score])
        gap = paired_difference(a, b)
        test, p_value = "bootstrap", gap.p_value
        if score == "success" and first.outcomes[score].shape[1] == 1:
            test, p_value = "mcnemar", mcnemar(a, b).p_value if gap.scenes else float("nan")
        raw.append((first.adversary, second.adversary, test, gap, p_value))
    adjusted = holm([p_value for *_, p_value in raw])
    return [
        Comparison(label, first, second, score, test, *gap.difference, p_value, float(p_holm), gap.scenes)
        for (first, second, test, gap, p_value), p_holm in zip(raw, adjusted, strict=True)
    ]


def per_scene(values: Floats) -> Floats:
    """[S] means over seeds of a score [S, R], NaN where no seed has it."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(-1)
    return np.where(known.any(-1), total / np.maximum(known.sum(-1), 1), np.nan)

"""How two systems differ: scenes that newly fail or pass, paired differences, and what of it is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.benchmarking.columns import means_something
from harness.benchmarking.gate.outcomes import EpisodePlace, JudgedEpisode
from harness.benchmarking.summary import Cell
from harness.metrics.intervals import Interval
from harness.metrics.paired import crossed_difference, holm, mcnemar

Floats = NDArray[np.float64]

FAILING: Final = "failing"
"""Share of episodes in which the ego touches a vehicle or leaves the road."""
COMPARED: Final = (FAILING, "success", "completion", "min_distance", "speed", "jerk")
"""What is compared: the share that fails, and scores of episodes."""
SHARES: Final = (FAILING, "success", "completion")
"""Those that lie between 0 and 1, so that differences lie between -1 and 1."""
CHANGED: Final = 0.5
"""A scene has changed where the share of its repeats that fail differs by so much (of one repeat: at all)."""


@dataclass(frozen=True, slots=True)
class Versus:
    """One number of both systems against the same adversary.

    Attributes:
        adversary: Its label; `none` is the undisturbed scene.
        score: One of `COMPARED`.
        first, second: Means over scenes and repeats.
        difference: Second minus first, with its 95 % interval over scenes and repeats.
        test: `mcnemar` or `crossed`.
        p_value: Two-sided.
        p_holm: Adjusted (Holm) for every row of the table.
        scenes: Pairs.
    """

    adversary: str
    score: str
    first: float
    second: float
    difference: Interval
    test: str
    p_value: float
    p_holm: float
    scenes: int


@dataclass(frozen=True, slots=True)
class Turned:
    """Scenes in which the two systems differ.

    Attributes:
        adversary: Label.
        newly_failing, newly_passing: Names of scenes: the second fails where the first does not, and the other way.
    """

    adversary: str
    newly_failing: tuple[str, ...]
    newly_passing: tuple[str, ...]


def failing(
    found: dict[EpisodePlace, JudgedEpisode], system: str, adversary: str, scenes: Sequence[str], repeats: int
) -> Floats:
    """[S, R] whether each episode fails: 1, 0, or NaN where it broke down."""
    told = {"pass": 0.0, "fail": 1.0, "error": np.nan}
    return np.array(
        [
            [told[found[EpisodePlace(system, adversary, scene, repeat)].outcome] for repeat in range(repeats)]
            for scene in scenes
        ],
        dtype=np.float64,
    ).reshape(len(scenes), repeats)


def turned(adversary: str, scenes: Sequence[str], first: Floats, second: Floats) -> Turned:
    """Scenes that turned, of shares of failing repeats; a scene that broke down in all of a side's is not among them.

    Args:
        adversary: Label.
        scenes: Names [S].
        first, second: [S, R] as `failing` gives them.
    """
    gap = _by_scene(second) - _by_scene(first)
    worse, better = (tuple(np.asarray(scenes)[np.nan_to_num(sign * gap) >= CHANGED].tolist()) for sign in (1, -1))
    return Turned(adversary, worse, better)


def _by_scene(values: Floats) -> Floats:
    known = np.isfinite(values)
    counts = known.sum(-1)
    return np.where(counts > 0, np.where(known, values, 0.0).sum(-1) / np.maximum(counts, 1), np.nan)


def versus(adversaries: Sequence[str], tables: dict[tuple[str, str], tuple[Floats, Floats]]) -> list[Versus]:
    """Every adversary and number, with p values that are adjusted together.

    Args:
        adversaries: In the order of rows.
        tables: By adversary and score: [S, R] of the first and of the second system.
    """
    raw: list[Versus] = []
    for adversary in adversaries:
        for score in COMPARED:
            if (adversary, score) not in tables:
                continue
            first, second = tables[adversary, score]
            gap = crossed_difference(second.T, first.T)
            if score in SHARES:
                gap = replace(gap, difference=Interval(*np.clip(gap.difference, -1.0, 1.0).tolist()))
            test, p_value = "crossed", gap.p_value
            if score in (FAILING, "success") and first.shape[1] == 1:
                test, p_value = "mcnemar", mcnemar(second[:, 0], first[:, 0]).p_value if gap.scenes else float("nan")
            one, two = (
                float(np.nanmean(side)) if np.isfinite(side).any() else float("nan") for side in (first, second)
            )
            nothing = float("nan")
            shown = Versus(adversary, score, one, two, gap.difference, test, p_value, nothing, gap.scenes)
            raw.append(shown)
    adjusted = holm([row.p_value for row in raw])
    return [replace(row, p_holm=float(p_holm)) for row, p_holm in zip(raw, adjusted, strict=True)]


def tables_of(
    cells: Sequence[Cell],
    found: dict[EpisodePlace, JudgedEpisode],
    labels: tuple[str, str],
    scenes: Sequence[str],
    repeats: int,
) -> dict[tuple[str, str], tuple[Floats, Floats]]:
    """What `versus` compares: numbers that both systems have against an adversary."""
    outcomes = {(cell.system.label, cell.adversary): cell.outcomes for cell in cells}
    tables = {}
    for adversary in dict.fromkeys(cell.adversary for cell in cells):
        first, second = (failing(found, label, adversary, scenes, repeats) for label in labels)
        tables[adversary, FAILING] = first, second
        for score in COMPARED[1:]:
            sides = [outcomes[label, adversary].get(score) for label in labels]
            if sides[0] is not None and sides[1] is not None and means_something(score, adversary):
                tables[adversary, score] = sides[0], sides[1]
    return tables

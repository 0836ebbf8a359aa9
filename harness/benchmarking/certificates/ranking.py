"""Whether systems rank the same in two kinds of traffic: Kendall's tau over scenes, and which pairs change places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.benchmarking.certificates.data import BETTER, RankingScores
from harness.metrics.intervals import Interval, bootstrap_mean, percentile_interval, resampled
from harness.metrics.paired import holm, mcnemar, paired_difference

Floats = NDArray[np.float64]

LEVEL: Final = 0.05
"""Differences with a p value (Holm) up to this are beyond noise."""
_DIGITS: Final = 9
"""Means that agree in so many digits are equal: they differ by rounding."""

Place = Literal["kept", "swapped", "undecided"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Kendall's tau-b of the rankings in two kinds of traffic.

    Attributes:
        traffic, reference: Labels; the same twice for how well a ranking agrees with itself from one drawing of scenes
            to another.
        adversary, score: Criterion of the rankings; both empty for all criteria together.
        tau: From -1 to 1, with its bootstrap interval over scenes; NaN where one of the rankings is a tie throughout.
        scenes: Where every system has a number in every kind of traffic; the least of all criteria.
    """

    traffic: str
    reference: str
    adversary: str
    score: str
    tau: Interval
    scenes: int


@dataclass(frozen=True, slots=True)
class PairOrder:
    """Two systems in two kinds of traffic.

    Attributes:
        traffic, reference: Labels.
        adversary, score: Criterion.
        first, second: Labels of the systems.
        gap, reference_gap: How much better the first one is, on average over scenes, in either kind.
        p_value, reference_p: Two-sided, adjusted (Holm) for all pairs and criteria in that kind of traffic.
        scenes: Pairs of numbers in both.
        place: `kept` or `swapped` where both differences are beyond noise, else `undecided`.
    """

    traffic: str
    reference: str
    adversary: str
    score: str
    first: str
    second: str
    gap: Interval
    reference_gap: Interval
    p_value: float
    reference_p: float
    scenes: int
    place: Place


def table_of(ranking: RankingScores, traffics: Sequence[str]) -> Floats:
    """[T, C, K, S] scores by traffic, criterion, system and scene; more is better, NaN where undefined.

    A scene is undefined for a criterion as a whole where any system has no number in it in any traffic: rankings are
    compared on the same scenes.
    """
    rows = {(row.traffic, row.adversary, row.score, row.system): row.values for row in ranking.rows}
    table = np.array(
        [
            [
                [rows[kind, adversary, score, system.label] for system in ranking.systems]
                for adversary, score in ranking.criteria
            ]
            for kind in traffics
        ],
        dtype=np.float64,
    )
    table *= np.array([BETTER[score] for _, score in ranking.criteria])[:, None, None]
    known = np.asarray(np.isfinite(table).all((0, 2)))
    return np.where(known[None, :, None], table, np.nan)


def kendall(first: Floats, second: Floats) -> Floats:
    """Kendall's tau-b of two rankings, over several criteria together (Kendall 1945).

    With `s` the sign of the difference of two systems in a criterion, it is the sum of s1 s2 over all pairs and
    criteria, over the root of the sums of s1² and of s2²: ties of either ranking count for nothing.

    Args:
        first, second: [..., C, K] numbers of K systems in C criteria.

    Returns:
        [...] tau, NaN where a ranking has ties alone.
    """
    one, two = _signs(first), _signs(second)
    untied = np.sqrt((one**2).sum(-1) * (two**2).sum(-1))
    with np.errstate(invalid="ignore"):
        return np.where(untied > 0, (one * two).sum(-1) / untied, np.nan)


def _signs(means: Floats) -> Floats:
    """[..., C P] which of every two systems is ahead, in every criterion."""
    first, second = np.triu_indices(means.shape[-1], 1)
    gaps = np.round(means[..., first] - means[..., second], _DIGITS)
    # Where nothing is known nobody is ahead.
    return np.nan_to_num(np.sign(gaps)).reshape(*means.shape[:-2], -1)


def agreements(ranking: RankingScores, traffics: Sequence[str], seed: int) -> list[Agreement]:
    """Tau between every two kinds of traffic, of all criteria together and of each; and of `log` with itself redrawn.

    Scenes are redrawn for both kinds at once, so that what differs between them is the traffic.

    Args:
        ranking: The scores.
        traffics: Labels, the certified one first.
        seed: Seed of the redrawing.
    """
    table = table_of(ranking, traffics)
    known = np.isfinite(table[0, :, 0])
    means, drawn = _means(table, known), _redrawn(table, known, seed)
    criteria = ranking.criteria
    # A criterion without any scene (every episode failed) says nothing.
    parts = [("", "", np.flatnonzero(known.any(-1)).tolist())]
    parts += [(adversary, score, [number]) for number, (adversary, score) in enumerate(criteria)]
    found = []
    for adversary, score, rows in parts:
        scenes = int(known[rows].sum(-1).min(initial=known.shape[1])) if rows else 0
        for one, two in combinations(range(len(traffics)), 2):
            value = float(kendall(means[one, rows], means[two, rows]))
            tau = percentile_interval(value, kendall(drawn[:, one][:, rows], drawn[:, two][:, rows]))
            found.append(Agreement(traffics[one], traffics[two], adversary, score, tau, scenes))
        if not adversary:
            # Two drawings of scenes: a tau of the traffic's below is more than what other scenes would have done.
            last = drawn[:, traffics.index("log")]
            again = kendall(last, np.roll(last, 1, axis=0))
            mean = float(np.nanmean(again)) if np.isfinite(again).any() else float("nan")
            found.append(Agreement("log", "log", "", "", percentile_interval(mean, again), scenes))
    return found


def _means(table: Floats, known: NDArray[np.bool_]) -> Floats:
    """[T, C, K] over the scenes of each criterion."""
    counted = known.sum(-1)[None, :, None]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(table, -1) / counted)


def _redrawn(table: Floats, known: NDArray[np.bool_], seed: int) -> Floats:
    """[R, T, C, K] means over scenes that are drawn with replacement."""
    kinds, criteria, systems, scenes = table.shape
    flat = np.nan_to_num(table).reshape(-1, scenes).T
    counts = known.T.astype(np.float64)

    def means(picks: NDArray[np.int64]) -> Floats:
        rows = np.arange(len(picks))[:, None] * scenes + picks
        often = np.bincount(rows.ravel(), minlength=len(picks) * scenes).reshape(len(picks), scenes)
        total = (often @ flat).reshape(-1, kinds, criteria, systems)
        with np.errstate(invalid="ignore"):
            return np.asarray(total / (often @ counts)[:, None, :, None])

    return resampled(means, [scenes], seed)


def orders(ranking: RankingScores, traffics: Sequence[str], seed: int) -> list[PairOrder]:
    """Every two systems by every criterion: in the certified traffic, the first one, beside every other.

    One system is ahead of another beyond noise where the difference over scenes has a p value up to `LEVEL` after
    Holm's correction for all pairs and criteria in that traffic: by McNemar's exact test where every number is 0 or 1,
    else by the paired bootstrap.
    """
    table = table_of(ranking, traffics)
    pairs = list(combinations(range(len(ranking.systems)), 2))
    tests = [[_gap(kind[row], one, two, seed) for row in range(len(kind)) for one, two in pairs] for kind in table]
    adjusted = [holm([p_value for _, p_value, _ in row]) for row in tests]
    labels = [item.label for item in ranking.systems]
    names = [(*criterion, labels[one], labels[two]) for criterion in ranking.criteria for one, two in pairs]
    found = []
    for other in range(1, len(traffics)):
        for number, (adversary, score, first, second) in enumerate(names):
            (mine, _, scenes), (theirs, _, _) = tests[0][number], tests[other][number]
            p_mine, p_theirs = float(adjusted[0][number]), float(adjusted[other][number])
            sides = [np.sign(gap.mean) if p <= LEVEL else 0.0 for gap, p in ((mine, p_mine), (theirs, p_theirs))]
            # Where nothing is known, p is NaN: nobody is ahead.
            place: Place = "undecided" if 0.0 in sides else "kept" if sides[0] == sides[1] else "swapped"
            found.append(
                PairOrder(
                    traffic=traffics[0],
                    reference=traffics[other],
                    adversary=adversary,
                    score=score,
                    first=first,
                    second=second,
                    gap=mine,
                    reference_gap=theirs,
                    p_value=p_mine,
                    reference_p=p_theirs,
                    scenes=scenes,
                    place=place,
                )
            )
    return found


def _gap(scores: Floats, first: int, second: int, seed: int) -> tuple[Interval, float, int]:
    """How far one system [K, S] is ahead of another, its p value, and on how many scenes."""
    one, two = scores[first], scores[second]
    known = np.isfinite(one)
    one, two = one[known], two[known]
    if not len(one):
        return Interval(np.nan, np.nan, np.nan), float("nan"), 0
    if np.isin(np.abs(scores[:, known]), (0.0, 1.0)).all():
        return bootstrap_mean(one - two, seed), mcnemar(np.abs(one), np.abs(two)).p_value, len(one)
    gap = paired_difference(one, two, seed)
    return gap.difference, gap.p_value, gap.scenes

"""What follows from a certificate's numbers: numbers with intervals, and a verdict on each item by a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np

from harness.benchmarking.certificates.data import METRICS, Certificate, ModelScores
from harness.benchmarking.certificates.ranking import Agreement, PairOrder, agreements, orders
from harness.files import JsonDict
from harness.metrics.intervals import Interval, bootstrap_mean, rate_beside_share, wilson
from harness.metrics.paired import paired_difference

SHARE: Final = 1 / 3
"""Followers may run into a braking ego in at most this share of the cases in which replayed ones do."""
FEWEST: Final = 10
"""Nothing is decided on fewer scenes: a bootstrap over a handful of them is too narrow."""

Verdict = Literal["passes", "fails", "undecided"]


@dataclass(frozen=True, slots=True)
class Check:
    """One item, judged.

    Attributes:
        item: What is judged.
        verdict: `undecided` where the interval holds the threshold, or on too few scenes.
        found: The number with its interval, in words.
        rule: The threshold.
        reason: Why it lies there.
    """

    item: str
    verdict: Verdict
    found: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class RealismRow:
    """Means over scenes for one kind of traffic, by metric; `scenes` is where `meta` is defined."""

    model: str
    scenes: int
    means: dict[str, Interval]


@dataclass(frozen=True, slots=True)
class ReactionRow:
    """In how many scenes a follower ran into the braking ego."""

    model: str
    scenes: int
    hits: int
    rate: Interval


@dataclass(frozen=True, slots=True)
class MeanScore:
    """A system's mean score in one kind of traffic, on the scenes on which rankings are compared; NaN without any."""

    traffic: str
    adversary: str
    score: str
    system: str
    mean: float


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that a certificate says.

    Attributes:
        checks: Verdicts.
        realism, reaction: One row per kind of traffic, the certified one first.
        means: What systems are ranked by.
        agreements: Tau of every two rankings.
        orders: Who of every two systems is ahead.
    """

    checks: tuple[Check, ...]
    realism: tuple[RealismRow, ...]
    reaction: tuple[ReactionRow, ...]
    means: tuple[MeanScore, ...]
    agreements: tuple[Agreement, ...]
    orders: tuple[PairOrder, ...]

    def as_dict(self) -> JsonDict:
        """JSON-able; an interval is a list of mean, low and high."""
        return asdict(self)


def judge(made: Certificate) -> Findings:
    """Work out everything that a certificate says, from its numbers alone."""
    seed, traffics = made.setting.seeds[0], [made.traffic.label, *made.references]
    realism = tuple(_realism_row(_of(made, name), seed) for name in (made.traffic.label, *made.compared))
    reaction = tuple(_reaction_row(made, name) for name in traffics)
    ranked = len(made.ranking.systems) > 1
    agreed = agreements(made.ranking, traffics, seed) if ranked else []
    pairs = orders(made.ranking, traffics, seed) if ranked else []
    checks = [_check_realism(made, seed), _check_reaction(made, reaction)]
    checks += [_check_order(made, name, agreed, pairs) for name in made.references]
    return Findings(tuple(checks), realism, reaction, _mean_scores(made, traffics), tuple(agreed), tuple(pairs))


def _of(made: Certificate, label: str) -> ModelScores:
    return next(item for item in made.realism.models if item.model == label)


def _realism_row(model: ModelScores, seed: int) -> RealismRow:
    numbers = {metric: np.array(getattr(model, metric), dtype=np.float64) for metric in METRICS}
    means = {metric: bootstrap_mean(values, seed) for metric, values in numbers.items()}
    return RealismRow(model.model, int(np.isfinite(numbers["meta"]).sum()), means)


def _reaction_row(made: Certificate, label: str) -> ReactionRow:
    known = [hit for item in made.reaction.models if item.model == label for hit in item.hits if hit is not None]
    return ReactionRow(label, len(known), sum(known), wilson(sum(known), len(known)))


def _mean_scores(made: Certificate, traffics: Sequence[str]) -> tuple[MeanScore, ...]:
    """Means as they are, not turned so that more is better."""
    rows = {(row.traffic, row.adversary, row.score, row.system): row.values for row in made.ranking.rows}
    found = []
    for adversary, score in made.ranking.criteria:
        cells = [(kind, item.label) for kind in traffics for item in made.ranking.systems]
        table = np.array([rows[kind, adversary, score, label] for kind, label in cells], dtype=np.float64)
        table = table.reshape(len(cells), len(made.scenes))
        table = table[:, np.isfinite(table).all(0)]
        means = table.mean(-1) if table.shape[1] else np.full(len(cells), np.nan)
        found += [
            MeanScore(kind, adversary, score, label, float(mean))
            for (kind, label), mean in zip(cells, means, strict=True)
        ]
    return tuple(found)


def _verdict(interval: Interval, scenes: int, *, above: bool) -> Verdict:
    """Whether an interval lies above 0 (or below, where less is better) as a whole."""
    if scenes < FEWEST or not np.isfinite(interval.low):
        return "undecided"
    good, bad = (interval.low > 0, interval.high < 0) if above else (interval.high <= 0, interval.low > 0)
    return "passes" if good else "fails" if bad else "undecided"


def _check_realism(made: Certificate, seed: int) -> Check:
    own, other = (np.array(_of(made, name).meta, dtype=np.float64) for name in (made.traffic.label, made.compared[-1]))
    gap = paired_difference(own, other, seed)
    yardstick = made.compared[-1]
    return Check(
        item="realism",
        verdict=_verdict(gap.difference, gap.scenes, above=True),
        found=f"meta differs from that of {yardstick} by {_signed(gap.difference)} ({gap.scenes} scenes)",
        rule=f"meta is above that of {yardstick}, beyond its 95 % interval over scenes",
        reason="whoever drives less lifelike than the simplest driver of its kind has nothing to add to it",
    )


def _check_reaction(made: Certificate, rows: Sequence[ReactionRow]) -> Check:
    own = rows[0]
    log = next(row for row in rows if row.model == "log")
    beside = rate_beside_share((own.hits, own.scenes), (log.hits, log.scenes), SHARE)
    return Check(
        item="reaction",
        verdict=_verdict(beside, own.scenes, above=False),
        found=f"{own.hits} of {own.scenes} followers run into an ego that brakes at {made.reaction.deceleration:g} "
        f"m/s², replayed ones {log.hits} of {log.scenes}",
        rule="hits in at most a third of the replayed log's cases, beyond the 95 % interval",
        reason="a replayed follower sees nothing; who sees the ego brake should avoid most of what it cannot",
    )


def _check_order(made: Certificate, reference: str, agreed: Sequence[Agreement], pairs: Sequence[PairOrder]) -> Check:
    item = f"ranking against {reference}"
    rule = (
        "no two systems change places beyond noise, some keep theirs beyond noise, and Kendall's tau of all criteria "
        "together is above 0 beyond its 95 % interval"
    )
    reason = (
        "a swap beyond noise makes a benchmark's order a property of its traffic; 0 is the tau of rankings that have "
        "nothing in common"
    )
    if not agreed:
        return Check(item, "undecided", "one system has no ranking", rule, reason)
    whole = next(
        row for row in agreed if {row.traffic, row.reference} == {made.traffic.label, reference} and not row.adversary
    )
    places = [pair.place for pair in pairs if pair.reference == reference]
    kept, swapped = places.count("kept"), places.count("swapped")
    verdict = _verdict(whole.tau, whole.scenes, above=True)
    if whole.scenes >= FEWEST and swapped:
        verdict = "fails"
    elif verdict == "passes" and not kept:
        verdict = "undecided"
    found = (
        f"tau {_signed(whole.tau)} ({whole.scenes} scenes); of {len(places)} pairs {kept} keep their order and "
        f"{swapped} change it beyond noise"
    )
    return Check(item, verdict, found, rule, reason)


def _signed(interval: Interval) -> str:
    if not np.isfinite(interval.mean):
        return "an undefined number"
    # Other machines sum in another order: what lies in the middle of two texts is the same text everywhere.
    mean, low, high = (round(end, 9) for end in interval)
    return f"{mean:+.3f}{f' [{low:+.3f}, {high:+.3f}]' if np.isfinite(low) else ''}"

"""What the scores of a table's rows say together: means with intervals, and differences from the first row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import RunError
from harness.files import JsonDict, read_json
from harness.metrics.intervals import Estimate, bootstrap_mean, percentile_interval, resampled
from harness.metrics.longterm.scores import rmm_f1
from harness.metrics.paired import RESAMPLES, PairedDifference, crossed_difference, holm
from harness.traffic.evaluation import METRICS
from harness.traffic.longterm.evaluation import RATES as COUNTED
from harness.traffic.longterm.evaluation import SCENE_METRICS
from harness.traffic.papers.config import TrafficTablesConfig
from harness.traffic.papers.likelihood import LIKELIHOODS
from harness.traffic.papers.scored import WHOLE, Model, score_file
from harness.traffic.papers.table import Measure

Floats = NDArray[np.float64]

NUMBERS: Final[dict[Measure, tuple[str, ...]]] = {
    "realism": METRICS,
    "likelihood": LIKELIHOODS,
    "longterm": (*SCENE_METRICS, *COUNTED),
}
"""Numbers that every scene has, by measure."""
TESTED: Final[dict[Measure, tuple[str, ...]]] = {
    "realism": ("meta", "simulated_collision_rate", "simulated_offroad_rate", "min_ade"),
    "likelihood": ("known_motion", "motion", "entering", "all"),
    "longterm": ("flow", "flow_by_ones", "behaviour", "collision_indication"),
}
"""What differences from a table's first row are tested of."""
F1: Final = "rmm_f1"
"""The harmonic mean of the means of flow and behaviour, which no scene has alone."""


@dataclass(frozen=True)
class ScoredRow:
    """A row of a table with its numbers.

    Attributes:
        label: As shown.
        values: Per metric, [seeds, scenes].
        simulating: Seconds that rolling out (or reading) one scene took, mean.
        whole: Numbers that all scenes have together, mean over seeds; NaN where a seed was scored on other scenes.
        windows: Per score its mean over seeds and scenes, by windows.
    """

    label: str
    values: Mapping[str, Floats]
    simulating: float
    whole: Mapping[str, float] = field(default_factory=dict)
    windows: Mapping[str, Floats] = field(default_factory=dict)
    _known: dict[str, Estimate] = field(default_factory=dict, repr=False, compare=False)

    def estimate(self, metric: str) -> Estimate:
        """Mean over seeds and scenes with a 95 % interval over both, and the spread over seeds.

        Where a scene has no number, each seed's mean is over the others.
        """
        # Tables and files ask for the same, and a bootstrap takes its time.
        if metric not in self._known:
            self._known[metric] = self._f1() if metric == F1 else self._mean(metric)
        return self._known[metric]

    def _mean(self, metric: str) -> Estimate:
        values = self.values[metric]
        interval = bootstrap_mean(values.T, crossed=True, resamples=RESAMPLES)
        return Estimate(interval, int(np.isfinite(values).any(0).sum()), _spread(_means(values)))

    def _f1(self) -> Estimate:
        behaviour, flow = self.values["behaviour"], self.values["flow"]
        seeds, scenes = flow.shape

        def score(picked: NDArray[np.int64], picks: NDArray[np.int64]) -> Floats:
            places = picked[:, :, None], picks[:, None, :]
            return rmm_f1(_means(behaviour[places], (1, 2)), _means(flow[places], (1, 2)))

        if scenes == 0:
            return Estimate(percentile_interval(float("nan"), np.zeros(0)), 0)
        value = float(rmm_f1(_means(behaviour, (0, 1)), _means(flow, (0, 1))))
        drawn = resampled(score, [seeds, scenes], resamples=RESAMPLES)
        by_seed = rmm_f1(_means(behaviour), _means(flow))
        return Estimate(percentile_interval(value, drawn), scenes, _spread(by_seed))


def _means(values: Floats, axes: int | tuple[int, ...] = 1) -> Floats:
    """Means over axes where defined; NaN where they are nowhere."""
    known = np.isfinite(values)
    total, count = np.where(known, values, 0.0).sum(axes), known.sum(axes)
    return np.asarray(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0))


def _spread(by_seed: Floats) -> float:
    return float(by_seed.std(ddof=1)) if len(by_seed) > 1 else float("nan")


class UnscoredRow(NamedTuple):
    """A row that is not in a table, and why."""

    label: str
    reason: str


def rows_of(
    config: TrafficTablesConfig, models: Sequence[Model], out: Path
) -> tuple[list[ScoredRow], list[UnscoredRow]]:
    """The rows of which every seed is scored, on the scenes that all of them were scored on, and the other rows."""
    read: dict[str, list[JsonDict]] = {}
    missing: dict[str, int] = {}
    for model in models:
        file = score_file(config, out, model.job)
        found = _scores(file, model.job.measure) if file.is_file() else None
        read.setdefault(model.label, []).extend([found] if found else [])
        missing[model.label] = missing.get(model.label, 0) + (found is None)
    whole = {label: found for label, found in read.items() if not missing[label]}
    names = [set(one["scenes"]) for found in whole.values() for one in found]
    shared = sorted(set.intersection(*names)) if names else []
    keys = NUMBERS[models[0].job.measure] if models else ()
    rows = [_row(label, found, keys, shared) for label, found in whole.items()]
    return rows, [UnscoredRow(label, _reason(count, read[label])) for label, count in missing.items() if count]


def _reason(missing: int, found: Sequence[JsonDict]) -> str:
    return f"{missing} of {missing + len(found)} seeds have no scores"


def _row(label: str, found: Sequence[JsonDict], keys: Sequence[str], shared: Sequence[str]) -> ScoredRow:
    places = [[one["scenes"].index(scene) for scene in shared] for one in found]
    alike = all(sorted(one["scenes"]) == list(shared) for one in found)

    def table(metric: str) -> Floats:
        rows = [
            [_number(one["scores"][metric][place]) for place in own] for one, own in zip(found, places, strict=True)
        ]
        return np.array(rows, dtype=np.float64).reshape(len(found), len(shared))

    whole = {key: float(np.mean([_number(one["whole"][key]) for one in found])) for key in found[0].get("whole", ())}
    return ScoredRow(
        label,
        {metric: table(metric) for metric in keys},
        float(np.mean([one["simulating"] for one in found])),
        {key: value if alike else float("nan") for key, value in whole.items()},
        _windows(found) if alike else {},
    )


def _windows(found: Sequence[JsonDict]) -> dict[str, Floats]:
    """Scores by windows, mean over seeds."""
    return {
        name: _means(np.array([[_number(value) for value in one["windows"][name]] for one in found]), 0)
        for name in found[0].get("windows", ())
    }


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _scores(file: Path, measure: Measure) -> JsonDict:
    """What a file of scores holds.

    Raises:
        RunError: It was not written by this command, or is damaged.
    """
    found = read_json(file)
    lists = isinstance(found, dict) and isinstance(found.get("scenes"), list) and isinstance(found.get("scores"), dict)
    more = lists and isinstance(found.get("simulating"), int | float)
    if measure == "longterm":
        more = more and isinstance(found.get("windows"), dict) and isinstance(found.get("whole"), dict)
        more = more and set(WHOLE) <= found["whole"].keys()
    if not more or any(len(found["scores"].get(key, ())) != len(found["scenes"]) for key in NUMBERS[measure]):
        raise RunError(f"{file} holds no scores of this version. Remove it; --resume makes it again.")
    return dict(found)


class Gap(NamedTuple):
    """A row against the first one.

    Attributes:
        label: The row.
        differences: Row minus first, by metric of `TESTED`.
        adjusted: p values by Holm, over the rows of the table.
    """

    label: str
    differences: dict[str, PairedDifference]
    adjusted: dict[str, float]


def gaps_of(rows: Sequence[ScoredRow], measure: Measure = "realism") -> list[Gap]:
    """Every row against the first: difference over seeds and scenes, interval and p value."""
    if len(rows) < 2:
        return []
    first, others, tested = rows[0], rows[1:], TESTED[measure]
    found = {
        metric: [crossed_difference(row.values[metric], first.values[metric]) for row in others] for metric in tested
    }
    adjusted = {metric: holm([gap.p_value for gap in gaps]) for metric, gaps in found.items()}
    return [
        Gap(
            row.label,
            {metric: found[metric][number] for metric in tested},
            {metric: float(adjusted[metric][number]) for metric in tested},
        )
        for number, row in enumerate(others)
    ]

"""Long roll-outs of several models against the log: scores per scene and window, means with intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError, ScenarioError
from harness.interfaces import TrafficPolicy
from harness.metrics.intervals import Interval, Picks, bootstrap_mean, percentile_interval, resampled
from harness.metrics.longterm.behaviour import behaviour_scores, pooled_references
from harness.metrics.longterm.distributions import Counts, js_score, masses
from harness.metrics.longterm.features import LONG_TERM_FEATURES
from harness.metrics.longterm.flow import FLOW_FEATURES, flow_reference, window_flow_scores
from harness.metrics.longterm.retrieval import nearest_windows
from harness.metrics.longterm.scores import behaviour_buckets, flow_realism, rmm_f1, stability
from harness.metrics.wosac.config import BERNOULLI_PSEUDOCOUNT, ESTIMATORS, HISTOGRAM_PSEUDOCOUNT
from harness.traffic.longterm.config import EvaluateLongtermConfig
from harness.traffic.longterm.engines import RetrievalBase
from harness.traffic.longterm.scene import LongScene, WindowRecord
from harness.traffic.scene_vae.model import SceneVae
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]

LOG: Final = "log"
"""The recording itself."""
BUCKETS: Final = ("behaviour", "kinematic", "interactive", "map")
FLOWS: Final = ("flow", "flow_by_ones")
SCENE_METRICS: Final = (*FLOWS, *FLOW_FEATURES, *BUCKETS, *LONG_TERM_FEATURES, "behaviour_against_all")
"""Every score per scene."""
BY_WINDOW: Final = ("flow", "enter", "exit", "enter_distance", "exit_distance")
"""Scores of the flow that are told by windows: against the log, and against retrieved windows (appendix F.3, F.4)."""
BY_RETRIEVAL: Final = tuple(f"{metric}_by_retrieval" for metric in BY_WINDOW)
Statistic = Callable[[Picks], Floats]
"""Gets indices of scenes [rows, S], and returns a number for each row."""
RATES: Final = ("entries_per_s", "exits_per_s", "present")
"""What is counted per scene: agents that enter and leave per second, and those that are there."""


@dataclass(frozen=True, slots=True)
class LongRun:
    """Everything that was rolled out. S scenes.

    Attributes:
        scenes: Their names.
        judged: Per scene [W] which windows have a map.
        log: Per scene the recording.
        models: Model → per scene its roll-outs.
        seconds: Model → seconds spent in rolling these scenes out and counting.
        left_out: Scene → why it could not be used.
        without_edges: Scenes without road edges: what rests on them is NaN there.
    """

    scenes: list[str] = field(default_factory=list)
    judged: list[NDArray[np.bool_]] = field(default_factory=list)
    log: list[WindowRecord] = field(default_factory=list)
    models: dict[str, list[list[WindowRecord]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    without_edges: list[str] = field(default_factory=list)


def run_long(
    policies: Mapping[str, TrafficPolicy],
    scenes: Iterable[Scenario],
    config: EvaluateLongtermConfig,
    vae: SceneVae | None = None,
) -> LongRun:
    """Roll every scene out with every policy; a scene that cannot be used is left out for all.

    Args:
        policies: By the name under which they appear in tables; the log needs none.
        scenes: Loaded one at a time.
        config: Horizon, observer, roll-outs, seed.
        vae: Encodes windows, where they are to be retrieved by latents.
    """
    names = config.traffic
    run = LongRun(models={name: [] for name in names}, seconds=dict.fromkeys(names, 0.0))
    for scenario in scenes:
        try:
            scene = LongScene.of(scenario, config.horizon, config.observer, vae)
            records: dict[str, list[WindowRecord]] = {}
            spent: dict[str, float] = {}
            log = scene.log()
            for name in names:
                begin = time.perf_counter()
                records[name] = (
                    [log]
                    if name == LOG
                    else [scene.roll_out(policies[name], config.seed, number) for number in range(config.rollouts)]
                )
                spent[name] = time.perf_counter() - begin
        except ScenarioError as error:
            run.left_out[scenario.id] = str(error)
            continue
        run.scenes.append(scenario.id)
        run.judged.append(scene.judged)
        run.log.append(log)
        if scene.edges is None:
            run.without_edges.append(scenario.id)
        for name, found in records.items():
            run.models[name].append(found)
            run.seconds[name] += spent[name]
    return run


class _Base(NamedTuple):
    """The recorded windows that simulated ones are compared with. N windows.

    Attributes:
        counts, flow: Counts [N, bins] of behaviour and flow.
        windows: What they are retrieved by.
        scene: [N] whose window.
        reference: The flow of the whole log.
        everything: Counts [bins] of behaviour of all windows together.
    """

    counts: dict[str, Counts]
    flow: dict[str, Counts]
    windows: RetrievalBase
    scene: NDArray[np.intp]
    reference: dict[str, Floats]
    everything: dict[str, Counts]

    @classmethod
    def of(cls, run: LongRun, every: int) -> _Base:
        """Every so many-th window with a map of each recording."""
        rows = [np.flatnonzero(keep)[::every] for keep in run.judged]

        def joined(parts: Sequence[Mapping[str, Counts]]) -> dict[str, Counts]:
            return {
                name: np.concatenate([part[name][picked] for part, picked in zip(parts, rows, strict=True)])
                for name in parts[0]
            }

        everything = [_summed([_judged(log.counts, keep)]) for log, keep in zip(run.log, run.judged, strict=True)]
        return cls(
            counts=joined([record.counts for record in run.log]),
            flow=joined([record.flow for record in run.log]),
            windows=RetrievalBase.of(run.log, rows),
            scene=np.repeat(np.arange(len(run.log)), [len(picked) for picked in rows]),
            reference=flow_reference([record.events for record in run.log]),
            everything={name: np.sum([part[name] for part in everything], 0) for name in everything[0]},
        )


def references_used(run: LongRun, config: EvaluateLongtermConfig) -> int:
    """With how many recorded windows every window is compared: fewer than asked for where there are no more."""
    scene = np.repeat(np.arange(len(run.judged)), [len(np.flatnonzero(keep)[:: config.every]) for keep in run.judged])
    return int(min(config.references, _available(scene, config).min()))


def score_long(run: LongRun, config: EvaluateLongtermConfig) -> dict[str, object]:
    """Scores of everything that was rolled out.

    Returns:
        Model → every metric of `SCENE_METRICS` and `RATES` (means over scenes), `rmm_f1` (the
        paper's: of the means over scenes), `pooled_…` (flow and behaviour of all scenes together, by the divergence
        of distributions; `pooled_flow` in bins of one), `rmm_f1_pooled` (of `pooled_behaviour` and `pooled_flow`: the
        log scores exactly 1), `intervals` (metric → [low, high]), `N`,
        `seconds` per scene, `windows` (by windows: `BY_WINDOW` against the log and `BY_RETRIEVAL` against retrieved
        windows, behaviour, and the stability of flow and behaviour), and `scenes` (metric → one number per scene).

    Raises:
        ConfigError: No scene could be used, or there is no window of another scene to be retrieved.
    """
    if not run.scenes:
        reason = next(iter(run.left_out.values()), "there are none")
        raise ConfigError(f"none of the scenes of {config.data} can be used: {reason}")
    base = _Base.of(run, config.every)
    return {name: _model(run, base, name, config) for name in run.models}


def _model(run: LongRun, base: _Base, name: str, config: EvaluateLongtermConfig) -> dict[str, object]:
    per_scene: dict[str, list[float]] = {metric: [] for metric in (*SCENE_METRICS, *RATES)}
    by_window: dict[str, list[Floats]] = {metric: [] for metric in ("behaviour", *BY_WINDOW, *BY_RETRIEVAL)}
    flows: list[dict[str, Counts]] = []
    behaviours: list[dict[str, Counts]] = []
    for row, rollouts in enumerate(run.models[name]):
        parts = [_windows(record, base, row, run.judged[row], config) for record in rollouts]
        means = {metric: _mean([part[metric] for part in parts]) for metric in (*LONG_TERM_FEATURES, *FLOW_FEATURES)}
        against = {metric: _mean([part[f"{metric}_all"] for part in parts]) for metric in LONG_TERM_FEATURES}
        means |= {bucket: float(score) for bucket, score in behaviour_buckets(means).items()}
        means["behaviour_against_all"] = float(behaviour_buckets(against)["behaviour"])
        means["flow"] = float(flow_realism(means["enter"], means["exit"]))
        means["flow_by_ones"] = float(flow_realism(means["enter_by_ones"], means["exit_by_ones"]))
        means |= _rates(rollouts)
        for metric, values in per_scene.items():
            values.append(means[metric])
        for metric, windows in by_window.items():
            windows.append(_nan_mean(np.stack([part[metric] for part in parts], -1)))
        flows.append(_summed([record.events.histograms() for record in rollouts]))
        behaviours.append(_summed([_judged(record.counts, run.judged[row]) for record in rollouts]))
    scores = {metric: np.asarray(values) for metric, values in per_scene.items()}
    intervals = {metric: bootstrap_mean(values, config.seed) for metric, values in scores.items()}
    together = _pooled(flows, behaviours, base)
    for metric, statistic in together.items():
        intervals[f"pooled_{metric}"] = _interval(statistic, len(run.scenes), config.seed)
    behaviour, flow = scores["behaviour"], scores["flow"]
    intervals["rmm_f1"] = _interval(
        lambda picks: rmm_f1(_nan_mean(behaviour[picks]), _nan_mean(flow[picks])), len(run.scenes), config.seed
    )
    intervals["rmm_f1_pooled"] = _interval(
        lambda picks: rmm_f1(together["behaviour"](picks), together["flow"](picks)), len(run.scenes), config.seed
    )
    return {
        **{metric: interval.mean for metric, interval in intervals.items()},
        "N": len(run.scenes),
        "intervals": {metric: [interval.low, interval.high] for metric, interval in intervals.items()},
        "seconds": run.seconds[name] / len(run.scenes),
        "windows": _by_window(by_window),
        "scenes": {metric: values.tolist() for metric, values in scores.items()},
    }


def _windows(
    record: WindowRecord, base: _Base, scene: int, judged: NDArray[np.bool_], config: EvaluateLongtermConfig
) -> dict[str, Floats]:
    """Scores [W] of one roll-out; NaN in windows without a map."""
    distances = base.windows.distances(record, config.retrieval, config.map_weight)
    allowed = np.broadcast_to(base.scene != scene, distances.shape) if config.foreign else None
    count = max(1, min(config.references, int(_available(base.scene, config)[scene])))
    chosen = nearest_windows(distances, count, allowed=allowed, skip=config.passed_over)
    found = behaviour_scores(record.counts, pooled_references(base.counts, chosen))
    against = behaviour_scores(record.counts, base.everything)
    flow = window_flow_scores(record.flow, base.reference)
    retrieved = {metric: masses(count) for metric, count in pooled_references(base.flow, chosen).items()}
    by_retrieval = window_flow_scores(record.flow, retrieved)
    by_retrieval["flow"] = flow_realism(by_retrieval["enter"], by_retrieval["exit"])
    scores = {
        **found,
        **{f"{metric}_all": score for metric, score in against.items()},
        **flow,
        "behaviour": behaviour_buckets(found)["behaviour"],
        "flow": flow_realism(flow["enter"], flow["exit"]),
        **{f"{metric}_by_retrieval": by_retrieval[metric] for metric in BY_WINDOW},
    }
    return {metric: np.where(judged, score, np.nan) for metric, score in scores.items()}


def _available(scene: NDArray[np.intp], config: EvaluateLongtermConfig) -> NDArray[np.intp]:
    """How many of N windows, of scenes [N], can be retrieved for each scene [S]."""
    own = np.bincount(scene)
    known = len(scene) - own if config.foreign else np.full(len(own), len(scene))
    return known - np.floor(config.passed_over * known).astype(int)


def _rates(rollouts: Sequence[WindowRecord]) -> dict[str, float]:
    """Entries and exits per second, and agents that are there."""
    events = [record.events for record in rollouts]
    return {
        "entries_per_s": float(np.mean([part.enter.mean() for part in events])) * 2,
        "exits_per_s": float(np.mean([part.exit.mean() for part in events])) * 2,
        "present": float(np.mean([part.present.mean() for part in events])),
    }


def _mean(parts: Sequence[Floats]) -> float:
    """Mean over windows, then roll-outs, where defined; NaN where it is nowhere."""
    rows = [part[~np.isnan(part)].mean() for part in parts if (~np.isnan(part)).any()]
    return float(np.mean(rows)) if rows else float("nan")


def _nan_mean(values: Floats) -> Floats:
    """Mean over the last axis, where defined; NaN where it is nowhere."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(-1)
    return np.asarray(np.divide(total, known.sum(-1), out=np.full_like(total, np.nan), where=known.any(-1)))


def _judged(counts: Mapping[str, Counts], windows: NDArray[np.bool_]) -> dict[str, Counts]:
    """Counts of the windows that have a map."""
    return {metric: count[windows] for metric, count in counts.items()}


def _summed(rollouts: Sequence[Mapping[str, Counts]]) -> dict[str, Counts]:
    """Counts [bins] of all windows, or half seconds, of all roll-outs of a scene."""
    return {metric: np.sum([part[metric].sum(0) for part in rollouts], 0) for metric in rollouts[0]}


def _pooled(
    flows: Sequence[Mapping[str, Counts]], behaviours: Sequence[Mapping[str, Counts]], base: _Base
) -> dict[str, Statistic]:
    """How alike all scenes together are to all recordings together: each number by the divergence of distributions.

    Of flow every score, and `flow` in bins of one; of behaviour the buckets. The recordings score 1.
    """
    found = {name: _together([part[name] for part in flows], base.reference[name]) for name in FLOW_FEATURES}
    features = {}
    for name in LONG_TERM_FEATURES:
        smoothing = HISTOGRAM_PSEUDOCOUNT if ESTIMATORS[name] is not None else BERNOULLI_PSEUDOCOUNT
        recorded = base.everything[name]
        reference = masses(recorded, smoothing) if recorded.any() else np.full(recorded.shape, np.nan)
        features[name] = _together([part[name] for part in behaviours], reference, smoothing)

    def bucket(key: str) -> Statistic:
        return lambda picks: behaviour_buckets({name: score(picks) for name, score in features.items()})[key]

    found["flow"] = lambda picks: flow_realism(found["enter_by_ones"](picks), found["exit_by_ones"](picks))
    return found | {key: bucket(key) for key in BUCKETS}


def _together(scenes: Sequence[Counts], reference: Floats, smoothing: float = HISTOGRAM_PSEUDOCOUNT) -> Statistic:
    """Score of all picked scenes together, from counts [bins] of each; NaN where nothing was counted."""
    counts = np.stack(scenes)

    def score(picks: Picks) -> Floats:
        total = counts[picks].sum(1)
        return np.where(total.any(-1), js_score(masses(total, smoothing), reference), np.nan)

    return score


def _interval(statistic: Statistic, scenes: int, seed: int) -> Interval:
    """A statistic of all scenes, with an interval from resampling them (biased downwards for distributions)."""
    return percentile_interval(float(statistic(np.arange(scenes)[None])[0]), resampled(statistic, [scenes], seed))


def _by_window(scenes: Mapping[str, Sequence[Floats]]) -> dict[str, list[float]]:
    """Means over scenes by window, and the stability of flow and behaviour; shorter scenes count while they last."""
    longest = max(len(row) for row in scenes["flow"])
    result = {}
    for metric, rows in scenes.items():
        table = np.stack([np.pad(row, (0, longest - len(row)), constant_values=np.nan) for row in rows])
        known = ~np.isnan(table)
        total = np.where(known, table, 0.0).sum(0)
        result[metric] = np.divide(total, known.sum(0), out=np.full(longest, np.nan), where=known.any(0))
    result["flow_stability"] = stability(result["flow"])
    result["behaviour_stability"] = stability(result["behaviour"])
    return {metric: values.tolist() for metric, values in result.items()}

"""From records to numbers: one summary per adversary and system, with intervals, failures and paired tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.benchmarking.columns import COLUMNS, ScoreColumn, means_something
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.jobs import seed_store
from harness.benchmarking.lineup import Lineup, SystemInfo
from harness.episodes.protocol import protocol_of
from harness.episodes.records import UNDISTURBED, CellKey, Scored
from harness.errors import RunError
from harness.metrics.distribution import KinematicSamples, WassersteinIntervals, pool, wasserstein_over_scenes
from harness.metrics.intervals import Estimate, Interval, bootstrap_mean, wilson

Floats = NDArray[np.float64]

Watch = Callable[[Iterable[list[Scored]]], Iterable[list[Scored]]]
"""Passes records on, and may count them for whoever waits."""
PROFILES: Final = ("acceleration", "speed", "yaw_rate")
"""Profiles of an attack and of its log, which distances are made of."""
TIMINGS: Final = ("seconds_episode", "seconds_planning", "seconds_scoring")
"""Scores that differ from run to run; kept apart from the columns."""


@dataclass(frozen=True)
class Cell:
    """One adversary against one system under test.

    Attributes:
        system: The system under test.
        adversary: Label; `none` is the undisturbed scene.
        intensity: Intensity of the attack.
        scenes: Scenes with at least one episode that did not fail: the N of the table.
        failures: Failed episodes; they are in no other number.
        without_edges: Scenes of those whose map has no road edges, so that crossings are in no number.
        reasons: How often each kind of failure happened.
        examples: Up to three failures in full.
        columns: Values by name.
        seconds: Median seconds per scene: `episode` (planning, simulation), `planning` alone, `scoring`.
        outcomes: Per score, [S, R] over scenes and seeds, NaN where undefined: what paired tests need.
        played: Kinds of encounter as they were played, of S scenes with R episodes each; empty where there was none.
    """

    system: SystemInfo
    adversary: str
    intensity: float
    scenes: int
    failures: int
    without_edges: int
    reasons: Mapping[str, int]
    examples: tuple[str, ...]
    columns: Mapping[str, Estimate]
    seconds: Mapping[str, float]
    outcomes: Mapping[str, Floats]
    played: tuple[tuple[str, ...], ...] = ()


def summarise(folder: Path, config: BenchmarkConfig, lineup: Lineup, watch: Watch = iter) -> list[Cell]:
    """Every cell, systems in order, `none` first.

    Args:
        folder: Run folder, with a record of every episode.
        config: What was run.
        lineup: Who took part.
        watch: Sees the records of every scene go by, cell after cell.

    Raises:
        RunError: A record is missing or damaged.
    """
    dials = {UNDISTURBED: 0.0} | {item.label: item.intensity for item in config.attackers}
    pairs = [(system, adversary) for system in lineup.systems for adversary in dials]
    rows = iter(watch(_records(folder, config.seed, lineup.scenes, pairs)))
    return [
        _cell(lineup.scenes, list(islice(rows, len(lineup.scenes))), system, adversary, dials[adversary])
        for system, adversary in pairs
    ]


def as_object(cell: Cell, config: BenchmarkConfig) -> dict[str, object]:
    """A cell as one JSON object."""
    return {
        "adversary": cell.adversary,
        "sut": cell.system.label,
        "privileged": cell.system.privileged,
        "sees_futures": cell.system.sees_futures,
        "protocol": config.protocol,
        "deviations_repeated": list(protocol_of(config.protocol).names()),
        "data": config.data,
        "split": config.split,
        "traffic": config.traffic,
        "seeds": list(config.seed),
        "intensity": cell.intensity,
        "n": cell.scenes,
        "failures": cell.failures,
        "without_road_edges": cell.without_edges,
        "failure_kinds": dict(cell.reasons),
        "failure_examples": list(cell.examples),
        "columns": {
            name: {
                "value": value.interval.mean,
                "low": value.interval.low,
                "high": value.interval.high,
                "n": value.scenes,
            }
            for name, value in cell.columns.items()
        },
        "seconds_per_scene": dict(cell.seconds),
    }


def _records(
    folder: Path, seeds: Sequence[int], scenes: Sequence[str], pairs: Sequence[tuple[SystemInfo, str]]
) -> Iterator[list[Scored]]:
    """The records of one scene and cell, one per seed: all scenes of a cell, then those of the next."""
    stores = [seed_store(folder, seed, seed == seeds[0]) for seed in seeds]
    for system, adversary in pairs:
        for scene in scenes:
            yield [store.read_scores(CellKey(scene, system.label, adversary)) for store in stores]


def _cell(
    scenes: Sequence[str], records: Sequence[Sequence[Scored]], system: SystemInfo, adversary: str, intensity: float
) -> Cell:
    flat = [(scene, record) for scene, row in zip(scenes, records, strict=True) for record in row]
    failed = [(scene, record) for scene, record in flat if record.error]
    good = [record for _, record in flat if not record.error]
    names = sorted({name for record in good for name in record.scores})
    outcomes = {name: _outcomes(records, name) for name in names if name not in TIMINGS}
    distances, apart = _distances(records)
    columns = {}
    for column in COLUMNS:
        if column.kind == "distance":
            value = None if distances is None else _estimate(getattr(distances, column.score), apart)
        else:
            value = _value(outcomes, records, column)
        if value is not None and means_something(column.score, adversary):
            columns[column.key] = value
    return Cell(
        system=system,
        adversary=adversary,
        intensity=intensity,
        scenes=sum(any(not record.error for record in row) for row in records),
        failures=len(failed),
        without_edges=_without_edges(outcomes, records),
        reasons=dict(sorted(Counter(record.error.partition(":")[0] for _, record in failed).items())),
        examples=tuple(f"scene {scene}: {record.error}" for scene, record in failed[:3]),
        columns=columns,
        seconds=_seconds(good),
        outcomes=outcomes,
        played=tuple(tuple(str(record.scores.get("attack_type") or "") for record in row) for row in records),
    )


def _outcomes(records: Sequence[Sequence[Scored]], name: str) -> Floats:
    """[S, R] values of a score, NaN where undefined (text counts as undefined: see `Column.equals`)."""
    return np.array([[_number(record.scores.get(name)) for record in row] for row in records], dtype=np.float64)


def _without_edges(outcomes: Mapping[str, Floats], records: Sequence[Sequence[Scored]]) -> int:
    """Scenes whose compliance was judged, but not by road edges although they bind the opponent."""
    if not {"hits_objects", "crosses_edge"} <= set(outcomes):
        return 0
    judged, by_edges = (np.isfinite(outcomes[name]).any(-1) for name in ("hits_objects", "crosses_edge"))
    bound = np.array([not any("opponent_kind" in record.scores for record in row) for row in records], dtype=bool)
    return int((judged & ~by_edges & bound).sum())


def _number(value: object) -> float:
    return float(value) if isinstance(value, bool | int | float) else float("nan")


def _value(outcomes: Mapping[str, Floats], records: Sequence[Sequence[Scored]], column: ScoreColumn) -> Estimate | None:
    """A rate or a mean; None where no episode of the cell has the score at all."""
    if column.score not in outcomes:
        return None
    values = outcomes[column.score]
    if column.equals is not None:
        words = [[record.scores.get(column.score) for record in row] for row in records]
        values = np.array([[np.nan if word is None else float(word == column.equals) for word in row] for row in words])
    known = np.isfinite(values)
    if column.kind == "rate" and not ((values[known] >= 0) & (values[known] <= 1)).all():
        raise RunError(f"a record holds another number than 0 to 1 for {column.score}. Start the run anew.")
    if column.kind == "rate":
        return rate_of(values)
    return _estimate(bootstrap_mean(values), int(known.any(-1).sum()))


def rate_of(values: Floats) -> Estimate:
    """The share of ones among zeros and ones [S, R] over scenes and seeds, NaN where undefined."""
    known = np.isfinite(values)
    scenes = int(known.any(-1).sum())
    if values.shape[1] == 1:
        return Estimate(wilson(int(values[known].sum()), scenes), scenes)
    return _estimate(bootstrap_mean(values), scenes)


def _distances(records: Sequence[Sequence[Scored]]) -> tuple[WassersteinIntervals | None, int]:
    """Pooled Wasserstein distances, and the scenes that they rest on; repeats of a scene stay together."""
    sides: dict[str, list[KinematicSamples]] = {"attack": [], "log": []}
    for row in records:
        held = [record.arrays for record in row if not record.error and "attack_speed" in record.arrays]
        if held:
            for side, found in sides.items():
                found.append(pool([_samples(arrays, side) for arrays in held]))
    scenes = len(sides["attack"])
    return (wasserstein_over_scenes(sides["attack"], sides["log"]) if scenes else None), scenes


def _estimate(interval: Interval, scenes: int) -> Estimate:
    """A single scene says nothing about how scenes vary."""
    return Estimate(interval if scenes > 1 else Interval(interval.mean, float("nan"), float("nan")), scenes)


def _samples(arrays: Mapping[str, NDArray[Any]], side: str) -> KinematicSamples:
    if missing := [name for name in PROFILES if f"{side}_{name}" not in arrays]:
        raise RunError(f"a record has no {side}_{missing[0]}: it is damaged. Start the run anew.")
    return KinematicSamples(arrays[f"{side}_acceleration"], arrays[f"{side}_speed"], arrays[f"{side}_yaw_rate"])


def _seconds(good: Sequence[Scored]) -> dict[str, float]:
    found = {}
    for name in TIMINGS:
        values = [_number(record.scores.get(name)) for record in good]
        found[name.removeprefix("seconds_")] = float(np.median(values)) if values else float("nan")
    return found

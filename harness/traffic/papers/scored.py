"""Scores of the rows of the papers' tables: realism per scene, kept in files, and what they say together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import RunError
from harness.executors import WorkerSetup, run_jobs
from harness.files import file_name, read_json, write_json
from harness.metrics.intervals import Estimate, bootstrap_mean
from harness.metrics.paired import RESAMPLES, PairedDifference, crossed_difference, holm
from harness.traffic.evaluation import METRICS, evaluate
from harness.traffic.make import make_simulator
from harness.traffic.papers.config import TrafficTablesConfig
from harness.traffic.papers.rows import TABLES, PaperRow
from harness.traffic.papers.trained import TrainedNode
from harness.training.matrix_worker import not_shared, stand_in
from scenarios.scenario import ScenarioSource
from scenarios.sources import open_part

Floats = NDArray[np.float64]

SCORES: Final = "scores"
"""Folder of scores, in the run folder."""
TESTED: Final = ("meta", "simulated_collision_rate", "simulated_offroad_rate", "min_ade")
"""What differences from a table's first row are tested of."""
SCORE_SEED: Final = 0
"""Seed of the roll-outs, one for all rows."""


class ScoreJob(NamedTuple):
    """What is rolled out where.

    Attributes:
        name: Names the file.
        traffic: As for `evaluate_traffic --traffic`.
        place: `val`, `test` or `DATA@SPLIT`.
    """

    name: str
    traffic: str
    place: str

    def __str__(self) -> str:
        return f"{self.name} on {self.place}"


class Model(NamedTuple):
    """One cell of a table: a row with a seed, what is rolled out for it, and whether its training is over."""

    label: str
    job: ScoreJob
    trained: bool = True


def models_of(config: TrafficTablesConfig, name: str, place: str, out: Path) -> list[Model]:
    """Everything that a table shows for a place: its rows with every decoding and seed, then the other traffic."""
    table = TABLES[name]
    found = [
        _model(config, TrainedNode(table.head, row.steps, seed, out), row, decoding, place)
        for row in table.rows
        for decoding in config.decoding
        for seed in (config.seed if row.steps else config.seed[:1])
    ]
    return [*found, *(Model(traffic, ScoreJob(traffic, traffic, place)) for traffic in config.beside)]


def _model(config: TrafficTablesConfig, node: TrainedNode, row: PaperRow, decoding: str, place: str) -> Model:
    options = "&".join(part for part in (row.decoding, decoding) if part)
    traffic = f"smart:{node.weights(config)}" + (f"?{options}" if options else "")
    name = (node.folder.name if node.steps else f"base-{node.head}") + (f"?{options}" if options else "")
    label = f"{row.label}, {decoding}" if decoding else row.label
    return Model(label, ScoreJob(name, traffic, place), not node.steps or node.finished)


def score_models(config: TrafficTablesConfig, models: Sequence[Model], out: Path) -> Iterator[tuple[ScoreJob, str]]:
    """Score what has no file yet, each once; yields each with why it failed, if so.

    Raises:
        GauntletError: Workers cannot be started.
    """
    (out / SCORES).mkdir(exist_ok=True)
    jobs = dict.fromkeys(model.job for model in models)
    missing = [job for job in jobs if not _file(out, job, config.rollouts).is_file()]
    if missing:
        setup = WorkerSetup("harness.traffic.papers.scored:build", {"config": config, "out": out, "place": Path.cwd()})
        for result in run_jobs(missing, setup, config.executor, config.workers):
            yield result.job, result.error


def build(config: TrafficTablesConfig, out: Path, place: Path) -> TrafficScorer:
    """Target of `harness.executors.crew.WorkerSetup`.

    Args:
        config: What is scored.
        out: Run folder.
        place: Working directory, from which relative paths start.

    Raises:
        RunError: A folder does not exist on the worker's machine.
    """
    stand_in(place)
    if not (out / SCORES).is_dir():
        raise RunError(not_shared(out))
    return TrafficScorer(config, out)


class TrafficScorer:
    """A worker that rolls out models and writes their scores."""

    def __init__(self, config: TrafficTablesConfig, out: Path) -> None:
        self.config, self._out = config, out
        self._opened: dict[str, ScenarioSource] = {}

    def __call__(self, job: ScoreJob) -> None:
        """Score a model on all scenes of its place.

        Raises:
            GauntletError: The model or the scenes cannot be used.
        """
        source = self._source(job.place)
        simulator = {job.traffic: make_simulator(job.traffic)}
        scenes = (source[index] for index in range(len(source)))
        found = evaluate(simulator, scenes, rollouts=self.config.rollouts, seed=SCORE_SEED)
        done = {
            "traffic": job.traffic,
            "scenes": found.scenes,
            "left_out": found.left_out,
            "scores": found.scores[job.traffic],
            "seconds": sum(found.seconds[job.traffic].values()) / max(len(found.scenes), 1),
            "simulating": found.seconds[job.traffic]["simulate"] / max(len(found.scenes), 1),
        }
        write_json(_file(self._out, job, self.config.rollouts), done)

    def _source(self, place: str) -> ScenarioSource:
        if place not in self._opened:
            config = self.config
            if place == "val":
                source: ScenarioSource | None = config.open_val()
            else:
                source = config.open_test() if place == "test" else open_part(place)
            if source is None:
                raise RunError("--score-on test, and --test-split none: there are no such scenes.")
            self._opened[place] = source
        return self._opened[place]


def _file(out: Path, job: ScoreJob, rollouts: int) -> Path:
    return out / SCORES / f"{file_name(f'{job.name}-{job.place}-{rollouts}', '-_.')}.json"


@dataclass(frozen=True)
class ScoredRow:
    """A row of a table with its numbers.

    Attributes:
        label: As shown.
        values: Per metric of `METRICS`, [seeds, scenes].
        simulating: Seconds that rolling out one scene took, mean.
    """

    label: str
    values: Mapping[str, Floats]
    simulating: float

    def estimate(self, metric: str) -> Estimate:
        """Mean over seeds and scenes with a 95 % interval over both, and the spread over seeds."""
        values = self.values[metric]
        interval = bootstrap_mean(values.T, crossed=True, resamples=RESAMPLES)
        spread = float(np.nanmean(values, 1).std(ddof=1)) if len(values) > 1 else float("nan")
        return Estimate(interval, values.shape[1], spread)


def rows_of(config: TrafficTablesConfig, models: Sequence[Model], out: Path) -> list[ScoredRow]:
    """The rows of which every seed is scored, on the scenes that all of them were scored on."""
    read: dict[str, list[dict[str, Any]]] = {}
    for model in models:
        file = _file(out, model.job, config.rollouts)
        read.setdefault(model.label, []).append(_scores(file) if file.is_file() else {})
    whole = {label: found for label, found in read.items() if all(found)}
    names = [set(one["scenes"]) for found in whole.values() for one in found]
    shared = sorted(set.intersection(*names)) if names else []
    return [
        ScoredRow(
            label,
            {
                metric: np.array([[_at(one, metric, scene) for scene in shared] for one in found], dtype=np.float64)
                for metric in METRICS
            },
            float(np.mean([one["simulating"] for one in found])),
        )
        for label, found in whole.items()
    ]


def _at(found: dict[str, Any], metric: str, scene: str) -> float:
    value = found["scores"][metric][found["scenes"].index(scene)]
    return float("nan") if value is None else float(value)


def _scores(file: Path) -> dict[str, Any]:
    """What a file of scores holds.

    Raises:
        RunError: It was not written by this command, or is damaged.
    """
    found = read_json(file)
    whole = isinstance(found, dict) and isinstance(found.get("scenes"), list) and isinstance(found.get("scores"), dict)
    if not whole or any(len(found["scores"].get(metric, ())) != len(found["scenes"]) for metric in METRICS):
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


def gaps_of(rows: Sequence[ScoredRow]) -> list[Gap]:
    """Every row against the first: difference over seeds and scenes, interval and p value."""
    if len(rows) < 2:
        return []
    first, others = rows[0], rows[1:]
    found = {
        metric: [crossed_difference(row.values[metric], first.values[metric]) for row in others] for metric in TESTED
    }
    adjusted = {metric: holm([gap.p_value for gap in gaps]) for metric, gaps in found.items()}
    return [
        Gap(
            row.label,
            {metric: found[metric][number] for metric in TESTED},
            {metric: float(adjusted[metric][number]) for metric in TESTED},
        )
        for number, row in enumerate(others)
    ]

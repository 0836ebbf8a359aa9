"""Scores of the rows of the papers' tables: numbers per scene, kept in files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final, NamedTuple

from harness.errors import RunError, WorkerError
from harness.executors import WorkerSetup, run_jobs
from harness.files import JsonDict, file_name, write_json
from harness.specs import parse
from harness.traffic.evaluation import evaluate
from harness.traffic.longterm.config import EvaluateLongtermConfig
from harness.traffic.longterm.engines import load_vae
from harness.traffic.longterm.evaluation import LOG, SCENE_METRICS, run_long, score_long
from harness.traffic.longterm.evaluation import RATES as COUNTED
from harness.traffic.make import make_simulator, make_traffic
from harness.traffic.papers.config import TrafficTablesConfig
from harness.traffic.papers.likelihood import LIKELIHOODS, likelihoods, load_model
from harness.traffic.papers.rows import TABLES
from harness.traffic.papers.table import Measure, PaperRow
from harness.traffic.papers.trained import TOKENS, TrainedNode
from harness.traffic.training.dataset import TokenisedScenes
from harness.training.matrix_worker import not_shared, stand_in
from scenarios.scenario import Scenario, ScenarioSource
from scenarios.sources import open_part

SCORES: Final = "scores"
"""Folder of scores, in the run folder."""
SCORE_SEED: Final = 0
"""Seed of the roll-outs, one for all rows."""
WHOLE: Final = ("pooled_flow", "pooled_behaviour", "rmm_f1_pooled")
"""Numbers of traffic over minutes that all scenes have together, and no scene alone."""


class ScoreJob(NamedTuple):
    """What is scored where.

    Attributes:
        name: Names the file.
        traffic: As for `evaluate_traffic --traffic`.
        place: `val`, `test` or `DATA@SPLIT`.
        measure: By what.
    """

    name: str
    traffic: str
    place: str
    measure: Measure = "realism"

    def __str__(self) -> str:
        return f"{self.name} on {self.place}"


class Model(NamedTuple):
    """One cell of a table: a row with a seed, what is scored for it, and whether its training is over."""

    label: str
    job: ScoreJob
    trained: bool = True


def models_of(config: TrafficTablesConfig, name: str, place: str, out: Path) -> list[Model]:
    """Everything that a table shows for a place: its rows with every decoding and seed, then the other traffic.

    A likelihood needs no decoding, and logs and rules have none.
    """
    table = TABLES[name]
    likelihood = table.measure == "likelihood"
    found = [
        _model(config, TrainedNode(table.head, row.steps, seed, out), row, decoding, place, table.measure)
        for row in config.rows(name)
        for decoding in ([""] if likelihood else config.decoding)
        for seed in (config.seed if row.steps else config.seed[:1])
    ]
    beside = [] if likelihood else config.beside
    return [*found, *(Model(traffic, ScoreJob(traffic, traffic, place, table.measure)) for traffic in beside)]


def _model(
    config: TrafficTablesConfig, node: TrainedNode, row: PaperRow, decoding: str, place: str, measure: Measure
) -> Model:
    options = "&".join(part for part in (row.decoding, decoding) if part)
    # The question mark ends the file's name, which may end in @ and a number.
    traffic = f"{node.traffic}:{node.weights(config)}?{options}"
    name = (node.folder.name if node.steps else f"base-{node.head}") + (f"?{options}" if options else "")
    label = f"{row.label}, {decoding}" if decoding else row.label
    return Model(label, ScoreJob(name, traffic, place, measure), not node.steps or node.finished)


def score_models(config: TrafficTablesConfig, models: Sequence[Model], out: Path) -> Iterator[tuple[ScoreJob, str]]:
    """Score what has no file yet, each once; yields each with why it failed, if so.

    Raises:
        GauntletError: Workers cannot be started.
    """
    (out / SCORES).mkdir(exist_ok=True)
    jobs = dict.fromkeys(model.job for model in models)
    missing = [job for job in jobs if not score_file(config, out, job).is_file()]
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
    """A worker that scores models and writes their scores."""

    def __init__(self, config: TrafficTablesConfig, out: Path) -> None:
        self.config, self._out = config, out
        self._opened: dict[str, ScenarioSource] = {}

    def __call__(self, job: ScoreJob) -> None:
        """Score a model on all scenes of its place.

        Raises:
            GauntletError: The model or the scenes cannot be used.
        """
        source = self._source(job.place)
        try:
            found = {"realism": self._realism, "likelihood": self._likelihood, "longterm": self._longterm}[job.measure](
                job, source
            )
        except RunError as error:
            # One row's failure is that row's; a worker that raises RunError would end the whole run.
            raise WorkerError(str(error)) from error
        if not found["scenes"]:
            reason = next(iter(found["left_out"].values()), "there are none")
            raise WorkerError(f"none of the scenes of {job.place} can be used: {reason}")
        write_json(score_file(self.config, self._out, job), {"traffic": job.traffic, **found})

    def _realism(self, job: ScoreJob, source: ScenarioSource) -> JsonDict:
        found = evaluate(
            {job.traffic: make_simulator(job.traffic)},
            _each(source),
            rollouts=self.config.rollouts,
            seed=SCORE_SEED,
        )
        spent, count = found.seconds[job.traffic], max(len(found.scenes), 1)
        return {
            "scenes": found.scenes,
            "left_out": found.left_out,
            "scores": found.scores[job.traffic],
            "seconds": sum(spent.values()) / count,
            "simulating": spent["simulate"] / count,
        }

    def _likelihood(self, job: ScoreJob, source: ScenarioSource) -> JsonDict:
        config = self.config
        model = load_model(parse(job.traffic).file)
        examples = replace(config.examples, phases=1)
        scenes = TokenisedScenes(source, model.vocabulary, model.options, self._out / TOKENS, examples=examples)
        begin = time.perf_counter()
        rows = list(likelihoods(model, scenes, config.rosetta.limits, config.options.observer))
        spent = (time.perf_counter() - begin) / max(len(rows), 1)
        return {
            "scenes": [row.scene for row in rows],
            "left_out": dict(scenes.rejected),
            "scores": {name: [row.values[name] for row in rows] for name in LIKELIHOODS},
            "seconds": spent,
            "simulating": spent,
        }

    def _longterm(self, job: ScoreJob, source: ScenarioSource) -> JsonDict:
        asked = EvaluateLongtermConfig(
            data=job.place, traffic=(job.traffic,), seed=SCORE_SEED, **asdict(self.config.longterm)
        )
        policies = {} if job.traffic == LOG else {job.traffic: make_traffic(job.traffic, asked.observer)}
        run = run_long(policies, _each(source), asked, load_vae(asked.retrieval))
        if not run.scenes:
            return {"scenes": [], "left_out": run.left_out}
        found = score_long(run, asked)[job.traffic]
        assert isinstance(found, dict)
        return {
            "scenes": run.scenes,
            "left_out": run.left_out,
            "scores": {name: found["scenes"][name] for name in (*SCENE_METRICS, *COUNTED)},
            "whole": {name: found[name] for name in WHOLE},
            "windows": found["windows"],
            "seconds": found["seconds"],
            "simulating": found["seconds"],
        }

    def _source(self, place: str) -> ScenarioSource:
        if place not in self._opened:
            config = self.config
            if place == "val":
                source: ScenarioSource | None = config.open_val()
            else:
                source = config.open_test() if place == "test" else open_part(place)
            assert source is not None, "refused by the configuration"
            self._opened[place] = source
        return self._opened[place]


def _each(source: ScenarioSource) -> Iterator[Scenario]:
    """The scenes of a source, loaded one at a time."""
    return (source[index] for index in range(len(source)))


def score_file(config: TrafficTablesConfig, out: Path, job: ScoreJob) -> Path:
    """Where a model's scores lie: how they were made is part of the name."""
    how = {"realism": str(config.rollouts), "likelihood": "likelihood", "longterm": "longterm"}[job.measure]
    return out / SCORES / f"{file_name(f'{job.name}-{job.place}-{how}', '-_.')}.json"

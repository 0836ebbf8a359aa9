"""Realism of traffic and its reaction to a braking ego, scene by scene on a benchmark's workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.runner import RETRIES, WORKER
from harness.errors import RunError
from harness.executors import WorkerSetup, run_jobs
from harness.files import MEGABYTE, Json, JsonDict, coded_name, explained, plain, read_json, write_json
from harness.traffic.evaluation import evaluate
from harness.traffic.make import make_simulator, make_traffic
from harness.traffic.reactivity import find_case, react

FOLDER: Final = "scenes"
"""In the folder of the certificate."""
DECELERATION: Final = 6.0
"""Deceleration of the ego that brakes, m/s²: hard, on a dry road; the default of `evaluate_traffic --reactivity`."""
WEIGHTS: Final = "2025"
"""Year of the sim agents challenge whose weights count."""
RATES: Final = {"collided": "simulated_collision_rate", "off_road": "simulated_offroad_rate"}
"""Shares of agents by what certificates call them."""
MAX_RECORD: Final = 1 * MEGABYTE


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is measured; plain data, so that it travels.

    Attributes:
        config: The benchmark's configuration, with absolute paths.
        folder: Where records go, absolute.
        traffics: Specification by label.
        asked: What a record must have been made with to count: options, and digests of weights.
    """

    config: BenchmarkConfig
    folder: Path
    traffics: Mapping[str, str]
    asked: JsonDict

    def path(self, scene: str) -> Path:
        """Record of a scene."""
        return self.folder / f"{coded_name(scene)}.json"

    def record(self, scene: str) -> Json | None:
        """What is recorded of a scene, or None where nothing of the kind is (it is measured again)."""
        path = self.path(scene)
        if not path.is_file():
            return None
        try:
            found = read_json(path, MAX_RECORD)
        except RunError:
            return None
        same = isinstance(found, dict) and found.get("asked") == self.asked and found.get("scene") == scene
        return found if same and _is_whole(found) else None


def _is_whole(record: Json) -> bool:
    """Whether a record has the parts of one; their numbers are checked with the certificate."""
    realism, hits = record.get("realism"), record.get("hits")
    if not isinstance(realism, dict) or not isinstance(hits, dict) or not isinstance(record.get("reason"), str):
        return False
    return all(isinstance(row, dict) for row in realism.values())


def build(measurement: Measurement) -> MeasuringWorker:
    """Target of `harness.executors.crew.WorkerSetup`."""
    return MeasuringWorker(measurement)


class MeasuringWorker:
    """Takes names of scenes; every scene is on disk before the next begins."""

    def __init__(self, measurement: Measurement) -> None:
        """Open the scenes and build the traffic."""
        torch.set_num_threads(1)
        self._asked, self._source = measurement, measurement.config.open_all()
        self._places = {name: index for index, name in enumerate(self._source.ids)}
        self._simulators = {label: make_simulator(spec) for label, spec in measurement.traffics.items()}
        self._traffics = {label: make_traffic(spec) for label, spec in measurement.traffics.items()}

    def __call__(self, scene: str) -> None:
        """Measure a scene.

        Raises:
            RunError: The record cannot be written.
        """
        config = self._asked.config
        scenario, seed = self._source[self._places[scene]], config.seed[0]
        table = evaluate(self._simulators, [scenario], rollouts=config.certify_rollouts, seed=seed, config=WEIGHTS)
        realism = {label: {name: row[0] for name, row in rows.items() if row} for label, rows in table.scores.items()}
        case = find_case(scenario, DECELERATION)
        hits = {}
        if case is not None:
            hits = {label: react(case, traffic, seed).hit for label, traffic in self._traffics.items()}
        write_record(self._asked, scene, realism if table.scenes else {}, hits, "".join(table.left_out.values()))


def write_record(
    asked: Measurement, scene: str, realism: Mapping[str, Json], hits: Mapping[str, bool], reason: str
) -> None:
    """Write what was found in a scene.

    Args:
        asked: What was to be measured.
        scene: Its id.
        realism: Metrics by traffic; empty where the scene cannot be scored.
        hits: Whether a follower ran into the braking ego, by traffic; empty where nobody follows one.
        reason: Why realism is missing, or empty.

    Raises:
        RunError: It cannot be written.
    """
    record = {"scene": scene, "asked": asked.asked, "realism": realism, "hits": hits, "reason": reason}
    write_json(asked.path(scene), plain(record))


def measure(
    asked: Measurement, scenes: Sequence[str], watch: Callable[[Iterable[str]], Iterable[str]] = iter
) -> list[Json]:
    """Measure every scene that has no record yet; return the records of all, in order.

    A scene in which every attempt crashed is recorded as one without numbers, with the reason; with
    `--retry-failures` it is tried again.

    Args:
        asked: What to measure.
        scenes: Ids.
        watch: Sees the scenes go by that had no record.

    Raises:
        RunError: The folder cannot be written, or workers do not share it.
        WorkerError: Workers cannot be started.
    """
    config, setup = (
        asked.config,
        WorkerSetup("harness.benchmarking.certificates.measuring:build", {"measurement": asked}),
    )
    with explained(asked.folder, "make"):
        asked.folder.mkdir(parents=True, exist_ok=True)
    known = [asked.record(scene) for scene in scenes]
    again = [config.retry_failures and row is not None and row["reason"].startswith(f"{WORKER}:") for row in known]
    missing = [scene for scene, row, retry in zip(scenes, known, again, strict=True) if row is None or retry]

    def done() -> Iterable[str]:
        for result in run_jobs(missing, setup, config.executor, config.workers, config.timeout, RETRIES):
            if result.error:
                write_record(asked, result.job, {}, {}, f"{WORKER}: {result.error}")
            yield result.job

    for _ in watch(done()) if missing else ():
        pass
    found = [(scene, asked.record(scene)) for scene in scenes]
    if lost := [scene for scene, record in found if record is None]:
        raise RunError(
            f"a worker finished scene {lost[0]!r}, but its record is not in {asked.folder}. Workers on other machines "
            "need the same run folder: give --out on a shared file system."
        )
    return [record for _, record in found if record is not None]

"""Makes a certificate of a benchmark's traffic: the same episodes in other traffic, and measurements of every scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.benchmarking.certificates.data import (
    ATTACKED_SCORE,
    FORMAT,
    METRICS,
    UNDISTURBED_SCORES,
    compared_with,
    references_of,
)
from harness.benchmarking.certificates.files import (
    FILE,
    check_same_traffic,
    from_plain,
    read_certificate,
    write_certificate,
)
from harness.benchmarking.certificates.judging import judge
from harness.benchmarking.certificates.measuring import DECELERATION, FOLDER, RATES, WEIGHTS, Measurement, measure
from harness.benchmarking.comparison import per_scene
from harness.benchmarking.config import RECORDED
from harness.benchmarking.identity import TrafficIdentity, identify
from harness.benchmarking.lineup import Lineup
from harness.benchmarking.runner import anchored_config, prepare, run_all
from harness.benchmarking.summary import Cell, summarise
from harness.commands.printing import bars
from harness.commands.runs import provenance
from harness.episodes.records import UNDISTURBED
from harness.errors import ConfigError
from harness.files import Json, JsonDict, plain

if TYPE_CHECKING:
    from harness.benchmarking.certificates.data import Certificate
    from harness.benchmarking.certificates.judging import Findings
    from harness.benchmarking.config import BenchmarkConfig
    from harness.commands.scaffold import Session

RUNS: Final = "certificate"
"""Folder in the run folder: episodes in other traffic, by its name, and measurements of scenes."""


def carried(config: BenchmarkConfig) -> tuple[Certificate, Findings] | None:
    """The certificate that `--certificate` names; None without one.

    Raises:
        ConfigError: It cannot be used, or is of other traffic.
    """
    if config.certificate is None:
        return None
    made, findings = read_certificate(config.certificate)
    check_same_traffic(made, identify(config.traffic), config.certificate)
    return made, findings


def kept(
    config: BenchmarkConfig, folder: Path, known: tuple[Certificate, Findings] | None
) -> tuple[Certificate, Findings] | None:
    """The certificate of a run that makes none: the given one, which goes into its folder, or the one that lies there.

    Args:
        config: The benchmark's.
        folder: Run folder.
        known: What `carried` gives.

    Raises:
        GauntletError: The one in the folder cannot be used, or the folder cannot be written.
    """
    if known is not None:
        write_certificate(folder / FILE, *known)
        return known
    if not (folder / FILE).is_file():
        return None
    return carried(replace(config, certificate=folder / FILE))


def check_can_be_made(config: BenchmarkConfig, lineup: Lineup) -> None:
    """Say before the first episode what would fail after the last.

    Raises:
        ConfigError: The traffic is the recording, a label is too long or cannot be shown, or there is too much.
    """
    if not config.certify:
        return
    traffic = identify(config.traffic)
    if traffic.label == RECORDED:
        raise ConfigError("--certify: this traffic is the recording itself. Name the traffic to certify.")
    nothing: Json = {"realism": {}, "hits": {}}
    blank = {"values": [None] * len(lineup.scenes)}
    rows = [
        {"traffic": kind, "adversary": adversary, "score": score, "system": system.label, **blank}
        for kind in (traffic.label, *references_of(traffic.label))
        for adversary in (UNDISTURBED, *lineup.adversaries)
        for score in _scores_of(adversary)
        for system in lineup.systems
    ]
    from_plain(_assembled(config, lineup, traffic, [nothing] * len(lineup.scenes), rows), "--certify")


def certify(
    config: BenchmarkConfig, lineup: Lineup, folder: Path, cells: Sequence[Cell], session: Session
) -> tuple[Certificate, Findings]:
    """Run what a certificate needs beyond the benchmark's own episodes, and write it into the run folder.

    What a run that was stopped has measured before is kept.

    Args:
        config: The benchmark's.
        lineup: Who takes part.
        folder: Run folder, with a record of every episode.
        cells: Its summary.
        session: For progress.

    Raises:
        GauntletError: The folder cannot be written, or workers cannot be started.
    """
    traffic, own = identify(config.traffic), folder.resolve() / RUNS
    ran = {traffic.label: cells}
    for name in references_of(traffic.label):
        ran[name] = _run_with(name, config, lineup, own / name, session)
    specs = {traffic.label: anchored_config(config).traffic, **{name: name for name in compared_with(traffic.label)}}
    asked: JsonDict = {
        "rollouts": config.certify_rollouts,
        "seed": config.seed[0],
        "weights": WEIGHTS,
        "deceleration": DECELERATION,
        "traffic": [traffic.label, traffic.digest],
    }
    measurement = Measurement(anchored_config(config), own / FOLDER, specs, asked)
    watch = partial(session.track, description="certifying", total=len(lineup.scenes))
    records = measure(measurement, lineup.scenes, watch)
    rows = [row for kind, own_cells in ran.items() for row in _ranking_rows(kind, own_cells, len(lineup.scenes))]
    made = from_plain(_assembled(config, lineup, traffic, records, rows), "the certificate of this run")
    findings = judge(made)
    write_certificate(folder / FILE, made, findings)
    return made, findings


def _run_with(name: str, config: BenchmarkConfig, lineup: Lineup, folder: Path, session: Session) -> list[Cell]:
    """The same episodes in other traffic."""
    other = replace(config, traffic=name, certify=False)
    if folder.is_dir():
        prepare(folder, retry_failures=config.retry_failures)
    with bars(session.news) as progress:
        task = progress.add_task(f"episodes with {name}", total=None)
        run_all(other, lineup, folder, lambda done, total: progress.update(task, completed=done, total=total))
    return summarise(folder, other, lineup)


def _assembled(
    config: BenchmarkConfig,
    lineup: Lineup,
    traffic: TrafficIdentity,
    records: Sequence[Json],
    rows: Sequence[JsonDict],
) -> JsonDict:
    """A certificate in plain values."""
    about = provenance()
    labels = [traffic.label, *compared_with(traffic.label)]
    reacting = [traffic.label, *references_of(traffic.label)]
    made: JsonDict = {
        "format": FORMAT,
        "traffic": {"name": traffic.name, "options": traffic.options, "digest": traffic.digest},
        "setting": {
            "data": Path(config.data).name,
            "split": config.split,
            "protocol": config.protocol,
            "seeds": config.seed,
            "horizon": config.horizon,
            "made": about["started"],
            "commit": about["commit"],
            "versions": [f"{name} {version}" for name, version in about["versions"].items()],
        },
        "scenes": lineup.scenes,
        "realism": {
            "weights": WEIGHTS,
            "rollouts": config.certify_rollouts,
            "models": [
                {
                    "model": label,
                    **{metric: [_metric(record, label, metric) for record in records] for metric in METRICS},
                }
                for label in labels
            ],
        },
        "reaction": {
            "deceleration": DECELERATION,
            "models": [
                {"model": label, "hits": [record["hits"].get(label) for record in records]} for label in reacting
            ],
        },
        "ranking": {
            "systems": [{"label": item.label, "digest": item.digest} for item in lineup.systems],
            "adversaries": lineup.adversaries,
            "rows": rows,
        },
    }
    return {key: plain(value) for key, value in made.items()}


def _metric(record: Json, label: str, metric: str) -> Json:
    return record["realism"].get(label, {}).get(RATES.get(metric, metric))


def _scores_of(adversary: str) -> tuple[str, ...]:
    return UNDISTURBED_SCORES if adversary == UNDISTURBED else (ATTACKED_SCORE,)


def _ranking_rows(kind: str, cells: Sequence[Cell], scenes: int) -> list[JsonDict]:
    found = []
    for cell in cells:
        for score in _scores_of(cell.adversary):
            means = per_scene(cell.outcomes.get(score, np.full((scenes, 1), np.nan)))
            row = {"traffic": kind, "adversary": cell.adversary, "score": score, "system": cell.system.label}
            # A route's completion may pass 1 by rounding.
            found.append({**row, "values": np.clip(means, 0.0, 1.0)})
    return found

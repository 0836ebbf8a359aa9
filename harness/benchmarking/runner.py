"""From a configuration to a full set of records: workers, retries, failures, resumption."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.jobs import SEEDS, Unit, episode_seed, units
from harness.benchmarking.lineup import Lineup
from harness.benchmarking.worker import WorkerSpec
from harness.episodes.records import CellKey, EpisodeStore
from harness.episodes.rollout import failed_episode
from harness.errors import RunError
from harness.executors import WorkerSetup, run_jobs
from harness.files import explained

_LOG = logging.getLogger(__name__)
RETRIES: Final = 1
"""Further attempts for a unit whose worker crashed, hung or raised."""
WORKER: Final = "worker"
"""Kind of failure where the worker itself was lost."""


def run_all(
    config: BenchmarkConfig,
    lineup: Lineup,
    folder: Path,
    on_progress: Callable[[int, int], None] | None = None,
    until: float | None = None,
) -> None:
    """Run every episode that has no record yet; afterwards every one has (a failure is a record), if there was time.

    Args:
        config: What to run.
        lineup: Who takes part.
        folder: Run folder.
        on_progress: Called with finished and all episodes, at the start and after every unit.
        until: Time (s since the epoch) from which on no further episode begins; None: until all are done.

    Raises:
        RunError: The folder cannot be written, or workers do not share it.
        WorkerError: Workers cannot be started.
    """
    folder = folder.resolve()
    systems = {item.label: anchored(item.spec) for item in lineup.systems}
    spec = WorkerSpec(anchored_config(config), folder, systems, until)
    setup = WorkerSetup("harness.benchmarking.worker:build", {"spec": spec})
    work = units(lineup.scenes, tuple(systems), lineup.adversaries, config.seed)
    missing = {unit: len(unit.missing(folder)) for unit in work}
    total = sum(len(unit.keys) for unit in work)
    tell = on_progress or (lambda done, all_of_them: None)
    tell(total - sum(missing.values()), total)
    pending = [unit for unit in work if unit.missing(folder)]
    while pending and not spec.over:
        again = []
        for result in run_jobs(pending, setup, config.executor, config.workers, config.timeout, RETRIES):
            unit = result.job
            if result.error:
                give_up(unit, result.error, folder)
            missing[unit] = len(unit.missing(folder))
            if missing[unit] and not result.error and not spec.over:
                raise RunError(
                    f"a worker finished {unit}, but {missing[unit]} of its records are not in {folder}. Workers on "
                    "other machines need the same run folder: give --out on a shared file system."
                )
            if missing[unit]:
                again.append(unit)
            tell(total - sum(missing.values()), total)
        # What comes after the episode that was given up is innocent: it gets its own attempts.
        pending = again


def anchored(text: str) -> str:
    """A path, or `name:path`, made absolute where it exists: workers may run in another folder. Other text stays."""
    # A command (`external:…`) may be longer than the name of a file, which `os.path` takes and `pathlib` does not.
    if os.path.exists(text):
        return str(Path(text).resolve())
    bare, mark, options = text.partition("?")
    head, colon, tail = bare.partition(":")
    if mark and os.path.exists(bare):
        return str(Path(bare).resolve()) + mark + options
    return f"{head}:{Path(tail).resolve()}{mark}{options}" if colon and tail and os.path.exists(tail) else text


def anchored_config(config: BenchmarkConfig) -> BenchmarkConfig:
    """The configuration with absolute paths, for workers that may run in another folder."""
    prior = None if config.prior is None else config.prior.resolve()
    head, mark, options = config.traffic.partition("?")
    traffic = (anchored(head) if ":" in head else head) + mark + options
    return replace(config, data=anchored(str(Path(config.data).expanduser())), prior=prior, traffic=traffic)


def give_up(unit: Unit, reason: str, folder: Path) -> None:
    """Record the episode at which a unit failed (its first without a record) as failed."""
    missing = unit.missing(folder)
    if not missing:
        return
    key = missing[0]
    seed = episode_seed(unit.seed, unit.scenario_id)
    unit.store(folder).write(key, failed_episode(*key, f"{WORKER}: {reason}", seed=seed), {})


def prepare(folder: Path, *, retry_failures: bool) -> None:
    """Before resumption: delete what was half written or cut and, on request, failed records and damaged ones."""
    seeds = sorted((folder / SEEDS).iterdir()) if (folder / SEEDS).is_dir() else []
    for store in (EpisodeStore(place) for place in (folder, *seeds)):
        store.sweep()
        for path in store.cut():
            _LOG.warning("%s is cut off: its episode is run again", path)
            with explained(path, "delete"):
                path.unlink()
        if retry_failures:
            for key in [key for key in store.keys() if _failed(store, key)]:
                store.remove(key)


def _failed(store: EpisodeStore, key: CellKey) -> bool:
    try:
        return bool(store.read_scores(key).error)
    except RunError as error:
        _LOG.warning("%s", error)
        return True

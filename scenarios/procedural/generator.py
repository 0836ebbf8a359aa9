"""Many simulations on many processes, into a folder of ScenarioNet pickles that can be resumed and extended."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Final

from harness.caching import cache_folder
from harness.errors import ConfigError, GauntletError, ScenarioError
from harness.files import write_bytes
from scenarios import safe_pickle
from scenarios.fresh_processes import processors
from scenarios.procedural.config import SPLITS, ProceduralConfig
from scenarios.procedural.pool import Pool, SimulationResult, SimulationTask, canonical_pickle, file_name
from scenarios.procedural.shipped import shipped
from scenarios.turns import Announcer, Progress, my_turn

logger = logging.getLogger(__name__)

INDEX: Final = "generator.json"
LOCK: Final = ".generating"
SUMMARY: Final = "dataset_summary.pkl"
MAPPING: Final = "dataset_mapping.pkl"
SAVE_EVERY: Final = 24
"""Simulations between two saves of the index: at most so many are repeated after a kill."""
NO_VERDICT: Final = "the worker process died"
"""What a failure says in indices of older versions where it tells nothing about the seed."""
MOST_EMPTY: Final = 60
"""Simulations in a row without any scene after which the options are taken to be impossible."""


def default_folder(config: ProceduralConfig | None = None) -> Path:
    """Where the scenes of this generator are cached for this user.

    The environment variable `GAUNTLET_CACHE` replaces the platform's cache folder. Every generator version and
    every set of options has a folder of its own.
    """
    return cache_folder("procedural") / (config or ProceduralConfig()).digest


def ensure(
    train: int = 200,
    test: int = 50,
    val: int = 0,
    *,
    config: ProceduralConfig | None = None,
    folder: Path | str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return a folder with at least so many scenes per split, generating what is missing.

    Args:
        train, test, val: Scenes wanted per split.
        config: Generator options (its own counts are ignored).
        folder: Where; the user's cache by default.
        workers: Processes; one per core by default.
        progress: Called after every simulation with (scenes there, scenes wanted); default: lines on standard error.

    Raises:
        ConfigError: The folder belongs to another generator.
        GauntletError: The folder cannot be written.
    """
    config = replace(config or ProceduralConfig(), train=train, val=val, test=test)
    return generate(config, Path(folder) if folder else default_folder(config), workers, progress)


def generate(
    config: ProceduralConfig, folder: Path | str, workers: int | None = None, progress: Progress | None = None
) -> Path:
    """Bring a folder to at least the configured number of scenes per split.

    Scenes that are there are kept, whoever was interrupted when; the same configuration gives the same files,
    byte for byte, whatever the number of workers and in however many calls. Of several processes that want the same
    folder, one generates and the others wait. A folder that holds enough is only read.

    Args:
        config: Counts and options.
        folder: Made if missing.
        workers: Processes (1: in this process); one per core by default.
        progress: See `ensure`.

    Returns:
        The folder.

    Raises:
        ConfigError: The folder belongs to another generator.
        GauntletError: The folder cannot be written.
    """
    folder = Path(folder).expanduser()
    announcer = Announcer("procedural", f"generating {{}} scenes, once, in {folder}")
    progress = progress or announcer
    library = _Library(folder, config)
    if library.sufficient:
        progress(library.total, library.total)
        return folder
    with my_turn(folder / LOCK, f"generates scenes in {folder}", announcer.say):
        # Whoever was waited for may have made it all.
        library = _Library(folder, config)
        wanted = {split: max(config.count(split), library.count(split)) for split in SPLITS}
        total = sum(wanted.values())
        progress(library.total, total)
        if library.sufficient:
            return folder
        library.save()
        pool = Pool(config, workers or processors())
        try:
            for split in SPLITS:
                _fill(library, pool, split, wanted[split], total, progress)
        finally:
            pool.close()
    return folder


def _fill(library: _Library, pool: Pool, split: str, wanted: int, total: int, progress: Progress) -> None:
    """Simulate until a split has the wanted number of scenes, saving now and then."""
    if library.count(split) >= wanted:
        return
    results = _results(library, pool, split)
    try:
        for done, outcome in enumerate(results, 1):
            library.add(outcome, wanted)
            if done % SAVE_EVERY == 0:
                library.save()
            progress(library.total, total)
            if library.count(split) >= wanted:
                break
    finally:
        results.close()
        library.save()
        if failed := [name for name in library.failures if name.startswith(f"{split}/")]:
            logger.warning(
                "procedural: %d simulations of %s failed and were passed over: see %s",
                len(failed),
                split,
                library.folder / INDEX,
            )


def _results(library: _Library, pool: Pool, split: str) -> Generator[SimulationResult, None, None]:
    """What simulations give that are missing: the first ones may come with the package."""
    known, tasks = shipped(library.config), library.missing(split)
    for task in tasks:
        if task not in known:
            yield from pool.results(chain([task], tasks))
            return
        yield known[task]


class _Library:
    """The folder: scene files, which simulations gave which of them, and ScenarioNet's summary."""

    def __init__(self, folder: Path, config: ProceduralConfig) -> None:
        self.folder, self.config = folder, config
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GauntletError(
                f"procedural: cannot make the folder {folder}: {error.strerror}; give another folder, "
                "or set GAUNTLET_CACHE to one that can be written"
            ) from error
        self.metadata: dict[str, dict[str, object]] = {}
        # Per split: number of files that each finished simulation gave, in order of simulations without gaps,
        # and whether the last of them was cut short because enough scenes were there.
        self.given: dict[str, list[int]] = {split: [] for split in SPLITS}
        self.cut: dict[str, bool] = dict.fromkeys(SPLITS, False)
        self.failures: dict[str, str] = {}
        self.indexed = False
        self._read()

    def _read(self) -> None:
        path = self.folder / INDEX
        if not path.exists():
            return
        try:
            index = json.loads(path.read_text())
            digest, given, cut = index["digest"], index["simulations"], index["cut"]
            failures = dict(index["failures"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("procedural: %s is unreadable (%s): every scene is generated again", path, error)
            return
        if digest != self.config.digest:
            raise ConfigError(
                f"procedural: {self.folder} holds scenes of generator {digest}, not of {self.config.digest} as these "
                "options (or this version) would make; give another folder, or delete that one"
            )
        self.indexed = True
        # Older versions took a worker that died for a verdict on its seed.
        blamed = {name for name, failure in failures.items() if NO_VERDICT in failure}
        self.failures = {name: failure for name, failure in failures.items() if name not in blamed}
        summary = self._read_summary()
        for split in SPLITS:
            for index, files in enumerate(given.get(split, [])):
                names = [file_name(split, index, k) for k in range(files)]
                there = all(name in summary and (self.folder / name).exists() for name in names)
                if f"{split}/{index}" in blamed or not there:
                    break  # from here on everything is made again
                self.metadata.update({name: summary[name] for name in names})
                self.given[split].append(files)
            else:
                self.cut[split] = bool(cut.get(split, False))

    def _read_summary(self) -> dict[str, dict[str, object]]:
        try:
            summary = safe_pickle.load(self.folder / SUMMARY, safe_pickle.MAX_SUMMARY)
        except (OSError, ScenarioError) as error:
            logger.warning("procedural: the summary is unreadable (%s): every scene is generated again", error)
            return {}
        return summary if isinstance(summary, dict) else {}

    @property
    def total(self) -> int:
        """Scenes that are there."""
        return sum(self.count(split) for split in SPLITS)

    @property
    def sufficient(self) -> bool:
        """Whether as many scenes are there as the configuration asks for, and the index says so."""
        return self.indexed and all(self.count(split) >= self.config.count(split) for split in SPLITS)

    def count(self, split: str) -> int:
        """Scenes of one split that are there."""
        return sum(self.given[split])

    def missing(self, split: str) -> Iterator[SimulationTask]:
        """Simulations to run next, without end."""
        index = len(self.given[split])
        if self.cut[split]:
            index -= 1
            self.given[split].pop()
            self.cut[split] = False
        while True:
            yield SimulationTask(split, index)
            index += 1

    def add(self, outcome: SimulationResult, wanted: int) -> None:
        """Store what a simulation gave, as far as it is wanted."""
        task, scenes, failure = outcome
        if failure:
            self.failures[f"{task.split}/{task.number}"] = failure
        kept = scenes[: wanted - self.count(task.split)]
        for name, data, metadata in kept:
            write_bytes(self.folder / name, data)
            self.metadata[name] = metadata
        self.given[task.split].append(len(kept))
        self.cut[task.split] = len(kept) < len(scenes)
        recent = self.given[task.split][-MOST_EMPTY:]
        if len(recent) == MOST_EMPTY and not any(recent):
            raise GauntletError(
                f"procedural: {MOST_EMPTY} simulations in a row gave no scene with these options "
                f"({self.config}); ask for shorter ego paths, other maps or more traffic"
            )

    def save(self) -> None:
        """Write summary, mapping and index; the index last, for it vouches for the others."""
        names = sorted(self.metadata)
        summary = {name: self.metadata[name] for name in names}
        write_bytes(self.folder / SUMMARY, canonical_pickle(summary))
        write_bytes(self.folder / MAPPING, canonical_pickle(dict.fromkeys(names, "")))
        index = {
            "digest": self.config.digest,
            "generator": self.config.identity(),
            "simulations": self.given,
            "cut": self.cut,
            "failures": self.failures,
        }
        write_bytes(self.folder / INDEX, json.dumps(index, indent=1, sort_keys=True).encode())

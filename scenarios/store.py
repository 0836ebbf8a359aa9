"""Scenes in a folder of ScenarioNet pickles, with or without ScenarioNet's summary and mapping files."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, NamedTuple

from harness.caching import Lru
from harness.errors import ConfigError, ScenarioError
from scenarios import safe_pickle
from scenarios.description import from_description
from scenarios.opponents import select_opponent
from scenarios.scenario import Scenario, SceneList
from scenarios.source_format import FORMAT_KEY, SourceFormat
from scenarios.validate import Finding, Needs, check, validate

SUMMARY: Final = "dataset_summary.pkl"
MAPPING: Final = "dataset_mapping.pkl"
CACHE_SCENES: Final = 64
"""About 3 MB each for WOMD scenes."""

_LOG = logging.getLogger(__name__)


class Rejected(NamedTuple):
    """A file that was left out, and why."""

    path: Path
    reason: str


class ScenarioStore(SceneList):
    """Random access to the scenes of a folder; a `ScenarioSource`.

    Index order is natural order of the file names (`2.pkl` before `10.pkl`, so that index n of CAT's folder is
    `n.pkl`), or the order of the summary where the folder has one (as MetaDrive numbers them). A scene's id is
    its file name without `.pkl`: unique, which the ids inside WOMD files are not.

    Attributes:
        folder: The folder.
        paths: File of each scene.
        rejected: Files that were left out with `on_error="skip"`, with reasons.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        on_error: Literal["raise", "skip"] = "raise",
        cache_scenes: int = CACHE_SCENES,
        needs: Needs | None = None,
    ) -> None:
        """List the folder.

        Args:
            folder: Holds the pickles, directly or where its mapping file says.
            on_error: `raise`: a bad scene raises when it is asked for. `skip`: every file is read once now, and bad
                ones are left out, logged and listed in `rejected`.
            cache_scenes: Scenes kept in memory, least recently used first out; 0 keeps none.
            needs: What every scene must have, else it counts as bad.

        Raises:
            ScenarioError: The folder does not exist or holds no scene, or its summary names missing files.
            ConfigError: An option is out of range.
        """
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error is {on_error!r}; expected 'raise' or 'skip'.")
        if cache_scenes < 0:
            raise ConfigError(f"cache_scenes is {cache_scenes}; expected 0 or more.")
        self.folder = Path(folder)
        self.needs = needs
        self.rejected: list[Rejected] = []
        self._cache: Lru[int, Scenario] = Lru(cache_scenes)
        self.paths = self._list(on_error)
        self._ids = _unique_ids(self.paths, self.folder)
        if on_error == "skip":
            self._drop_bad()

    def _load(self, index: int) -> Scenario:
        return self._cache.get(index, lambda: load_scene(self.paths[index], self._ids[index], self.needs))

    def _list(self, on_error: str) -> tuple[Path, ...]:
        if not self.folder.is_dir():
            raise ScenarioError(f"{self.folder}: no such folder. Expected a folder of ScenarioDescription pickles.")
        summary = self.folder / SUMMARY
        if summary.exists():
            paths = _from_summary(self.folder)
            missing = [path for path in paths if not path.is_file()]
            if missing and on_error == "raise":
                raise ScenarioError(
                    f"{summary}: names {missing[0].name}, which does not exist ({len(missing)} missing in all). "
                    "Restore the files or delete the summary."
                )
            for path in missing:
                self._reject(path, "the summary names it, but it does not exist")
            paths = [path for path in paths if path.is_file()]
        else:
            paths = sorted((path for path in self.folder.glob("*.pkl") if path.name != MAPPING), key=natural_key)
        if not paths:
            raise ScenarioError(f"{self.folder}: no scenes. Expected *.pkl files (ScenarioNet or CAT).")
        return tuple(paths)

    def _drop_bad(self) -> None:
        kept = []
        for index, path in enumerate(self.paths):
            try:
                load_scene(path, self._ids[index], self.needs)
                kept.append(index)
            except ScenarioError as error:
                self._reject(path, str(error))
        self.paths = tuple(self.paths[index] for index in kept)
        self._ids = tuple(self._ids[index] for index in kept)
        if not self.paths:
            raise ScenarioError(f"{self.folder}: all {len(self.rejected)} scenes are bad: {self.rejected[0].reason}")

    def _reject(self, path: Path, reason: str) -> None:
        _LOG.warning("left out %s: %s", path, reason)
        self.rejected.append(Rejected(path, reason))


def load_scene(path: str | Path, name: str | None = None, needs: Needs | None = None) -> Scenario:
    """Read, convert, name and check one file, and select the opponent.

    Args:
        path: A ScenarioDescription pickle.
        name: Id of the scene; the file name without extension if not given.
        needs: What the scene must have.

    Raises:
        ScenarioError: The file is bad; names path, field and reason.
    """
    scenario = _read(Path(path), name)
    check(scenario)  # The selection reads the tracks: they must be sound first.
    scenario = scenario.with_opponent(select_opponent(scenario))
    if needs is not None:
        check(scenario, needs)
    return scenario


def examine(path: str | Path, needs: Needs | None = None) -> tuple[Scenario | None, tuple[Finding, ...]]:
    """The scene of a file (None if it cannot be read) and everything that is wrong with it; bad files do not raise."""
    try:
        scenario = _read(Path(path), None)
    except ScenarioError as error:
        return None, (Finding("error", "file", str(error).removeprefix(f"{path}: ")),)
    if not any(finding.level == "error" for finding in validate(scenario)):
        scenario = scenario.with_opponent(select_opponent(scenario))
    return scenario, validate(scenario, needs)


def _read(path: Path, name: str | None) -> Scenario:
    document = safe_pickle.load(path)
    if not isinstance(document, Mapping):
        raise ScenarioError(f"{path}: holds {type(document).__name__} instead of a ScenarioDescription dictionary.")
    return rename(from_description(document, str(path)), name or path.stem)


def rename(scenario: Scenario, name: str) -> Scenario:
    """The same scene under another id, which still counts as the same file when it is written back."""
    form = scenario.extras.get(FORMAT_KEY)
    extras: dict[str, object] = dict(scenario.extras)
    if isinstance(form, SourceFormat):
        extras[FORMAT_KEY] = replace(form, known_as=(*form.known_as, name))
    return replace(scenario, id=name, extras=extras)


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts `2.pkl` before `10.pkl`."""
    parts = re.split(r"(\d+)", path.stem)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts if part], path.name


def _from_summary(folder: Path) -> list[Path]:
    summary = safe_pickle.load(folder / SUMMARY)
    mapping = safe_pickle.load(folder / MAPPING) if (folder / MAPPING).exists() else {}
    if not isinstance(summary, Mapping) or not isinstance(mapping, Mapping):
        raise ScenarioError(f"{folder / SUMMARY}: expected dictionaries by file name. Delete it to read *.pkl instead.")
    return [folder / str(mapping.get(name, "")) / str(name) for name in summary]


def _unique_ids(paths: tuple[Path, ...], folder: Path) -> tuple[str, ...]:
    """File stems, or paths below the folder where two stems are equal."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return tuple(stems)
    return tuple(
        str(path.relative_to(folder).with_suffix("")) if path.is_relative_to(folder) else str(path.with_suffix(""))
        for path in paths
    )

"""Scenes of a folder or of a list of files, read on demand."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, NamedTuple

from harness.caching import Lru
from harness.errors import ConfigError, ScenarioError
from scenarios.importers import womd
from scenarios.importers.files import SceneFile, examine, load_file, load_scene, name_of, rename
from scenarios.importers.layouts import KINDS, MAPPING, SUMMARY, kind_of, natural_key, summary_paths
from scenarios.scenario import Scenario, SceneList
from scenarios.validate import Needs

__all__ = [
    "CACHE_SCENES",
    "MAPPING",
    "SUMMARY",
    "ImportedFolder",
    "ImportedStore",
    "Rejected",
    "ScenarioStore",
    "examine",
    "load_scene",
    "natural_key",
    "rename",
]

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
            paths = [Path(path) for path in summary_paths(self.folder)]
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


class ImportedStore(SceneList):
    """Random access to the scenes of files in any supported format; a `ScenarioSource`.

    Scenes are named by what identifies them: the scene id inside TFRecords, else the file name. Files are in
    natural order of their names, records in the order of their file.

    Attributes:
        paths: The files.
        rejected: What was left out with `on_error="skip"`, with reasons.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        *,
        on_error: Literal["raise", "skip"] = "raise",
        cache_scenes: int = CACHE_SCENES,
        needs: Needs | None = None,
    ) -> None:
        """List the scenes (of TFRecords: read the names).

        Args:
            paths: Scene files.
            on_error: `raise`: a bad scene raises when it is asked for, a bad TFRecord at once. `skip`: everything is
                read once now; what is bad is left out, logged and listed in `rejected`.
            cache_scenes: Scenes kept in memory.
            needs: What every scene must have, else it counts as bad.

        Raises:
            ScenarioError: No scenes, or a broken file.
            ConfigError: An option is out of range.
        """
        if on_error not in ("raise", "skip") or cache_scenes < 0:
            raise ConfigError(f"importing: on_error {on_error!r}, cache_scenes {cache_scenes}: out of range.")
        self.paths = tuple(sorted(paths, key=natural_key))
        self.needs = needs
        self.rejected: list[Rejected] = []
        self._cache: Lru[int, Scenario] = Lru(cache_scenes)
        self._entries = [entry for path in self.paths for entry in self._list(path, on_error)]
        if on_error == "skip":
            self._drop_bad()
        if not self._entries:
            reason = f": {self.rejected[0].reason}" if self.rejected else ""
            raise ScenarioError(f"no usable scene in {len(self.paths)} files{reason}. Expected {KINDS}.")
        self._name()

    def _load(self, index: int) -> Scenario:
        return self._cache.get(index, lambda: load_file(self._entries[index], self.needs))

    def _list(self, path: Path, on_error: str) -> list[SceneFile]:
        kind = kind_of(path)
        try:
            if kind is None:
                raise ScenarioError(f"{path}: not a scene file. Expected {KINDS}.")
            if kind == "womd":
                return [SceneFile(path, kind, record, name) for record, name in enumerate(womd.names(path))]
        except ScenarioError as error:
            if on_error == "raise":
                raise
            self._reject(path, str(error))
            return []
        return [SceneFile(path, kind, 0, name_of(path, kind))]

    def _drop_bad(self) -> None:
        kept = []
        for entry in self._entries:
            try:
                load_file(entry, self.needs)
                kept.append(entry)
            except ScenarioError as error:
                self._reject(entry.path, str(error))
        self._entries = kept

    def _name(self) -> None:
        """Make names unique: a scene that occurs again is named with its file."""
        seen: set[str] = set()
        for place, entry in enumerate(self._entries):
            name = entry.name
            if name in seen:
                name = f"{entry.name}-{entry.path.stem}-{entry.record}"
                self._entries[place] = entry._replace(name=name)
            seen.add(name)
        self._ids = tuple(entry.name for entry in self._entries)

    def _reject(self, path: Path, reason: str) -> None:
        _LOG.warning("left out %s: %s", path, reason)
        self.rejected.append(Rejected(path, reason))


class ImportedFolder(ImportedStore):
    """The scene files of a folder.

    Attributes:
        folder: The folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        on_error: Literal["raise", "skip"] = "raise",
        cache_scenes: int = CACHE_SCENES,
        needs: Needs | None = None,
    ) -> None:
        """List the folder; arguments and errors as `ImportedStore`."""
        self.folder = folder
        paths = [path for path in folder.iterdir() if path.is_file() and kind_of(path) is not None]
        super().__init__(paths, on_error=on_error, cache_scenes=cache_scenes, needs=needs)


def _unique_ids(paths: tuple[Path, ...], folder: Path) -> tuple[str, ...]:
    """File stems, or paths below the folder where two stems are equal."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return tuple(stems)
    return tuple(
        str(path.relative_to(folder).with_suffix("")) if path.is_relative_to(folder) else str(path.with_suffix(""))
        for path in paths
    )

"""Scenes in files of other data sets, read on demand: a `ScenarioSource` like any other."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, NamedTuple

from harness.caching import Lru
from harness.errors import ConfigError, ScenarioError
from scenarios.importers import argoverse2, gpudrive, womd
from scenarios.opponents import select_opponent
from scenarios.scenario import Scenario, SceneList
from scenarios.store import CACHE_SCENES, MAPPING, SUMMARY, Rejected, load_scene, natural_key, rename
from scenarios.validate import Needs, check

KINDS: Final = "ScenarioNet pickles (*.pkl), WOMD TFRecords, GPUDrive JSON, Argoverse 2 (scenario_*.parquet and map)"
"""What can be read, for messages."""
_SNIFF: Final = 4096

_LOG = logging.getLogger(__name__)


class SceneFile(NamedTuple):
    """One scene: its file, the format, its place in the file, and its name."""

    path: Path
    kind: str
    record: int
    name: str


def kind_of(path: Path) -> str | None:
    """Format of a file by its name (and, for JSON, by its first bytes); None: no scene file."""
    name = path.name.lower()
    if name in (SUMMARY, MAPPING) or name.startswith("."):
        return None
    if name.endswith(".pkl"):
        return "description"
    if "tfrecord" in name:
        return "womd"
    if name.endswith(".parquet") and name.startswith("scenario_"):
        return "argoverse2"
    if name.endswith(".json") and not name.startswith("log_map_archive_"):
        try:
            with path.open("rb") as file:
                return "gpudrive" if b'"objects"' in file.read(_SNIFF) else None
        except OSError:
            return None
    return None


def holds_importable(folder: Path) -> bool:
    """Whether a folder directly holds scene files of another kind than ScenarioNet pickles."""
    return any(kind_of(path) not in (None, "description") for path in folder.iterdir() if path.is_file())


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
        name = path.stem.removeprefix("scenario_") if kind == "argoverse2" else path.stem
        return [SceneFile(path, kind, 0, name)]

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


def load_file(entry: SceneFile, needs: Needs | None = None) -> Scenario:
    """Read, name and check one scene, and select its opponent.

    Raises:
        ScenarioError: It is bad.
        ConfigError: Its format needs a package that is not installed.
    """
    if entry.kind == "description":
        return load_scene(entry.path, entry.name, needs)
    if entry.kind == "womd":
        scenario = womd.load(entry.path, entry.record)
    else:
        scenario = (gpudrive if entry.kind == "gpudrive" else argoverse2).load(entry.path)
    scenario = rename(scenario, entry.name)
    check(scenario)
    scenario = scenario.with_opponent(select_opponent(scenario))
    if needs is not None:
        check(scenario, needs)
    return scenario

"""The scenes of a folder, or of one file, in any format: read on demand, known from the index."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from harness.caching import Lru
from harness.errors import ConfigError, ScenarioError, shown
from scenarios.importers.files import SceneFile, examine, load_file, load_scene, name_of, rename, several
from scenarios.importers.layouts import MAPPING, SUMMARY, SceneFound, find_scenes
from scenarios.indexing.facts import IndexTask, SceneFacts
from scenarios.indexing.table import rules
from scenarios.indexing.update import SceneIndex, file_state
from scenarios.map_sketch import Sketch
from scenarios.scenario import Scenario, SceneList
from scenarios.validate import Needs

__all__ = ["CACHE_SCENES", "MAPPING", "SUMMARY", "Rejected", "ScenarioStore", "examine", "load_scene", "rename"]

CACHE_SCENES: Final = 64
"""About 3 MB each for WOMD scenes."""

_LOG = logging.getLogger(__name__)


class Rejected(NamedTuple):
    """A file that was left out, and why."""

    path: Path
    reason: str


class ScenarioStore(SceneList):
    """Random access to the scenes of a folder or of one file; a `ScenarioSource`.

    Where the scene files lie, `scenarios.importers.layouts` says. Index order is its order: natural order of the file
    names (`2.pkl` before `10.pkl`, so that index n of CAT's folder is `n.pkl`), or the order of the summary where the
    folder has one (as MetaDrive numbers them); records are in the order of their file. A scene's id is its file name
    without what all names of the format have, or the scene id inside TFRecords; where two were equal, in whatever
    split, the path below the folder.

    Opening a folder reads no scene, except from files that hold several: their scenes are looked up in the index
    (`scenarios.indexing`), which reads once what is new or has changed.

    Attributes:
        folder: The folder, or the file.
        given_splits: The split of each scene after the folders that it lies in, None where they say nothing.
        rejected: Files that were left out with `on_error="skip"`, with reasons.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        part: str | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        cache_scenes: int = CACHE_SCENES,
        needs: Needs | None = None,
    ) -> None:
        """List the folder.

        Args:
            folder: Holds the scene files, or is one.
            part: Only the files of this split, where any lie in folders that are named like splits.
            on_error: `raise`: a bad scene raises when it is asked for. `skip`: bad ones are left out, logged and listed
                in `rejected`; for that all are looked up in the index.
            cache_scenes: Scenes kept in memory, least recently used first out; 0 keeps none.
            needs: What every scene must have, else it counts as bad.

        Raises:
            ScenarioError: The folder does not exist or holds no usable scene, or its summary names missing files.
            ConfigError: An option is out of range, there is no such part, or a package is missing for the format.
        """
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error is {on_error!r}; expected 'raise' or 'skip'.")
        if cache_scenes < 0:
            raise ConfigError(f"cache_scenes is {cache_scenes}; expected 0 or more.")
        self.folder = Path(folder)
        self.needs = needs
        self.rejected: list[Rejected] = []
        self._cache: Lru[int, Scenario] = Lru(cache_scenes)
        self._index = SceneIndex(self.folder)
        found = list(find_scenes(self.folder))
        parts = sorted({item.split for item in found if item.split is not None})
        self._whole = part is None or not parts
        # A scene has one id, whether its split is opened alone or with the others.
        equal = _equal_names(found)
        if not self._whole:
            if part not in parts:
                raise ConfigError(f"{self.folder} has no sub-folder {part!r}, only {', '.join(parts)}.")
            found = [item for item in found if item.split == part]
        found = self._existing(found, on_error)
        names, self._scenes, splits = self._list(found)
        if on_error == "skip":
            kept = self._usable()
            names, splits = [names[index] for index in kept], [splits[index] for index in kept]
            self._scenes = [self._scenes[index] for index in kept]
        self.given_splits: tuple[str | None, ...] = tuple(splits)
        self._ids = _unique(names, self._scenes, self.folder, equal)

    @property
    def paths(self) -> tuple[Path, ...]:
        """File of each scene."""
        return tuple(Path(scene.path) for scene in self._scenes)

    def facts(self, indices: Sequence[int]) -> Iterator[SceneFacts]:
        """What is known of some scenes, in their order; what is new or has changed is examined first."""
        return self._index.facts(self._examined(indices))

    def sketches(self, indices: Sequence[int]) -> Iterator[Sketch]:
        """The maps of some scenes, in their order; see `facts`."""
        return self._index.sketches(self._examined(indices))

    def states(self, indices: Sequence[int]) -> Iterator[str]:
        """Texts that change whenever the files of some scenes do, in their order, or how they are read."""
        known: dict[str, str] = {}
        for index in indices:
            path, kind, record, _ = self._scenes[index]
            if path not in known:
                known[path] = file_state(SceneFound(path, kind, None))
            yield "\n".join((rules(), os.path.abspath(path), str(record), self._ids[index], known[path]))

    def remembered(self, name: str, make: Callable[[], list[int]]) -> list[int]:
        """Numbers that follow from the maps of all scenes, one per scene: from the index where they were made before.

        Args:
            name: What they are.
            make: Makes them.
        """
        return self._index.remembered(name, self._examined(range(len(self._scenes))), make)

    def _examined(self, indices: Sequence[int]) -> Sequence[IndexTask]:
        everything = len(indices) == len(self._scenes)
        scenes = self._scenes if everything and list(indices) == list(range(len(indices))) else None
        chosen = [self._scenes[index] for index in indices] if scenes is None else scenes
        files = {scene.path: SceneFound(scene.path, scene.kind, None) for scene in chosen}
        self._index.update(list(files.values()))
        if scenes is not None and self._whole and not self.rejected:
            self._index.keep(files)
        return chosen

    def _load(self, index: int) -> Scenario:
        path, kind, record, place = self._scenes[index]
        entry = SceneFile(Path(path), kind, record, self._ids[index], place)
        return self._cache.get(index, lambda: load_file(entry, self.needs))

    def _existing(self, found: list[SceneFound], on_error: str) -> list[SceneFound]:
        """Those of the files that exist: a summary may name others."""
        there: dict[str, frozenset[str]] = {}
        missing = []
        for item in found:
            folder, name = os.path.split(item.path)
            if item.kind == "description" and folder not in there:
                there[folder] = frozenset(os.listdir(folder)) if os.path.isdir(folder or ".") else frozenset()
            if item.kind == "description" and name not in there[folder]:
                missing.append(item)
        if missing and on_error == "raise":
            raise ScenarioError(
                f"{self.folder}: its summary names {missing[0].path}, which does not exist ({len(missing)} missing in "
                "all). Restore the files or delete the summary."
            )
        for item in missing:
            self._reject(item.path, "the summary names it, but it does not exist")
        gone = set(missing)
        return [item for item in found if item not in gone] if gone else found

    def _list(self, found: list[SceneFound]) -> tuple[list[str], list[IndexTask], list[str | None]]:
        """Names, places and splits of the scenes of files.

        Raises:
            ScenarioError: All of them are in files with several, and every one is bad.
        """
        shards = [item for item in found if several(item.kind)]
        self._index.update(shards)
        names: list[str] = []
        scenes: list[IndexTask] = []
        splits: list[str | None] = []
        errors: list[str] = []
        for item in found:
            path, kind, split = item
            if not several(kind):
                names.append(name_of(Path(path), kind))
                scenes.append(IndexTask(path, kind))
                splits.append(split)
                continue
            stem = name_of(Path(path), kind)
            for record, place, name, error in self._index.places(item):
                names.append(name or f"{stem}-{record}")
                scenes.append(IndexTask(path, kind, record, place))
                splits.append(split)
                errors += [error] if error else []
        if scenes and len(errors) == len(scenes):
            raise ScenarioError(errors[0])
        return names, scenes, splits

    def _usable(self) -> list[int]:
        """Indices of the scenes that are not bad; the others are rejected."""
        kept = []
        for index, facts in enumerate(self.facts(range(len(self._scenes)))):
            path = self._scenes[index].path
            reason = facts.error
            if not reason and self.needs is not None and (lacks := facts.lacks(self.needs)):
                reason = f"{path}: {lacks}"
            if reason:
                self._reject(path, reason)
            else:
                kept.append(index)
        if not kept:
            raise ScenarioError(f"{self.folder}: all {len(self.rejected)} scenes are bad: {self.rejected[0].reason}")
        return kept

    def _reject(self, path: str, reason: str) -> None:
        _LOG.warning("left out %s: %s", path, reason)
        self.rejected.append(Rejected(Path(path), reason))


def _equal_names(found: Sequence[SceneFound]) -> bool:
    """Whether two files with one scene have the same name."""
    names = [name_of(Path(item.path), item.kind) for item in found if not several(item.kind)]
    return len(set(names)) < len(names)


def _unique(names: Sequence[str], scenes: Sequence[IndexTask], folder: Path, equal: bool) -> tuple[str, ...]:
    """The names; paths below the folder where files have `equal` ones, or with the file where two records have."""
    names = [shown(name) for name in names]
    if len(set(names)) == len(names) and not equal:
        return tuple(names)
    pairs = list(zip(names, scenes, strict=True))
    if equal:
        pairs = [(name if several(scene.kind) else _below(scene.path, folder), scene) for name, scene in pairs]
    seen: set[str] = set()
    for place, (name, scene) in enumerate(pairs):
        number = 0
        wanted = name
        while wanted in seen:
            wanted = "-".join((name, Path(scene.path).stem, str(scene.record), *([str(number)] if number else [])))
            number += 1
        seen.add(wanted)
        pairs[place] = wanted, scene
    return tuple(name for name, _ in pairs)


def _below(path: str, folder: Path) -> str:
    """A path below the folder, without its suffix."""
    inside = Path(path)
    return shown(str((inside.relative_to(folder) if inside.is_relative_to(folder) else inside).with_suffix("")))

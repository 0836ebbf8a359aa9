"""Where the scene files lie below a root: flat folders, and the layouts in which data sets are distributed.

The rules, in order:

1. A folder with a `dataset_summary.pkl` (ScenarioNet) holds the scenes that the summary names, in its order, where
   `dataset_mapping.pkl` says that they are, relative to the folder. ScenarioNet's merged, split and filtered data sets
   hold no files of their own and name those of their neighbours (`../nuplan_0`), so a mapping may leave the folder:
   what it names is read like any other scene file, which runs and writes nothing.
2. A folder that holds scene files is flat: these are its scenes, in natural order, and its sub-folders are not
   searched. Where one of these is named after a split, that is logged as a warning.
3. Any other folder is searched through its sub-folders, those of training first, else in natural order:
   `val/<id>/scenario_<id>.parquet` of Argoverse 2, `training/group_0/*.json` of GPUDrive,
   `scenario/training/*.tfrecord-*` of WOMD, `train`, `val` and `test` of anything.
4. A file belongs to the split after which a folder between the root and the file is named; see `SPLIT_FOLDERS`. Where
   several are, the innermost one counts. Where none is, the file has no split of its own.
5. Formats may be mixed: every file is read by its own format.

Names that begin with a dot and the folders of `NO_SCENES` are passed over. A folder that is reached twice, through a
symbolic link, is searched once.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from harness.errors import ScenarioError, reading
from harness.files import open_regular
from scenarios import safe_pickle
from scenarios.values import brief

KINDS: Final = "ScenarioNet pickles, WOMD TFRecords, GPUDrive JSON, Argoverse 2, CommonRoad XML"
"""What can be read, for messages and help texts."""
SUMMARY: Final = "dataset_summary.pkl"
MAPPING: Final = "dataset_mapping.pkl"
SPLIT_FOLDERS: Final[Mapping[str, str]] = {
    "train": "train",
    "training": "train",
    "training_20s": "train",
    "val": "val",
    "validation": "val",
    "validation_interactive": "val",
    "test": "test",
    "testing": "test",
    "testing_interactive": "test",
}
"""Split by the name of a folder, as the data sets have it."""
NO_SCENES: Final = frozenset({"tf_example", "lidar_and_camera", "__MACOSX"})
"""Folders whose files look like scenes and are none: WOMD as tf.Example, its sensor data, and macOS's attributes."""
MAX_DEPTH: Final = 6
"""Levels of folders below a root that are searched; the deepest official layout has five."""
MAX_ENTRIES: Final = 5_000_000
"""Names below a root that are looked at; the largest data set has half a million scenes, two files each."""
_LOG = logging.getLogger(__name__)
_ORDER: Final = ("train", "val", "test")
_SNIFF: Final = 4096


class SceneFound(NamedTuple):
    """A file with one scene or several.

    Attributes:
        path: The file, as the root is written.
        kind: `description` (ScenarioNet), `womd`, `gpudrive`, `argoverse2` or `commonroad`.
        split: `train`, `val` or `test` where its folders say so.
    """

    path: str
    kind: str
    split: str | None


def find_scenes(root: str | Path) -> Iterator[SceneFound]:
    """The scene files below a root, found as they are asked for.

    No file is opened, except for summaries, mappings, and the first bytes of JSON and XML files. That a file which a
    summary names exists is not checked.

    Args:
        root: A folder, or one scene file.

    Raises:
        ScenarioError: There is no such file or folder, it cannot be listed, a summary is broken,
            there are more than `MAX_ENTRIES` names below it, or no scene at all.
    """
    root = Path(root)
    if root.is_file():
        kind = kind_of(root)
        if kind is None:
            raise ScenarioError(f"{root}: not a scene file. Expected {KINDS}.")
        yield SceneFound(str(root), kind, None)
        return
    if not root.is_dir():
        found_there = "neither a file nor a folder" if root.exists() else "no such file or folder"
        raise ScenarioError(f"{root}: {found_there}. Expected {KINDS}, or a folder of them.")
    empty = True
    for found in _Search(root).folder(str(root), None, 0):
        empty = False
        yield found
    if empty:
        raise ScenarioError(
            f"{root}: no scenes. Expected {KINDS}, here or in sub-folders (at most {MAX_DEPTH} levels)."
        )


def kind_of(path: str | Path) -> str | None:
    """Format of a file by its name (for JSON and XML also by its first bytes); None: no scene file."""
    name = os.path.basename(path).lower()
    if name in (SUMMARY, MAPPING) or name.startswith("."):
        return None
    if name.endswith(".pkl"):
        return "description"
    if name.endswith(".json"):
        if name.startswith("log_map_archive_"):
            return None
        # GPUDrive names its scenes after the shards that they are from.
        return "gpudrive" if name.startswith("tfrecord-") or b'"objects"' in _head(path) else None
    if name.endswith(".xml"):
        return "commonroad" if b"<commonRoad" in _head(path) else None
    if name.endswith(".parquet"):
        return "argoverse2" if name.startswith("scenario_") else None
    return "womd" if "tfrecord" in name else None


def natural_key(path: str | Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts `2.pkl` before `10.pkl`."""
    name = os.path.basename(path)
    parts = re.split(r"([0-9]+)", os.path.splitext(name)[0])
    return [(1, int(part), "") if part[0] in "0123456789" else (0, 0, part) for part in parts if part], name


def _folder_key(name: str) -> tuple[int, tuple[list[tuple[int, int, str]], str]]:
    """Sort key that puts training before validation before testing, and these before other folders."""
    split = SPLIT_FOLDERS.get(name.lower())
    return len(_ORDER) if split is None else _ORDER.index(split), natural_key(name)


def summary_paths(folder: str | Path) -> Iterator[str]:
    """The files that a ScenarioNet summary names, in its order, each once.

    Args:
        folder: Holds the summary and perhaps a mapping.

    Raises:
        ScenarioError: Summary or mapping are broken, or name something else than files and folders beside them.
    """
    folder = str(folder)
    where = os.path.join(folder, SUMMARY)
    summary = safe_pickle.load(where, safe_pickle.MAX_SUMMARY)
    other = os.path.join(folder, MAPPING)
    mapping = safe_pickle.load(other, safe_pickle.MAX_SUMMARY) if os.path.exists(other) else {}
    if not isinstance(summary, Mapping) or not isinstance(mapping, Mapping):
        raise ScenarioError(f"{where}: expected dictionaries by file name. Delete it to read *.pkl instead.")
    with reading(where, "names of files and of folders"):
        for name in summary:
            part = mapping.get(name, "")
            plain = isinstance(name, str) and isinstance(part, str)
            if not plain or not name or os.path.basename(name) != name or os.path.isabs(part) or not _is_path(part):
                raise ScenarioError(
                    f"{where}: expected names of files, and of folders relative to its own; found {name!r} in {part!r}."
                )
            yield os.path.normpath(os.path.join(folder, part, name))


def _is_path(text: str) -> bool:
    """Whether a file system could have a file of this name."""
    return "\0" not in text and text.isprintable()


def _head(path: str | Path) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        with open_regular(Path(path), error=ScenarioError) as file:
            return file.read(_SNIFF)
    except (OSError, ScenarioError):
        return b""


class _Search:
    """One walk below a root: what was seen, and how much."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.entries = 0
        self.folders: set[tuple[int, int]] = set()
        self.named: set[str] = set()

    def folder(self, path: str, split: str | None, depth: int) -> Iterator[SceneFound]:
        """The scenes of a folder or, where it holds none, of its sub-folders."""
        if os.path.exists(os.path.join(path, SUMMARY)):
            yield from self.summary(path, split)
            return
        files, folders = self.list(path)
        flat = False
        for name in sorted(files, key=natural_key):
            own = os.path.join(path, name)
            kind = kind_of(own)
            if kind is not None:
                flat = True
                if own not in self.named:
                    yield SceneFound(own, kind, split)
        if flat:
            passed = [name for name in folders if name.lower() in SPLIT_FOLDERS]
            if passed:
                what = ", ".join(brief(name) for name in passed)
                _LOG.warning("%s: scene files lie beside the folders %s, which are not searched", path, what)
            return
        if depth == MAX_DEPTH:
            return
        for name in sorted(folders, key=_folder_key):
            yield from self.folder(os.path.join(path, name), SPLIT_FOLDERS.get(name.lower(), split), depth + 1)

    def summary(self, folder: str, split: str | None) -> Iterator[SceneFound]:
        """The scenes of a summary; several summaries may name the same file."""
        for path in summary_paths(folder):
            if path in self.named:
                continue
            self.named.add(path)
            between = os.path.relpath(os.path.dirname(path), folder).split(os.sep)
            own = next(
                (SPLIT_FOLDERS[name.lower()] for name in reversed(between) if name.lower() in SPLIT_FOLDERS), split
            )
            yield SceneFound(path, "description", own)

    def list(self, path: str) -> tuple[list[str], list[str]]:
        """Names of the files and of the folders in a folder; none where it was listed before."""
        files, folders = [], []
        try:
            state = os.stat(path)
            if (state.st_dev, state.st_ino) in self.folders:
                return [], []
            self.folders.add((state.st_dev, state.st_ino))
            with os.scandir(path) as entries:
                for entry in entries:
                    self.entries += 1
                    if self.entries > MAX_ENTRIES:
                        raise ScenarioError(
                            f"{self.root}: more than {MAX_ENTRIES:,} files below it. Give the folder of the scenes."
                        )
                    if entry.name.startswith(".") or entry.name in NO_SCENES:
                        continue
                    if entry.is_dir():
                        folders.append(entry.name)
                    elif entry.is_file():
                        files.append(entry.name)
        except OSError as error:
            raise ScenarioError(f"{path}: cannot be listed: {error.strerror or error}.") from error
        return files, folders

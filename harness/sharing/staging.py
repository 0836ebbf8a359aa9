"""A folder that may be shared, made of one that may not: scenes become safetensors, paths of this machine go."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.commands.runs import RUN_FILE
from harness.errors import ConfigError, GauntletError
from harness.files import MEGABYTE, explained, file_name, open_regular, read_bounded, write_text
from harness.fitting.weights import MAX_HEADER
from harness.sharing.contents import MAX_FILE, SHARED, TEXTS, WEIGHTS, SharedFile, check_contents, runs_code
from harness.sharing.recognition import SCENES
from harness.sharing.scene_files import pack_scene, unpack_scene
from scenarios.export import write_folder
from scenarios.store import ScenarioStore

CARD: Final = "README.md"
ORIGIN: Final = "pulled.json"
"""What a pulled folder says of where it came from; it is not shared on."""
CHECKPOINTS: Final = ("checkpoint", f"checkpoint{WEIGHTS}")
"""Folder or file of a run that only serves to go on with it, and stays behind."""
MAX_TEXT: Final = 200 * MEGABYTE
"""Bytes of a text file that is shared: reports with playbacks have up to 60 MB."""


@dataclass(frozen=True)
class Staged:
    """A folder that is ready to be shared.

    Attributes:
        folder: Where.
        files: What it holds.
        left_out: Files of the source that are neither weights nor text, or that only serve to go on with a run.
        personal: Weights files whose header still names a folder of this machine.
    """

    folder: Path
    files: tuple[SharedFile, ...]
    left_out: tuple[str, ...]
    personal: tuple[str, ...]


def stage(source: Path, folder: Path) -> Staged:
    """Fill a folder with what is shared of a source.

    Args:
        source: A run folder, a folder of weights, or one weights file, with which the record of its run goes.
        folder: An empty folder.

    Raises:
        ConfigError: There is nothing, it holds files that can run code, or names or sizes are none that are shared.
        GauntletError: A scene or a file cannot be read, or the folder cannot be written.
    """
    source = source.absolute()
    if not source.exists():
        raise ConfigError(f"{source} does not exist. Name a run folder, a folder of weights, or a weights file.")
    root = source if source.is_dir() else source.parent
    paths = sorted(_below(source)) if source.is_dir() else [source, *filter(Path.is_file, [root / RUN_FILE])]
    scenes = [path for path in paths if _is_scene(path.relative_to(root))]
    rest = [path for path in paths if not _is_scene(path.relative_to(root)) and path.name not in (ORIGIN, CARD)]
    resumed = [path for path in rest if (root / RUN_FILE).is_file() and path.relative_to(root).parts[0] in CHECKPOINTS]
    rest = [path for path in rest if path not in resumed]
    # Files that can run code are among these, to be refused: their owner should know that they stay behind.
    kept = [path for path in rest if path.name.lower().endswith(SHARED) or runs_code(path.name)]
    check_contents((SharedFile(path.relative_to(root).as_posix(), path.stat().st_size) for path in kept), str(source))
    for path in kept:
        _copy(path, folder / path.relative_to(root))
    for label in sorted({path.parent for path in scenes}):
        _pack_folder(label, folder / label.relative_to(root))
    staged = [
        SharedFile(path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return Staged(
        folder=folder,
        files=tuple(check_contents(staged, str(source))),
        left_out=tuple(path.relative_to(root).as_posix() for path in (*rest, *resumed) if path not in kept),
        personal=tuple(path.name for path in kept if path.suffix == WEIGHTS and _names_a_place(path)),
    )


def unpack(folder: Path) -> None:
    """Write the scenes of a received folder as ScenarioNet does, and remove the safetensors that they came in.

    Raises:
        GauntletError: A scene is damaged, or the folder cannot be written.
    """
    place = folder / SCENES
    for label in sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else ():
        packed = sorted(label.glob(f"*{WEIGHTS}"))
        write_folder((unpack_scene(file) for file in packed), label)
        for file in packed:
            file.unlink()


def without_places(text: str) -> str:
    """A text in which the working directory is `.` and the home directory `~`."""
    for place, short in _places():
        text = text.replace(place, short)
    return text


def _places() -> Iterator[tuple[str, str]]:
    """Folders of this machine as JSON and plain text write them, the longer ones first."""
    known = sorted(((Path.cwd(), "."), (Path.home(), "~")), key=lambda item: -len(str(item[0])))
    for path, short in known:
        # The root of the file system is nobody's.
        if len(path.parts) > 1:
            yield from dict.fromkeys([(json.dumps(str(path))[1:-1], short), (str(path), short)])


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_symlink():
            raise ConfigError(f"{path} is a symbolic link. Put in its place what it stands for, or delete it.")
        if path.is_file() and not hidden:
            yield path


def _is_scene(path: Path) -> bool:
    return len(path.parts) == 3 and path.parts[0] == SCENES and path.suffix == ".pkl"


def _copy(path: Path, target: Path) -> None:
    with explained(target, "write"):
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() not in TEXTS:
            with open_regular(path, MAX_FILE, ConfigError) as opened, target.open("wb") as copy:
                shutil.copyfileobj(opened, copy)
            return
    data = read_bounded(path, MAX_TEXT, ConfigError)
    try:
        write_text(target, without_places(data.decode()))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8 ({error}). Remove it, or write it again.") from error


def _pack_folder(source: Path, target: Path) -> None:
    """The scenes of a folder, one file each."""
    with explained(target, "make"):
        target.mkdir(parents=True, exist_ok=True)
    store = ScenarioStore(source, cache_scenes=0)
    for index, name in enumerate(store.ids):
        pack_scene(store[index], target / f"{file_name(name)}{WEIGHTS}")


def _names_a_place(path: Path) -> bool:
    with open_regular(path, MAX_FILE, GauntletError) as opened:
        header = opened.read(min(int.from_bytes(opened.read(8), "little"), MAX_HEADER))
    return any(place.encode() in header for place, _ in _places())

"""Run directories: provenance, atomic files, durable records, locking and resumption.

A run directory holds `run.json` (configuration, versions, commit, command line), `*.jsonl` (one record per line,
appended and flushed as things happen), and whatever else its command writes. Files that are rewritten are written
beside and renamed, so a kill at any moment leaves either the old file or the new one.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import importlib.metadata
import json
import os
import platform
import stat
import subprocess
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Final

from harness.errors import RunError, reading
from harness.files import (
    MEGABYTE,
    Json,
    JsonDict,
    explained,
    parsed_json,
    plain,
    read_bounded,
    read_json,
    write_json,
    write_text,
)

RUN_FILE: Final = "run.json"
LOCK_FILE: Final = ".lock"
MAX_RECORDS: Final = 2_000 * MEGABYTE
"""Bytes of a file of records; a million episodes of training take 400 MB."""
PACKAGES: Final = ("gauntlet-drive", "metadrive-simulator", "stable-baselines3", "gymnasium", "torch", "numpy", "scipy")
"""Distributions whose versions can change a result."""


def provenance() -> JsonDict:
    """Versions, commit, command line, machine and time: what is needed to repeat a run."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "command": sys.argv,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": versions,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Commit of the source tree this runs from (with `-dirty`), or None where it is no git checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def default_folder(verb: str) -> Path:
    """A new folder name under `runs/` of the working directory, made of the verb and the time."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{verb}-{stamp}"


class RunDirectory:
    """An opened (and locked) run directory. Use `create` or `reopen`, and `close` or `with`."""

    def __init__(self, path: Path, info: JsonDict) -> None:
        """Lock `path`.

        Raises:
            RunError: Another process is using it, or it cannot be written.
        """
        # Absolute: a policy of the user's own may change the working directory.
        self.path = path.absolute()
        self.info = info
        self._files: dict[str, FileIO] = {}
        lock = _lock(path)
        if lock is None:
            raise RunError(f"run folder {path} is in use by another process. Wait for it, stop it, or choose another.")
        self._lock = lock

    @classmethod
    def create(cls, path: Path, verb: str, config: Json) -> RunDirectory:
        """Start a run in a new (or empty) folder.

        Raises:
            RunError: The folder holds something already, or cannot be written.
        """
        with explained(path, "make run folder"):
            path.mkdir(parents=True, exist_ok=True)
            # A process that was killed as it wrote `run.json` has left its beginning.
            for torn in path.glob(".run.*.part.json"):
                torn.unlink(missing_ok=True)
            taken = [entry.name for entry in path.iterdir() if entry.name != LOCK_FILE]
        if taken:
            hint = f"Continue it with --resume {path}, or choose" if RUN_FILE in taken else "Choose"
            raise RunError(f"run folder {path} is not empty (it holds {sorted(taken)[0]!r}). {hint} another folder.")
        info = {"verb": verb, "config": plain(config), "provenance": provenance(), "resumed": []}
        run = cls(path, info)
        write_json(path / RUN_FILE, info)
        return run

    @classmethod
    def reopen(cls, path: Path, verb: str) -> RunDirectory:
        """Go on with a run.

        Raises:
            RunError: There is no such run, it is damaged, it belongs to another command, or it holds anything but files
                and folders.
        """
        info = read_run(path)
        _check_files(path)
        if info["verb"] != verb:
            raise RunError(f"run folder {path} was made by {info['verb']!r}, and {verb!r} cannot go on with it.")
        run = cls(path, info)
        info["resumed"].append(provenance())
        write_json(path / RUN_FILE, info)
        return run

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close record files and release the lock."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._lock.close()

    def append(self, name: str, record: Json) -> None:
        """Append one record to `name`.jsonl and hand it to the operating system (it survives a SIGKILL).

        Args:
            name: File name without suffix.
            record: JSON-able.

        Raises:
            RunError: The disk is full, say.
        """
        path = self.path / f"{name}.jsonl"
        with explained(path, "append to"):
            if name not in self._files:
                # Unbuffered: what a full disk refuses must not wait in a buffer for the end of the program.
                self._files[name] = open(path, "ab", buffering=0)
            rest = (json.dumps(plain(record), allow_nan=False) + "\n").encode()
            while rest:
                rest = rest[self._files[name].write(rest) :]

    def records(self, name: str) -> list[JsonDict]:
        """Every record of `name`.jsonl (empty if there is none)."""
        return read_records(self.path / f"{name}.jsonl")

    def keep_records(self, name: str, keep: Callable[[JsonDict], bool]) -> list[JsonDict]:
        """Drop the records that a checkpoint does not know of (they will happen again); return the rest."""
        path = self.path / f"{name}.jsonl"
        if name in self._files:
            self._files.pop(name).close()
        if not path.exists():
            return []
        with reading(path, "records of this run. Restore the file, or start anew", RunError):
            kept = [record for record in read_records(path) if keep(record)]
            text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in kept)
        write_text(path, text)
        return kept


def in_use(path: Path) -> bool:
    """Whether a process has the run folder open; also one on another machine that shares its file system.

    Raises:
        RunError: The folder cannot be written.
    """
    lock = _lock(path)
    if lock is not None:
        lock.close()
    return lock is None


def _lock(path: Path) -> FileIO | None:
    """The folder's lock, which closing gives back, or None where another process has it."""
    with explained(path, "write in"):
        # A link is not followed, nothing is cut, and a pipe does not keep us waiting.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        lock = os.fdopen(os.open(path / LOCK_FILE, flags, 0o644), "r+b", buffering=0)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def read_run(path: Path) -> JsonDict:
    """The `run.json` of a run folder.

    Raises:
        RunError: There is none, or it is damaged.
    """
    file = path / RUN_FILE
    if not file.is_file():
        raise RunError(f"{path} is not a run folder: it has no {RUN_FILE}. Give the folder that a command printed.")
    info = read_json(file)
    if not isinstance(info, dict) or not isinstance(info.get("resumed"), list) or not {"verb", "config"} <= info.keys():
        raise RunError(f"{file} is not the record of a run: it lacks verb, config or resumed.")
    about = info.get("provenance", {})
    if not isinstance(about, dict) or not isinstance(about.get("versions", {}), dict):
        raise RunError(f"{file} is damaged: its provenance is no object. Restore the file, or start anew.")
    return info


def _check_files(folder: Path) -> None:
    """Refuse links and special files: through one, whoever made the folder has files elsewhere written or deleted.

    Raises:
        RunError: Names one; Gauntlet itself makes none.
    """
    with explained(folder, "read"):
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                mode = os.lstat(os.path.join(place, name)).st_mode
                if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                    kind = "a symbolic link" if stat.S_ISLNK(mode) else "a pipe, a device or a socket"
                    where = os.path.relpath(os.path.join(place, name), folder)
                    raise RunError(
                        f"run folder {folder} holds {kind}: {where}. Going on with the run would write through it. "
                        "Put in its place what it stands for, or delete it."
                    )


def read_records(path: Path) -> list[JsonDict]:
    """Records of a JSONL file. A torn last line (the process was killed while writing it) is left out.

    Raises:
        RunError: A line other than the last is damaged.
    """
    if not path.exists():
        return []
    lines = read_bounded(path, MAX_RECORDS).decode("utf-8", "replace").split("\n")
    records = []
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            record = parsed_json(line)
            if not isinstance(record, dict):
                raise ValueError(f"found {type(record).__name__} instead of an object")
            records.append(record)
        except ValueError as error:
            if number == len(lines) - 1:
                break
            raise RunError(
                f"{path}, line {number + 1} is damaged: {error}. Restore the file, or start anew."
            ) from error
    return records

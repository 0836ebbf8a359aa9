"""What is kept so that it need not be made again: bounded caches in memory and on disk, and the user's folder."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import platformdirs
from numpy.typing import NDArray

from harness.errors import RunError
from harness.files import MEGABYTE, read_arrays, write_arrays

Arrays = Mapping[str, NDArray[Any]]

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

KEPT_DAYS: Final = 90
"""How long a file stays in the cache without being used, where it can be made again."""
MAX_FOLDER: Final = 2_000 * MEGABYTE
"""Bytes of an `ArrayFolder`."""
MAX_FILE: Final = 16 * MEGABYTE
"""Bytes of one of its files."""
_WRITING: Final = threading.Lock()


class Lru(Generic[K, V]):
    """Values by key, at most `size` of them; the least recently used is dropped first.

    Args:
        size: Values that are kept; 0 keeps none, and every value is built anew.
        dropped: Called with each value that leaves the cache, for those that hold resources.
    """

    def __init__(self, size: int, dropped: Callable[[V], None] | None = None) -> None:
        self._size = size
        self._dropped = dropped
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        """Number of values held."""
        return len(self._values)

    def get(self, key: K, build: Callable[[], V], fits: Callable[[V], bool] | None = None) -> V:
        """The value for `key`.

        Args:
            key: Where the value lies.
            build: Makes the value where there is none. What it raises is passed on, and nothing is kept.
            fits: Says whether a value that is found still belongs to this key; one that does not is built anew.

        Returns:
            The value, which is now the most recently used.
        """
        if self._size < 1:
            return build()
        if key in self._values and fits is not None and not fits(self._values[key]):
            self._drop(self._values.pop(key))
        if key not in self._values:
            self._values[key] = build()
        self._values.move_to_end(key)
        value = self._values[key]
        while len(self._values) > self._size:
            self._drop(self._values.popitem(last=False)[1])
        return value

    def clear(self) -> None:
        """Drop everything."""
        while self._values:
            self._drop(self._values.popitem(last=False)[1])

    def _drop(self, value: V) -> None:
        if self._dropped is not None:
            self._dropped(value)


def cache_folder(part: str = "") -> Path:
    """Where this user's files of one kind are kept; it need not exist.

    The environment variable `GAUNTLET_CACHE` replaces the platform's cache folder.

    Args:
        part: Name of the kind, such as `procedural`; the folder of all kinds if not given.
    """
    root = os.environ.get("GAUNTLET_CACHE")
    return (Path(root).expanduser() if root else Path(platformdirs.user_cache_dir("gauntlet-drive"))) / part


def use_cached(file: Path, *others: str) -> None:
    """Mark a file of this user's cache as used, or, before it is made, remove what nobody has used for long.

    Args:
        file: Its suffix tells which files beside it are of its kind.
        others: More patterns of files that may go, below the folder of all kinds: those of earlier versions.
    """
    with contextlib.suppress(OSError):
        if file.exists():
            os.utime(file)
            return
        root = cache_folder()
        for old in (*file.parent.glob(f"*{file.suffix}*"), *(old for pattern in others for old in root.glob(pattern))):
            if time.time() - old.lstat().st_mtime > 86_400 * KEPT_DAYS:
                old.unlink()


class ArrayFolder:
    """Arrays by key on disk, one npz each; the least recently used go first.

    Processes and threads may share a folder: files appear whole, and who makes the same one twice makes it equal.
    A file that is damaged, or does not hold what is expected, is made anew. Where the folder cannot be written, a
    warning says so once, and nothing more is written.

    Args:
        folder: Where; it is made when something is written.
        limit: Bytes of all files together. Each process checks them after it has written a twentieth of that.
        largest: Bytes of one of them.
    """

    def __init__(self, folder: Path, limit: int = MAX_FOLDER, largest: int = MAX_FILE) -> None:
        self.folder, self.limit, self.largest = folder, limit, largest
        self._unchecked: float = limit
        self._writes = True

    def get(self, key: str, make: Callable[[], Arrays], fits: Callable[[Arrays], bool]) -> Arrays:
        """The arrays of a key, made if they are not there.

        Args:
            key: Part of a file's name.
            make: Makes the arrays. What it raises is passed on, and nothing is kept.
            fits: Says whether arrays that were read may be the ones.
        """
        path = self.folder / f"{key}.npz"
        with contextlib.suppress(RunError):
            if path.exists() and fits(found := read_arrays(path, self.largest)):
                # The time of change tells when it was last used.
                with contextlib.suppress(OSError):
                    os.utime(path)
                return found
        arrays = make()
        # Threads of a process would write to the same file beside the path.
        with _WRITING:
            self._write(path, arrays)
        return arrays

    def _write(self, path: Path, arrays: Arrays) -> None:
        if not self._writes:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_arrays(path, arrays, packed=False)
            self._unchecked += path.stat().st_size
            if self._unchecked > self.limit / 20:
                self._trim()
        except (RunError, OSError) as error:
            self._writes = False
            logger.warning("nothing more is kept in %s: %s", self.folder, error)

    def _trim(self) -> None:
        """Remove the longest unused files until the others take nine tenths of the limit, where they exceed it."""
        found = []
        for path in self.folder.glob("*.npz"):
            with contextlib.suppress(OSError):  # Another process may have removed it.
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        if total > self.limit:
            for _, size, path in sorted(found):
                if total <= 0.9 * self.limit:
                    break
                path.unlink(missing_ok=True)
                total -= size
        self._unchecked = 0


def remove_unused(root: Path, used: Path) -> None:
    """Mark a folder of this user's cache as used, and remove folders beside it that nobody has used for long.

    Args:
        root: Where folders of this kind lie; it need not exist.
        used: The one that is used now; it need not exist.
    """
    with contextlib.suppress(OSError):
        if used.exists():
            os.utime(used)
            return
        for old in root.iterdir():
            if old.is_dir() and time.time() - old.lstat().st_mtime > 86_400 * KEPT_DAYS:
                shutil.rmtree(old, ignore_errors=True)

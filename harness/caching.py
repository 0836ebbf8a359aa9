"""What is kept so that it need not be made again: a bounded cache in memory, and the user's folder on disk."""

from __future__ import annotations

import contextlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Final, Generic, TypeVar

import platformdirs

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

KEPT_DAYS: Final = 90
"""How long a file stays in the cache without being used, where it can be made again."""


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

"""One at a time: whoever makes what others need as well holds a lock, others wait; and both say what is going on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from harness.errors import GauntletError, one_line
from harness.files import explained

POLL_S: Final = 0.2
SAY_EVERY_S: Final = 10.0
"""How often a line is written where the output is no terminal."""
_BAR: Final = 30
"""Columns of the bar on a terminal."""

Progress = Callable[[int, int], None]
"""Called with the number of scenes that are done and the number wanted."""


@contextlib.contextmanager
def my_turn(path: Path, doing: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock, waiting for whoever holds it.

    The kernel lets go of the lock when its holder ends, however that happens: nobody waits for the dead.

    Args:
        path: The lock, a file in a folder that exists.
        doing: What its holder does, for those who wait.
        say: Told once that and for whom this process waits.

    Raises:
        GauntletError: The folder cannot be written.
    """
    told = False
    while (lock := _taken(path)) is None:
        if not told:
            say(f"waiting for {_holder(path)}, which {doing}")
            told = True
        time.sleep(POLL_S)
    try:
        yield
    finally:
        # Removed while it is held: whoever opened the old file notices, and tries again with the new one.
        path.unlink(missing_ok=True)
        os.close(lock)


def _taken(path: Path) -> int | None:
    """The lock as an open file, or None where somebody holds it."""
    with explained(path, "write"):
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists() and os.path.samestat(os.stat(path), os.fstat(lock)):
            with explained(path, "write"):
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            return lock
    except BlockingIOError:
        pass  # Held: the caller tries again.
    except FileNotFoundError:
        pass  # Removed by its holder between the two looks.
    except GauntletError:
        path.unlink(missing_ok=True)  # While it is held, as ever.
        os.close(lock)
        raise
    except OSError as error:
        os.close(lock)
        raise GauntletError(
            f"{path} cannot be locked: {error.strerror}; set GAUNTLET_CACHE to a folder on a local disk"
        ) from error
    os.close(lock)
    return None


def _holder(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[:200] or "another process"
    except OSError:
        return "another process"


class Announcer:
    """Progress on standard error: a bar on a terminal, otherwise a line now and then; silent where nothing is missing.

    Notebooks and log files have no terminal.
    """

    def __init__(self, name: str, doing: str) -> None:
        """Set the words.

        Args:
            name: Who speaks.
            doing: What is done, with `{}` for the number of scenes; what follows may hold any text.
        """
        self.name, self.doing = name, doing
        self._began = self._said = time.monotonic()
        self._begun = False

    def say(self, text: str) -> None:
        """Write a line."""
        line = one_line(f"{self.name}: {text}")
        print(line, file=sys.stderr, flush=True)  # noqa: T201 (whatever program asked for the scenes)

    def __call__(self, done: int, total: int) -> None:
        """Show the number of scenes that are there, and of those wanted."""
        now = time.monotonic()
        if not self._begun:
            if done >= total:
                return
            self._begun, self._began, self._said = True, now, now
            self.say(self.doing.replace("{}", str(total - done), 1))
        if sys.stderr is not None and sys.stderr.isatty():
            self._draw(done, total)
        elif now - self._said > SAY_EVERY_S and done < total:
            self._said = now
            self.say(f"{done} of {total} scenes")
        if done >= total:
            self._begun = False
            self.say(f"done: {total} scenes, after {now - self._began:.0f} s")

    def _draw(self, done: int, total: int) -> None:
        filled = _BAR * done // max(total, 1)
        end = "\n" if done >= total else ""
        sys.stderr.write(f"\r{'━' * filled}{'╌' * (_BAR - filled)} {done}/{total} scenes{end}")
        sys.stderr.flush()

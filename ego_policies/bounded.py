"""Bounds on what a policy file may ask of the machine while it is loaded and while it answers.

A small file can describe a large computation: `zeros(40000, 50000)` is one line, and fifty doublings are fifty. What it
will allocate depends on the observation, so that it is the allocations that are bounded, by the operating system.
"""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness.files import MEGABYTE

ANSWER_BYTES: Final = 1024 * MEGABYTE
"""Most memory that one answer may take beside the weights. A ResNet-50 takes about a hundred megabytes."""
ANSWER_S: Final = 10.0
"""Longest processor time for one answer, in seconds: `benchmark` waits as long for an episode of 90 such answers."""
_QUICK_S: Final = 0.1
_LEAST_WAIT_S: Final = 0.1
_USED: Final = Path("/proc/self/statm")
_PAGE: Final = resource.getpagesize()


@contextmanager
def bounded_memory(most: int) -> Iterator[None]:
    """Let this process allocate at most so many bytes more; a larger request fails as on a full machine.

    Every thread of the process is bounded meanwhile. Linux tells how much is in use; elsewhere nothing is bounded.

    Args:
        most: Bytes beyond those in use.
    """
    if not _USED.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    # The sixth number is what the limit counts: data and stack, in pages.
    limit = int(_USED.read_bytes().split()[5]) * _PAGE + most
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


class Patience:
    """Ends answers that take too long, by a call that makes them end.

    Answers are watched until one has come quickly, and again after one that has not: a thread for each costs more than
    a small network. It is the processor's time that counts, so that a busy machine ends nothing.
    """

    def __init__(self, end: Callable[[], None], seconds: float = ANSWER_S) -> None:
        """Call `end` from another thread once an answer has taken `seconds` of processor time."""
        self._end, self._seconds = end, seconds
        self._watched = True

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch one answer."""
        began, done = time.process_time(), threading.Event()
        if self._watched:
            threading.Thread(target=self._wait, args=(began, done), daemon=True).start()
        try:
            yield
        finally:
            done.set()
            self._watched = time.process_time() - began > _QUICK_S

    def _wait(self, began: float, done: threading.Event) -> None:
        left = self._seconds
        while not done.wait(left):
            left = self._seconds - (time.process_time() - began)
            if left <= 0:
                return self._end()
            left = max(left, _LEAST_WAIT_S)
        return None

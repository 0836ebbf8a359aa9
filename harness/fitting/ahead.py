"""Batches made in the background while the ones before them are learnt from."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item], count: int) -> Generator[Item]:
    """The same items in the same order, made by another thread before they are asked for.

    Args:
        items: Whatever makes them must not touch global randomness, nor anything that their user changes meanwhile.
        count: How many wait at most.

    Raises:
        Exception: What making an item raised, when its turn comes.
    """
    ready: queue.Queue[tuple[str, Item | BaseException | None]] = queue.Queue(count)
    stopped = threading.Event()

    def put(kind: str, value: Item | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put((kind, value), timeout=0.1)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put("item", item)
                if stopped.is_set():
                    return
            put("end", None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the item is asked for
            put("error", error)

    thread = threading.Thread(target=make, daemon=True, name="ahead")
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            yield value  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()

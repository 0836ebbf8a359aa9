"""Tasks on fresh Python processes: whoever starts them needs no guard, may be a daemon, and survives their end.

What such a process is, `scenarios.children` says.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Generic, NamedTuple, TypeVar

from scenarios.children import THREADS, Child, ChildDiedError

Task = TypeVar("Task")

AHEAD: Final = 2
"""Tasks that a process has at a time: it takes up the next one while the result of the last is stored."""
_TICK_S: Final = 1.0
"""How often the time limit is looked at, s."""


class Outcome(NamedTuple, Generic[Task]):
    """What came of a task.

    Attributes:
        task: The task.
        value: What the function returned; None where there is a failure.
        failure: How the process ended that had the task, or empty.
    """

    task: Task
    value: Any
    failure: str = ""


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def outcomes(
    function: str, tasks: Iterable[Task], workers: int, limit_s: float, ahead: int = AHEAD
) -> Iterator[Outcome[Task]]:
    """Outcomes in the order in which they come. Close the iterator to end the processes.

    A process that dies, or takes longer than the limit, costs the task that it was at; another one takes its place.

    Args:
        function: What to call with a task, as `module:name`; it must not raise. Tasks and values are pickled; tasks may
            be large or values, not both: a pipe holds 64 KB, and both ends would wait for each other.
        tasks: Taken as they are needed.
        workers: Number of processes.
        limit_s: Longest time for one task, s.
        ahead: Tasks that a process has at a time. One, where they are large: handing over a second one would wait until
            the first is done.

    Raises:
        OSError: No process can be started, or one ends before it has begun.
    """
    queue = iter(tasks)
    again: deque[Task] = deque()
    crew: dict[Connection, _Process[Task]] = {}
    try:
        while True:
            for process in list(crew.values()):
                _fill(process, queue, again, ahead)
            while len(crew) < workers:
                fresh: _Process[Task] = _Process(function)
                crew[fresh.pipe] = fresh
                if not _fill(fresh, queue, again, ahead):
                    del crew[fresh.pipe]
                    fresh.end()
                    break
            if not any(process.tasks for process in crew.values()):
                return
            ready = wait([pipe for pipe, process in crew.items() if process.tasks], _TICK_S)
            late = [pipe for pipe, process in crew.items() if process.late(limit_s) and pipe not in ready]
            for pipe in (*ready, *late):
                process = crew[pipe]  # type: ignore[index]
                if not process.ready:
                    process.greet()
                    continue
                outcome = process.receive() if pipe in ready else process.failed(f"took longer than {limit_s:.0f} s")
                if outcome.failure:
                    # What it had not begun is no worse for that.
                    again.extend(process.tasks)
                    del crew[process.pipe]
                    process.end()
                yield outcome
    finally:
        for process in crew.values():
            process.end()


def _fill(process: _Process[Task], queue: Iterator[Task], again: deque[Task], ahead: int) -> bool:
    """Give a process what it has room for; whether it has anything to do."""
    while len(process.tasks) < ahead:
        try:
            task = again.popleft() if again else next(queue)
        except StopIteration:
            break
        process.give(task)
    return bool(process.tasks)


class _Process(Generic[Task]):
    """One process, and the tasks that it has, in order."""

    def __init__(self, function: str) -> None:
        # One thread each (numerical libraries must not compete for the cores).
        self._child = Child(_Function, function, environment=dict.fromkeys(THREADS, "1"))
        self.pipe = self._child.pipe
        self.tasks: deque[Task] = deque()
        self.ready = False
        self._began = time.monotonic()

    def give(self, task: Task) -> None:
        if not self.tasks:
            self._began = time.monotonic()
        self.tasks.append(task)
        self._child.start("call", task, by_value=False)

    def greet(self) -> None:
        """Note that it has imported what it needs: from now on its time counts."""
        try:
            self._child.ready()
        except (ChildDiedError, ImportError) as error:
            raise OSError(f"a new process ended at once: {error}") from error
        self.ready, self._began = True, time.monotonic()

    def late(self, limit_s: float) -> bool:
        return self.ready and bool(self.tasks) and time.monotonic() - self._began > limit_s

    def receive(self) -> Outcome[Task]:
        try:
            value = self._child.result()
        except ChildDiedError as error:
            return self.failed(str(error))
        self._began = time.monotonic()
        return Outcome(self.tasks.popleft(), value)

    def failed(self, how: str) -> Outcome[Task]:
        return Outcome(self.tasks.popleft(), None, how)

    def end(self) -> None:
        self._child.kill()


class _Function:
    """What lives in a process: the function by its name."""

    def __init__(self, function: str) -> None:
        module, _, name = function.partition(":")
        self._call: Callable[[Any], Any] = getattr(import_module(module), name)

    def call(self, task: object) -> object:
        return self._call(task)

"""Tasks on fresh Python processes: whoever starts them needs no guard, may be a daemon, and survives their end.

`multiprocessing` imports the caller's main module again in every process, which a plain script without
`if __name__ == "__main__"` does not bear, and it refuses to start from a daemon. These processes run a module of this
package alone. They end with whoever started them: when the pipe closes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Generic, NamedTuple, TypeVar

Task = TypeVar("Task")

AHEAD: Final = 2
"""Tasks that a process has at a time: it takes up the next one while the result of the last is stored."""
_TICK_S: Final = 1.0
"""How often the time limit is looked at, s."""
_SERVE: Final = "import sys; from scenarios.fresh_processes import serve; serve(int(sys.argv[1]), sys.argv[2])"


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


def outcomes(function: str, tasks: Iterable[Task], workers: int, limit_s: float) -> Iterator[Outcome[Task]]:
    """Outcomes in the order in which they come. Close the iterator to end the processes.

    A process that dies, or takes longer than the limit, costs the task that it was at; another one takes its place.

    Args:
        function: What to call with a task, as `module:name`; it must not raise. Tasks and values are pickled.
        tasks: Taken as they are needed.
        workers: Number of processes.
        limit_s: Longest time for one task, s.

    Raises:
        OSError: No process can be started, or one ends before it has begun.
    """
    queue = iter(tasks)
    again: deque[Task] = deque()
    crew: dict[Connection, _Process[Task]] = {}
    try:
        while True:
            for process in list(crew.values()):
                _fill(process, queue, again)
            while len(crew) < workers:
                fresh: _Process[Task] = _Process(function)
                crew[fresh.pipe] = fresh
                if not _fill(fresh, queue, again):
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


def _fill(process: _Process[Task], queue: Iterator[Task], again: deque[Task]) -> bool:
    """Give a process what it has room for; whether it has anything to do."""
    while len(process.tasks) < AHEAD:
        try:
            task = again.popleft() if again else next(queue)
        except StopIteration:
            break
        process.give(task)
    return bool(process.tasks)


class _Process(Generic[Task]):
    """One process, and the tasks that it has, in order."""

    def __init__(self, function: str) -> None:
        self.pipe, theirs = Pipe()
        self.tasks: deque[Task] = deque()
        self.ready = False
        self._began = time.monotonic()
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        # One thread each (numerical libraries must not compete for the cores).
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-c", _SERVE, str(theirs.fileno()), function],
                env={**os.environ, **single, "PYTHONPATH": paths},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Ctrl-C is for whoever started it, who then ends it.
                start_new_session=True,
            )
        finally:
            theirs.close()

    def give(self, task: Task) -> None:
        if not self.tasks:
            self._began = time.monotonic()
        self.tasks.append(task)
        try:
            self.pipe.send(task)
        except OSError:
            return  # It is gone: what it should send tells so.

    def greet(self) -> None:
        """Note that it has imported what it needs: from now on its time counts."""
        try:
            self.pipe.recv()
        except (EOFError, OSError) as error:
            raise OSError(f"a new process ended at once (exit code {self._popen.wait()})") from error
        self.ready, self._began = True, time.monotonic()

    def late(self, limit_s: float) -> bool:
        return self.ready and bool(self.tasks) and time.monotonic() - self._began > limit_s

    def receive(self) -> Outcome[Task]:
        try:
            value = self.pipe.recv()
        except (EOFError, OSError):
            code = self._popen.wait()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            return self.failed(f"ended its process ({how})")
        self._began = time.monotonic()
        return Outcome(self.tasks.popleft(), value)

    def failed(self, how: str) -> Outcome[Task]:
        return Outcome(self.tasks.popleft(), None, how)

    def end(self) -> None:
        self._popen.kill()
        self._popen.wait()
        self.pipe.close()


def serve(descriptor: int, function: str) -> None:
    """Main loop of a process: tasks in, values out, until the pipe closes."""
    pipe = Connection(descriptor)
    module, _, name = function.partition(":")
    call: Callable[[Any], Any] = getattr(import_module(module), name)
    try:
        pipe.send(None)
        while True:
            pipe.send(call(pipe.recv()))
    except (EOFError, OSError):
        return

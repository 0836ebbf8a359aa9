"""Workers in processes of this machine: spawned, each on a pipe of its own, so that any can be killed alone."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final

from harness.errors import GauntletError, RunError, WorkerError
from harness.executors.crew import Event, WorkerSetup, attempt, describe, finish, one_thread
from harness.interfaces import LATE_ANSWER

log = logging.getLogger(__name__)

LEAVE_S: Final = 10.0
"""Time that an idle worker gets to close its simulator."""


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection


class ProcessCrew:
    """A `Crew` of spawned processes: forked ones would share a simulator and locks that they must not share."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, _Worker] = {}
        self._idle: set[int] = set()

    def hire(self, worker: int, setup: WorkerSetup) -> None:
        """Start a process."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_main, args=(setup, theirs), daemon=True, name=f"worker-{worker}")
        # Blocked here and thereby in the worker from its first moment on: they reach the whole process group.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            with one_thread():
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._workers[worker] = _Worker(process, ours)

    def give(self, worker: int, job: object) -> None:
        """Send a job."""
        self._idle.discard(worker)
        try:
            self._workers[worker].pipe.send(job)
        except (BrokenPipeError, ConnectionResetError):
            # It died while idle: `wait` reads the end of its pipe and says so.
            log.debug("worker %d is gone", worker)

    def wait(self, timeout: float | None) -> list[Event]:
        """Read what workers sent; a closed pipe means that the worker died."""
        by_pipe = {item.pipe: number for number, item in self._workers.items()}
        events = []
        for pipe in wait(list(by_pipe), timeout):
            number = by_pipe[pipe]  # type: ignore[index]
            try:
                kind, payload = self._workers[number].pipe.recv()
            except (EOFError, ConnectionResetError):
                kind, payload = "died", self._obituary(number)
            if kind in ("ready", "done"):
                self._idle.add(number)
            events.append(Event(number, kind, payload))
        return events

    def fire(self, worker: int) -> None:
        """Kill a process and forget it."""
        item = self._workers.pop(worker, None)
        self._idle.discard(worker)
        if item is not None:
            item.process.kill()
            item.process.join()
            item.pipe.close()

    def close(self) -> None:
        """Send idle workers home, kill the others."""
        leaving = [self._workers[number] for number in self._idle]
        for item in leaving:
            try:
                item.pipe.send(None)
            except (BrokenPipeError, ConnectionResetError):
                log.debug("%s is gone", item.process.name)
        for number in [number for number in self._workers if number not in self._idle]:
            self.fire(number)
        for item in leaving:
            item.process.join(LEAVE_S)
        for number in list(self._workers):
            self.fire(number)

    def _obituary(self, worker: int) -> str:
        process = self._workers[worker].process
        process.join(LEAVE_S)
        code = process.exitcode
        if code is not None and code < 0:
            return f"the worker process died of {signal.Signals(-code).name}"
        if code == LATE_ANSWER:
            return "a policy took too long for one answer, and the worker process was ended"
        return f"the worker process ended with exit code {code}"


def _main(setup: WorkerSetup, pipe: Connection) -> None:
    """Life of a worker process."""
    # The parent decides what happens after Ctrl-C or without a terminal, and SIGTERM ends a worker at once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        work = setup.build()
    except GauntletError as error:
        pipe.send(("unfit", str(error)))
        return
    except Exception as error:
        pipe.send(("unfit", f"a worker cannot be built: {describe(error)}"))
        raise
    pipe.send(("ready", None))
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        if job is None:
            finish(work)
            return
        try:
            pipe.send(("done", attempt(work, job)))
        except RunError as error:
            pipe.send(("unfit", str(error)))
            return
        except (WorkerError, KeyboardInterrupt) as error:
            # No Ctrl-C reaches this process: the job raised it.
            pipe.send(("raised", str(error) or describe(error)))


def _die_with_parent() -> None:
    """A killed parent must not leave workers that go on writing into its run folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)

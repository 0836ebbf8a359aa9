"""Gives jobs to workers in this process, in processes of this machine, or on a Ray cluster.

A worker that crashes or hangs is replaced, and its job is tried again.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Literal, Self

from harness.errors import ConfigError, UnknownNameError, WorkerError
from harness.executors.crew import Crew, Event, Job, JobResult, WorkerSetup, attempt, finish
from scenarios.fresh_processes import processors

log = logging.getLogger(__name__)

Executor = Literal["serial", "process", "ray"]
EXECUTORS: Final[tuple[Executor, ...]] = ("serial", "process", "ray")
START_TIMEOUT_S: Final = 600.0
"""Longest time for a worker to get ready: importing torch and the simulator takes minutes on a loaded machine."""


def run_jobs(
    jobs: Iterable[Job],
    setup: WorkerSetup,
    executor: Executor = "serial",
    workers: int | None = None,
    timeout_s: float | None = None,
    retries: int = 1,
) -> Iterator[JobResult[Job]]:
    """Run every job and yield its result as it comes; the order is not fixed (results carry their job).

    Args:
        jobs: What the workers get, one at a time.
        setup: How a worker is built.
        executor: `serial` (this process: no time limit, and a crash ends the program), `process` (spawned
            processes), or `ray` (actors of the cluster that `RAY_ADDRESS` names, or of a local one).
        workers: How many; default: as many as keep the processors of this machine (`process`) or of the cluster
            (`ray`) busy.
        timeout_s: Longest time for one attempt of one job; None: no limit.
        retries: Further attempts after a failure, each on a fresh worker.

    Raises:
        WorkerError: Workers cannot be started at all.
        ConfigError: An option cannot work.
    """
    _check(executor, workers, timeout_s, retries)
    waiting = list(jobs)
    if executor == "serial":
        return _serial(waiting, setup, retries)
    crew, count = _crew(executor, workers, setup)
    return _results(JobStream(crew, setup, min(count, max(len(waiting), 1)), timeout_s, retries), waiting)


def open_stream(
    setup: WorkerSetup,
    executor: Literal["process", "ray"] = "process",
    workers: int | None = None,
    timeout_s: float | None = None,
    retries: int = 1,
) -> JobStream[Job]:
    """Workers for jobs that come up while others are done, because they depend on their results; see `run_jobs`.

    Raises:
        ConfigError: An option cannot work.
    """
    _check(executor, workers, timeout_s, retries)
    crew, count = _crew(executor, workers, setup)
    return JobStream(crew, setup, count, timeout_s, retries)


def _check(executor: str, workers: int | None, timeout_s: float | None, retries: int) -> None:
    if executor not in EXECUTORS:
        raise UnknownNameError("executor", executor, EXECUTORS)
    if (workers is not None and workers < 1) or retries < 0 or (timeout_s is not None and timeout_s <= 0):
        raise ConfigError(
            f"workers: expected workers >= 1, retries >= 0 and timeout > 0 s, got {workers}, {retries}, {timeout_s}."
        )


def _crew(executor: Executor, workers: int | None, setup: WorkerSetup) -> tuple[Crew, int]:
    """A crew without workers yet, and how many it is to have."""
    crew: Crew
    if executor == "process":
        # Imported where they are used: processes need fork-free multiprocessing, ray is optional.
        from harness.executors.processes import ProcessCrew

        crew, available = ProcessCrew(), processors()
    else:
        from harness.executors.ray import RayCrew

        crew = RayCrew()
        available = crew.processors()
    return crew, workers or max(available // setup.processors, 1)


def _results(stream: JobStream[Job], jobs: list[Job]) -> Iterator[JobResult[Job]]:
    with stream:
        for job in jobs:
            stream.give(job)
        while stream.unfinished:
            yield from stream.results()


def _serial(jobs: list[Job], setup: WorkerSetup, retries: int) -> Iterator[JobResult[Job]]:
    work = setup.build()
    try:
        for job in jobs:
            yield _try_here(work, job, retries)
    finally:
        finish(work)


def _try_here(work: Callable[[object], object], job: Job, retries: int) -> JobResult[Job]:
    reason = ""
    for tried in range(1, retries + 2):
        try:
            return JobResult(job, attempt(work, job), "", tried)
        except WorkerError as error:
            reason = str(error)
            log.warning("attempt %d of job %s failed: %s", tried, job, reason)
    return JobResult(job, None, reason, retries + 1)


@dataclass(slots=True)
class _Task(Generic[Job]):
    """A job on its way: `tried` counts finished attempts, `deadline` is on the monotonic clock."""

    job: Job
    tried: int = 0
    deadline: float | None = None


class JobStream(Generic[Job]):
    """Gives jobs to workers, watches the clock, replaces workers that are lost. Use it as a context manager.

    Workers are hired when there are jobs for them. All of this happens within calls: a worker that is done waits for
    the next call.
    """

    def __init__(self, crew: Crew, setup: WorkerSetup, count: int, timeout_s: float | None, retries: int) -> None:
        """Begin without jobs; `count` is how many workers there may be, the rest as for `run_jobs`."""
        self._crew, self._setup, self._count = crew, setup, count
        self._timeout, self._retries = timeout_s, retries
        self._queue: deque[_Task[Job]] = deque()
        self._starting: dict[int, float] = {}
        self._idle: list[int] = []
        self._busy: dict[int, _Task[Job]] = {}
        self._hired = self._false_starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let idle workers finish, stop the others: their jobs have no results."""
        self._crew.close()

    @property
    def unfinished(self) -> int:
        """Jobs whose results have not been taken yet."""
        return len(self._queue) + len(self._busy)

    def give(self, job: Job) -> None:
        """One more job; those that were given before it begin before it."""
        self._queue.append(_Task(job))
        self._staff()

    def results(self, timeout: float | None = None) -> Iterator[JobResult[Job]]:
        """Yield what has come since the last call, possibly nothing: not every piece of news is a result.

        Args:
            timeout: Longest time to wait for news, s; 0 looks only, None waits as long as it takes.

        Raises:
            WorkerError: Workers cannot be started at all.
        """
        self._staff()
        for event in self._crew.wait(self._patience(timeout)):
            yield from self._handle(event)
        yield from self._expire()
        self._staff()

    def _staff(self) -> None:
        """Give every idle worker a job and start workers for the rest."""
        while self._idle and self._queue:
            worker, task = self._idle.pop(), self._queue.popleft()
            task.deadline = None if self._timeout is None else time.monotonic() + self._timeout
            self._busy[worker] = task
            self._crew.give(worker, task.job)
        while len(self._starting) < len(self._queue) and self._staffed < self._count:
            self._hired += 1
            self._starting[self._hired] = time.monotonic() + START_TIMEOUT_S
            self._crew.hire(self._hired, self._setup)

    @property
    def _staffed(self) -> int:
        return len(self._starting) + len(self._idle) + len(self._busy)

    def _patience(self, longest: float | None) -> float | None:
        """Seconds until the next deadline, or `longest`."""
        ends = [*self._starting.values(), *(t.deadline for t in self._busy.values() if t.deadline is not None)]
        waits = [max(end - time.monotonic(), 0.0) for end in ends]
        return min(waits if longest is None else [*waits, longest], default=None)

    def _handle(self, event: Event) -> Iterator[JobResult[Job]]:
        worker = event.worker
        if event.kind == "unfit":
            raise WorkerError(str(event.payload))
        if event.kind == "ready":
            self._starting.pop(worker, None)
            self._false_starts = 0
            self._idle.append(worker)
        elif event.kind == "done":
            task = self._busy.pop(worker)
            self._idle.append(worker)
            yield JobResult(task.job, event.payload, "", task.tried + 1)
        elif worker in self._busy:
            yield from self._failed(self._busy.pop(worker), str(event.payload))
            # What raised may have left the simulator half way: a fresh worker is safe.
            self._crew.fire(worker)
        elif worker in self._starting:
            self._false_start(worker, str(event.payload))
        elif worker in self._idle:
            self._idle.remove(worker)
            self._crew.fire(worker)

    def _expire(self) -> Iterator[JobResult[Job]]:
        now = time.monotonic()
        late = [worker for worker, task in self._busy.items() if task.deadline is not None and task.deadline <= now]
        for worker in late:
            task = self._busy.pop(worker)
            self._crew.fire(worker)
            yield from self._failed(task, f"no result within {self._timeout:g} s: the worker was stopped")
        for worker in [worker for worker, deadline in self._starting.items() if deadline <= now]:
            self._false_start(worker, f"not ready within {START_TIMEOUT_S:g} s")

    def _failed(self, task: _Task[Job], reason: str) -> Iterator[JobResult[Job]]:
        task.tried += 1
        log.warning("attempt %d of job %s failed: %s", task.tried, task.job, reason)
        if task.tried > self._retries:
            yield JobResult(task.job, None, reason, task.tried)
        else:
            self._queue.append(task)

    def _false_start(self, worker: int, reason: str) -> None:
        self._starting.pop(worker)
        self._crew.fire(worker)
        self._false_starts += 1
        if self._false_starts > self._retries + self._count:
            raise WorkerError(
                f"workers cannot be started: {reason}. Try --executor serial (train_ego: --workers 1) to see why."
            )

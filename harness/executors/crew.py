"""The contract of workers: how one is built, what it reports, and what a crew of them can be told."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from harness.errors import RunError, WorkerError, told
from scenarios.children import THREADS

log = logging.getLogger(__name__)

Job = TypeVar("Job")


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """How a worker is built: `target` (`"module:function"`) is called with `kwargs` and returns job -> value.

    Everything travels to other processes by pickle: `kwargs`, jobs and values. If the returned callable has a method
    `close`, it is called at the end. `processors` is how many of them a worker keeps busy.
    """

    target: str
    kwargs: Mapping[str, object] = field(default_factory=dict)
    processors: int = 1

    def build(self) -> Callable[[object], object]:
        """Call the target.

        Raises:
            WorkerError: It does not exist.
        """
        module, _, name = self.target.partition(":")
        try:
            function = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise WorkerError(f"worker target {self.target!r} cannot be loaded: {error}") from error
        return function(**self.kwargs)


@dataclass(frozen=True, slots=True)
class JobResult(Generic[Job]):
    """What became of a job.

    Attributes:
        job: The job that was given.
        value: What the worker returned, or None.
        error: Why every attempt failed, or empty.
        attempts: How often it was tried.
    """

    job: Job
    value: object
    error: str
    attempts: int


class Event(NamedTuple):
    """News of a worker: `ready`, `done` (payload: value), `raised` (text), `died` (text), `unfit` (text; ends all)."""

    worker: int
    kind: Literal["ready", "done", "raised", "died", "unfit"]
    payload: object = None


class Crew(Protocol):
    """Workers somewhere else, named by numbers."""

    def hire(self, worker: int, setup: WorkerSetup) -> None:
        """Start a worker; `ready` (or `unfit`, `died`) follows."""
        ...

    def give(self, worker: int, job: object) -> None:
        """Give a ready worker a job; `done`, `raised` or `died` follows."""
        ...

    def wait(self, timeout: float | None) -> list[Event]:
        """News; empty when `timeout` seconds passed without any."""
        ...

    def fire(self, worker: int) -> None:
        """Stop a worker at once, whatever it is doing."""
        ...

    def close(self) -> None:
        """Let idle workers finish, stop the others."""
        ...


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Processes started within use one thread in numerical libraries, so that workers do not fight for processors."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def attempt(work: Callable[[object], object], job: object) -> object:
    """`work(job)`; whatever it raises becomes a `WorkerError` that says what; one that it raises itself stays as it is.

    Raises:
        WorkerError: The job raised.
        RunError: The run folder cannot be used (a full disk): no fault of the job, and the end of the run.
    """
    try:
        return work(job)
    except (KeyboardInterrupt, RunError, WorkerError):
        raise
    except BaseException as error:  # adversaries and policies are foreign code: they may raise anything
        raise WorkerError(describe(error)) from error


def describe(error: BaseException) -> str:
    """One line about an exception: its type, what it says, and where it was raised."""
    place, trace = "", error.__traceback__
    while trace is not None:
        place = f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{told(error)}{place}"


def finish(work: Callable[[object], object]) -> None:
    """Call the worker's `close`, where it has one."""
    close = getattr(work, "close", None)
    if close is not None:
        close()

"""Simulations on several processes: results in order, a dead worker costs its task, which is retried, then reported."""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import pickle
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Final, NamedTuple

from harness.errors import GauntletError
from scenarios.procedural.config import ProceduralConfig
from scenarios.source_format import Description

logger = logging.getLogger(__name__)

IN_FLIGHT: Final = 3
"""Tasks handed out per worker ahead of the one that is awaited."""
UNFORESEEN: Final = (AssertionError, ArithmeticError, LookupError, ValueError)
"""What MetaDrive's road blocks raise on parameters that do not fit, beyond what is foreseen here."""
TRIALS: Final = 3
"""How often a simulation whose worker died is tried before it is reported and passed over."""


class SimulationTask(NamedTuple):
    """One simulation."""

    split: str
    number: int


class SimulationResult(NamedTuple):
    """What a simulation gave."""

    task: SimulationTask
    scenes: list[tuple[str, bytes, Description]]
    """File name, pickled scene and metadata of each scene."""
    failure: str
    """Why it gave nothing, or empty."""


def canonical_pickle(value: object) -> bytes:
    """Pickle whose bytes depend on the values alone.

    An ordinary pickle also shows which equal strings happen to be one object, and that differs between processes.
    """
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=4)  # what ScenarioNet's own tools write and read
    pickler.fast = True  # no memo: equal values, equal bytes
    pickler.dump(value)
    return buffer.getvalue()


Work = Callable[[ProceduralConfig, SimulationTask], SimulationResult]


def file_name(split: str, index: int, number: int) -> str:
    """File of one scene; `sd_` is how MetaDrive knows scenario files."""
    return f"sd_pg-{split}-{index:06d}-{number}.pkl"


def work(config: ProceduralConfig, task: SimulationTask) -> SimulationResult:
    """Run one simulation; a seed that cannot be simulated is reported instead of raised: it must not end the run."""
    from scenarios.procedural.simulate import simulate

    try:
        scenes = simulate(config, task.split, task.number)
    except GauntletError as error:
        logger.warning("procedural: simulation %d of %s gave nothing: %s", task.number, task.split, error)
        return SimulationResult(task, [], str(error))
    except UNFORESEEN as error:
        logger.exception("procedural: simulation %d of %s failed", task.number, task.split)
        return SimulationResult(task, [], f"{type(error).__name__}: {error}")
    files = [
        (file_name(task.split, task.number, k), canonical_pickle(scene), scene["metadata"])
        for k, scene in enumerate(scenes)
    ]
    return SimulationResult(task, files, "")


class Pool:
    """Worker processes, started when first needed. With one worker everything happens in this process."""

    def __init__(self, config: ProceduralConfig, workers: int, work: Work = work) -> None:
        """Set up; nothing is started yet.

        Args:
            config: Handed to every task.
            workers: Number of processes.
            work: What to do with a task; importable by name, for workers are spawned.
        """
        self.config, self.workers, self.work = config, workers, work
        self._executor: ProcessPoolExecutor | None = None

    def results(self, tasks: Iterator[SimulationTask]) -> Generator[SimulationResult, None, None]:
        """Outcomes in the order of the tasks; close the iterator to drop what is still under way."""
        if self.workers <= 1:
            for task in tasks:
                yield self.work(self.config, task)
            return
        pending: deque[tuple[SimulationTask, Future[SimulationResult]]] = deque()
        try:
            while True:
                for task in islice(tasks, IN_FLIGHT * self.workers - len(pending)):
                    pending.append((task, self._submit(task)))
                if not pending:
                    return
                task, future = pending.popleft()
                try:
                    yield future.result()
                except BrokenProcessPool:
                    logger.warning("procedural: a worker died; %d simulations are repeated", len(pending) + 1)
                    self.close()
                    yield self._alone(task)
                    # The others may have been bystanders: those that were not finished get new workers.
                    pending = deque((other, ran if _finished(ran) else self._submit(other)) for other, ran in pending)
        finally:
            for _, future in pending:
                future.cancel()

    def close(self) -> None:
        """End the workers."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def _submit(self, task: SimulationTask) -> Future[SimulationResult]:
        if self._executor is None:
            self._executor = _executor(self.workers)
        try:
            return self._executor.submit(self.work, self.config, task)
        except BrokenProcessPool as error:
            # A worker died since the last look: this task fails like those that were under way.
            broken: Future[SimulationResult] = Future()
            broken.set_exception(error)
            return broken

    def _alone(self, task: SimulationTask) -> SimulationResult:
        """Repeat a simulation whose worker died in a process of its own; after some trials report it and go on."""
        for trial in range(2, TRIALS + 1):
            with _executor(1) as executor:
                try:
                    return executor.submit(self.work, self.config, task).result()
                except BrokenProcessPool:
                    logger.warning("procedural: %s: the worker died again, trial %d", task, trial)
        return SimulationResult(task, [], f"the worker process died in {TRIALS} trials")


def _finished(future: Future[SimulationResult]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _executor(workers: int) -> ProcessPoolExecutor:
    # Spawn: a fork would copy whatever engine or thread pool the caller has running.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare)


def _prepare() -> None:
    """One thread per worker (numerical libraries must not compete for the cores), and no foreign warnings."""
    # MetaDrive imports pygame, which warns about setuptools on every start; users cannot act on it.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"

"""Simulations on several processes: results in order. A dead worker costs its task, which is tried again."""

from __future__ import annotations

import io
import logging
import pickle
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from multiprocessing.connection import wait
from typing import Final, NamedTuple

from harness.errors import GauntletError, metadrive_needed
from scenarios.children import THREADS, Child, ChildDiedError
from scenarios.procedural.config import ProceduralConfig
from scenarios.source_format import Description

logger = logging.getLogger(__name__)

IN_FLIGHT: Final = 3
"""Tasks handed out per worker ahead of the one that is awaited."""
UNFORESEEN: Final = (AssertionError, ArithmeticError, LookupError, ValueError)
"""What MetaDrive's road blocks raise on parameters that do not fit, beyond what is foreseen here."""
TRIALS: Final = 3
"""How often a simulation whose worker died is tried before the generation gives up."""


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


def task_of(name: str) -> SimulationTask:
    """The simulation that gave a file, by its name."""
    _, split, index, _ = name.split("-")
    return SimulationTask(split, int(index))


def work(config: ProceduralConfig, task: SimulationTask) -> SimulationResult:
    """Run one simulation.

    A seed that cannot be simulated is reported instead of raised, as it would fail the same way every time. Whatever
    depends on the machine (memory, missing packages) is raised.
    """
    with metadrive_needed():
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
            work: What to do with a task.
        """
        self.config, self.workers, self.work = config, workers, work
        self._idle: list[Child] = []
        self._busy: dict[Child, SimulationTask] = {}

    def results(self, tasks: Iterator[SimulationTask]) -> Generator[SimulationResult, None, None]:
        """Outcomes in the order of the tasks; close the iterator to drop what is still under way.

        Raises:
            GauntletError: The worker of a task died `TRIALS` times, or the memory does not suffice. That says nothing
                about the task.
        """
        if self.workers <= 1:
            for task in tasks:
                yield self.work(self.config, task)
            return
        order: deque[SimulationTask] = deque()
        waiting: deque[SimulationTask] = deque()
        done: dict[SimulationTask, SimulationResult] = {}
        died: Counter[SimulationTask] = Counter()
        try:
            while True:
                new = list(islice(tasks, IN_FLIGHT * self.workers - len(order)))
                order += new
                waiting += new
                if not order:
                    return
                if order[0] in done:
                    yield done.pop(order.popleft())
                    continue
                while waiting and len(self._busy) < self.workers:
                    self._hand_out(waiting.popleft())
                for task, result in self._finished():
                    if result is not None:
                        done[task] = result
                        continue
                    died[task] += 1
                    if died[task] == TRIALS:
                        raise GauntletError(
                            f"procedural: the process of simulation {task.number} of {task.split} died {TRIALS} times, "
                            "often for want of memory. Nothing was recorded of it: run again, with fewer workers"
                        )
                    waiting.appendleft(task)
        finally:
            self._drop(self._busy)

    def close(self) -> None:
        """End the workers."""
        self._drop(self._busy)
        for worker in self._idle:
            worker.close()
        self._idle.clear()

    def _hand_out(self, task: SimulationTask) -> None:
        if self._idle:
            worker = self._idle.pop()
        else:
            # One thread each: numerical libraries must not compete for the processors.
            worker = Child(_Simulator, self.config, self.work, environment=dict.fromkeys(THREADS, "1"))
        worker.start("run", task)
        self._busy[worker] = task

    def _finished(self) -> Iterator[tuple[SimulationTask, SimulationResult | None]]:
        """Tasks that came to an end, with None where the worker died; waits for one at least."""
        by_pipe = {worker.pipe: worker for worker in self._busy}
        for pipe in wait(list(by_pipe)):
            worker = by_pipe[pipe]  # type: ignore[index]
            task = self._busy.pop(worker)
            try:
                yield task, worker.result()
            except ChildDiedError as error:
                logger.warning("procedural: simulation %d of %s: %s", task.number, task.split, error)
                yield task, None
            else:
                self._idle.append(worker)

    @staticmethod
    def _drop(busy: dict[Child, SimulationTask]) -> None:
        for worker in busy:
            worker.kill()
        busy.clear()


class _Simulator:
    """What lives in a worker."""

    def __init__(self, config: ProceduralConfig, work: Work) -> None:
        self.config, self.work = config, work

    def run(self, task: SimulationTask) -> SimulationResult:
        return self.work(self.config, task)

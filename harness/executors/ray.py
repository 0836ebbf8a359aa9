"""Workers as Ray actors: on other machines, or on this one. Ray is optional (`pip install 'gauntlet-drive[ray]'`).

The cluster is the one that `RAY_ADDRESS` names or that this program joined before; otherwise one is started here.
Its machines need Gauntlet installed, and the same paths for scenes, weights and the run folder (a shared file system).
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from harness.errors import ConfigError, GauntletError, RunError, WorkerError
from harness.executors.crew import Event, WorkerSetup, attempt, describe, finish
from scenarios.children import THREADS

log = logging.getLogger(__name__)


class _Actor:
    """Life of a worker: it answers with the kind and the payload of an `Event`."""

    def __init__(self) -> None:
        self._work: Callable[[object], object] | None = None

    def build(self, setup: WorkerSetup) -> tuple[str, object]:
        """Build the worker."""
        try:
            self._work = setup.build()
        except GauntletError as error:
            return "unfit", str(error)
        except Exception as error:
            raise WorkerError(f"a worker cannot be built: {describe(error)}") from error
        return "ready", None

    def run(self, job: object) -> tuple[str, object]:
        """Run one job."""
        assert self._work is not None, "built first"
        try:
            return "done", attempt(self._work, job)
        except RunError as error:
            return "unfit", str(error)
        except WorkerError as error:
            return "raised", str(error)

    def close(self) -> None:
        """Let the worker clean up."""
        if self._work is not None:
            finish(self._work)


class RayCrew:
    """A `Crew` of Ray actors, each with the processors that its setup names.

    An actor on a lost machine counts as a worker that died.
    """

    def __init__(self) -> None:
        """Join or start a cluster.

        Raises:
            ConfigError: Ray is not installed, or the cluster cannot be reached.
        """
        try:
            import ray
        except ImportError as error:
            raise ConfigError(
                f"executor 'ray' needs Ray ({error}). Install it with pip install 'gauntlet-drive[ray]', "
                "or use --executor process."
            ) from error
        self._ray = ray
        self._own = not ray.is_initialized()
        if self._own:
            try:
                with _own_sigterm():
                    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise ConfigError(f"no Ray cluster can be reached or started: {error}. Check RAY_ADDRESS.") from error
        # Ray kills what a worker has started; a training run that is told to stop needs time for its checkpoint.
        variables = {**dict.fromkeys(THREADS, "1"), "RAY_kill_child_processes_on_worker_exit": "0"}
        self._kind: Any = ray.remote(_Actor)
        self._options: Any = {"max_restarts": 0, "runtime_env": {"env_vars": variables}}
        self._actors: dict[int, Any] = {}
        self._pending: dict[object, int] = {}

    def processors(self) -> int:
        """Processors of the whole cluster."""
        return max(int(self._ray.cluster_resources().get("CPU", 1)), 1)

    def hire(self, worker: int, setup: WorkerSetup) -> None:
        """Start an actor; it waits in Ray's queue while no machine has a processor free."""
        actor = self._kind.options(num_cpus=setup.processors, **self._options).remote()
        self._actors[worker] = actor
        self._pending[actor.build.remote(setup)] = worker

    def give(self, worker: int, job: object) -> None:
        """Send a job."""
        self._pending[self._actors[worker].run.remote(job)] = worker

    def wait(self, timeout: float | None) -> list[Event]:
        """Collect what is ready."""
        if not self._pending:
            return []
        found, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=timeout)
        if found:
            # All that is ready, so that nobody who has answered is taken for late.
            found, _ = self._ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
        events = []
        for reference in found:
            worker = self._pending.pop(reference)
            try:
                kind, payload = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                kind, payload = "died", f"the worker was lost: {_first_line(error)}"
            events.append(Event(worker, kind, payload))
        return events

    def fire(self, worker: int) -> None:
        """Kill an actor and forget it."""
        actor = self._actors.pop(worker, None)
        for reference in [item for item, number in self._pending.items() if number == worker]:
            del self._pending[reference]
        if actor is not None:
            self._ray.kill(actor)

    def close(self) -> None:
        """Close and kill every actor; stop the cluster if it was started here."""
        busy = set(self._pending.values())
        leaving = [actor.close.remote() for number, actor in self._actors.items() if number not in busy]
        if leaving:
            self._ray.wait(leaving, num_returns=len(leaving), timeout=10.0)
        for worker in list(self._actors):
            self.fire(worker)
        if self._own:
            self._ray.shutdown()


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep the program's handler of SIGTERM, which `ray.init` replaces by one that leaves at once."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"

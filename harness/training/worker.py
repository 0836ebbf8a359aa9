"""Running TD3 updates beside the simulator."""

from __future__ import annotations

import os
import queue
import sys
import threading
from typing import Any, Final, NamedTuple, Protocol

import torch
from torch import Tensor

from harness.errors import RunError
from harness.training.keep import keep
from harness.training.td3 import FastTD3

SWITCH_SECONDS: Final = 1e-4
"""How long the update's thread waits for Python's lock before it asks for it. Python's default, 5 ms, is longer than
a whole simulator step: the update would begin only when the step is over."""
CALLER_SHARE: Final = {torch.float32: 0.44, torch.bfloat16: 0.375}
"""Share of a batch's rows that the caller does itself: what balances both threads where a simulator step takes 1.7 ms
(measured: concluding an update takes 1.1 ms in bfloat16 and 1.5 ms in float32, the critics 3 ms and 5 ms)."""
BATCHES: Final = 3
"""Batches in memory at a time: one that is begun, one that is not concluded yet, one being filled."""
JOIN_SECONDS: Final = 60.0
"""An update takes milliseconds; one that takes this long never ends."""


def spread() -> None:
    """Keep the calling thread off the processor where its process's main thread runs, where the system can.

    Linux wakes a thread on the processor of the thread that wakes it. These two take turns waking each other, so
    they would share one processor for most of the time while another is idle.
    """
    if not hasattr(os, "sched_getaffinity"):
        return
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return
    # By process id, so that several runs on one machine do not all choose the same processor.
    own = allowed[os.getpid() % len(allowed)]
    os.sched_setaffinity(0, {own})
    os.sched_setaffinity(os.getpid(), set(allowed) - {own})


class Updater(Protocol):
    """Takes batches, one at a time, and answers with losses."""

    def submit(self, batch: list[Tensor]) -> None:
        """Begin an update."""
        ...

    def join(self) -> Tensor | None:
        """Wait until nothing changes the networks; losses [2] of the last concluded update, once, or None."""
        ...

    def conclude(self) -> Tensor | None:
        """As `join`, and bring every update that was begun to its end."""
        ...

    def close(self) -> None:
        """Stop."""
        ...


class InlineUpdater:
    """Updates where it is called."""

    def __init__(self, model: FastTD3) -> None:
        """Update `model`."""
        self._model = model
        self._losses: Tensor | None = None

    def submit(self, batch: list[Tensor]) -> None:
        """Run the update now."""
        with torch.no_grad():
            self._losses = self._model.learn_from(batch)

    def join(self) -> Tensor | None:
        """Losses of the last update, once."""
        losses, self._losses = self._losses, None
        return losses

    def conclude(self) -> Tensor | None:
        """As `join`."""
        return self.join()

    def close(self) -> None:
        """Nothing to stop."""


class Half(NamedTuple):
    """An update whose gradients are there and which is not concluded yet."""

    batch: list[Tensor]
    losses: list[Tensor]


class ThreadedUpdater:
    """Shares each update between two threads: one works while the simulator takes its step, then the caller helps.

    The other thread first concludes the previous update (Adam, actor, targets), then begins with the critics'
    gradients on the first rows of the new batch. When the caller comes back (`join`), it does the remaining rows and
    waits. So the networks that act are one update older than with `InlineUpdater`; the updates themselves are the
    same. The calls into torch hold no Python lock, who does which rows is fixed, and the caller joins before it
    touches the networks: results are reproducible.
    """

    def __init__(self, model: FastTD3, threads: int = 1) -> None:
        """Start the thread.

        Args:
            model: What is updated.
            threads: Threads of every matrix product.
        """
        self._model = model
        self._threads = threads
        self._jobs: queue.SimpleQueue[tuple[Half | None, list[Tensor], int] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Tensor | Exception | None] = queue.SimpleQueue()
        self._begun: tuple[list[Tensor], int] | None = None
        self._half: Half | None = None
        self._buffers: list[list[Tensor]] = []
        self._kept: Any = None
        self._turn = 0
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread = threading.Thread(target=self._serve, name="td3-updates", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        spread()
        # Both settings are per thread. Moments of dead units decay into denormal numbers, which are very slow.
        torch.set_num_threads(self._threads)
        torch.set_flush_denormal(True)
        while (job := self._jobs.get()) is not None:
            half, batch, rows = job
            try:
                with torch.no_grad():
                    # Two answers per job: the caller may begin its rows once the networks have changed.
                    self._results.put(None if half is None else self._model.conclude(*half))
                    self._results.put(self._model.critic_part(batch, 0, rows))
            except RuntimeError as error:
                self._results.put(error)

    def _answer(self) -> Tensor | None:
        try:
            answer = self._results.get(timeout=JOIN_SECONDS)
        except queue.Empty:
            raise RunError(
                f"a TD3 update did not end within {JOIN_SECONDS:.0f} s. Resume from the checkpoint."
            ) from None
        if isinstance(answer, Exception):
            raise RunError(f"a TD3 update failed: {answer}") from answer
        return answer

    def submit(self, batch: list[Tensor]) -> None:
        """Hand a batch over (it is copied)."""
        batch = self._copy(batch)
        size = len(batch[0])
        rows = size - int(size * CALLER_SHARE[self._model.dtype])
        self._begun = batch, rows
        half, self._half = self._half, None
        self._jobs.put((half, batch, rows))

    def _copy(self, batch: list[Tensor]) -> list[Tensor]:
        """The batch in memory that `keep` knows."""
        if not self._buffers or any(a.shape != b.shape for a, b in zip(self._buffers[0], batch, strict=True)):
            self._buffers = [[torch.empty_like(column) for column in batch] for _ in range(BATCHES)]
            self._kept = keep(self._buffers)
        self._turn = (self._turn + 1) % BATCHES
        own = self._buffers[self._turn]
        for target, column in zip(own, batch, strict=True):
            target.copy_(column)
        return own

    def join(self) -> Tensor | None:
        """Help with the update that was begun; losses of the one before.

        Raises:
            RunError: The update failed or hangs.
        """
        if self._begun is None:
            return None
        batch, rows = self._begun
        self._begun = None
        losses = self._answer()
        try:
            with torch.no_grad():
                own = self._model.critic_part(batch, rows, len(batch[0]), second=True)
        except RuntimeError as error:
            raise RunError(f"a TD3 update failed: {error}") from error
        other = self._answer()
        assert other is not None, "the second answer is a loss"
        self._half = Half(batch, [other, own])
        return losses

    def conclude(self) -> Tensor | None:
        """Join, and conclude the last update here.

        Raises:
            RunError: The update failed or hangs.
        """
        losses = self.join()
        if self._half is None:
            return losses
        half, self._half = self._half, None
        with torch.no_grad():
            return self._model.conclude(*half)

    def close(self) -> None:
        """Stop the thread."""
        self._jobs.put(None)
        self._thread.join(JOIN_SECONDS)
        sys.setswitchinterval(self._switch_interval)

"""Running TD3 updates beside the simulator."""

from __future__ import annotations

import queue
import sys
import threading
from typing import Final, Protocol

import torch
from torch import Tensor

from harness.errors import RunError
from harness.training.td3 import FastTD3

SWITCH_SECONDS: Final = 1e-4
"""How long the update's thread waits for Python's lock before it asks for it. Python's default, 5 ms, is longer than
a whole simulator step: the update would begin only when the step is over."""
CALLER_SHARE: Final = {torch.float32: 0.34, torch.bfloat16: 0.19}
"""Share of a batch's rows that the caller does itself: about what remains when a simulator step of 1.7 ms ends."""
JOIN_SECONDS: Final = 60.0
"""An update takes milliseconds; one that takes this long never ends."""


class Updater(Protocol):
    """Takes batches, one at a time, and answers with losses."""

    def submit(self, batch: list[Tensor]) -> None:
        """Begin an update."""
        ...

    def join(self) -> Tensor | None:
        """Losses [2] of the update that was begun last, once it is finished; None if there was none."""
        ...

    def close(self) -> None:
        """Stop."""
        ...


class InlineUpdater:
    """Updates where it is called: simple, and one update fresher."""

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

    def close(self) -> None:
        """Nothing to stop."""


class ThreadedUpdater:
    """Shares each update between two threads: one works while the simulator takes its step, then the caller helps.

    The other thread begins with most of the batch. When the caller comes back (`join`) it does the remaining rows,
    waits, adds the gradients up and concludes. The calls into torch hold no Python lock; who does which rows is
    fixed, and the caller joins before it touches the networks or acts again: results are reproducible.
    """

    def __init__(self, model: FastTD3, threads: int = 1) -> None:
        """Start the thread.

        Args:
            model: What is updated.
            threads: Threads of every matrix product.
        """
        self._model = model
        self._threads = threads
        self._jobs: queue.SimpleQueue[tuple[list[Tensor], int] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Tensor | Exception] = queue.SimpleQueue()
        self._pending: tuple[list[Tensor], int] | None = None
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread = threading.Thread(target=self._serve, name="td3-updates", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        # Both settings are per thread. Moments of dead units decay into denormal numbers, which are very slow.
        torch.set_num_threads(self._threads)
        torch.set_flush_denormal(True)
        while (job := self._jobs.get()) is not None:
            batch, rows = job
            try:
                with torch.no_grad():
                    self._results.put(self._model.critic_part(batch, 0, rows))
            except RuntimeError as error:
                self._results.put(error)

    def submit(self, batch: list[Tensor]) -> None:
        """Hand a batch over."""
        size = len(batch[0])
        self._pending = batch, size - int(size * CALLER_SHARE[self._model.dtype])
        self._jobs.put(self._pending)

    def join(self) -> Tensor | None:
        """Help with the pending update, and conclude it.

        Raises:
            RunError: The update failed or hangs.
        """
        if self._pending is None:
            return None
        batch, rows = self._pending
        self._pending = None
        with torch.no_grad():
            try:
                own = self._model.critic_part(batch, rows, len(batch[0]), second=True)
                result = self._results.get(timeout=JOIN_SECONDS)
            except RuntimeError as error:
                raise RunError(f"a TD3 update failed: {error}") from error
            except queue.Empty:
                raise RunError(
                    f"a TD3 update did not finish within {JOIN_SECONDS:.0f} s. Resume from the checkpoint."
                ) from None
            if isinstance(result, Exception):
                raise RunError(f"a TD3 update failed: {result}") from result
            return self._model.conclude(batch, result, own)

    def close(self) -> None:
        """Stop the thread."""
        self._jobs.put(None)
        self._thread.join(JOIN_SECONDS)
        sys.setswitchinterval(self._switch_interval)

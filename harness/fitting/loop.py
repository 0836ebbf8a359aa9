"""The supervised loop of all networks: schedule, clipping, averaging, patience, best weights, exact resumption."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Generic

import torch
from torch import Tensor, nn

from harness.errors import GauntletError, RunError
from harness.fitting.checkpoint import read_state, write_state
from harness.fitting.events import Advanced, Epoch, Report, Row, Started, unheard
from harness.fitting.identity import Identity
from harness.fitting.settings import FitSettings
from harness.fitting.task import Batch, EpochOutcome, Numbers, Task, read
from harness.fitting.weights import check_fit

log = logging.getLogger(__name__)

Weights = dict[str, Tensor]
_READ: Final = 32
"""Updates between looks at what they found: a look waits until the device has done all of them."""
_LOSS: Final = "_loss"
_GRADIENT: Final = "_gradient"
"""Names of what the loop itself notes of an update."""
_ADAM: Final = {"step", "exp_avg", "exp_avg_sq"}
"""What Adam and AdamW, which all fits use, know of a parameter."""


def copied(network: nn.Module) -> Weights:
    """A copy of the weights."""
    return {name: value.clone() for name, value in network.state_dict().items()}


class Fit(Generic[Batch]):
    """Fits one network.

    A run that is killed goes on from its checkpoint to the very result that it would have reached.

    Args:
        task: What is learnt.
        settings: How.
        part: Name of the network in events.
        note: What it is, for people.
        report: Takes the events.
        checkpoint: File that is written after every epoch, and gone on from where it exists; None for none.
        identity: What the checkpoint has to agree with.

    Attributes:
        rows: One per epoch.
        epoch: Epochs that are over.
        best: The smallest value of `task.best_by`.
        best_epoch: Where it was found; -1 for nowhere.

    Raises:
        RunError: The checkpoint cannot be read, or was made under another identity.
    """

    def __init__(
        self,
        task: Task[Batch],
        settings: FitSettings,
        *,
        part: str,
        note: str = "",
        report: Report = unheard,
        checkpoint: Path | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.task, self.settings, self.part, self.report = task, settings, part, report
        self.rows: list[Row] = []
        self.epoch, self.updates, self.best, self.best_epoch, self.seconds = 0, 0, math.inf, -1, 0.0
        self.average: Weights = copied(task.network) if settings.average else {}
        self.best_weights: Weights = copied(task.network) if task.best_by else {}
        self._checkpoint, self._identity = checkpoint, identity or Identity({})
        if checkpoint is not None and not checkpoint.exists() and (old := checkpoint.with_suffix(".pt")).exists():
            raise RunError(f"{old} is a checkpoint of an earlier version, which is not read. Start a new run.")
        if checkpoint is not None and checkpoint.exists():
            self._restore(checkpoint)
            note = f"{note} (goes on after {self.epoch} epochs)".lstrip()
        report(Started(part, note, settings.epochs))

    def run(self) -> list[Row]:
        """Train until the epochs, the time or the patience run out; leaves the network with its best weights.

        Returns:
            The rows of all epochs.

        Raises:
            RunError: The loss is not finite, or the checkpoint cannot be written.
        """
        settings = self.settings
        first = None if self.rows else self.task.initial()
        if first is not None:
            self.rows.append(first)
            self.report(Epoch(self.part, first))
        while self.epoch < settings.epochs and not (0 < settings.patience < self.epoch - self.best_epoch):
            self.rows.append(self._run_epoch())
            self.epoch += 1
            if self._checkpoint is not None:
                self._save(self._checkpoint)
            self.report(Epoch(self.part, self.rows[-1]))
            if settings.minutes and self.seconds > 60.0 * settings.minutes:
                break
        if self.best_weights:
            self.task.network.load_state_dict(self.best_weights)
        self.task.network.eval()
        return self.rows

    def _run_epoch(self) -> Row:
        task, began = self.task, time.monotonic()
        found: list[dict[str, float]] = []
        fresh: list[Numbers] = []
        # Closed whatever happens: a thread may be making the next ones.
        with contextlib.closing(batch for batch in task.batches(self.epoch)) as batches:
            for batch in batches:
                fresh.append(self._update(batch))
                if len(fresh) == _READ:
                    found += self._look(fresh)
                self.report(Advanced(f"{self.part}: batches", len(found) + len(fresh), task.updates))
        found += self._look(fresh)
        gradients = [numbers.pop(_GRADIENT) for numbers in found if _GRADIENT in numbers]
        took = time.monotonic() - began
        with self._averaged(), torch.no_grad():
            evaluation = task.evaluate(self.epoch)
        if task.best_by is not None and evaluation[task.best_by] < self.best:
            self.best, self.best_epoch = evaluation[task.best_by], self.epoch
            self.best_weights = {name: value.clone() for name, value in self._kept().items()}
            task.improved(self.best_weights, self.epoch, self.best)
        self.seconds += time.monotonic() - began
        return task.row(EpochOutcome(self.epoch, found, gradients, evaluation, self.best, took, self.seconds))

    def _look(self, fresh: list[Numbers]) -> list[dict[str, float]]:
        """The numbers of the updates since the last look, which are then forgotten.

        Raises:
            RunError: A loss among them is not finite.
        """
        found = read(fresh)
        fresh.clear()
        for numbers in found:
            if not math.isfinite(loss := numbers.pop(_LOSS, 0.0)):
                raise RunError(f"the loss became {loss} in epoch {self.epoch}; lower the learning rate.")
        return found

    def _update(self, batch: Batch) -> Numbers:
        """Follow the gradient of one batch; its numbers, not waited for."""
        task, settings = self.task, self.settings
        task.optimiser.zero_grad(set_to_none=True)
        total, numbers = task.differentiate(batch)
        if total is None:
            return numbers
        for group in task.optimiser.param_groups:
            group["lr"] = settings.rate_at(self.updates, task.updates * settings.epochs)
        kept: Numbers = {**numbers, _LOSS: total}
        if settings.clip:
            kept[_GRADIENT] = nn.utils.clip_grad_norm_(self._learning, settings.clip)
        task.optimiser.step()
        self.updates += 1
        if settings.average:
            decay = min(settings.average, self.updates / (self.updates + 10.0))
            own, average = self._averages
            with torch.no_grad():
                torch._foreach_lerp_(average, own, 1.0 - decay)
        return kept

    @functools.cached_property
    def _learning(self) -> list[nn.Parameter]:
        """What learns: it is the same all the time."""
        return self.task.parameters()

    @functools.cached_property
    def _averages(self) -> tuple[list[Tensor], list[Tensor]]:
        """The weights, and their averages in the same order."""
        own = {name: value for name, value in self.task.network.state_dict().items() if value.is_floating_point()}
        return list(own.values()), [self.average[name] for name in own]

    def _kept(self) -> Weights:
        """The weights that are evaluated and kept."""
        return self.average if self.settings.average else self.task.network.state_dict()

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The network with the weights that are evaluated."""
        if not self.settings.average:
            yield
            return
        own = copied(self.task.network)
        self.task.network.load_state_dict(self.average)
        try:
            yield
        finally:
            self.task.network.load_state_dict(own)

    def _save(self, file: Path) -> None:
        state = {
            "network": self.task.network.state_dict(),
            "average": self.average,
            "best_weights": self.best_weights,
            "optimizer": self.task.optimiser.state_dict(),
            "module": {} if self.task.memory is None else self.task.memory.state_dict(),
            "numbers": [self.epoch, self.updates, self.best, self.best_epoch, self.seconds],
            "rows": self.rows,
            "config": json.loads(self._identity.text()),
        }
        write_state(file, state)

    def _restore(self, file: Path) -> None:
        device = next(self.task.network.parameters()).device
        with _readable(file):
            state = read_state(file, device)
            was, rows = state["config"], state["rows"]
        self._identity.check(was, file)
        with _readable(file):
            self.task.network.load_state_dict(state["network"])
            self._check(state)
            # Its settings are those of the run, whatever the file says.
            own = self.task.optimiser.state_dict()
            self.task.optimiser.load_state_dict({**own, "state": state["optimizer"]["state"]})
            if self.task.memory is not None:
                self.task.memory.load_state_dict(state["module"])
            self.average = state["average"] if self.settings.average else {}
            self.epoch, self.updates, self.best, self.best_epoch, self.seconds = _numbers(state["numbers"])
            self.best_weights, self.rows = state["best_weights"], _rows(rows, self.epoch)
        log.info("resumed %s after %d epochs", file, self.epoch)

    def _check(self, state: dict[str, Any]) -> None:
        """Compare the shapes of what is first used after the start.

        Raises:
            WeightsError: Kept weights do not fit the network.
            ValueError: What the optimiser knows of a parameter has another shape than the parameter.
        """
        expected = self.task.network.state_dict()
        for name, used in (("average", self.settings.average), ("best_weights", self.task.best_by)):
            if used:
                check_fit(expected, state[name], name)
        groups, own = state["optimizer"]["param_groups"], self.task.optimiser.param_groups
        if [len(group["params"]) for group in groups] != [len(group["params"]) for group in own]:
            raise ValueError("its optimiser has other parameter groups")
        parameters = [parameter for group in own for parameter in group["params"]]
        known = state["optimizer"]["state"]
        for place, parameter in enumerate(parameters):
            values = known.get(place, {})
            if not all(isinstance(value, Tensor) for value in values.values()) or values.keys() not in (set(), _ADAM):
                raise ValueError(f"what its optimiser knows of parameter {place} is {sorted(values)[:5]}")
            for name, value in values.items():
                if value.shape != (torch.Size() if name == "step" else parameter.shape):
                    raise ValueError(f"{name} of parameter {place} has the shape {list(value.shape)}")


def _numbers(found: Sequence[Any]) -> tuple[int, int, float, int, float]:
    """Epochs, updates, the smallest value, its epoch and seconds; ValueError where one of them is none."""
    epoch, updates, best, best_epoch, seconds = found
    whole = (epoch, updates, best_epoch + 1)
    if not all(type(number) is int and 0 <= number < 2**53 for number in whole) or best_epoch > epoch:
        raise ValueError(f"{epoch} epochs, {updates} updates and the best epoch {best_epoch} are no such numbers")
    if not (isinstance(best, int | float) and best == best and 0 <= seconds < 2**53):
        raise ValueError("the smallest value or the seconds are no number")
    return epoch, updates, float(best), best_epoch, float(seconds)


def _rows(found: object, epochs: int) -> list[Row]:
    """The rows of so many epochs and perhaps one before the first; ValueError where they are none."""
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ValueError("its rows are no list of numbers by name")
    if not epochs <= len(found) <= epochs + 1:
        raise ValueError(f"it has {len(found)} rows of {epochs} epochs")
    return found


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn what a damaged or foreign checkpoint raises into an error that says so."""
    try:
        yield
    except (
        *(OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError),
        *(ArithmeticError, GauntletError),
    ) as error:
        raise RunError(
            f"cannot resume from {file}: {error!r}. It is damaged, or of another version of Gauntlet. Start a new run."
        ) from error

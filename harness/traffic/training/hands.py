"""Two hands on one batch: worker processes take shares of a batch and of held-out scenes.

A share's gradient is computed by a worker with the weights in shared memory, and written next to them; the loop adds
the shares by how much each teaches, and takes the step. PyTorch's own threads help little here: most of an update is
hundreds of operations of less than a millisecond.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import ConfigError, RunError
from harness.executors import JobResult, JobStream, WorkerSetup, open_stream
from harness.fitting.task import Loss, read
from harness.traffic.model.network import SmartNetwork
from harness.traffic.training.config import LoopConfig
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.objective import Objective

_TARGET: Final = "harness.traffic.training.hands:Hand"


@runtime_checkable
class JudgesRollouts(Protocol):
    """An objective that judges roll-outs, and may have that done by other processes."""

    def judges(self, count: int) -> AbstractContextManager[None]:
        """Have it done by so many."""
        ...


class Divisible(Protocol):
    """What of a task workers need: see `TrafficTask`."""

    network: SmartNetwork
    objective: Objective
    config: LoopConfig
    device: torch.device
    train_scenes: TokenisedScenes
    hands: Hands | None

    def parameters(self) -> list[nn.Parameter]:
        """What learns."""
        ...

    def taught(self, entries: list[int], seed: tuple[int, ...]) -> Any:
        """A batch of scenes, ready for the loss."""
        ...

    def differentiate(self, batch: Any) -> Loss:
        """The loss of a batch, and its gradient."""
        ...

    def judged(self, entries: list[int], seed: tuple[int, ...]) -> float:
        """The value of held-out scenes."""
        ...


class Share(NamedTuple):
    """A worker's share: scenes of a batch to learn from, or of held-out scenes to judge.

    Attributes:
        place: Which share of how many it is, also the row of its gradient.
        entries: Numbers of the scenes.
        seed: Seed of everything random.
        held_out: Whether they are held out.
    """

    place: int
    entries: tuple[int, ...]
    seed: tuple[int, ...]
    held_out: bool = False


class Taught(NamedTuple):
    """What a share teaches, its gradient aside.

    Attributes:
        decisions: Number of decisions with a loss.
        numbers: The mean loss and other numbers.
        known: Which parameters have a gradient.
    """

    decisions: float
    numbers: dict[str, float]
    known: tuple[bool, ...]


def split(entries: Sequence[int], work: Sequence[float], parts: int) -> list[tuple[int, ...]]:
    """Scenes in at most so many shares of nearly equal work, each in the order of the scenes.

    The largest goes first, and each to the share that has least by then: a batch takes as long as its largest share,
    and scenes differ tenfold.

    Args:
        entries: Numbers of the scenes.
        work: How much work each one is.
        parts: Number of shares.
    """
    taken = [0.0] * parts
    chosen: list[list[int]] = [[] for _ in range(parts)]
    for place in sorted(range(len(entries)), key=lambda place: -work[place]):
        share = min(range(parts), key=lambda part: (taken[part], len(chosen[part])))
        taken[share] += work[place]
        chosen[share].append(place)
    return [tuple(int(entries[place]) for place in sorted(share)) for share in chosen if share]


def numbered(parameters: Sequence[nn.Parameter], flat: Tensor) -> Iterable[tuple[nn.Parameter, Tensor]]:
    """Parameters with their part [same shape] of one long tensor."""
    parts = flat.split([value.numel() for value in parameters])
    return ((value, part.view(value.shape)) for value, part in zip(parameters, parts, strict=True))


class Hand:
    """What runs in a worker.

    Args:
        task: The whole task, pickled: unlike what goes to a process by itself, its tensors are then copied, not put
            into shared memory one by one, with an open file each.
        weights: [P] the weights, in shared memory.
        gradients: [shares, P] where gradients go, in shared memory.
    """

    def __init__(self, task: bytes, weights: Tensor, gradients: Tensor) -> None:
        self._task: Divisible = pickle.loads(task)
        self._weights, self._gradients = weights, gradients
        self._all = list(self._task.network.parameters())
        self._learning = self._task.parameters()

    def __call__(self, share: Share) -> Taught | float:
        """Take a share."""
        task, entries = self._task, list(share.entries)
        with torch.no_grad():
            for value, part in numbered(self._all, self._weights):
                value.copy_(part)
        if share.held_out:
            return task.judged(entries, share.seed)
        torch.manual_seed(int(np.random.default_rng([*share.seed, share.place]).integers(2**62)))
        batch = task.taught(entries, (*share.seed, share.place))
        for value in self._learning:
            value.grad = None
        found = task.differentiate(batch)
        assert found.total is not None
        for value, part in numbered(self._learning, self._gradients[share.place]):
            part.copy_(torch.zeros(()) if value.grad is None else value.grad)
        known = tuple(value.grad is not None for value in self._learning)
        return Taught(float(batch[1].mask.sum()), read([found.numbers])[0], known)


class Hands:
    """Workers that share the batches of a task. Use it as a context manager.

    Args:
        task: What they work on; its network is on the CPU.
        count: How many workers.
    """

    def __init__(self, task: Divisible, count: int) -> None:
        self._task, self._count = task, count
        self._all, self._learning = list(task.network.parameters()), task.parameters()
        size = sum(value.numel() for value in self._all)
        self._weights = torch.zeros(size).share_memory_()
        self._gradients = torch.zeros(count, sum(value.numel() for value in self._learning)).share_memory_()
        self._stream: JobStream[Share] | None = None
        self._work: dict[int, int] = {}

    def _work_of(self, entry: int) -> int:
        """Known tokens of a scene: the time that it takes goes with them."""
        if entry not in self._work:
            self._work[entry] = int(self._task.train_scenes[entry].token_valid.sum())
        return self._work[entry]

    def __enter__(self) -> Self:
        kwargs = {"task": pickle.dumps(self._task), "weights": self._weights, "gradients": self._gradients}
        self._stream = open_stream(WorkerSetup(_TARGET, kwargs), workers=self._count)
        self._task.hands = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.hands = None
        if self._stream is not None:
            self._stream.close()

    def _done(self, shares: Iterable[Share]) -> list[JobResult[Share]]:
        """Results of shares, in their order.

        Raises:
            RunError: A share failed, also when it was tried again.
        """
        assert self._stream is not None
        with torch.no_grad():
            for value, part in numbered(self._all, self._weights):
                part.copy_(value)
        for share in shares:
            self._stream.give(share)
        found: list[JobResult[Share]] = []
        while self._stream.unfinished:
            found += self._stream.results()
        if failed := [result for result in found if result.error]:
            raise RunError(f"a worker could not learn from its share of a batch: {failed[0].error}")
        return sorted(found, key=lambda result: result.job.place)

    def differentiate(self, entries: Sequence[int], seed: tuple[int, ...]) -> Loss:
        """The loss of a batch, and its gradient in `grad` of the parameters: the shares' by their decisions."""
        parts = split(entries, [self._work_of(entry) for entry in entries], self._count)
        shares = [Share(place, part, seed) for place, part in enumerate(parts)]
        taught = [result.value for result in self._done(shares) if isinstance(result.value, Taught)]
        decisions = torch.tensor([one.decisions for one in taught])
        weight = decisions / decisions.sum()
        summed = numbered(self._learning, weight @ self._gradients[: len(shares)])
        for (value, part), known in zip(summed, zip(*(one.known for one in taught), strict=True), strict=True):
            value.grad = part if any(known) else None
        numbers: dict[str, float] = {}
        for one, own in zip(taught, weight.tolist(), strict=True):
            for name, number in one.numbers.items():
                numbers[name] = numbers.get(name, 0.0) + own * number
        return Loss(torch.tensor(numbers["loss"]), {**numbers})

    def judge(self, groups: Iterable[list[int]], seed: int) -> list[float]:
        """Values of groups of held-out scenes, in their order."""
        shares = [Share(place, tuple(group), (seed, place), held_out=True) for place, group in enumerate(groups)]
        return [result.value for result in self._done(shares) if isinstance(result.value, float)]


def helped(task: Divisible) -> AbstractContextManager[object]:
    """Workers for a task, as many as its options say: for its batches or, where roll-outs are judged, for that.

    Raises:
        ConfigError: Batches are to be shared by GPUs.
    """
    count = task.config.workers
    if count == 1:
        return contextlib.nullcontext()
    if isinstance(task.objective, JudgesRollouts):
        return task.objective.judges(count)
    if task.device.type != "cpu":
        raise ConfigError(f"--loop.workers {count}: batches are shared by processors, not by GPUs; give 1.")
    return Hands(task, count)

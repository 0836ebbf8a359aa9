"""What a network gives the loop: its batches, their loss, an evaluation, and how an epoch is summed up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from harness.fitting.events import Row

Batch = TypeVar("Batch")


Numbers = dict[str, float | Tensor]
"""Numbers to show by name; tensors of one element stay on their device until they are read, many at a time."""


class Loss(NamedTuple):
    """A loss to minimise, or None where a batch teaches nothing; and numbers to show."""

    total: Tensor | None
    numbers: Numbers


@dataclass(frozen=True, slots=True)
class EpochOutcome:
    """One epoch.

    Attributes:
        epoch: Number of the epoch, from 0.
        losses: The numbers of every batch.
        gradients: The gradient norm of every update, before it is clipped; empty where nothing is clipped.
        evaluation: What the evaluation found.
        best: The best value so far of what is minimised over epochs.
        took: Time of this epoch's updates, s.
        seconds: Time of all epochs so far with their evaluations, s.
    """

    epoch: int
    losses: list[dict[str, float]]
    gradients: list[float]
    evaluation: Mapping[str, float]
    best: float
    took: float
    seconds: float


class Task(ABC, Generic[Batch]):
    """One network that learns.

    Attributes:
        network: The network whose weights are trained, averaged and kept.
        optimiser: Over `parameters`, in any grouping.
        updates: Batches of an epoch.
        memory: What else learns or has to be remembered over a resumption, or None.
        best_by: The value of `evaluate` that is to be small; None keeps the last epoch.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    updates: int
    memory: nn.Module | None = None
    best_by: str | None = None

    def parameters(self) -> list[nn.Parameter]:
        """What learns, in a fixed order."""
        modules = [self.network] if self.memory is None else [self.network, self.memory]
        return [value for module in modules for value in module.parameters() if value.requires_grad]

    @abstractmethod
    def batches(self, epoch: int) -> Iterable[Batch]:
        """`updates` batches, made when they are asked for, with the network in the mode that the loss needs.

        The randomness of an epoch depends on the seed and its number alone (see `seeded`) where fits are resumed.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> Loss:
        """The loss of the present weights."""

    def differentiate(self, batch: Batch) -> Loss:
        """The loss, and its gradient in `grad` of the parameters, which had none."""
        found = self.loss(batch)
        if found.total is not None:
            found.total.backward()
            return Loss(found.total.detach(), found.numbers)
        return found

    @abstractmethod
    def evaluate(self, epoch: int) -> Mapping[str, float]:
        """Numbers of the weights that would be kept, without gradients; the network holds those weights meanwhile."""

    def initial(self) -> Row | None:
        """The row of the untrained network, or None for no such row."""
        return None

    def row(self, outcome: EpochOutcome) -> Row:
        """The row of an epoch."""
        shown = {"epoch": outcome.epoch, "seconds": outcome.seconds, "best": outcome.best}
        return {**shown, **means(outcome.losses), **outcome.evaluation}

    def improved(self, weights: dict[str, Tensor], epoch: int, value: float) -> None:
        """Called with every new best: copies of its weights, its epoch and its value."""
        return


def read(numbers: Sequence[Mapping[str, float | Tensor]]) -> list[dict[str, float]]:
    """Numbers as floats, fetched from their device all at once: each fetch waits for everything that it has to do."""
    kept = [value.detach().reshape(()) for one in numbers for value in one.values() if isinstance(value, Tensor)]
    values = iter(torch.stack([value.float() for value in kept]).tolist() if kept else ())
    return [
        {name: next(values) if isinstance(value, Tensor) else value for name, value in one.items()} for one in numbers
    ]


def means(losses: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of numbers over the batches of an epoch."""
    sums: dict[str, float] = {}
    for numbers in losses:
        for name, value in numbers.items():
            sums[name] = sums.get(name, 0.0) + value
    return {name: value / len(losses) for name, value in sums.items()}


def seeded(seed: int, epoch: int) -> np.random.Generator:
    """Seed PyTorch for an epoch, and give a generator of its own: a resumed fit is then the same fit."""
    torch.manual_seed(seed * 100_003 + epoch)
    return np.random.default_rng([seed, epoch])

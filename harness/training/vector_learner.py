"""The contract of what learns on many environments at once, and how its random generators are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import WeightsError

Observations = NDArray[np.float32]
Actions = NDArray[np.float32]

_MOMENTS: Final = {"step", "exp_avg", "exp_avg_sq"}
"""What Adam keeps of every parameter."""
_LONGEST: Final = 10_000
"""Bytes of a generator's state; numpy's PCG64 takes about 200."""


class VectorLearner(Protocol):
    """Learns in rounds: collects steps in the vector environment that it was built with, then updates.

    Attributes:
        policy_name: Registry name of the ego policy that reads what `save_policy` writes.
        policy_file: Name of that file.
    """

    policy_name: str
    policy_file: str

    @property
    def steps_done(self) -> int:
        """Environment steps so far, of all environments together."""
        ...

    def round(self) -> dict[str, float]:
        """Collect and update; returns losses and whatever else is worth a curve."""
        ...

    def act(self, observations: Observations) -> Actions:
        """Deterministic actions [B, 2] for observations [B, D]."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything to go on exactly between rounds, random generators included; not what the environment holds."""
        ...

    def load(self, state: dict[str, Tensor], observations: Observations) -> None:
        """Restore `state()`.

        Args:
            state: As saved.
            observations: [N, D] present observations of the environments, which have been restored before.

        Raises:
            WeightsError: It belongs to another architecture.
        """
        ...

    def save_policy(self, path: Path) -> None:
        """Write the policy that `act` shows."""
        ...


def generator_tensor(rng: np.random.Generator) -> Tensor:
    """The state of a generator as bytes [n]."""
    return torch.from_numpy(np.frombuffer(json.dumps(rng.bit_generator.state).encode(), np.uint8).copy())


def restore_generator(rng: np.random.Generator, state: Tensor) -> None:
    """Put back what `generator_tensor` gave.

    Raises:
        WeightsError: It is no such state.
    """
    try:
        if state.dtype != torch.uint8 or state.numel() > _LONGEST:
            raise ValueError("not the bytes of a state")
        found: Any = json.loads(bytes(state.numpy().tobytes()))
        rng.bit_generator.state = found
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise WeightsError(f"checkpoint: the state of a random generator cannot be read ({error}).") from error


def optimiser_tensors(optimiser: torch.optim.Optimizer, prefix: str = "") -> dict[str, Tensor]:
    """What Adam keeps of every parameter, as `optimiser.{prefix}{number}.{name}`."""
    return {
        f"optimiser.{prefix}{number}.{name}": torch.as_tensor(value).cpu()
        for number, values in optimiser.state_dict()["state"].items()
        for name, value in values.items()
    }


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Tensor], prefix: str = "") -> None:
    """Put back what `optimiser_tensors` gave, out of a `state` that holds other tensors as well.

    Raises:
        ValueError: It belongs to other parameters, or is not whole.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    start = f"optimiser.{prefix}"
    for name, value in state.items():
        if name.startswith(start):
            number, _, key = name.removeprefix(start).partition(".")
            if key != "step" and value.shape != parameters[int(number)].shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}")
            moments.setdefault(int(number), {})[key] = value.clone()
    if moments and {number: set(found) for number, found in moments.items()} != dict.fromkeys(
        range(len(parameters)), _MOMENTS
    ):
        raise ValueError(f"the state of the optimiser {prefix.rstrip('.')} is not whole")
    optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})

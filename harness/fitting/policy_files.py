"""Policy files: the network of a trained ego as safetensors, written by training and read by ego policies.

A file says which observation preset its network reads, so that whoever drives with it makes the right environment.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor, nn

from harness.engine.config import SENSORS
from harness.errors import WeightsError
from harness.files import write_bytes
from harness.fitting.weights import check_layers, read_tensors
from scenarios.values import brief

ARCHITECTURE: Final = "gauntlet-actor-1"
ACTIVATIONS: Final = ("Tanh", "ReLU", "ELU", "LeakyReLU")
"""What may stand between layers, by the names of PyTorch's modules."""
ACTIONS: Final = 2
"""Length of an action: steering and throttle."""

Singles = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A multilayer perceptron that drives.

    Attributes:
        algorithm: What trained it, such as `ppo`: its label in tables.
        observation: Preset that it reads (a key of `SENSORS`).
        activation: Between layers, one of `ACTIVATIONS`.
        squash: Whether tanh follows the last layer; otherwise actions are cut at -1 and 1.
        layers: (weight [out, in], bias [out]) per layer, float32.
    """

    algorithm: str
    observation: str
    activation: str
    squash: bool
    layers: tuple[tuple[Singles, Singles], ...]

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, all or nothing.

        Raises:
            WeightsError: It could not be read again: a shape, a name or a number is not as it must be.
        """
        tensors: dict[str, Singles] = {}
        for number, (weight, bias) in enumerate(self.layers):
            tensors |= {f"{number}.weight": weight, f"{number}.bias": bias}
        tensors = {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            raise WeightsError(f"{path}: the policy holds NaN or infinite weights, and was not written.")
        config: dict[str, object] = {
            "algorithm": self.algorithm,
            "observation": self.observation,
            "activation": self.activation,
            "squash": self.squash,
            "hidden": [len(bias) for _, bias in self.layers[:-1]],
        }
        _check(config, tensors, str(path))
        write_bytes(Path(path), save(tensors, {"architecture": ARCHITECTURE, "config": json.dumps(config)}))


def layers_of(*networks: nn.Module) -> tuple[tuple[Singles, Singles], ...]:
    """(weight [out, in], bias [out]) of every linear layer of networks that follow one another."""
    linear = [module for network in networks for module in network.modules() if isinstance(module, nn.Linear)]
    return tuple((_numbers(module.weight), _numbers(module.bias)) for module in linear)


def _numbers(parameter: Tensor) -> Singles:
    return parameter.detach().cpu().numpy().astype(np.float32)


def read_policy(path: str | Path) -> PolicyFile:
    """Read a policy file. Nothing stored in it is executed.

    Raises:
        WeightsError: Missing, not safetensors, of another architecture, an unknown observation preset, or tensors that
            do not fit the preset or one another.
    """
    missing = "policy file {file} does not exist."
    tensors, header = read_tensors(Path(path), ("architecture", ARCHITECTURE), missing, "np")
    config = header.get("config", {})
    layers = _check(config, tensors, str(path))
    return PolicyFile(config["algorithm"], config["observation"], config["activation"], config["squash"], layers)


def _check(config: dict[str, Any], tensors: dict[str, NDArray[Any]], where: str) -> tuple[tuple[Singles, Singles], ...]:
    """The layers, if header and tensors describe a policy."""
    for name in ("algorithm", "observation", "activation"):
        # The algorithm becomes a label, and with it part of the names of folders.
        if not isinstance(config.get(name), str) or not re.fullmatch(r"\w[\w-]{0,39}", config[name], re.ASCII):
            raise WeightsError(f"{where}: {name} is {brief(config.get(name))}, expected a short name.")
    observation, activation = config["observation"], config["activation"]
    if observation not in SENSORS or SENSORS[observation].blind:
        known = ", ".join(name for name, preset in SENSORS.items() if not preset.blind)
        raise WeightsError(f"{where}: trained with the observation preset {observation!r}; known are {known}.")
    if activation not in ACTIVATIONS or not isinstance(config.get("squash"), bool):
        raise WeightsError(
            f"{where}: activation {activation!r} and squash {brief(config.get('squash'))}; expected one of "
            f"{', '.join(ACTIVATIONS)}, and true or false."
        )
    count = len(tensors) // 2
    check_layers(where, tensors, layers=count)
    expected = [f"{number}.{part}" for number in range(count) for part in ("weight", "bias")]
    if not count or sorted(tensors) != sorted(expected):
        found = ", ".join(brief(name) for name in sorted(tensors)[:4])
        raise WeightsError(f"{where}: its tensors are {found or 'none'}, expected 0.weight, 0.bias, 1.weight …")
    layers = tuple((tensors[f"{number}.weight"], tensors[f"{number}.bias"]) for number in range(count))
    if any(tensor.dtype != np.float32 for tensor in tensors.values()) or any(
        weight.ndim != 2 or bias.shape != weight.shape[:1] for weight, bias in layers
    ):
        raise WeightsError(f"{where}: its tensors are not weights [out, in] and biases [out] of layers, float32.")
    sizes = [(weight.shape[1], weight.shape[0]) for weight, _ in layers]
    if any(first[1] != second[0] for first, second in itertools.pairwise(sizes)):
        raise WeightsError(f"{where}: its layers do not follow one another: {sizes[:6]}.")
    wanted = (SENSORS[observation].size, ACTIONS)
    if (sizes[0][0], sizes[-1][1]) != wanted:
        raise WeightsError(
            f"{where}: a network from {sizes[0][0]} numbers to {sizes[-1][1]}; the observation preset {observation!r} "
            f"and the action have {wanted[0]} and {wanted[1]}."
        )
    return layers

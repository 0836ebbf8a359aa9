"""Checkpoints of fits: nested states of tensors and plain values in one safetensors file, which holds no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.files import write_atomically
from harness.fitting.weights import read_tensors

KIND: Final = ("format", "gauntlet-fit-1")
"""Key and value of the header."""
_TENSOR, _DICT, _TUPLE = "tensor", "dict", "tuple"


def write_state(file: Path, state: dict[str, Any]) -> None:
    """Write a state of dictionaries, lists, tuples, tensors, numbers and text; `read_state` gives its equal.

    Raises:
        RunError: It cannot be written.
        TypeError: It holds anything else.
    """
    tensors: dict[str, Tensor] = {}
    header = {KIND[0]: KIND[1], "state": json.dumps(_taken_apart(state, tensors))}
    write_atomically(file, lambda beside: save_file(tensors, beside, header))


def read_state(file: Path, device: torch.device) -> dict[str, Any]:
    """The state that `write_state` wrote, its tensors on a device.

    Raises:
        WeightsError: It cannot be read, is no checkpoint, or holds NaN.
        ValueError: A tensor is missing; or LookupError, TypeError: the header describes no state.
    """
    tensors, values = read_tensors(file, KIND, "there is no {file}.", strict=False)
    state = _put_together(values["state"], {name: tensor.to(device) for name, tensor in tensors.items()})
    if not isinstance(state, dict):
        raise TypeError("its state is no dictionary")
    return state


def _taken_apart(value: object, tensors: dict[str, Tensor]) -> object:
    """A value as JSON, its tensors put aside; dictionaries become pairs, because their keys may be numbers."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # Each on its own: safetensors refuses tensors that share memory.
        tensors[name] = value.detach().clone(memory_format=torch.contiguous_format)
        return {_TENSOR: name}
    if isinstance(value, dict):
        return {_DICT: [[key, _taken_apart(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_taken_apart(item, tensors) for item in value]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    return value


def _put_together(value: Any, tensors: dict[str, Tensor]) -> Any:
    """What `_taken_apart` took apart."""
    if isinstance(value, list):
        return [_put_together(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == _TENSOR:
        return tensors[inner]
    if kind == _DICT:
        return {key: _put_together(item, tensors) for key, item in inner}
    if kind == _TUPLE:
        return tuple(_put_together(item, tensors) for item in inner)
    raise ValueError(f"its state holds an unknown kind of value, {kind!r}")

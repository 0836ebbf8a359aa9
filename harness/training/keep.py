"""Keeping C++ references to tensors, so that TorchScript does not stop for Python's lock.

A tensor that Python made has a Python object. Whenever its C++ reference count goes from one to two or back, torch
takes Python's lock to tie that object's life to the tensor's. A TorchScript call that gets such tensors as arguments
does so dozens of times, and each time waits for the thread that runs Python: measured beside a busy thread, the
critics' gradients took 6.4 ms instead of 2.8. A second C++ reference that is always there keeps the count above one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class _Keeper(nn.Module):
    """A scripted module owns its list in C++."""

    def __init__(self, tensors: list[Tensor]) -> None:
        super().__init__()
        self.tensors = tensors

    def forward(self) -> int:
        """Count the tensors (TorchScript drops attributes that no method reads)."""
        return len(self.tensors)


def flatten(nested: Any) -> list[Tensor]:
    """Every tensor in nested lists and tuples."""
    if isinstance(nested, Tensor):
        return [nested]
    if isinstance(nested, list | tuple):
        return [tensor for part in nested for tensor in flatten(part)]
    return []


def keep(tensors: Iterable[Any]) -> Any:
    """Hold a C++ reference to every tensor of nested lists for as long as the returned object lives."""
    with warnings.catch_warnings():
        # As for the kernel itself (`harness.training.td3.compiled`): torch.compile would need a C++ compiler.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.script(_Keeper(flatten(list(tensors))))

"""A device that is none: tensors that lie in memory as always and say that they lie elsewhere.

They refuse what tensors on a GPU refuse: to meet tensors of the CPU, and to become arrays. So code is checked for
tensors on the wrong device on machines without a GPU.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE: Final = torch.device("xla")
_FACTORIES: Final = {
    getattr(torch, name)
    for name in ("tensor", "as_tensor", "zeros", "ones", "empty", "full", "arange", "eye", "linspace", "rand", "randn")
}
_COPIES: Final = {Tensor.copy_, Tensor.__setitem__, Tensor.__getitem__}
"""What takes values or indices of the CPU."""
_ARRAYS: Final = {Tensor.numpy, Tensor.__array__}


class ElsewhereTensor(Tensor):
    """A tensor on that device."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse what a GPU would; what comes of tensors elsewhere is elsewhere."""
        if func == Tensor.device.__get__:
            return DEVICE
        if func in _ARRAYS:
            raise TypeError(f"can't convert a tensor on {DEVICE} to an array: copy it with .cpu() first.")
        found = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        here = [leaf for leaf in found if not isinstance(leaf, ElsewhereTensor) and leaf.dim() > 0]
        both = len(here) < len(found) and here
        if both and not (func in _COPIES and isinstance(args[0], ElsewhereTensor)):
            raise RuntimeError(f"{func.__name__}: tensors on cpu and on {DEVICE}.")
        return super().__torch_function__(func, types, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A copy elsewhere; of a parameter, a parameter."""
        copied = self.detach().clone()
        return nn.Parameter(copied, self.requires_grad) if isinstance(self, nn.Parameter) else copied


class Elsewhere(TorchFunctionMode):
    """While it is entered, `device=DEVICE` and `.to(DEVICE)` work."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make and move tensors; leave everything else to them."""
        kwargs = dict(kwargs or {})
        if func in _FACTORIES and kwargs.get("device") is not None:
            there = torch.device(kwargs.pop("device")) == DEVICE
            given = tree_map(lambda leaf: leaf.as_subclass(Tensor) if isinstance(leaf, Tensor) else leaf, args)
            made = func(*given, **kwargs)
            return made.as_subclass(ElsewhereTensor) if there else made
        if func == Tensor.cpu:
            return args[0].as_subclass(Tensor)
        if func == Tensor.to and len(args) == 2 and isinstance(args[1], torch.device | str):
            return args[0].as_subclass(ElsewhereTensor if torch.device(args[1]) == DEVICE else Tensor)
        return func(*args, **kwargs)


def move(network: nn.Module) -> nn.Module:
    """Parameters and buffers elsewhere, in place."""
    for module in network.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(value.detach().as_subclass(ElsewhereTensor))
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = value.as_subclass(ElsewhereTensor)
    return network

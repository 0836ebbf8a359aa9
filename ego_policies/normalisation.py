"""Statistics by which observations were scaled in training (Stable-Baselines3's `VecNormalize`), without its code.

`VecNormalize.save` writes a pickle of whole objects, so that `VecNormalize.load` runs whatever a file names. Here the
pickle is walked without unpickling: every object stays a record of its parts, and mean, variance, epsilon and clip are
picked out of it. The same numbers may come as an npz instead:

    np.savez("scaling.npz", mean=env.obs_rms.mean, var=env.obs_rms.var, epsilon=env.epsilon, clip_obs=env.clip_obs)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ego_policies.torch_archives import DAMAGE
from ego_policies.torch_pickles import Named, OpcodeWalker, measure
from harness.errors import PolicyError
from harness.files import MEGABYTE, read_arrays, read_bounded

MAX_BYTES: Final = 2 * MEGABYTE
"""Bytes of a file: two numbers for each of an observation's, and the last observations."""
_FLOATS: Final = ("f8", "f4")


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """What `VecNormalize` does to an observation.

    Attributes:
        mean, var: [D] float64.
        epsilon: Added to the variance.
        clip: Bound of the scaled values.
    """

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    epsilon: float = 1e-8
    clip: float = 10.0

    def __call__(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """The scaled observation [D]."""
        scaled = (observation - self.mean) / np.sqrt(self.var + self.epsilon)
        return np.clip(scaled, -self.clip, self.clip).astype(np.float32)


@dataclass(slots=True)
class PickledObject:
    """An object of a pickle: what makes it, with which arguments, and its state."""

    maker: Named
    arguments: tuple[Any, ...]
    state: Any = None


def read_scaling(path: Path) -> Scaling:
    """Statistics of a file of `VecNormalize.save`, or of an npz with `mean`, `var` and perhaps `epsilon`, `clip_obs`.

    Raises:
        PolicyError: Missing, neither of the two, observations were not scaled, or the numbers are none.
    """
    try:
        if path.suffix.lower() == ".npz":
            parts: Mapping[str, Any] = read_arrays(path, MAX_BYTES, PolicyError)
        else:
            parts = _of_vec_normalize(_Objects().run(read_bounded(path, MAX_BYTES, PolicyError)))
        return _scaling(parts)
    except DAMAGE as error:
        if isinstance(error, PolicyError):
            raise
        raise PolicyError(
            f"{path} holds no statistics of observations: {str(error)[:200] or type(error).__name__}. Expected what "
            "VecNormalize.save wrote, or an npz with mean and var."
        ) from error


def _scaling(parts: Mapping[str, Any]) -> Scaling:
    mean, var = (np.asarray(parts[name], np.float64) for name in ("mean", "var"))
    epsilon, clip = (float(parts.get(name, default)) for name, default in (("epsilon", 1e-8), ("clip_obs", 10.0)))
    if mean.ndim != 1 or mean.shape != var.shape or not len(mean):
        raise ValueError(f"its mean has shape {mean.shape} and its variance {var.shape}, expected [D] twice")
    if not (np.isfinite(mean).all() and np.isfinite(var).all() and (var >= 0).all()):
        raise ValueError("its mean or variance is NaN, infinite or negative")
    if not (0 < epsilon < math.inf and 0 < clip < math.inf):
        raise ValueError(f"epsilon is {epsilon} and clip_obs {clip}, expected finite numbers above 0")
    return Scaling(mean, var, epsilon, clip)


def _of_vec_normalize(value: object) -> dict[str, Any]:
    state = value.state if isinstance(value, PickledObject) else None
    if not isinstance(state, dict) or not isinstance(value, PickledObject) or value.maker.name != "VecNormalize":
        raise ValueError("it is no VecNormalize")
    if state.get("norm_obs") is not True:
        raise ValueError("its observations were not scaled (norm_obs)")
    statistics = state.get("obs_rms")
    if not isinstance(statistics, PickledObject) or not isinstance(statistics.state, dict):
        raise ValueError("it has statistics of several observations, or none; policies here have one")
    found = {name: _array(statistics.state[name]) for name in ("mean", "var")}
    return found | {name: _number(state[name]) for name in ("epsilon", "clip_obs")}


def _number(value: object) -> float:
    return float(value) if type(value) in (int, float) else float(_array(value).item())  # type: ignore[arg-type]


def _array(value: object) -> NDArray[np.float64]:
    """An array or number of numpy out of its record."""
    if not isinstance(value, PickledObject):
        raise ValueError("its statistics are no arrays")
    shape: object
    match value.maker.name, value.arguments, value.state:
        case "_reconstruct", _, (int(), shape, kind, fortran, content):
            pass
        case "_frombuffer", (content, kind, shape, order), _:
            fortran = order == "F"
        case "scalar", (kind, content), _:
            shape, fortran = (), False
        case _:
            raise ValueError("its statistics are no arrays")
    data = _bytes(content)
    name = (
        kind.arguments[0] if isinstance(kind, PickledObject) and kind.maker.name == "dtype" and kind.arguments else None
    )
    swapped = isinstance(kind, PickledObject) and isinstance(kind.state, tuple) and ">" in kind.state
    plain = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
    if name not in _FLOATS or swapped or not isinstance(shape, tuple) or not plain:
        raise ValueError("its statistics are no arrays of plain numbers")
    if math.prod(shape) * int(name[1]) != len(data):
        raise ValueError(f"its statistics of shape {shape} have {len(data)} bytes")
    return np.frombuffer(data, f"<{name}").reshape(shape, order="F" if fortran else "C").astype(np.float64)


def _bytes(content: object) -> bytes:
    """Bytes, which protocol 2 writes as text that is to be encoded."""
    if (
        isinstance(content, PickledObject)
        and content.maker == Named("_codecs", "encode")
        and content.arguments[1:] == ("latin1",)
    ):
        content = content.arguments[0].encode("latin1") if isinstance(content.arguments[0], str) else None
    if not isinstance(content, bytes):
        raise ValueError("its statistics are no plain bytes")
    return content


def _named(module: object, name: object) -> Named:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("its pickle has a name that is no text")
    return Named(module, name)


class _Objects(OpcodeWalker):
    """Runs the opcodes of protocols 2 to 5, keeping every object as a record."""

    def __init__(self) -> None:
        super().__init__(script=False)
        self.actions |= {
            "FRAME": lambda _: None,
            "MEMOIZE": lambda _: self.remember(len(self.memo)),
            "STACK_GLOBAL": lambda _: self.stack.append(_named(*self.top(2))),
            "BINPERSID": lambda _: self.call(None, None),
            "EMPTY_SET": lambda _: self.stack.append([]),
            "ADDITEMS": lambda _: self.extend(self.marked()),
            "BYTEARRAY8": lambda data: self.stack.append(bytes(data)),
        }
        for name in ("SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"):
            self.actions[name] = self.stack.append

    def run(self, data: bytes) -> Any:
        value = super().run(data)
        measure(value)
        return value

    def call(self, function: object, arguments: object) -> Any:
        if not isinstance(function, Named) or not isinstance(arguments, tuple):
            raise ValueError("its pickle calls something that is no name")
        return PickledObject(function, arguments)

    def instance(self, kind: object, arguments: object) -> Any:
        return self.call(kind, arguments)

    def build(self, state: object) -> None:
        if not isinstance(self.stack[-1], PickledObject):
            raise ValueError("its pickle builds what is no object")
        self.stack[-1].state = state

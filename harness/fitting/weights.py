"""Weights files of strangers: everything that a header says is checked before anything of its size is made.

A safetensors file holds no code, but its header names sizes. They are compared with the bytes that are there, and with
the network that the file's configuration describes, so that a file of a few bytes never becomes gigabytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from harness.errors import WeightsError
from harness.files import MEGABYTE, JsonDict, open_regular
from scenarios.values import brief

MAX_BYTES: Final = 4_000 * MEGABYTE
"""Bytes of a weights file. The largest models here have 7 million weights, 28 MB."""
MAX_HEADER: Final = 8 * MEGABYTE
"""Bytes of its header: about 100 for each tensor, and the history of its making."""
MAX_LAYERS: Final = 1_000
"""Most layers of one kind: more would only be there to fill the memory with modules."""


def read_tensors(
    file: Path,
    kind: tuple[str, str] | None,
    missing: str,
    framework: Literal["pt", "np"] = "pt",
    *,
    strict: bool = True,
) -> tuple[dict[str, Any], JsonDict]:
    """Tensors of a safetensors file by name, and the rest of its header, whose values are JSON.

    Args:
        file: Where.
        kind: Key and value that the header must hold, such as `("architecture", "gauntlet-seal-1")`; None for none.
        missing: Message where there is no such file, with `{file}` for its path.
        framework: Whose tensors: torch's or numpy's.
        strict: Whether NaN and infinite numbers are refused, in tensors and in the header.

    Raises:
        WeightsError: Missing, no regular file, not safetensors, of another kind, its header is longer than
            `MAX_HEADER` or not JSON, or a number is NaN or infinite.
    """
    if not file.exists():
        raise WeightsError(missing.format(file=file))
    header = _header(file)
    if kind is not None and (found := header.pop(kind[0], None)) != kind[1]:
        raise WeightsError(f"{file}: {kind[0]} is {brief(found)}, expected {kind[1]!r}. It belongs to another model.")
    try:
        values = {name: _loads(text) if strict else json.loads(text) for name, text in header.items()}
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{file}: its header holds no readable configuration ({_reason(error)}).") from error
    for name in ("config", "scene", "info"):
        if not isinstance(values.get(name, {}), dict):
            raise WeightsError(f"{file}: {name} in its header is {brief(values[name])}, expected a JSON object.")
    try:
        with safe_open(file, framework=framework) as reader:
            tensors = {name: reader.get_tensor(name) for name in reader.keys()}
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError) as error:
        _not_safetensors(file, error)
    for name, tensor in tensors.items():
        if strict and not _finite(tensor):
            raise WeightsError(
                f"{file}: tensor {brief(name)} holds NaN or infinite numbers: its training diverged, or the file is "
                "damaged. Train it again, or take an earlier checkpoint."
            )
    return tensors, values


def written_by(file: Path, key: str) -> str | None:
    """What the free part of a safetensors header says under a key; None where it says nothing, or there is no file.

    Raises:
        WeightsError: The file is not safetensors.
    """
    return _header(file).get(key) if file.exists() else None


def _header(file: Path) -> dict[str, str]:
    """The free part of a safetensors header. The rest is checked by the library's reader, against the file's size."""
    with open_regular(file, MAX_BYTES, WeightsError) as opened:
        try:
            size = int.from_bytes(opened.read(8), "little")
            if size > MAX_HEADER:
                raise ValueError(f"its header claims {size:,} bytes, the limit is {MAX_HEADER:,}")
            header = _loads(opened.read(size))
            if not isinstance(header, dict):
                raise ValueError("its header is no JSON object")
        except (OSError, ValueError, RecursionError) as error:
            _not_safetensors(file, error)
    free = header.get("__metadata__", {})
    if not isinstance(free, dict) or not all(isinstance(value, str) for value in free.values()):
        _not_safetensors(file, ValueError("its metadata is not text by name"))
    return free


def _loads(text: str | bytes) -> Any:
    """JSON without NaN and infinities, which JSON does not have."""
    return json.loads(text, parse_constant=_no_number)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _not_safetensors(file: Path, error: Exception) -> NoReturn:
    raise WeightsError(
        f"{file} is not a readable safetensors file ({_reason(error)}). Weights are read from safetensors only; "
        "pickled checkpoints are refused because they can run code."
    ) from error


def _reason(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]


def _finite(tensor: Any) -> bool:
    if isinstance(tensor, Tensor):
        return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
    return tensor.dtype.kind != "f" or bool(np.isfinite(tensor).all())


def fill(make: Callable[[], nn.Module], tensors: Mapping[str, Tensor], where: str) -> nn.Module:
    """A network with the weights of a file.

    Args:
        make: Makes the network of the file's configuration. It is called twice: first without memory, to compare
            its shapes with the tensors that there are.
        tensors: Weights by name.
        where: File, for messages.

    Raises:
        WeightsError: Tensors are missing or unknown, or have another shape or kind of number than the network.
    """
    try:
        with torch.device("meta"):
            expected = make().state_dict()
    except (RuntimeError, ArithmeticError, ValueError, TypeError) as error:
        raise WeightsError(f"{where}: its configuration describes no network that can be built ({error}).") from error
    check_fit(expected, tensors, where)
    # Built with memory of its own as well, so that as much randomness is used up as without this check.
    network = make()
    network.load_state_dict(dict(tensors))
    return network


def check_fit(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str) -> None:
    """Compare the tensors of a file with those of a network, which may be on the device `meta`.

    Raises:
        WeightsError: Tensors are missing or unknown, or have another shape or kind of number.
    """
    faults = [f"{brief(name)} is missing" for name in sorted(expected.keys() - tensors.keys())]
    faults += [f"{brief(name)} is unknown" for name in sorted(tensors.keys() - expected.keys())]
    for name in sorted(expected.keys() & tensors.keys()):
        wanted, found = expected[name], tensors[name]
        if wanted.shape != found.shape or wanted.is_floating_point() != found.is_floating_point() or found.is_complex():
            faults.append(f"{brief(name)} is {_shape(found)}, expected {_shape(wanted)}")
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise WeightsError(
            f"{where}: tensors do not fit the configuration in its header: {'; '.join(faults[:3])}{more}. "
            "The file is damaged, or of another version: train it again."
        )


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def check_layers(where: str, tensors: Mapping[str, object], **layers: int) -> None:
    """Refuse more layers than `MAX_LAYERS`, or than there are tensors, before modules are made.

    Raises:
        WeightsError: There are more.
    """
    limit = min(MAX_LAYERS, len(tensors))
    for name, count in layers.items():
        if count > limit:
            raise WeightsError(
                f"{where}: configuration field {name!r} is {count}, but only {len(tensors)} tensors exist."
            )

"""Files that exist whole or not at all: written beside and renamed, with errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from harness.errors import RunError, WeightsError

JsonDict = dict[str, Any]
"""A JSON object: what it holds is nested, and checked by whoever reads it."""
Json = Mapping[str, Any]
"""A JSON object that is only read."""


@contextlib.contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """Turn an `OSError` into a `RunError` that says what to do."""
    try:
        yield
    except OSError as error:
        remedies = {
            errno.ENOSPC: "The disk is full: free some space",
            errno.EDQUOT: "Your disk quota is used up: free some space",
            errno.EACCES: "You may not write there: choose another folder, or change its permissions",
            errno.EPERM: "You may not write there: choose another folder, or change its permissions",
            errno.EROFS: "That file system is read-only: choose another folder",
            errno.ENOTDIR: "A part of that path is a file: choose another folder",
        }
        remedy = remedies.get(error.errno or 0, "Choose another folder")
        raise RunError(
            f"cannot {doing} {path}: {error.strerror or error}. {remedy}; what was written before is intact."
        ) from error


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file beside `path`, then rename it into place.

    Raises:
        RunError: The folder cannot be written, or the disk is full.
    """
    # The suffix stays last, because writers such as matplotlib and numpy go by it.
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    with explained(path, "write"):
        try:
            write(beside)
            with open(beside, "rb") as file:
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically (NaN as null, which every reader understands)."""
    write_text(path, json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """What `write_json` wrote.

    Raises:
        RunError: It cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error


def write_text(path: Path, text: str) -> None:
    """Write text atomically, as UTF-8.

    Raises:
        RunError: It cannot be written.
    """

    def write(beside: Path) -> None:
        beside.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically.

    Raises:
        RunError: They cannot be written.
    """

    def write(beside: Path) -> None:
        beside.write_bytes(data)

    write_atomically(path, write)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write a compressed npz atomically.

    Raises:
        RunError: It cannot be written.
    """

    def write(beside: Path) -> None:
        # An open file, because numpy appends a suffix to names that it does not like.
        with beside.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    write_atomically(path, write)


def read_tensors(
    file: Path, kind: tuple[str, str], missing: str, framework: Literal["pt", "np"] = "pt"
) -> tuple[dict[str, Any], JsonDict]:
    """Tensors of a safetensors file by name, and the rest of its header, whose values are JSON.

    Args:
        file: Where.
        kind: Key and value that the header must hold, such as `("architecture", "gauntlet-seal-1")`.
        missing: Message where there is no such file, with `{file}` for its path.
        framework: Whose tensors: torch's or numpy's.

    Raises:
        WeightsError: Missing, not safetensors, of another kind, or its header is not JSON.
    """
    if not file.is_file():
        raise WeightsError(missing.format(file=file))
    try:
        with safe_open(file, framework=framework) as reader:
            header = dict(reader.metadata() or {})
            tensors = {name: reader.get_tensor(name) for name in reader.keys()}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{file} is not a readable safetensors file ({error}). Weights are read from safetensors only; "
            "pickled checkpoints are refused because they can run code."
        ) from error
    key, expected = kind
    if (found := header.pop(key, None)) != expected:
        raise WeightsError(f"{file}: {key} is {found!r}, expected {expected!r}. It belongs to another model.")
    try:
        return tensors, {name: json.loads(text) for name, text in header.items()}
    except json.JSONDecodeError as error:
        raise WeightsError(f"{file}: its header holds no readable configuration ({error}).") from error


def file_name(text: str, also: str = "-_") -> str:
    """`text` as one part of a path: letters, digits and the characters of `also`, all others replaced by `_`.

    Different texts can give the same name; where that matters, the caller tells them apart.
    """
    return "".join(letter if letter.isalnum() or letter in also else "_" for letter in text)


def plain(value: object) -> object:
    """`value` in JSON's own types: numpy scalars unwrapped, paths as text, non-finite numbers as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return value

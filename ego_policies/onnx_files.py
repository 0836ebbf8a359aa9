"""A look at an ONNX file before onnxruntime reads it: no numbers outside of the file, and a bounded number of parts.

An ONNX file is a protobuf message. Only its structure is walked here, field by field, without making anything of it.
Tensors whose numbers lie in another file are refused, because that file can be any file of this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from harness.errors import PolicyError
from harness.files import MEGABYTE, read_bounded

MAX_BYTES: Final = 512 * MEGABYTE
"""Bytes of a file. A driving policy has a few megabytes."""
MAX_PARTS: Final = 50_000
"""Most nodes, attributes and tensors together. A ResNet-50 has about a thousand."""
MAX_FIELDS: Final = 200_000
"""Most fields of all of these together."""
MAX_DEPTH: Final = 32
"""Deepest nesting of messages: a node's attribute can hold a graph of its own."""
_PARTS: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""Fields of each kind of message that hold messages of another, by their numbers in onnx.proto."""
_NAMES: Final = {"node": (7, 4), "function": (10, 1)}
"""Fields that hold the domain and the name of what a node calls, and of a function."""
_Name = tuple[bytes, ...]
_OUTSIDE: Final = {13: 2, 14: 0}
"""Fields of a tensor that name another file, and their wire types: external_data, data_location."""


def read_onnx(path: Path) -> bytes:
    """The bytes of an ONNX file.

    Raises:
        PolicyError: It cannot be read, is no ONNX file, has too many parts, or wants numbers of other files.
    """
    data = read_bounded(path, MAX_BYTES, PolicyError)
    try:
        _walk(memoryview(data))
    except ValueError as error:
        raise PolicyError(
            f"{path} is not a usable ONNX file: {error}. Export it again, with all its weights in the one file."
        ) from error
    return data


def _walk(data: memoryview) -> None:
    waiting: list[tuple[str, memoryview, int, int]] = [("model", data, 0, 0)]
    parts = fields = 0
    # Operators that each function of the file uses, by the function's number; 0 is the graph itself.
    used: list[list[_Name]] = [[]]
    names: dict[_Name, list[int]] = {}
    while waiting:
        kind, message, depth, owner = waiting.pop()
        if kind == "function":
            used.append([])
            owner = len(used) - 1
        parts += 1
        if parts > MAX_PARTS:
            raise ValueError(f"it has more than {MAX_PARTS:,} nodes, attributes and tensors")
        if depth > MAX_DEPTH:
            raise ValueError(f"its graphs are nested more than {MAX_DEPTH} deep")
        inner, texts = _PARTS[kind], dict[int, bytes]()
        for field, wire, content, number in _fields(message):
            fields += 1
            if fields > MAX_FIELDS:
                raise ValueError(f"it has more than {MAX_FIELDS:,} fields")
            if kind == "tensor" and field in _OUTSIDE and (wire != 0 or number):
                raise ValueError("a tensor has its numbers in another file")
            if field in _NAMES.get(kind, ()):
                texts[field] = bytes(content)
            if field in inner and wire == 2:
                waiting.append((inner[field], content, depth + 1, owner))
        name = tuple(texts.get(field, b"") for field in _NAMES.get(kind, ()))
        if kind == "node":
            used[owner].append(name)
        elif kind == "function":
            names.setdefault(name, []).append(owner)
    _count_calls(used, names)


def _count_calls(used: list[list[_Name]], names: dict[_Name, list[int]]) -> None:
    """Refuse functions that become too many nodes: onnxruntime replaces every call by what is called."""
    sizes: dict[int, int] = {}
    left = {owner: {item for name in set(calls) for item in names.get(name, [])} for owner, calls in enumerate(used)}
    while left:
        ready = [owner for owner, called in left.items() if called <= sizes.keys()]
        if not ready:
            raise ValueError("its functions call themselves")
        for owner in ready:
            parts = (max((sizes[item] for item in names.get(name, [])), default=1) for name in used[owner])
            sizes[owner] = sum(parts)
            del left[owner]
    if max(sizes.values()) > MAX_PARTS:
        raise ValueError(f"its functions become more than {MAX_PARTS:,} nodes")


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview, int]]:
    """Field number, wire type, content and number of each field of a message."""
    place, end, nothing = 0, len(message), message[:0]
    while place < end:
        key, place = _number(message, place)
        field, wire = key >> 3, key & 7
        number, content = 0, nothing
        if wire == 0:
            number, place = _number(message, place)
        elif wire == 2:
            size, place = _number(message, place)
            content, place = message[place : place + size], place + size
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        else:
            raise ValueError(f"it holds a field of the unknown wire type {wire}")
        if field == 0 or place > end:
            raise ValueError("it is cut off, or no protobuf message")
        yield field, wire, content, number


def _number(message: memoryview, place: int) -> tuple[int, int]:
    """A variable-length number, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("it is cut off, or no protobuf message")

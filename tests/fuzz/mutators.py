"""How a sound file becomes a damaged one: bytes, trees of containers and arrays, protobuf messages, zip archives."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Mutator = Callable[[bytes, random.Random], bytes]
"""Makes a damaged file from the bytes of a sound one."""

HUGE = 10**5000
NUMBERS: tuple[Any, ...] = (0, -1, 0.0, 1e-9, 57.29578, 1e9, -1e300, 1e300, 2**31, 2**63, -(2**63), HUGE)
LEAVES: tuple[Any, ...] = (
    *NUMBERS,
    *(float("nan"), float("inf"), float("-inf"), None, True, "", "text", "\x1b[31m[/bold]\n\ud800", "x" * 100_000),
    *("../../etc/passwd", "1e999", [], {}, [[[1]]], [None], {"a": {}}, "山" * 32, "=cmd|'/C calc'!A0", "\0"),
)
"""What a value of a tree is replaced by."""
DEEP = 3000
"""Nesting that stops careless recursion."""


def flip(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut out, put in, repeated, or everything after a place lost."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        place = rng.randrange(len(out) + 1)
        kind = rng.randrange(7)
        if kind <= 2 and place < len(out):
            out[place] = rng.choice((0, 0x7F, 0x80, 0xFF, out[place] ^ (1 << rng.randrange(8)), rng.randrange(256)))
        elif kind == 3:
            del out[place : place + rng.choice((1, 4, 100, 10_000))]
        elif kind == 4:
            out[place:place] = rng.randbytes(rng.choice((1, 8, 64)))
        elif kind == 5:
            end = place + rng.choice((1, 8, 64, 1000))
            out[place:place] = out[place:end] * rng.choice((1, 2, 50))
        elif rng.random() < 0.3:
            del out[place:]
        else:
            value = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, len(data), 10**7))
            width = rng.choice((4, 8))
            out[place : place + width] = (value % 2 ** (8 * width)).to_bytes(width, rng.choice(("little", "big")))
    return bytes(out)


def blank(data: bytes, rng: random.Random) -> bytes:
    """Files of another kind: empty, zeros, text, a pointer of Git LFS, the beginnings of other formats."""
    return rng.choice(
        (b"", b"\0" * 4096, b"hello", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04", b"\x1f\x8b\x08")
    )


def array(values: np.ndarray, rng: random.Random) -> Any:
    """An array that is wrong in its shape, its type, or some of its values."""
    changes: tuple[Callable[[], Any], ...] = (
        lambda: values[: len(values) // 2] if values.ndim else values,
        lambda: values.reshape(-1),
        lambda: values[..., None],
        lambda: values[..., :1],
        lambda: values.T,
        lambda: np.array(rng.choice((0, np.nan, 5))),
        lambda: np.zeros((0, *values.shape[1:])),
        lambda: np.concatenate([values, values]) if values.ndim else values,
        lambda: values[::-1] if values.ndim else values,
        lambda: values.astype(str),
        lambda: values.astype(complex),
        lambda: values.astype(np.int8),
        lambda: values.astype(">f4"),
        lambda: values.tolist(),
        lambda: values * rng.choice((57.29578, 1e9, 1e300, 1e-9, -1, 0)),
        lambda: values + rng.choice((1e9, 1e7, 100.0, 1e300)),
    )
    if values.size and values.dtype.kind in "fiub" and rng.random() < 0.4:
        out = values.astype(np.float64)
        where = rng.randrange(out.size)
        out.reshape(-1)[where : where + rng.choice((1, 1, 50))] = rng.choice(
            (np.nan, np.inf, -np.inf, 1e300, 1e9, 2.0**63, -1e-9, 0.0)
        )
        return out
    return rng.choice(changes)()


def tree(root: Any, rng: random.Random) -> Any:
    """A tree of dictionaries, lists and arrays with one to three places changed."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        root = _change(root, rng)
    return root


def _change(root: Any, rng: random.Random) -> Any:
    """Walk down to a random place and change what is there."""
    if not isinstance(root, dict | list) or not root:
        return _other(root, rng)
    node: Any = root
    while True:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        below = node[key]
        if not isinstance(below, dict | list) or not below or rng.random() < 0.15:
            break
        node = below
    kind = rng.randrange(8)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice((HUGE, 0, "", None, float("nan"), "\ud800", f"{key} ", "x" * 10_000))] = node.pop(key)
    elif kind == 2 and isinstance(node, list):
        node[:] = node * rng.choice((2, 3, 50)) if len(node) < 1000 else node[::-1]
    elif kind == 3 and isinstance(node, dict) and len(node) > 1:
        other = rng.choice(list(node))
        node[key], node[other] = node[other], node[key]
    else:
        node[key] = _other(below, rng)
    return root


def _other(value: Any, rng: random.Random) -> Any:
    if isinstance(value, np.ndarray) and rng.random() < 0.8:
        return array(value, rng)
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
        return rng.choice((value * 57.29578, value * 1e9, -value, value + 0.5, str(value), [value], *NUMBERS))
    if rng.random() < 0.05:
        nested: Any = value
        for _ in range(rng.choice((10, DEEP))):
            nested = [nested]
        return nested
    if isinstance(value, list) and rng.random() < 0.3:
        return np.asarray(value, dtype=object).tolist()[: rng.randrange(len(value) + 1)]
    return rng.choice(LEAVES)


def json_text(root: Any) -> bytes:
    """JSON as some writers have it: with NaN, numbers of any length, halves of surrogate pairs and deep nesting."""

    def text(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ",".join(f"{json.dumps(str(key))}:{text(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list | tuple):
            depth = 0
            while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
                value, depth = value[0], depth + 1
            return "[" * depth + "[" + ",".join(map(text, value)) + "]" + "]" * depth
        if isinstance(value, np.ndarray | np.generic):
            return text(value.tolist())
        return "1" + "0" * 5000 if value == HUGE else json.dumps(value)

    return text(root).encode("utf-8", "surrogatepass")


def in_json(data: bytes, rng: random.Random) -> bytes:
    """A changed tree in a JSON file; now and then a key twice."""
    out = json_text(tree(json.loads(data), rng))
    return out.replace(b'{"', b'{"id":1,"id":2,"', 1) if rng.random() < 0.05 else out


def in_message(message: Any, rng: random.Random) -> None:
    """Change one field of a protobuf message, or of one below it."""
    fields = list(message.DESCRIPTOR.fields)
    present = [field for field, _ in message.ListFields()]
    below = [
        field for field in present if field.message_type is not None and not field.message_type.GetOptions().map_entry
    ]
    if below and rng.random() < 0.85:
        field = rng.choice(below)
        value = getattr(message, field.name)
        if not hasattr(value, "extend"):
            in_message(value, rng)
        elif rng.random() < 0.75:
            in_message(value[rng.randrange(len(value))], rng)
        elif rng.random() < 0.5:
            del value[rng.randrange(len(value)) :]
        else:
            value.extend([value[rng.randrange(len(value))]] * rng.choice((1, 2, 300)))
        return
    field = rng.choice(present if present and rng.random() < 0.8 else fields)
    if rng.random() < 0.25:
        message.ClearField(field.name)
    elif field.message_type is not None:
        value = getattr(message, field.name)
        if not hasattr(value, "extend"):
            value.SetInParent()
        elif not field.message_type.GetOptions().map_entry:
            value.add()
    elif hasattr(value := getattr(message, field.name), "extend") and not isinstance(value, bytes):
        value.extend([_scalar(field, rng)] * rng.choice((1, 3, 500)))
    else:
        setattr(message, field.name, _scalar(field, rng))


def _scalar(field: Any, rng: random.Random) -> Any:
    kinds = {
        field.CPPTYPE_INT32: (0, -1, 7, 2**31 - 1, -(2**31)),
        field.CPPTYPE_INT64: (0, -1, 7, 2**63 - 1, -(2**63), 10**6, 10**9),
        field.CPPTYPE_UINT32: (0, 7, 2**32 - 1),
        field.CPPTYPE_UINT64: (0, 7, 2**64 - 1, 10**9),
        field.CPPTYPE_BOOL: (True, False),
        field.CPPTYPE_STRING: ("", "text", "x" * 10_000, "\x1b[31m\n"),
    }
    if field.cpp_type in kinds:
        value = rng.choice(kinds[field.cpp_type])
        return value.encode() if field.type == field.TYPE_BYTES else value
    if field.cpp_type == field.CPPTYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    return rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e300, 1e9, 57.29578, 2.0**63, 1e-9))


def in_zip(change: Callable[[str, bytes, random.Random], bytes]) -> Mutator:
    """A mutator of zip archives: members changed by `change`, dropped, repeated, emptied, or blown up."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name, kind = rng.choice(list(members)), rng.randrange(12)
        if kind == 0:
            del members[name]
        elif kind == 1:
            members[name] = members[rng.choice(list(members))]
        elif kind == 2:
            members[name] = bytes(rng.choice((0, 1, 50_000_000)))
        elif kind == 3:
            members[f"{name}/../../evil"] = members[name]
        else:
            members[name] = change(name, members[name], rng)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if kind == 2 else zipfile.ZIP_STORED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return out.getvalue()

    return mutate

"""Read a pickle without running it: numpy arrays, numpy scalars and builtin containers, nothing else.

A pickle is a program of some sixty instructions for a machine with a stack and a memory. Python's own machine makes
whatever it is told: it calls, hashes, copies and nests without end, so that a few bytes can take hours, gigabytes or
the whole process. This one knows only the instructions of data, and makes arrays of checked bytes itself. A file can
still cost time and memory of a small multiple of its own size; it cannot run code.
"""

from __future__ import annotations

import struct
from collections import OrderedDict, defaultdict
from pathlib import Path
from struct import Struct
from typing import Any, Final

from harness.errors import ScenarioError, UnsafePickleError
from harness.files import MEGABYTE, read_bounded
from scenarios.pickle_arrays import whole_array
from scenarios.pickle_instructions import INSTRUCTIONS
from scenarios.pickle_machine import MARK, Machine, finished
from scenarios.pickle_values import Global, Unfinished

MAX_SCENE: Final = 80 * MEGABYTE
"""Bytes of a scene file. Published ones have 0.5 to 20 MB."""
MAX_SUMMARY: Final = 1_000 * MEGABYTE
"""Bytes of a summary or mapping of a folder: about 3 kB a scene."""
MAX_DEPTH: Final = 100
"""Deepest nesting of containers; scenario files need about 8."""
MAX_ITEMS: Final = 1_000_000
"""Items of all containers where one that occurs twice counts twice, for a file of up to as many bytes.

A larger file may have as many items as bytes: one item takes a byte at least, unless something big is repeated.
"""
_CONTAINERS: Final = frozenset({list, dict, tuple, set, frozenset, OrderedDict, defaultdict})
_BROKEN: Final = (
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RecursionError,
    struct.error,
)
"""What happens on bytes that are not a pickle, or not a whole one."""
# The most frequent instructions, in the order in which they are compared.
_MEMOIZE, _LONG_BINGET, _SHORT_BINUNICODE, _BINGET, _BININT1 = b"\x94j\x8chK"
_MARK, _EMPTY_DICT, _EMPTY_LIST, _STOP = b"(}]."
_UINT: Final = Struct("<I").unpack_from
_STAND_INS: Final = frozenset({Global, Unfinished})


def _run(data: bytes) -> object:
    """What the pickle describes.

    Raises:
        UnsafePickleError: It asks for anything that is not data, or for more memory than its size allows.
        ScenarioError: It holds data that no scene holds.
        IndexError, ValueError, …: One of `_BROKEN`: it is cut or damaged.
    """
    machine = Machine(data)
    stack, marks, memo, limit = machine.stack, machine.marks, machine.memo, machine.limit
    push, keep = stack.append, memo.append
    place = spent = 0
    value: Any
    while True:
        code = data[place]
        place += 1
        if code == _LONG_BINGET or code == _BINGET:
            if code == _BINGET:
                value = memo[data[place]]
                place += 1
            else:
                value = memo[_UINT(data, place)[0]]
                place += 4
            spent += 8
            if type(value) in _STAND_INS:
                if type(value) is Global:
                    machine.spent = spent
                    value, place = whole_array(machine, value, place)
                    spent = machine.spent
                else:
                    value = finished(value)
            push(value)
        elif code == _SHORT_BINUNICODE:
            size = data[place] + 1
            value = data[place + 1 : place + size].decode("utf-8", "surrogatepass")
            push(value)
            place += size
            spent += 60 + size
            # Whatever is new is nearly always kept for later use at once.
            if data[place] == _MEMOIZE:
                keep(value)
                place += 1
                spent += 90
        elif code == _MEMOIZE:
            keep(stack[-1])
            spent += 90
        elif code == _BININT1:
            push(data[place])
            place += 1
            spent += 8
        elif code == _EMPTY_DICT or code == _EMPTY_LIST:
            value = {} if code == _EMPTY_DICT else []
            push(value)
            spent += 72
            if data[place] == _MEMOIZE:
                keep(value)
                place += 1
                spent += 90
        elif code == _MARK:
            marks.append(len(stack))
            spent += MARK
        elif code == _STOP:
            return machine.result()
        else:
            machine.spent = spent
            place = INSTRUCTIONS[code](machine, place)
            spent = machine.spent
        if spent > limit:
            machine.charge(spent - machine.spent)


def _check_nesting(root: Any, most: int) -> None:
    """Refuse what is nested too deep, holds itself, or repeats big things so often that nobody could walk through it.

    The work of looking is bounded by `most`, the items that a walk through everything may meet.

    Raises:
        ScenarioError: It is one of these.
    """
    # By level and identity: each container with how often it occurs there.
    level: dict[int, tuple[Any, int]] = {0: (root, 1)} if type(root) in _CONTAINERS else {}
    count = 0
    for _ in range(MAX_DEPTH):
        below: dict[int, tuple[Any, int]] = {}
        for value, times in level.values():
            items = value.values() if isinstance(value, dict) else value
            count += times * len(items)
            if count > most:
                raise ScenarioError(f"it repeats its parts to more than {most:,} items")
            if _CONTAINERS.isdisjoint(map(type, items)):
                continue
            for item in items:
                if type(item) in _CONTAINERS:
                    known = below.get(id(item))
                    below[id(item)] = item, times + (known[1] if known is not None else 0)
        if not below:
            return
        level = below
    raise ScenarioError(f"containers are nested more than {MAX_DEPTH} deep, or hold themselves")


def loads(data: bytes, source: str = "pickle") -> object:
    """Read a pickle from memory; see `load`."""
    try:
        if data.startswith((b"PK\x03\x04", b"\x1f\x8b")):
            raise ScenarioError("a compressed file")
        found = _run(data)
        _check_nesting(found, max(MAX_ITEMS, len(data)))
        return found
    except UnsafePickleError as error:
        raise UnsafePickleError(
            f"{source}: refused, because {error}. Scenario files hold numpy arrays and builtin containers only; "
            "do not open this file with anything else unless you trust its author."
        ) from error
    except (ScenarioError, *_BROKEN) as error:
        plain = isinstance(error, ScenarioError)
        reason = str(error) if plain else f"cut or damaged: {type(error).__name__}: {error!s:.200}".removesuffix(": ")
        raise ScenarioError(
            f"{source}: not a usable pickle ({reason}). Expected a ScenarioDescription pickle, found "
            f"{_describe(data)}. The file is truncated or of another kind: copy or export it again."
        ) from error


def load(path: str | Path, limit: int = MAX_SCENE) -> object:
    """Read a pickle file made of numpy arrays, numpy scalars and builtin containers.

    Args:
        path: The file.
        limit: Most bytes that it may have.

    Returns:
        Its content; arrays are writable, own their memory and keep data type, shape and memory order.

    Raises:
        UnsafePickleError: It asks for anything else (names what), or for more memory than its size allows.
        ScenarioError: It is missing, unreadable, no regular file, too long, empty, truncated, not a pickle, or holds
            what no scene holds: containers that hold themselves, very deep ones, keys other than text and numbers.
    """
    path = Path(path)
    data = read_bounded(path, limit, ScenarioError)
    if not data:
        raise ScenarioError(f"{path}: the file is empty. Copy or export it again.")
    return loads(data, str(path))


def _describe(data: bytes) -> str:
    for magic, name in ((b"PK", "a zip archive"), (b"\x1f\x8b", "a gzip file"), (b"{", "perhaps JSON")):
        if data.startswith(magic):
            return name
    if data.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer instead of the file itself"
    return f"{len(data)} bytes starting with {data[:8]!r}"

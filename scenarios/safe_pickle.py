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
from struct import unpack_from
from typing import Any, Final

from harness.errors import ScenarioError, UnsafePickleError
from harness.files import MEGABYTE, read_bounded
from scenarios.pickle_instructions import INSTRUCTIONS
from scenarios.pickle_machine import MARK, Machine, as_tuple, got

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
_MARK, _EMPTY_DICT, _EMPTY_LIST, _TUPLE1, _BINFLOAT, _BINPUT, _STOP = b"(}]\x85Gq."


def _run(data: bytes) -> object:
    """What the pickle describes.

    Raises:
        UnsafePickleError: It asks for anything that is not data, or for more memory than its size allows.
        ScenarioError: It holds data that no scene holds.
        IndexError, ValueError, …: One of `_BROKEN`: it is cut or damaged.
    """
    machine = Machine(data)
    stack, marks, memo, limit = machine.stack, machine.marks, machine.memo, machine.limit
    place = spent = 0
    while True:
        code = data[place]
        place += 1
        if code == _MEMOIZE:
            memo[len(memo)] = stack[-1]
            spent += 90
        elif code == _LONG_BINGET:
            stack.append(got(memo, unpack_from("<I", data, place)[0]))
            place += 4
            spent += 8
        elif code == _SHORT_BINUNICODE:
            size = data[place] + 1
            stack.append(str(data[place + 1 : place + size], "utf-8", "surrogatepass"))
            place += size
            spent += 60 + size
        elif code == _BINGET:
            stack.append(got(memo, data[place]))
            place += 1
            spent += 8
        elif code == _BININT1:
            stack.append(data[place])
            place += 1
            spent += 8
        elif code == _MARK:
            marks.append(len(stack))
            spent += MARK
        elif code == _EMPTY_DICT:
            stack.append({})
            spent += 72
        elif code == _EMPTY_LIST:
            stack.append([])
            spent += 72
        elif code == _TUPLE1:
            stack[-1] = as_tuple((stack[-1],))
            spent += 70
        elif code == _BINFLOAT:
            stack.append(unpack_from(">d", data, place)[0])
            place += 8
            spent += 32
        elif code == _BINPUT:
            memo[data[place]] = stack[-1]
            place += 1
            spent += 90
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

    Raises:
        ScenarioError: It is one of these.
    """
    if type(root) not in _CONTAINERS:
        return
    inside: dict[int, list[Any]] = {}  # containers within a container that is being looked at
    done: dict[int, tuple[int, int]] = {}  # depth, and items in all
    todo = [root]
    while todo:
        value = todo[-1]
        key = id(value)
        if key in done:
            todo.pop()
            continue
        if key not in inside:
            items = value.values() if isinstance(value, dict) else value
            if _CONTAINERS.isdisjoint(map(type, items)):
                done[key] = 1, len(items)
                todo.pop()
            else:
                inside[key] = found = [item for item in items if type(item) in _CONTAINERS]
                todo += found
            continue
        depth, count = 0, len(value)
        for item in inside.pop(key):
            if id(item) not in done:
                raise ScenarioError("a container holds itself")
            below, items_below = done[id(item)]
            depth, count = max(depth, below), count + items_below
        done[key] = depth + 1, count
        if depth >= MAX_DEPTH:
            raise ScenarioError(f"containers are nested more than {MAX_DEPTH} deep")
        if count > most:
            raise ScenarioError(f"it repeats its parts to more than {most:,} items")


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

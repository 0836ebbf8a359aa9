"""A first look at a pickle's bytes, before any unpickler acts on them.

Walks the opcodes without executing any, and refuses what scenario files never need: persistent and registered
objects, instances, out-of-band buffers, and memo numbers that would make the unpickler reserve gigabytes for a
small file.
"""

from __future__ import annotations

import pickletools
from typing import Final

from harness.errors import ScenarioError, UnsafePickleError

_FORBIDDEN: Final = {
    "EXT1": "registered extension objects",
    "EXT2": "registered extension objects",
    "EXT4": "registered extension objects",
    "PERSID": "persistent objects",
    "BINPERSID": "persistent objects",
    "INST": "class instances",
    "OBJ": "class instances",
    "NEWOBJ_EX": "class instances",
    "NEXT_BUFFER": "out-of-band buffers",
    "READONLY_BUFFER": "out-of-band buffers",
}
_NEWLINE: Final = -1
_BY_LENGTH: Final = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
"""Bytes of the length that precedes an argument of variable size."""


_UNKNOWN: Final = -99


def _tables() -> tuple[list[int], dict[int, str]]:
    """For every byte value what to skip after it; and the opcodes that need a look.

    Bytes to skip are ≥ 0; -1 means up to a newline, -1 - n a length of n bytes and that many more, -99 a look
    (opcodes that need one, and bytes that are none).
    """
    skip, special = [_UNKNOWN] * 256, {}
    for opcode in pickletools.opcodes:
        code = ord(opcode.code)
        size = 0 if opcode.arg is None else opcode.arg.n
        if opcode.name in _FORBIDDEN or opcode.name in ("GLOBAL", "PUT", "LONG_BINPUT", "STOP"):
            special[code] = opcode.name
        elif size in _BY_LENGTH:
            skip[code] = -1 - _BY_LENGTH[size]
        else:
            skip[code] = _NEWLINE if size == pickletools.UP_TO_NEWLINE else size
    return skip, special


_SKIP, _SPECIAL = _tables()


def scan(data: bytes) -> None:
    """Walk the opcodes up to STOP.

    Raises:
        UnsafePickleError: An opcode that data never needs, or an absurd memo number.
        ScenarioError: The bytes are not opcodes, or end too early.
    """
    skip, end, place = _SKIP, len(data), 0
    while place < end:
        size = skip[data[place]]
        place += 1
        if size >= 0:
            place += size
        elif size == _NEWLINE:
            place = _after_line(data, place)
        elif size == _UNKNOWN:
            after = _look(data, place - 1)
            if after is None:
                return
            place = after
        else:
            width = -1 - size
            place += width + int.from_bytes(data[place : place + width], "little")
    raise ScenarioError("it ends too early")


def _look(data: bytes, place: int) -> int | None:
    """Check a special opcode; where the next one starts, or None at the end."""
    name = _SPECIAL.get(data[place])
    if name is None:
        raise ScenarioError(f"byte {place} is {data[place]:#04x}, which is no pickle opcode")
    if name == "STOP":
        return None
    if name in _FORBIDDEN:
        raise UnsafePickleError(f"it holds {_FORBIDDEN[name]}")
    if name == "GLOBAL":
        return _after_line(data, _after_line(data, place + 1))
    if name == "LONG_BINPUT":
        index, after = int.from_bytes(data[place + 1 : place + 5], "little"), place + 5
    else:
        after = _after_line(data, place + 1)
        text = data[place + 1 : after - 1]
        index = int(text) if text.isdigit() and len(text) < 19 else 1 << 62
    # Every memo entry takes at least one byte of the file, and the unpickler reserves room up to the number.
    if index > len(data):
        raise UnsafePickleError(f"it numbers a memo entry {index} in {len(data)} bytes, to exhaust the memory")
    return after


def _after_line(data: bytes, place: int) -> int:
    after = data.find(b"\n", place) + 1
    if after == 0:
        raise ScenarioError("it ends in the middle of a line")
    return after

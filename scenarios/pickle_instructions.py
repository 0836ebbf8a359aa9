"""The instructions of pickles: those that data needs, each as a function, and a refusal for all others.

Each takes the machine and the place of its argument in the data, and returns the place of the next instruction.
"""

from __future__ import annotations

import codecs
import pickle
from collections.abc import Callable, Collection
from struct import unpack_from
from typing import Any, Final

from harness.errors import ScenarioError, UnsafePickleError
from scenarios.pickle_machine import NO_DATA, Machine, as_tuple, no_data
from scenarios.pickle_values import GLOBALS, Global, Unfinished, whole_number, whole_number_text
from scenarios.values import brief

WASTE: Final = 80
"""Bytes that an instruction counts which makes nothing: data needs few of them, and each takes its time."""
Instruction = Callable[[Machine, int], int]
_FORBIDDEN: Final = {
    **dict.fromkeys((pickle.EXT1, pickle.EXT2, pickle.EXT4), "registered extension objects"),
    **dict.fromkeys((pickle.PERSID, pickle.BINPERSID), "persistent objects"),
    **dict.fromkeys((pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX), "class instances"),
    **dict.fromkeys((pickle.NEXT_BUFFER, pickle.READONLY_BUFFER), "out-of-band buffers"),
}


def _pushing(make: Callable[[], Any], size: int) -> Instruction:
    def run(machine: Machine, place: int) -> int:
        machine.stack.append(make())
        machine.charge(size)
        return place

    return run


def _fixed(layout: str, width: int) -> Instruction:
    def run(machine: Machine, place: int) -> int:
        machine.stack.append(unpack_from(layout, machine.data, place)[0])
        machine.charge(36)
        return place + width

    return run


def _sized(width: int, make: Callable[[bytes], Any], factor: int = 1) -> Instruction:
    """A value of as many bytes as the number of `width` bytes in front of them says."""

    def run(machine: Machine, place: int) -> int:
        start = place + width
        end = start + int.from_bytes(machine.data[place:start], "little")
        if end > len(machine.data):
            raise IndexError("cut")
        machine.charge(60 + factor * (end - start))
        machine.stack.append(make(machine.data[start:end]))
        return end

    return run


def _line(machine: Machine, place: int) -> tuple[bytes, int]:
    end = machine.data.find(b"\n", place)
    if end < 0:
        raise ScenarioError("it ends in the middle of a line")
    return machine.data[place:end], end + 1


def _lined(make: Callable[[bytes], Any], factor: int = 1) -> Instruction:
    """A value of the text up to the end of the line."""

    def run(machine: Machine, place: int) -> int:
        line, place = _line(machine, place)
        machine.charge(60 + factor * len(line))
        machine.stack.append(make(line))
        return place

    return run


def _utf8(data: bytes) -> str:
    return str(data, "utf-8", "surrogatepass")


def _latin1(data: bytes) -> str:
    return str(data, "latin1")


def _quoted(line: bytes) -> str:
    line = line.strip()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ScenarioError("it holds text without quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin1")  # type: ignore[attr-defined, no-any-return]


def _int_line(line: bytes) -> int | bool:
    return {b"00": False, b"01": True}.get(line) if line in (b"00", b"01") else whole_number_text(line)  # type: ignore[return-value]


def _binput(machine: Machine, place: int) -> int:
    machine.put(machine.data[place])
    return place + 1


def _long_binput(machine: Machine, place: int) -> int:
    machine.put(unpack_from("<I", machine.data, place)[0])
    return place + 4


def _put_line(machine: Machine, place: int) -> int:
    line, place = _line(machine, place)
    machine.put(whole_number_text(line))
    return place


def _get_line(machine: Machine, place: int) -> int:
    line, place = _line(machine, place)
    machine.stack.append(machine.get(whole_number_text(line)))
    machine.charge(8)
    return place


def _setitems(machine: Machine, place: int) -> int:
    items = machine.since_mark()
    machine.fill(machine.stack[-1], items[::2], items[1::2])
    return place


def _setitem(machine: Machine, place: int) -> int:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.fill(machine.stack[-1], (key,), (value,))
    return place


def _extend(machine: Machine, items: Collection[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not list:
        raise UnsafePickleError("it appends to something that is no list")
    if not NO_DATA.isdisjoint(map(type, items)):
        raise no_data(items)
    machine.charge(10 * len(items))
    target.extend(items)


def _appends(machine: Machine, place: int) -> int:
    _extend(machine, machine.since_mark())
    return place


def _append(machine: Machine, place: int) -> int:
    _extend(machine, (machine.stack.pop(),))
    return place


def _additems(machine: Machine, place: int) -> int:
    items = machine.since_mark()
    machine.add(machine.stack[-1], items)
    return place


def _tupled(count: int) -> Instruction:
    def run(machine: Machine, place: int) -> int:
        items = tuple(machine.stack[-count:])
        if len(items) < count:
            raise IndexError("empty stack")
        machine.stack[-count:] = [as_tuple(items)]
        machine.charge(70)
        return place

    return run


def _tuple_marked(machine: Machine, place: int) -> int:
    items = machine.since_mark()
    machine.charge(48 + 8 * len(items))
    machine.stack.append(as_tuple(tuple(items)))
    return place


def _list_marked(machine: Machine, place: int) -> int:
    items = machine.since_mark()
    machine.charge(72)
    machine.stack.append([])
    _extend(machine, items)
    return place


def _dict_marked(machine: Machine, place: int) -> int:
    items = machine.since_mark()
    machine.charge(72)
    machine.stack.append({})
    machine.fill(machine.stack[-1], items[::2], items[1::2])
    return place


def _frozenset(machine: Machine, place: int) -> int:
    members: set[Any] = set()
    machine.add(members, machine.since_mark())
    machine.charge(224 + 60 * len(members))
    machine.stack.append(frozenset(members))
    return place


def _reduce(machine: Machine, place: int) -> int:
    args, function = machine.stack.pop(), machine.stack[-1]
    if type(function) is not Global or not isinstance(args, tuple):
        raise UnsafePickleError("it calls something that is no function")
    machine.stack[-1] = function.call(machine, *args)
    return place


def _build(machine: Machine, place: int) -> int:
    state, value = machine.stack.pop(), machine.stack[-1]
    if type(value) is not Unfinished:
        raise UnsafePickleError("it sets the state of something that has none")
    machine.stack[-1] = value.finish(machine, state)
    return place


def _find(machine: Machine, module: object, name: object) -> None:
    known = type(module) is str and type(name) is str
    found = GLOBALS.get((module, name)) if known else None  # type: ignore[arg-type]
    if found is None:
        asked = f"{brief(module)[1:-1]}.{brief(name)[1:-1]}" if known else "something without a name"
        raise UnsafePickleError(f"it asks for {asked}, which is not data")
    machine.stack.append(found)


def _global(machine: Machine, place: int) -> int:
    module, place = _line(machine, place)
    name, place = _line(machine, place)
    _find(machine, _utf8(module), _utf8(name))
    return place


def _stack_global(machine: Machine, place: int) -> int:
    name, module = machine.stack.pop(), machine.stack.pop()
    _find(machine, module, name)
    return place


def _pop(machine: Machine, place: int) -> int:
    machine.charge(WASTE)
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()
    return place


def _pop_mark(machine: Machine, place: int) -> int:
    machine.since_mark()
    return place


def _dup(machine: Machine, place: int) -> int:
    machine.stack.append(machine.stack[-1])
    machine.charge(WASTE)
    return place


def _skip(width: int) -> Instruction:
    return lambda machine, place: place + width


def _refuse(code: int) -> Instruction:
    def run(machine: Machine, place: int) -> int:
        if (kind := _FORBIDDEN.get(bytes([code]))) is not None:
            raise UnsafePickleError(f"it holds {kind}")
        raise ScenarioError(f"byte {place - 1} is {code:#04x}, which is no pickle opcode")

    return run


_INSTRUCTIONS: Final[dict[bytes, Instruction]] = {
    pickle.PROTO: _skip(1),
    pickle.FRAME: _skip(8),
    pickle.NONE: _pushing(lambda: None, 8),
    pickle.NEWTRUE: _pushing(lambda: True, 8),
    pickle.NEWFALSE: _pushing(lambda: False, 8),
    pickle.EMPTY_TUPLE: _pushing(tuple, 8),
    pickle.EMPTY_SET: _pushing(set, 224),
    pickle.BININT: _fixed("<i", 4),
    pickle.BININT2: _fixed("<H", 2),
    pickle.BINFLOAT: _fixed(">d", 8),
    pickle.LONG1: _sized(1, whole_number),
    pickle.LONG4: _sized(4, whole_number),
    pickle.INT: _lined(_int_line),
    pickle.LONG: _lined(lambda line: whole_number_text(line.removesuffix(b"L"))),
    pickle.FLOAT: _lined(float),
    pickle.STRING: _lined(_quoted),
    pickle.UNICODE: _lined(lambda line: str(line, "raw-unicode-escape"), 4),
    pickle.BINSTRING: _sized(4, _latin1),
    pickle.SHORT_BINSTRING: _sized(1, _latin1),
    # One wide character makes all others of a text wide: four bytes each.
    pickle.BINUNICODE: _sized(4, _utf8, 4),
    pickle.BINUNICODE8: _sized(8, _utf8, 4),
    pickle.BINBYTES: _sized(4, bytes),
    pickle.BINBYTES8: _sized(8, bytes),
    pickle.SHORT_BINBYTES: _sized(1, bytes),
    pickle.BYTEARRAY8: _sized(8, bytearray, 2),
    pickle.BINPUT: _binput,
    pickle.LONG_BINPUT: _long_binput,
    pickle.PUT: _put_line,
    pickle.GET: _get_line,
    pickle.SETITEMS: _setitems,
    pickle.SETITEM: _setitem,
    pickle.APPENDS: _appends,
    pickle.APPEND: _append,
    pickle.ADDITEMS: _additems,
    pickle.TUPLE: _tuple_marked,
    pickle.TUPLE1: _tupled(1),
    pickle.TUPLE2: _tupled(2),
    pickle.TUPLE3: _tupled(3),
    pickle.LIST: _list_marked,
    pickle.DICT: _dict_marked,
    pickle.FROZENSET: _frozenset,
    pickle.REDUCE: _reduce,
    # An object without arguments is what its class makes when it is called.
    pickle.NEWOBJ: _reduce,
    pickle.BUILD: _build,
    pickle.GLOBAL: _global,
    pickle.STACK_GLOBAL: _stack_global,
    pickle.POP: _pop,
    pickle.POP_MARK: _pop_mark,
    pickle.DUP: _dup,
}
INSTRUCTIONS: Final = [_INSTRUCTIONS.get(bytes([code]), _refuse(code)) for code in range(256)]
"""By the byte that stands for it."""

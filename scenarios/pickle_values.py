"""What a pickle may make besides numbers, text and containers: numpy arrays, scalars and data types, and little else.

Every function here stands for a name that scenario files use, takes its arguments as they come, and makes the value
from checked bytes. None of them is numpy's or Python's own: those would obey the file.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, Final, Protocol

import numpy as np

from harness.errors import ScenarioError, UnsafePickleError
from scenarios.values import MAX_BITS, brief

MAX_DIMENSIONS: Final = 32
"""Most dimensions of an array: what numpy 1 allows."""
MAX_EMPTY: Final = 10_000
"""Largest size of an array that has no elements: such an array claims any number of rows for nothing."""
_PLAIN_DTYPE: Final = re.compile(r"([biufc]\d{1,2}|[SU]\d{1,6}|[mM]8|\?)", re.ASCII)


class Maker(Protocol):
    """What the functions here ask of the machine that runs the pickle."""

    def charge(self, size: int) -> None:
        """Count memory, in bytes, before it is taken."""

    def fill(self, target: Any, keys: Collection[Any], values: Collection[Any]) -> None:
        """Put items into a dictionary, their keys checked."""

    def add(self, target: Any, items: Collection[Any]) -> None:
        """Put members into a set, checked."""


Call = Callable[..., object]
"""Takes the machine and the arguments."""


class Global:
    """A name that the file mentions: it may be called, or passed on as an argument; it is never data."""

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Call) -> None:
        """A name with its checked implementation."""
        self.name, self.call = name, call


class Arguments(tuple[object, ...]):
    """A tuple that mentions names: good for a call, never data."""

    __slots__ = ()


class Unfinished:
    """An array (`kind` None) or a data type whose state comes later.

    Attributes:
        made: The finished value, once there is one.
    """

    __slots__ = ("kind", "made")

    def __init__(self, kind: np.dtype[np.generic] | None = None) -> None:
        """Begin an array, or a data type."""
        self.kind = kind
        self.made: np.ndarray | np.dtype[np.generic] | None = None

    def finish(self, machine: Maker, state: object) -> np.ndarray | np.dtype[np.generic]:
        """The value, of the state that numpy writes for it.

        Raises:
            UnsafePickleError: The state is none of a plain array or data type.
            ScenarioError: Shape, type and bytes do not fit.
        """
        if self.made is not None:
            raise UnsafePickleError("it sets the state of an array twice")
        self.made = _array(machine, state) if self.kind is None else _ordered(self.kind, state)
        return self.made


def whole_number(data: bytes) -> int:
    """A signed number of little-endian bytes.

    Raises:
        ScenarioError: It has more than `MAX_BITS`.
    """
    if len(data) * 8 > MAX_BITS + 8:
        raise ScenarioError(f"it holds a whole number of {len(data) * 8} bits; no scene needs more than {MAX_BITS}")
    return int.from_bytes(data, "little", signed=True)


def whole_number_text(text: bytes) -> int:
    """A number as protocol 0 writes it; errors as `whole_number`, and ValueError where it is none."""
    if len(text) > 42:
        raise ScenarioError(f"it holds a whole number of {len(text)} digits; no scene needs more than {MAX_BITS} bits")
    return int(text)


def _array(machine: Maker, state: object) -> np.ndarray:
    if type(state) is not tuple or len(state) != 5:
        raise UnsafePickleError("an array has an unknown state")
    built = build_array(machine, state[1], state[2], "F" if state[3] else "C", state[4])
    # As numpy does: to the machine's byte order, but not with protocol 5.
    return built if built.dtype.isnative else built.astype(built.dtype.newbyteorder("="), order="K")


def _ordered(kind: np.dtype[np.generic], state: Any) -> np.dtype[np.generic]:
    """The data type with its byte order."""
    plain = type(state) is tuple and len(state) >= 5 and state[2] is None and not state[3] and not state[4]
    if not plain or state[1] not in ("<", ">", "|", "="):
        raise UnsafePickleError("it redefines a numpy data type (structured or with sub-arrays)")
    return kind if state[1] in "|=" else kind.newbyteorder(">" if state[1] == ">" else "<")


def build_array(machine: Maker, shape: Any, dtype: object, order: str, raw: Any) -> np.ndarray:
    """An array of checked bytes, which owns its memory.

    Raises:
        UnsafePickleError: Bytes or data type are none.
        ScenarioError: Shape, type and bytes do not fit.
    """
    if not isinstance(dtype, np.dtype) or type(raw) not in (bytes, bytearray, str):
        raise UnsafePickleError("an array is not made of plain bytes and a plain data type")
    sizes = type(shape) is tuple and len(shape) <= MAX_DIMENSIONS and {int}.issuperset(map(type, shape))
    if not sizes or min(shape, default=0) < 0:
        raise ScenarioError(f"an array's shape is not a tuple of up to {MAX_DIMENSIONS} sizes")
    # Python 2 pickles hold bytes as text.
    machine.charge(200 + (2 if type(raw) is str else 1) * len(raw))
    data = raw.encode("latin1") if type(raw) is str else raw
    count = math.prod(shape)
    if dtype.itemsize == 0 or count * dtype.itemsize != len(data):
        raise ScenarioError(f"an array of {count:.9g} numbers of type {dtype} has {len(data)} bytes")
    if count == 0:
        if max(shape) > MAX_EMPTY:
            raise ScenarioError(f"an array without content has a size of {max(shape):.9g}")
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, data, order="F" if order == "F" else "C").copy(order="K")


@lru_cache(maxsize=64)
def _plain_type(spec: str) -> np.dtype[np.generic]:
    return np.dtype(spec)


def _dtype(machine: Maker, spec: object = None, align: object = False, copy: object = False) -> Unfinished:
    if type(spec) is not str or not _PLAIN_DTYPE.fullmatch(spec):
        objects = type(spec) is str and spec in ("O", "O8")
        what = "arrays of Python objects" if objects else f"another numpy type ({brief(spec)})"
        raise UnsafePickleError(f"it holds {what}; only plain numbers, booleans, dates and text are read")
    machine.charge(100)
    return Unfinished(_plain_type(spec))


def reconstruct(machine: Maker, subtype: object, shape: object, typecode: object) -> Unfinished:
    """An array that has neither shape nor content yet, as numpy begins one.

    Raises:
        UnsafePickleError: It would be of a class of its own.
    """
    if type(subtype) is not Global or subtype.name != "numpy.ndarray":
        raise UnsafePickleError("it reconstructs an array subclass")
    machine.charge(100)
    return Unfinished()


def _scalar(machine: Maker, dtype: object, raw: object = b"") -> object:
    return build_array(machine, (1,), dtype, "C", raw)[0]


def _from_buffer(machine: Maker, raw: object, dtype: object, shape: object, order: object) -> np.ndarray:
    return build_array(machine, shape, dtype, "F" if type(order) is str and order == "F" else "C", raw)


def _encode(machine: Maker, text: object, encoding: object = "latin1") -> bytes:
    if type(text) is not str or type(encoding) is not str or encoding not in ("latin1", "latin-1"):
        raise UnsafePickleError("it encodes text other than bytes in disguise")
    machine.charge(len(text))
    return text.encode("latin1")


def _never(name: str) -> Call:
    def call(machine: Maker, *args: object) -> object:
        raise UnsafePickleError(f"it calls {name}")

    return call


def _nothing(kind: Callable[[], object]) -> Call:
    """Calls without arguments: with one it could ask for any size."""

    def call(machine: Maker, *args: object) -> object:
        if args:
            raise UnsafePickleError(f"it calls {getattr(kind, '__name__', kind)} with arguments")
        machine.charge(100)
        return kind()

    return call


def _number(kind: type, most: int = 1) -> Call:
    def call(machine: Maker, *args: Any) -> object:
        if len(args) > most or not {int, float, bool, str}.issuperset(map(type, args)):
            raise UnsafePickleError(f"it calls {kind.__name__} with unexpected arguments")
        if any(type(arg) is str and len(arg) > 42 for arg in args):
            raise ScenarioError(f"it makes a number of {max(len(str(arg)) for arg in args)} letters")
        made = kind(*args)
        if type(made) is int and made.bit_length() > MAX_BITS:
            raise ScenarioError(f"it holds a whole number of {made.bit_length()} bits")
        machine.charge(50)
        return made

    return call


def _text(machine: Maker, *args: object) -> object:
    if len(args) > 1 or not {str}.issuperset(map(type, args)):
        raise UnsafePickleError("it calls str with unexpected arguments")
    return args[0] if args else ""


def _sequence(kind: Callable[[Any], object], name: str) -> Call:
    def call(machine: Maker, *args: Any) -> object:
        if len(args) > 1 or not {list, tuple, set, frozenset}.issuperset(map(type, args)):
            raise UnsafePickleError(f"it calls {name} with unexpected arguments")
        items = args[0] if args else ()
        machine.charge(60 + 8 * len(items))
        return kind(items)

    return call


def _members(kind: type) -> Call:
    make = _sequence(list, kind.__name__)

    def call(machine: Maker, *args: Any) -> object:
        made: set[Any] = set()
        machine.add(made, make(machine, *args))  # type: ignore[arg-type]
        return made if kind is set else frozenset(made)

    return call


def _dictionary(kind: type) -> Call:
    def call(machine: Maker, *args: Any) -> object:
        if len(args) > 1 or not {list, tuple, dict, OrderedDict}.issuperset(map(type, args)):
            raise UnsafePickleError(f"it calls {kind.__name__} with unexpected arguments")
        given = args[0] if args else ()
        pairs = list(given.items()) if isinstance(given, dict) else given
        if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
            raise UnsafePickleError(f"it makes a {kind.__name__} of something other than pairs")
        machine.charge(250)
        made = kind()
        machine.fill(made, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
        return made

    return call


def _default_dict(machine: Maker, *args: object) -> object:
    kinds = {f"builtins.{kind.__name__}": kind for kind in (int, float, str, list, dict, set)}
    if len(args) != 1 or type(args[0]) is not Global or args[0].name not in kinds:
        raise UnsafePickleError("it makes a defaultdict with an unknown factory")
    machine.charge(250)
    return defaultdict(kinds[args[0].name])


def _table() -> dict[tuple[str, str], Global]:
    """Every name that a pickle may use."""
    table: dict[tuple[str, str], Global] = {}

    def add(modules: tuple[str, ...], name: str, call: Call, alias: str = "") -> None:
        for module in modules:
            table[module, name] = Global(alias or f"{modules[0]}.{name}", call)

    builtin = ("builtins", "__builtin__")
    multiarray = ("numpy.core.multiarray", "numpy._core.multiarray")
    add(("numpy",), "ndarray", _never("numpy.ndarray"))
    add(("numpy",), "dtype", _dtype)
    add(multiarray, "_reconstruct", reconstruct)
    add(multiarray, "scalar", _scalar)
    add(("numpy.core.numeric", "numpy._core.numeric"), "_frombuffer", _from_buffer)
    add(("_codecs",), "encode", _encode)
    add(("__builtin__",), "long", _number(int), "builtins.int")  # What protocols 0 to 2 call it.
    for kind, most in ((bool, 1), (int, 1), (float, 1), (complex, 2)):
        add(builtin, kind.__name__, _number(kind, most))
    add(builtin, "str", _text)
    add(builtin, "list", _sequence(list, "list"))
    add(builtin, "tuple", _sequence(tuple, "tuple"))
    for members in (set, frozenset):
        add(builtin, members.__name__, _members(members))
    # Protocols 0 to 2 write an empty bytes object as `bytes()`.
    add(builtin, "bytes", _nothing(bytes))
    for mapping in (dict, OrderedDict):
        add(builtin if mapping is dict else ("collections",), mapping.__name__, _dictionary(mapping))
    add(("collections",), "defaultdict", _default_dict)
    # MetaDrive's ScenarioDescription is a dict with class methods: its content is all we want.
    add(("metadrive.scenario.scenario_description",), "ScenarioDescription", _nothing(dict))
    return table


GLOBALS: Final = _table()
"""By module and name."""

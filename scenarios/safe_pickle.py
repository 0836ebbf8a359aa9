"""Read a pickle without running it: numpy arrays, numpy scalars and builtin containers, nothing else.

A pickle is a program. The standard way to tame it (an allow-list in `find_class`) still hands numpy's own
`__setstate__` to the file, which can rewrite data types in place and build arrays of object pointers. So
every global that a scenario file may name is replaced by an inert stand-in that merely records its arguments;
the real arrays are built afterwards, from checked bytes, by `numpy.frombuffer`. A file can still cost
time, and memory of a small multiple of its own size; it cannot run code.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np

from harness.errors import ScenarioError, UnsafePickleError
from harness.files import MEGABYTE, read_bounded
from scenarios.pickle_scan import scan

MAX_SCENE: Final = 200 * MEGABYTE
"""Bytes of a scene file. Published ones have 0.5 to 20 MB."""
MAX_SUMMARY: Final = 1_000 * MEGABYTE
"""Bytes of a summary or mapping of a folder: about 3 kB a scene."""
MAX_DEPTH: Final = 200
"""Deepest nesting of containers that is followed; scenario files need about 8."""
_PLAIN_DTYPE: Final = re.compile(r"([biufc]\d{1,2}|[SU]\d{1,6}|[mM]8|\?)")
_BROKEN: Final = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RecursionError,
    AssertionError,
)
"""What the standard unpickler raises on bytes that are not a pickle, or not a whole one."""


class _Inert:
    """Base of the stand-ins: no attributes to overwrite, no state to set unless a subclass says so."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise UnsafePickleError("it sets the state of something that has none")


class _Global(_Inert):
    """A name that may be called (`REDUCE`), with a checked implementation."""

    __slots__ = ("call", "name")
    call: Callable[..., object]
    name: str

    def __init__(self, name: str, call: Callable[..., object]) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "call", call)

    def __setattr__(self, key: str, value: object) -> None:
        raise UnsafePickleError(f"it overwrites {key} of {self.name}")

    def __call__(self, *args: object) -> object:
        return self.call(*args)


class _DType(_Inert):
    """A recorded `numpy.dtype(spec)` with its byte order."""

    __slots__ = ("order", "spec")

    def __init__(self, spec: object, align: object = False, copy: object = False) -> None:
        if not isinstance(spec, str) or not _PLAIN_DTYPE.fullmatch(spec):
            what = "arrays of Python objects" if spec in ("O", "O8") else f"the numpy type {spec!r}"
            raise UnsafePickleError(f"it holds {what}; only plain numbers, booleans, dates and text are read")
        self.spec, self.order = spec, "="

    def __setstate__(self, state: Any) -> None:
        plain = isinstance(state, tuple) and len(state) >= 5 and state[2] is None and not state[3] and not state[4]
        if not plain or state[1] not in ("<", ">", "|", "="):
            raise UnsafePickleError("it redefines a numpy data type (structured or with sub-arrays)")
        self.order = state[1]

    def make(self) -> np.dtype[np.generic]:
        kind = np.dtype(self.spec)
        if self.order in "|=":
            return kind
        return kind.newbyteorder(">" if self.order == ">" else "<")


class _Array(_Inert):
    """A recorded array: shape, data type, memory order and raw bytes."""

    __slots__ = ("built", "state")

    def __init__(self) -> None:
        self.state: tuple[object, ...] | None = None
        self.built: np.ndarray | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise UnsafePickleError("an array has an unknown state")
        self.state = (*state[1:], True)

    def make(self) -> np.ndarray:
        if self.built is None:
            if self.state is None:
                raise ScenarioError("an array has no content")
            shape, dtype, fortran, raw, native = self.state
            built = _build_array(shape, dtype, "F" if fortran else "C", raw)
            # As numpy does: to the machine's byte order, but not with protocol 5.
            self.built = built.astype(built.dtype.newbyteorder("="), order="K", copy=False) if native else built
        return self.built


class _Scalar(_Inert):
    """A recorded numpy scalar."""

    __slots__ = ("dtype", "raw")

    def __init__(self, dtype: object, raw: object = b"") -> None:
        self.dtype, self.raw = dtype, raw

    def make(self) -> np.generic:
        return _build_array((1,), self.dtype, "C", self.raw)[0]


_LEAVES: Final = frozenset({str, int, float, bool, type(None), bytes, bytearray, complex})
_STAND_INS: Final = frozenset({_Array, _Scalar, _DType})


def _build_array(shape: object, dtype: object, order: str, raw: object) -> np.ndarray:
    if not isinstance(dtype, _DType) or not isinstance(raw, bytes | bytearray | str):
        raise UnsafePickleError("an array is not made of plain bytes and a plain data type")
    data = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2 pickles hold bytes as text.
    kind = dtype.make()
    if not isinstance(shape, tuple) or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ScenarioError(f"an array has the impossible shape {shape!r}")
    count = 1
    for size in shape:
        count *= size
    if count * kind.itemsize != len(data):
        raise ScenarioError(f"an array of shape {shape} and type {kind} has {len(data)} bytes")
    if len(data) == 0:
        return np.empty(shape, kind)
    flat = np.frombuffer(data, kind)
    return flat.reshape(shape, order="F" if order == "F" else "C").copy(order="K")


def _reconstruct(subtype: object, shape: object, typecode: object) -> _Array:
    if not (isinstance(subtype, _Global) and subtype.name == "numpy.ndarray"):
        raise UnsafePickleError("it reconstructs an array subclass")
    return _Array()


def _from_buffer(raw: object, dtype: object, shape: object, order: object) -> _Array:
    array = _Array()
    array.state = (shape, dtype, order == "F", raw, False)
    return array


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafePickleError("it encodes text other than bytes in disguise")
    return text.encode("latin1")


def _never(name: str) -> Callable[..., object]:
    def call(*args: object) -> object:
        raise UnsafePickleError(f"it calls {name}")

    return call


def _empty_bytes(*args: object) -> bytes:
    if args:
        raise UnsafePickleError("it calls bytes with arguments")
    return b""


def _container(kind: type) -> Callable[..., object]:
    def call(*args: object) -> object:
        most = 2 if kind is complex else 1
        if len(args) > most or not all(isinstance(arg, list | tuple | dict | set | str | int | float) for arg in args):
            raise UnsafePickleError(f"it calls {kind.__name__} with unexpected arguments")
        return kind(*args)

    return call


def _default_dict(*args: object) -> defaultdict:
    kinds = {f"builtins.{kind.__name__}": kind for kind in (int, float, str, list, dict, set)}
    if len(args) != 1 or not isinstance(args[0], _Global) or args[0].name not in kinds:
        raise UnsafePickleError("it makes a defaultdict with an unknown factory")
    return defaultdict(kinds[args[0].name])


def _table() -> dict[tuple[str, str], object]:
    """Every name that a pickle may use. Made anew per load, so that one file cannot leave a trace for the next."""
    table: dict[tuple[str, str], object] = {}

    def add(modules: tuple[str, ...], name: str, call: Callable[..., object], alias: str = "") -> None:
        for module in modules:
            table[module, name] = _Global(alias or f"{modules[0]}.{name}", call)

    multiarray = ("numpy.core.multiarray", "numpy._core.multiarray")
    add(("numpy",), "ndarray", _never("numpy.ndarray"))
    add(("numpy",), "dtype", _DType)
    add(multiarray, "_reconstruct", _reconstruct)
    add(multiarray, "scalar", _Scalar)
    add(("numpy.core.numeric", "numpy._core.numeric"), "_frombuffer", _from_buffer)
    add(("_codecs",), "encode", _encode)
    add(("__builtin__",), "long", _container(int), "builtins.int")  # What protocols 0 to 2 call it.
    for kind in (bool, int, float, complex, str, list, tuple, dict, set, frozenset):
        add(("builtins", "__builtin__"), kind.__name__, _container(kind))
    # Protocols 0 to 2 write an empty bytes object as `bytes()`; with an argument it could ask for any size.
    add(("builtins", "__builtin__"), "bytes", _empty_bytes)
    add(("collections",), "defaultdict", _default_dict)
    add(("collections",), "OrderedDict", _container(OrderedDict))
    # MetaDrive's ScenarioDescription is a dict with class methods: its content is all we want.
    table["metadrive.scenario.scenario_description", "ScenarioDescription"] = dict
    return table


class _Unpickler(pickle.Unpickler):
    """The standard unpickler with the stand-ins for globals."""

    def __init__(self, data: bytes) -> None:
        super().__init__(BytesIO(data), encoding="latin1")
        self._table = _table()

    def find_class(self, module_name: str, global_name: str) -> object:
        """Only what the table lists."""
        found = self._table.get((module_name, global_name))
        if found is None:
            raise UnsafePickleError(f"it asks for {module_name}.{global_name}, which is not data")
        return found


def _resolve(value: Any, done: dict[int, Any], depth: int = 0) -> object:
    """Replace every stand-in inside `value`; dicts and lists are edited in place, so sharing survives."""
    kind = type(value)
    if kind in _LEAVES:
        return value
    if kind in _STAND_INS:
        return value.make()
    key = id(value)
    if key in done:
        return done[key]
    if depth > MAX_DEPTH:
        raise ScenarioError(f"containers are nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        done[key] = value
        _resolve_dict(value, done, depth)
        return value
    if kind is list:
        done[key] = value
        for index, item in enumerate(value):
            if type(item) not in _LEAVES:
                value[index] = _resolve(item, done, depth + 1)
        return value
    if kind in (tuple, set, frozenset):
        new = kind(_resolve(item, done, depth + 1) for item in value)
        done[key] = new
        return new
    raise UnsafePickleError("it keeps a function as data")


def _resolve_dict(value: dict, done: dict[int, object], depth: int) -> None:
    if getattr(value, "__dict__", None):
        raise UnsafePickleError("it adds attributes to a dictionary")
    odd_keys = False
    for name, item in value.items():
        odd_keys |= type(name) not in _LEAVES
        if type(item) not in _LEAVES:
            value[name] = _resolve(item, done, depth + 1)
    if odd_keys:
        # Tuples, or numpy scalars: replaced in place, keeping the order.
        items = [(_resolve(name, done, depth + 1), item) for name, item in value.items()]
        value.clear()
        value.update(items)


def loads(data: bytes, source: str = "pickle") -> object:
    """Read a pickle from memory; see `load`."""
    try:
        if data.startswith((b"PK\x03\x04", b"\x1f\x8b")):
            raise ScenarioError("a compressed file")
        scan(data)
        return _resolve(_Unpickler(data).load(), {})
    except UnsafePickleError as error:
        raise UnsafePickleError(
            f"{source}: refused, because {error}. Scenario files hold numpy arrays and builtin containers only; "
            "do not open this file with anything else unless you trust its author."
        ) from error
    except (ScenarioError, *_BROKEN) as error:
        plain = isinstance(error, ScenarioError)
        reason = str(error) if plain else f"{type(error).__name__}: {error}".removesuffix(": ")
        raise ScenarioError(
            f"{source}: not a whole pickle ({reason}). Expected a ScenarioDescription pickle, found "
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
        UnsafePickleError: It asks for anything else (names what).
        ScenarioError: It is missing, unreadable, no regular file, too long, empty, truncated, or not a pickle.
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

"""PyTorch's zip archives without PyTorch: a pickle of plain opcodes beside the raw numbers of its tensors.

`torch.save` and `torch.jit.save` write the same layout. The pickle is walked here by a small machine that knows only
the opcodes these two write, makes plain Python values, and calls nothing. Tensors are described, with the bytes that
they need checked against the bytes that are there, before any is made.
"""

from __future__ import annotations

import math
import pickletools
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.files import MEGABYTE, checked_zip

MAX_BYTES: Final = 512 * MEGABYTE
"""Bytes of an archive, packed or not. A driving policy has a few megabytes."""
MAX_PICKLE: Final = 2 * MEGABYTE
"""Bytes of a pickle: about 150 for each tensor."""
MAX_DEPTH: Final = 60
"""Deepest nesting of containers and modules."""
MAX_LEAVES: Final = 2_000_000
"""Most values, each counted as often as it is reached: tuples of twice the same tuple double with each level."""
SIZES: Final[Mapping[str, tuple[int, str]]] = {
    "DoubleStorage": (8, "<f8"),
    "FloatStorage": (4, "<f4"),
    "HalfStorage": (2, "<f2"),
    "BFloat16Storage": (2, "bfloat16"),
    "LongStorage": (8, "<i8"),
    "IntStorage": (4, "<i4"),
    "ShortStorage": (2, "<i2"),
    "CharStorage": (1, "i1"),
    "ByteStorage": (1, "u1"),
    "BoolStorage": (1, "?"),
}
"""Bytes of a number and numpy's name for it, by kind of storage."""
DAMAGE: Final = (
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError, RuntimeError, OSError),
    *(zipfile.BadZipFile, zlib.error, MemoryError),
)
"""What a damaged archive may raise while it is read."""
_KEY: Final = re.compile(r"[\w.]{1,80}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Named:
    """A name that a pickle mentions: a class, a function, or a kind of storage."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers in a member of the archive: kind of storage, the member's key, and how many there are."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as a view of a storage: `offset`, `shape` and `stride` in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(slots=True)
class Instance:
    """An object of a TorchScript class: its class, and its attributes by name."""

    kind: Named
    state: dict[str, Any] = field(default_factory=dict)


class TorchArchive:
    """The members of one archive, below its one folder."""

    def __init__(self, data: bytes) -> None:
        """Open it.

        Raises:
            ValueError: It is too large, or its members do not lie in one folder.
            BadZipFile: It is no zip.
        """
        self._zip = checked_zip(data, MAX_BYTES, ratio=50.0)
        members = [member for member in self._zip.infolist() if not member.is_dir()]
        roots = {member.filename.partition("/")[0] for member in members}
        if len(roots) != 1:
            raise ValueError(f"its members do not lie in one folder, but in {sorted(roots)[:3]}")
        self._members = {member.filename.partition("/")[2]: member for member in members}

    @property
    def names(self) -> list[str]:
        """Names of members, in their order."""
        return list(self._members)

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """The content of a member.

        Raises:
            ValueError: There is none, it is too long, or has another length than it says.
        """
        member = self._members.get(name)
        if member is None:
            raise ValueError(f"it has no member {name[:80]!r}")
        if member.file_size > limit:
            raise ValueError(f"{name[:80]!r} has {member.file_size:,} bytes, the limit is {limit:,}")
        with self._zip.open(member) as opened:
            data = opened.read(member.file_size)
            if len(data) != member.file_size or opened.read(1):
                raise ValueError(f"{name[:80]!r} has another length than the archive says")
        return data

    def unpickle(self, name: str, folder: str, *, script: bool) -> tuple[Any, dict[str, Storage]]:
        """The value of a pickle, and the storages that its tensors use, by the names of their members.

        Args:
            name: The pickle.
            folder: Folder of its tensors' numbers.
            script: Whether `torch.jit.save` wrote it: then it may make objects of the archive's own classes.

        Raises:
            ValueError: It asks for anything but tensors and plain values, or claims more numbers than there are.
        """
        value = unpickle(self.read(name, MAX_PICKLE), script=script)
        used: dict[str, Storage] = {}
        for tensor in tensors_in(value):
            member = f"{folder}/{tensor.storage.key}"
            if used.setdefault(member, tensor.storage) != tensor.storage:
                raise ValueError(f"{member!r} is used as two kinds of storage")
        for member, storage in used.items():
            size = self._members[member].file_size if member in self._members else -1
            if storage.count * SIZES[storage.kind][0] != size:
                raise ValueError(f"{member!r} has {size} bytes, expected {storage.count} numbers of {storage.kind}")
        return value, used

    def array(self, tensor: StoredTensor, folder: str) -> NDArray[Any]:
        """A tensor as an array that owns its memory; bfloat16 becomes float32."""
        kind = SIZES[tensor.storage.kind][1]
        data = self.read(f"{folder}/{tensor.storage.key}")
        if kind == "bfloat16":
            flat = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        else:
            flat = np.frombuffer(data, kind)
        size = flat.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(
            flat[tensor.offset :], tensor.shape, [size * step for step in tensor.stride], writeable=False
        )
        return view.copy()


def unpickle(data: bytes, *, script: bool) -> Any:
    """The plain value of a pickle as `torch.jit.save` (`script`) or `torch.save` writes it; see the module.

    Raises:
        ValueError: It holds anything else, or is nested too deep.
    """
    value = _Machine(script).run(data)
    _measure(value, {}, 0)
    return value


def tensors_in(value: object) -> list[StoredTensor]:
    """Every tensor within a value, each once."""
    found: list[StoredTensor] = []
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, StoredTensor):
            found.append(item)
        else:
            waiting.extend(_children(item))
    return found


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, Instance):
        return list(value.state.values())
    return list(value) if isinstance(value, (list, tuple)) else []


def _measure(value: object, known: dict[int, int], depth: int) -> int:
    """How many values there are, each counted as often as it is reached."""
    if not isinstance(value, (dict, list, tuple, Instance)):
        return 1
    if depth > MAX_DEPTH:
        raise ValueError(f"its pickle is nested more than {MAX_DEPTH} deep, or holds itself")
    count = known.get(id(value), 0)
    if not count:
        count = 1 + sum(_measure(item, known, depth + 1) for item in _children(value))
        if count > MAX_LEAVES:
            raise ValueError(f"its pickle holds more than {MAX_LEAVES:,} values")
        known[id(value)] = count
    return count


_MARK: Final = object()


class _Machine:
    """Runs the opcodes of pickle protocol 2 that PyTorch writes."""

    def __init__(self, script: bool) -> None:
        self.script = script
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.constants = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
        self.actions: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "MARK": lambda _: self.stack.append(_MARK),
            "GLOBAL": lambda text: self.stack.append(Named(*text.split(" ", 1))),
            "EMPTY_TUPLE": lambda _: self.stack.append(()),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "TUPLE": lambda _: self.stack.append(tuple(self.marked())),
            "TUPLE1": lambda _: self.stack.append(self.top(1)),
            "TUPLE2": lambda _: self.stack.append(self.top(2)),
            "TUPLE3": lambda _: self.stack.append(self.top(3)),
            "APPEND": lambda _: self.extend([self.stack.pop()]),
            "APPENDS": lambda _: self.extend(self.marked()),
            "SETITEM": lambda _: self.update(list(self.top(2))),
            "SETITEMS": lambda _: self.update(self.marked()),
            "BINPERSID": lambda _: self.stack.append(_storage(self.stack.pop())),
            "REDUCE": lambda _: self.stack.append(_call(*self.top(2))),
            "NEWOBJ": lambda _: self.stack.append(_instance(*self.top(2))),
            "BUILD": lambda _: self.build(self.stack.pop()),
        }
        for name in ("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"):
            self.actions[name] = self.stack.append
        for name in ("BINPUT", "LONG_BINPUT"):
            self.actions[name] = self.remember
        for name in ("BINGET", "LONG_BINGET"):
            self.actions[name] = lambda index: self.stack.append(self.memo[index])

    def run(self, data: bytes) -> Any:
        """The value on top at the end."""
        for opcode, argument, place in pickletools.genops(data):
            if opcode.name == "STOP":
                if len(self.stack) != 1 or place != len(data) - 1:
                    raise ValueError("its pickle does not end where its value does")
                return self.stack[0]
            if opcode.name in self.constants:
                self.stack.append(self.constants[opcode.name])
            elif opcode.name in self.actions:
                self.actions[opcode.name](argument)
            else:
                raise ValueError(f"its pickle holds the opcode {opcode.name}, which PyTorch does not write")
        raise ValueError("its pickle ends too early")

    def top(self, count: int) -> tuple[Any, ...]:
        """The last values, taken off."""
        if len(self.stack) < count or _MARK in self.stack[-count:]:
            raise ValueError("its pickle takes more than there is")
        found = tuple(self.stack[-count:])
        del self.stack[-count:]
        return found

    def marked(self) -> list[Any]:
        """The values since the last mark, taken off with it."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise ValueError("its pickle takes more than there is")

    def remember(self, index: int) -> None:
        """Keep the value on top under a number."""
        if self.stack[-1] is _MARK:
            raise ValueError("its pickle keeps a mark")
        self.memo[index] = self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        """Append to the list on top."""
        if not isinstance(self.stack[-1], list):
            raise ValueError("its pickle appends to what is no list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        """Set keys and values in the dictionary on top."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ValueError("its pickle sets items of what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int, float, bool):
                raise ValueError("its pickle has a key that is neither text nor a number")
            target[key] = value

    def build(self, state: object) -> None:
        """Set the attributes of the object on top; those of a dictionary (`_metadata`) are left out."""
        target = self.stack[-1]
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise ValueError("its pickle builds an object from something else than attributes by name")
        if isinstance(target, Instance) and self.script:
            target.state.update(state)
        elif type(target) is not dict or self.script:
            raise ValueError("its pickle builds what is no object")


def _storage(identity: object) -> Storage:
    if not isinstance(identity, tuple) or len(identity) < 5:
        raise ValueError("its pickle refers to something outside of it that is no storage")
    word, kind, key, place, count = identity[:5]
    named = isinstance(kind, Named) and kind.module == "torch" and kind.name in SIZES
    if word != "storage" or not isinstance(kind, Named) or not named or any(item is not None for item in identity[5:]):
        raise ValueError(f"its pickle has numbers of the kind {kind}, which are not read")
    if not isinstance(key, str) or not _KEY.fullmatch(key) or not isinstance(place, str) or not _whole(count):
        raise ValueError("its pickle describes a storage by something else than key, device and size")
    return Storage(kind.name, key, count)


def _whole(*values: object) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _tensor(storage: object, offset: object, shape: object, stride: object, *_: object) -> StoredTensor:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise ValueError("its pickle describes a tensor by something else than storage, offset, shape and stride")
    if len(shape) != len(stride) or len(shape) > 16 or not _whole(offset, *shape, *stride):
        raise ValueError(f"a tensor has the impossible offset {offset}, shape {shape} or stride {stride}"[:300])
    assert isinstance(offset, int)
    count = math.prod(shape)
    end = offset + (sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) + 1 if count else 0)
    # A tensor of more numbers than its storage repeats them: a small file would become a large array.
    if count > storage.count or end > storage.count:
        raise ValueError(f"a tensor of shape {shape} needs {max(count, end)} numbers, its storage has {storage.count}")
    return StoredTensor(storage, offset, shape, stride)


_LISTS: Final = frozenset(f"build_{kind}list" for kind in ("int", "double", "bool", "tensor"))


def _call(function: object, arguments: object) -> Any:
    if not isinstance(function, Named):
        raise ValueError("its pickle calls something that is no name")
    if _own_class(function) and isinstance(arguments, (str, int, float)):
        return arguments  # A member of an enumeration, by its value.
    if not isinstance(arguments, tuple):
        raise ValueError("its pickle calls something with what are no arguments")
    match (function.module, function.name), arguments:
        case ("torch._utils", "_rebuild_tensor_v2"), (_, _, _, _, *_):
            return _tensor(*arguments)
        case ("torch._utils", "_rebuild_parameter"), (StoredTensor() as tensor, *_):
            return tensor
        case ("collections", "OrderedDict"), ():
            return {}
        case ("torch.jit._pickle", name), (list() as items,) if name in _LISTS:
            return items
        case ("torch.jit._pickle", "restore_type_tag"), (value, str() as kind) if len(kind) < 1000:
            if kind.count("[") > 20:
                raise ValueError("its pickle names a type that is nested too deep")
            return value
        case ("torch", "device"), (str() as place,):
            return place
    raise ValueError(f"its pickle calls {function}, which is not data")


def _own_class(kind: object) -> bool:
    """Whether a name is one of the archive's own classes, and not one that torch keeps in its own code."""
    return isinstance(kind, Named) and str(kind).startswith("__torch__.") and ".classes" not in str(kind)


def _instance(kind: object, arguments: object) -> Instance:
    if not isinstance(kind, Named) or arguments != () or not _own_class(kind):
        raise ValueError(f"its pickle makes an object of {kind}, which is no class of the file's own")
    return Instance(kind)

"""Pickles as PyTorch writes them, walked without unpickling.

A small walker follows the opcodes that `torch.save` and `torch.jit.save` write, and makes plain Python values. It
imports nothing and calls nothing: names stay names, tensors are described. Python's own unpickler is not used. The
machine that reads scenes (`scenarios/safe_pickle.py`) makes arrays and refuses names and references as data; here these
are what there is to read.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

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
DEVICE: Final = re.compile(r"(cpu|cuda|mps)(:\d{1,3})?", re.ASCII)
"""Devices that a file may name: tensors of others have no numbers."""
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


@dataclass(frozen=True, slots=True)
class Device:
    """A device by its text."""

    place: str


@dataclass(slots=True)
class Instance:
    """An object of a TorchScript class: its class, its attributes by name, and whether it has been given them."""

    kind: Named
    state: dict[str, Any] = field(default_factory=dict)
    built: bool = False


Tagged = list[tuple[object, str]]
"""Containers, each with the text of the type that the pickle names for it."""


def unpickle(data: bytes, *, script: bool, check: Callable[[object, Tagged], None] | None = None) -> Any:
    """The plain value of a pickle as `torch.jit.save` (`script`) or `torch.save` writes it; see the module.

    Args:
        data: The pickle.
        script: Whether `torch.jit.save` wrote it.
        check: Called with the value, and with the containers in it that name their types.

    Raises:
        ValueError: It holds anything else, or is nested too deep.
    """
    walker = OpcodeWalker(script)
    value = walker.run(data)
    measure(value)
    if check is not None:
        check(value, walker.tagged)
    return value


def tensors_in(value: object) -> list[StoredTensor]:
    """Every tensor within a value, each once."""
    return [item for item in each_within([value]) if isinstance(item, StoredTensor)]


def each_within(values: list[object]) -> Iterator[object]:
    """The values and everything within them, each object once."""
    waiting, seen = list(values), set[int]()
    while waiting:
        item = waiting.pop()
        if id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting.extend(children(item))


def children(value: object) -> list[object]:
    """What a container or an object holds; nothing for any other value."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, Instance):
        return list(value.state.values())
    return list(value) if isinstance(value, (list, tuple)) else []


def measure(value: object, known: dict[int, int] | None = None, depth: int = 0) -> int:
    """How many values there are, each counted as often as it is reached.

    Raises:
        ValueError: More than `MAX_LEAVES`, or nested deeper than `MAX_DEPTH`.
    """
    known = {} if known is None else known
    if not isinstance(value, (dict, list, tuple, Instance)):
        return 1
    if depth > MAX_DEPTH:
        raise ValueError(f"its pickle is nested more than {MAX_DEPTH} deep, or holds itself")
    if isinstance(value, Instance) and not value.built:
        raise ValueError("its pickle holds an object without attributes")
    count = known.get(id(value), 0)
    if not count:
        count = 1 + sum(measure(item, known, depth + 1) for item in children(value))
        if count > MAX_LEAVES:
            raise ValueError(f"its pickle holds more than {MAX_LEAVES:,} values")
        known[id(value)] = count
    return count


_MARK: Final = object()


class OpcodeWalker:
    """Runs the opcodes of pickle protocol 2 that PyTorch writes."""

    def __init__(self, script: bool) -> None:
        """Begin; `script` as of `unpickle`."""
        self.script = script
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.limit = 0
        self.tagged: Tagged = []
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
            "APPEND": lambda _: self.extend(list(self.top(1))),
            "APPENDS": lambda _: self.extend(self.marked()),
            "SETITEM": lambda _: self.update(list(self.top(2))),
            "SETITEMS": lambda _: self.update(self.marked()),
            "BINPERSID": lambda _: self.stack.append(_storage(self.stack.pop())),
            "REDUCE": lambda _: self.stack.append(self.call(*self.top(2))),
            "NEWOBJ": lambda _: self.stack.append(self.instance(*self.top(2))),
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
        self.limit = len(data)
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

    def call(self, function: object, arguments: object) -> Any:
        """What a name called with arguments stands for."""
        if isinstance(function, Named) and function.name == "restore_type_tag" and isinstance(arguments, tuple):
            self.tagged += [arguments] if len(arguments) == 2 and isinstance(arguments[1], str) else []
        return _call(function, arguments)

    def instance(self, kind: object, arguments: object) -> Any:
        """What an object of a class stands for."""
        return _instance(kind, arguments)

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
        if isinstance(self.stack[-1], Instance) and not self.stack[-1].built:
            raise ValueError("its pickle keeps an object that has no attributes yet")  # To torch it is none as yet.
        if index > self.limit:  # Torch makes room for all the numbers below.
            raise ValueError(f"its pickle keeps a value under the number {index:,}")
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
            # Large integers can be chosen so that they all collide in the dictionary.
            if type(key) is not str and not (type(key) in (int, bool) and abs(key) < 1 << 31):
                raise ValueError("its pickle has a key that is neither text nor a small integer")
            target[key] = value

    def build(self, state: object) -> None:
        """Set the attributes of the object on top; those of a dictionary (`_metadata`) are left out."""
        target = self.stack[-1]
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise ValueError("its pickle builds an object from something else than attributes by name")
        if isinstance(target, Instance) and self.script and not target.built:
            target.state, target.built = dict(state), True
        elif type(target) is not dict or self.script:
            raise ValueError("its pickle builds what is no object")


def _storage(identity: object) -> Storage:
    if not isinstance(identity, tuple) or len(identity) < 5:
        raise ValueError("its pickle refers to something outside of it that is no storage")
    word, kind, key, place, count = identity[:5]
    named = isinstance(kind, Named) and kind.module == "torch" and kind.name in SIZES
    if word != "storage" or not isinstance(kind, Named) or not named or any(item is not None for item in identity[5:]):
        found = kind if isinstance(kind, Named) else "no name"
        raise ValueError(f"its pickle has numbers of the kind {found}, which are not read")
    if not isinstance(key, str) or not _KEY.fullmatch(key) or not isinstance(place, str) or not _whole(count):
        raise ValueError("its pickle describes a storage by something else than key, device and size")
    return Storage(kind.name, key, count)


def _whole(*values: object) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _tensor(storage: object, offset: object, shape: object, stride: object, *_: object) -> StoredTensor:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise ValueError("its pickle describes a tensor by something else than storage, offset, shape and stride")
    if len(shape) != len(stride) or len(shape) > 16 or not _whole(offset, *shape, *stride):
        raise ValueError("a tensor has an offset, a shape or a stride that is negative, or no whole number")
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
            return list(items)  # Torch makes a new list of another kind.
        case ("torch.jit._pickle", "restore_type_tag"), (value, str() as kind) if len(kind) < 1000:
            if kind.count("[") > 20:
                raise ValueError("its pickle names a type that is nested too deep")
            return value
        case ("torch", "device"), (str() as place,) if DEVICE.fullmatch(place):
            return Device(place)
    raise ValueError(f"its pickle calls {function}, which is not data")


def _own_class(kind: object) -> bool:
    """Whether a name is one of the archive's own classes, and not one that torch keeps in its own code."""
    return isinstance(kind, Named) and str(kind).startswith("__torch__.") and ".classes" not in str(kind)


def _instance(kind: object, arguments: object) -> Instance:
    if not isinstance(kind, Named) or arguments != () or not _own_class(kind):
        found = kind if isinstance(kind, Named) else "no name"
        raise ValueError(f"its pickle makes an object of {found}, which is no class of the file's own")
    return Instance(kind)

"""The machine that pickles made of data run on: a stack, a memory, and what may be put where.

It counts the memory of what is made against a multiple of the file's size, looks at keys before they are hashed, and
lets nothing into a container that is not data.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable
from typing import Any, Final

import numpy as np

from harness.errors import ScenarioError, UnsafePickleError
from scenarios.pickle_values import Arguments, Global, Unfinished
from scenarios.values import brief

GROWTH: Final = 32
"""Most bytes of memory per byte of the file. Real scenes take 3 to 9, summaries of many small records 20."""
FLOOR: Final = 32_000_000
"""Bytes that any file may take, however small."""
MAX_ODD_KEYS: Final = 300_000_000
"""Most pairs among the keys of one container that are not text, added up over the file.

Text is hashed with a secret of the process; numbers are not, and a file can choose them so that each collides with all
that came before. 17,000 such keys take half a second; a scene's numbered lanes and agents are a tenth of that.
"""
MARK: Final = 40
"""Bytes of a mark, as long as it is there."""
SMALL: Final = 16
"""Most items of a dictionary that fits its table closely."""
MAX_KEY: Final = 16
"""Longest tuple that may be a key."""
_KEYS: Final = frozenset({str, int, float, bool, type(None), bytes})
_TEXT: Final = frozenset({str})
NO_DATA: Final = frozenset({Global, Arguments, Unfinished})
_DICTS: Final = frozenset({dict, OrderedDict, defaultdict})


class Machine:
    """The state of one pickle that is being run.

    Attributes:
        data: The pickle.
        stack, marks: Values, and how many there were at each mark.
        memo: Values by number, for later use; `Unfinished` where a number was passed over.
        spent, limit: Bytes of memory taken so far, and how many may be taken.
    """

    def __init__(self, data: bytes) -> None:
        """Begin; nothing is read yet."""
        self.data = data
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: list[Any] = []
        self.spent = 0
        self.limit = max(FLOOR, GROWTH * len(data))
        self._odd = 0

    def charge(self, size: int) -> None:
        """Count memory, in bytes.

        Raises:
            UnsafePickleError: It is more than the file's size allows.
        """
        self.spent += size
        if self.spent > self.limit:
            raise UnsafePickleError(
                f"it asks for more than {self.limit / 1e6:.0f} MB of memory with {len(self.data):,} bytes"
            )

    def fill(self, target: Any, keys: Collection[Any], values: Collection[Any]) -> None:
        """Put items into a dictionary; what its keys are is checked before they are hashed.

        Raises:
            UnsafePickleError: The target is no dictionary, or something is not data.
            ScenarioError: A key is not plain.
        """
        if type(target) not in _DICTS:
            raise UnsafePickleError("it sets items of something that is no dictionary")
        if not NO_DATA.isdisjoint(map(type, values)) or len(keys) != len(values):
            raise no_data(values)
        before = len(target)
        if before + len(keys) <= SMALL:
            self.charge((0 if before else 120) + 40 * len(keys))
        else:
            self.charge(120 * len(keys))  # A large table is up to three quarters empty, and is copied as it grows.
        if not _TEXT.issuperset(map(type, keys)):
            self._hashable(keys, before)
        for key, value in zip(keys, values, strict=True):
            target[key] = value  # Faster than `update`, which takes pairs apart.

    def add(self, target: Any, items: Collection[Any]) -> None:
        """Put members into a set; errors as `fill`."""
        if type(target) is not set:
            raise UnsafePickleError("it adds members to something that is no set")
        self.charge(120 * len(items))
        if not _TEXT.issuperset(map(type, items)):
            self._hashable(items, len(target))
        target.update(items)

    def _hashable(self, keys: Collection[Any], before: int) -> None:
        """Refuse keys that are costly to hash or may collide by design."""
        for key in keys:
            _check_key(key)
        self._odd += (before + len(keys)) ** 2 - before**2
        if self._odd > MAX_ODD_KEYS:
            raise UnsafePickleError(
                f"it holds {before + len(keys):,} keys or members of one container that are not text, which may be "
                "chosen to stall the reader"
            )

    def put(self, index: int) -> None:
        """Keep what is on top under a number.

        Raises:
            UnsafePickleError: Fewer entries than that fit into the file.
        """
        # Every entry takes at least one byte of the file.
        if not 0 <= index <= len(self.data):
            raise UnsafePickleError(f"it numbers a memo entry {index} in {len(self.data)} bytes, to exhaust the memory")
        passed = index - len(self.memo)
        self.charge(90 + 8 * max(passed, 0))
        if passed >= 0:
            self.memo += [Unfinished()] * passed  # Python 2 begins with 1.
            self.memo.append(self.stack[-1])
        else:
            self.memo[index] = self.stack[-1]

    def get(self, index: int) -> Any:
        """What was kept under a number; arrays and data types as what they have become.

        Raises:
            IndexError: Nothing was.
            ScenarioError: It has no content yet.
        """
        if index < 0:
            raise IndexError(index)
        value = self.memo[index]
        return finished(value) if type(value) is Unfinished else value

    def since_mark(self) -> list[Any]:
        """The items above the last mark, taken from the stack."""
        mark = self.marks.pop()
        self.spent -= MARK
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def result(self) -> object:
        """What is on top at the end."""
        value = self.stack.pop()
        if type(value) in NO_DATA:
            raise no_data([value])
        return value


def finished(value: Unfinished) -> np.ndarray | np.dtype[np.generic]:
    """The array or data type that an entry of the memory has become.

    Raises:
        ScenarioError: It has no content yet.
    """
    if value.made is None:
        raise no_data([value])
    return value.made


def as_tuple(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """The items as data, or as arguments of a call where they mention names."""
    return items if NO_DATA.isdisjoint(map(type, items)) else _arguments(items)


def _arguments(items: tuple[Any, ...]) -> Arguments:
    if not {Arguments, Unfinished}.isdisjoint(map(type, items)):
        raise no_data(items)
    return Arguments(items)


def no_data(values: Iterable[Any]) -> UnsafePickleError | ScenarioError:
    """The error for values of which one is not data."""
    if any(type(value) is Unfinished for value in values):
        return ScenarioError("an array has no content")
    return UnsafePickleError("it keeps a function as data")


def _check_key(key: Any, depth: int = 0) -> None:
    kind = type(key)
    if kind is int:
        if not -(2**63) <= key < 2**64:
            raise ScenarioError(f"a key or member is a whole number of {key.bit_length()} bits; 64 are read")
    elif kind is tuple:
        if len(key) > MAX_KEY or depth > 1:
            raise ScenarioError(f"a key or member is a tuple of more than {MAX_KEY} items, or of tuples of tuples")
        for item in key:
            _check_key(item, depth + 1)
    elif kind not in _KEYS and not (isinstance(key, np.generic) and key.nbytes <= 1000):
        raise ScenarioError(f"a key or member is {brief(key)}; only text, numbers and short tuples of them are read")

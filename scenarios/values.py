"""What may stand in a field of a stranger's file: ids, text, and arrays of numbers, made without surprises.

`str` of a nested list, `numpy.asarray` of a long text beside many short ones, and `repr` of a number of a million
digits cost time and memory out of all proportion to the file. These functions look at what a value is first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import shown

MAX_NAME: Final = 200
"""Characters of an id or a type. Those of published sets have up to 90; each is a key of many tables."""
MAX_BITS: Final = 128
"""Bits of a whole number. Ids have 64, or 128 where they are UUIDs; longer numbers are slow to write as text."""
_NUMBERS: Final = frozenset(
    {int, float, bool, *(kind for kind in np.sctypeDict.values() if issubclass(kind, np.number | np.bool_))}
)
_LISTS: Final = frozenset({list, tuple})
_LEVELS: Final = 4
"""Deepest nesting of lists that stand for an array: agents, steps, coordinates, and one to spare."""


def brief(value: object, limit: int = 60) -> str:
    """What a message says of a value from a file: short text as it is, of anything else the type."""
    if isinstance(value, str):
        return ascii(str(value) if len(value) <= limit else str(value[:limit]) + "…")
    if isinstance(value, bool | float | type(None)) or (isinstance(value, int) and value.bit_length() <= MAX_BITS):
        return repr(value)
    if isinstance(value, np.number):
        return repr(value.item())
    return type(value).__name__


def identifier(value: object) -> str:
    """An id as text.

    Raises:
        ValueError: It is neither text nor a whole number, too long, or has characters that cannot be shown.
    """
    if isinstance(value, str) and len(value) <= MAX_NAME:
        if not value.isprintable() and shown(value) != value:
            raise ValueError(f"found {brief(value)}, an id with characters that cannot be shown")
        return str(value)
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if whole and int(value).bit_length() <= MAX_BITS:  # type: ignore[call-overload]
        return str(int(value))  # type: ignore[call-overload]
    if isinstance(value, str):
        raise ValueError(f"found a text of {len(value):,} characters; an id has at most {MAX_NAME}")
    raise ValueError(f"found {brief(value)} instead of an id")


def related_ids(value: object) -> tuple[str, ...]:
    """Ids of related lanes, from one id, a list of ids, or one of WOMD's neighbour records.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(value, np.ndarray) and value.ndim < 2:
        value = value.tolist()
    if value is None:
        return ()
    if not isinstance(value, (list, tuple, set, frozenset)):
        return (identifier(value),)
    return tuple(_lane_id(item) for item in value) if value else ()


def _lane_id(item: object) -> str:
    name = item if isinstance(item, str) or not isinstance(item, Mapping) else item.get("feature_id")
    return "None" if name is None else identifier(name)


def numbers(value: object) -> NDArray[Any]:
    """A value as an array of numbers or booleans; an array comes back as it is.

    Raises:
        ValueError: It is no array and no list, its parts are of different lengths, or something in it is no number of
            64 bits.
    """
    if isinstance(value, np.ndarray):
        found = value
    else:
        _check_leaves(value)
        try:
            found = np.asarray(value)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"found numbers of which no array can be made ({error})") from error
    if found.dtype.kind not in "biuf":
        raise ValueError(f"found {found.dtype} instead of numbers")
    return found


def points_of(entries: Iterable[Mapping[str, float]]) -> NDArray[np.float64]:
    """Points [N, 3] of records with `x`, `y` and perhaps `z`, m.

    Raises:
        KeyError, TypeError, ValueError, …: They are something else (importers turn these into `ScenarioError`).
    """
    rows = [(entry["x"], entry["y"], entry.get("z", 0.0)) for entry in entries]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _check_leaves(value: object) -> None:
    """Refuse what is no list of lists of numbers, before numpy looks for a type that holds all of it."""
    level: list[Any] = [value]
    for _ in range(_LEVELS + 1):
        kinds = set(map(type, level))
        if kinds <= _NUMBERS:
            return
        odd = kinds - _NUMBERS - _LISTS - {np.ndarray}
        if odd:
            raise ValueError(f"found {min(kind.__name__ for kind in odd)} instead of numbers")
        if np.ndarray in kinds:
            arrays = [item for item in level if type(item) is np.ndarray]
            if len(arrays) < len(level) or any(item.dtype.kind not in "biuf" for item in arrays):
                raise ValueError("found arrays and other things in one list")
            if any(item.shape != arrays[0].shape for item in arrays):
                raise ValueError("found arrays of different shapes in one list")
            return
        if kinds != {list} and kinds != {tuple} and not kinds <= _LISTS:
            raise ValueError("found numbers and lists in one list")
        level = list(chain.from_iterable(level))
    raise ValueError(f"found lists that are nested more than {_LEVELS} deep")

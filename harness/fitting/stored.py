"""Configurations and arrays out of strangers' files: each of the type and size that it must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError, WeightsError
from harness.files import JsonDict
from scenarios.values import brief

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")

MOST: Final = 4_096.0
"""Largest number in a configuration unless it has a limit of its own: widths, counts, metres."""


def settings_from_json(
    kind: type[Settings], values: JsonDict, where: str, most: Mapping[str, float] | None = None
) -> Settings:
    """A configuration out of a header: each value of its field's type, finite, and neither negative nor absurd.

    Args:
        kind: A dataclass whose fields are numbers, booleans and literal words.
        values: By field name.
        where: File, for messages.
        most: Largest number by field name, `MOST` where it is not named.

    Raises:
        WeightsError: A field is unknown, missing, of another type, or out of bounds, or fields do not fit together.
    """
    hints = get_type_hints(kind)
    names = {item.name for item in fields(kind)}
    needed = {item.name for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING}
    if wrong := [*sorted(set(values) - names), *sorted(needed - set(values))]:
        raise WeightsError(f"{where}: configuration field {brief(wrong[0])} is unknown or missing.")
    for name, value in values.items():
        hint, limit = hints[name], (most or {}).get(name, MOST)
        if get_origin(hint) is Literal or hint is bool:
            choices = (True, False) if hint is bool else get_args(hint)
            # `in` alone would take 1 for True.
            if not any(type(value) is type(choice) and value == choice for choice in choices):
                raise WeightsError(
                    f"{where}: configuration field {name!r} is {brief(value)}, expected one of "
                    f"{', '.join(map(str, choices))}."
                )
            continue
        fits = isinstance(value, int) or (hint is float and isinstance(value, float))
        if isinstance(value, bool) or not fits or not 0 <= value <= limit:
            raise WeightsError(
                f"{where}: configuration field {name!r} must be a{'n integer' if hint is int else ' number'} from 0 "
                f"to {limit:g}, found {brief(value)}."
            )
    try:
        return kind(**values)
    except (ConfigError, ArithmeticError) as error:
        raise WeightsError(f"{where}: its configuration cannot work ({error}).") from error


def check_layout(arrays: Mapping[str, NDArray[np.generic]], layout: Mapping[str, str]) -> dict[str, int]:
    """Compare arrays of a file with the types and shapes that belong together.

    Args:
        arrays: By name.
        layout: By name its type and the sizes of its axes, as in `f8 A 3`; a letter is the same number everywhere.

    Returns:
        The number that each letter stands for.

    Raises:
        ValueError: An array has another type or shape.
    """
    sizes: dict[str, int] = {}
    for name, text in layout.items():
        kind, *shape = text.split()
        array = arrays[name]
        found = zip(shape, array.shape, strict=True) if len(shape) == array.ndim else [("0", 1)]
        fits = all(size == (int(axis) if axis.isdigit() else sizes.setdefault(axis, size)) for axis, size in found)
        if array.dtype != np.dtype(kind) or not fits:
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, expected {text}")
    return sizes

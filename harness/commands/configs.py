"""Configurations as plain values: into `run.json`, back out of it, and what differs between two of them."""

from __future__ import annotations

import math
import re
import sys
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.errors import ConfigError
from scenarios.values import brief

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
Config = TypeVar("Config", bound="DataclassInstance")


def option(name: str) -> str:
    """How a field is spelled on the command line: `td3.batch_size` is `--td3.batch-size`."""
    return "--" + name.replace("_", "-")


def at_least(least: float, **values: float) -> None:
    """Refuse values of options that are too small.

    Args:
        least: The smallest value that works.
        values: Values by field name.

    Raises:
        ConfigError: One is smaller, or not a number; the message names the option as it is typed.
    """
    for name, value in values.items():
        if not value >= least:
            raise ConfigError(f"{option(name)} {value}: expected at least {least}.")


def seconds_of(name: str, text: str) -> float:
    """The seconds of an option that is a span of time, such as `90s`, `10m` or `1.5h`.

    Raises:
        ConfigError: It is none, or nothing.
    """
    found = _SPAN.fullmatch(text)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"{option(name)} {text!r:.40}: expected a time above 0 such as 90s, 10m or 2h.")
    return seconds


def check_finite(values: Mapping[str, object], where: str = "") -> None:
    """Refuse numbers that `run.json` cannot hold, so that every run that begins can be gone on with.

    Args:
        values: A configuration as dictionaries.
        where: What stands before the names of its fields.

    Raises:
        ConfigError: One is NaN or infinite; the message names the option as it is typed.
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            check_finite(value, f"{where}{name}.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{option(where + name)} {value}: expected a finite number.")


class StoredValues(NamedTuple):
    """Where plain values come from, for messages.

    Attributes:
        what: The whole.
        part: One of it.
        spelled: How a field is written.
        remedy: What to do where a value is of another type.
        unknown: What to do about a field that is not known.
    """

    what: str
    part: str
    spelled: Callable[[str], str]
    remedy: str
    unknown: str


CONFIGURATION: Final = StoredValues(
    "the run's configuration",
    "option",
    option,
    "Its run.json is damaged, or another version wrote it: start anew.",
    "Start anew, or go on with the version that its run.json names.",
)


def rebuild(
    kind: type[Config], stored: Mapping[str, object], where: str = "", source: StoredValues = CONFIGURATION
) -> Config:
    """A configuration, or other dataclass, from the plain values of a JSON file; fields that it lacks keep defaults.

    Args:
        kind: The class, of nested dataclasses, paths, tuples of one type, numbers, text and None.
        stored: Values by field name.
        where: Name of the field that holds this one, for messages.
        source: Where they come from, for messages.

    Raises:
        ConfigError: A field is unknown, or missing without a default, or its value is of another type: another version
            wrote it, or it is damaged.
    """
    if not isinstance(stored, Mapping):
        raise ConfigError(f"{source.what} is {brief(stored)}, expected {source.part}s by name. {source.remedy}")
    hints = get_type_hints(kind)
    if unknown := sorted(set(stored) - {item.name for item in fields(kind)}):
        raise ConfigError(
            f"{source.what} has the unknown {source.part} {source.spelled(where + unknown[0])}: another version made "
            f"it. {source.unknown}"
        )
    needed = {item.name for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING}
    if missing := sorted(needed - set(stored)):
        raise ConfigError(
            f"{source.what} lacks the {source.part} {source.spelled(where + missing[0])}. {source.remedy}"
        )
    return kind(**{name: _value(hints[name], value, f"{where}{name}", source) for name, value in stored.items()})


def _value(hint: object, value: object, where: str, source: StoredValues) -> object:
    """One value as its type hint wants it."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None and types.NoneType in get_args(hint):
            return None
        return _value(next(item for item in get_args(hint) if item is not types.NoneType), value, where, source)
    if isinstance(hint, type) and is_dataclass(hint):
        if not isinstance(value, Mapping):
            found = f"expected {source.part}s, found {brief(value)}"
            raise ConfigError(f"{source.what}: {source.spelled(where)}: {found}.")
        return rebuild(hint, value, f"{where}.", source)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_value(get_args(hint)[0], item, where, source) for item in value)
    if not _fits(hint, value):
        expected = ", ".join(map(repr, get_args(hint))) or getattr(hint, "__name__", str(hint))
        raise ConfigError(
            f"{source.what}: {source.spelled(where)}: expected {expected}, found {brief(value)}. {source.remedy}"
        )
    return Path(str(value)) if hint is Path else value


def _fits(hint: object, value: object) -> bool:
    """Whether a plain value is one of its type hint; hints of other kinds than configurations have fit everything."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        return False
    if hint is float and isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
        return False
    if hint in (int, float, str, bool, Path):
        kinds: dict[object, tuple[type, ...]] = {float: (int, float), Path: (str,)}
        return isinstance(value, kinds.get(hint, (hint,))) and (hint is bool or not isinstance(value, bool))  # type: ignore[arg-type]
    return True


def differences(mine: DataclassInstance, theirs: DataclassInstance, may_differ: Collection[str] = ()) -> list[str]:
    """Options in which two configurations of one class differ, as `--option: mine (the run has theirs)`.

    Args:
        mine: What is asked for.
        theirs: What the run was made with.
        may_differ: Fields that may, dotted where nested; a nested group's own name stands for all of it.
    """
    return [
        f"{option(name)}: {ours} (the run has {other})"
        for name, ours, other in _pairs(mine, theirs)
        if not any(name == free or name.startswith(f"{free}.") for free in may_differ)
    ]


def _pairs(
    mine: DataclassInstance, theirs: DataclassInstance, prefix: str = ""
) -> Iterator[tuple[str, object, object]]:
    """Leaves whose values are not the same, with their dotted names."""
    for item in fields(mine):
        ours, other = getattr(mine, item.name), getattr(theirs, item.name)
        if is_dataclass(ours) and is_dataclass(other) and not isinstance(ours, type) and not isinstance(other, type):
            yield from _pairs(ours, other, f"{prefix}{item.name}.")
        elif ours != other:
            yield prefix + item.name, ours, other

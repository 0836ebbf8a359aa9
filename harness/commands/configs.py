"""Configurations as plain values: into `run.json`, back out of it, and what differs between two of them."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

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


def rebuild(kind: type[Config], stored: Mapping[str, object], where: str = "") -> Config:
    """A configuration from the plain values of `run.json`; fields that it lacks keep their defaults.

    Args:
        kind: The configuration's class, of nested dataclasses, paths, tuples, numbers, text and None.
        stored: Values by field name.
        where: Name of the field that holds this one, for messages.

    Raises:
        ConfigError: A field is unknown, or its value is of another type: another version wrote it, or it is damaged.
    """
    if not isinstance(stored, Mapping):
        raise ConfigError(f"the run's configuration is {repr(stored)[:60]}, expected options by name. Start anew.")
    hints = get_type_hints(kind)
    known = {item.name for item in fields(kind)}
    if unknown := sorted(set(stored) - known):
        raise ConfigError(
            f"the run's configuration has the unknown option {option(where + unknown[0])}: another version made it. "
            "Start anew, or go on with the version that its run.json names."
        )
    return kind(**{name: _value(hints[name], value, f"{where}{name}") for name, value in stored.items()})


def _value(hint: object, value: object, where: str) -> object:
    """One value as its type hint wants it."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None and types.NoneType in get_args(hint):
            return None
        return _value(next(item for item in get_args(hint) if item is not types.NoneType), value, where)
    if isinstance(hint, type) and is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"the run's configuration: {option(where)}: expected options, found {repr(value)[:60]}.")
        return rebuild(hint, value, f"{where}.")
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_value(get_args(hint)[0], item, where) for item in value)
    if not _fits(hint, value):
        expected = ", ".join(map(repr, get_args(hint))) or getattr(hint, "__name__", str(hint))
        raise ConfigError(
            f"the run's configuration: {option(where)}: expected {expected}, found {repr(value)[:60]}. "
            "Its run.json is damaged, or another version wrote it: start anew."
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

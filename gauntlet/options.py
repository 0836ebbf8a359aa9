"""From keywords to a command's configuration, and from Python objects to names of components."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, get_origin, get_type_hints

from harness.commands.configs import StoredValues, rebuild
from harness.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
MAIN: Final = "__main__"
"""Module of the main script, of a notebook and of the interpreter."""
KEYWORDS: Final = StoredValues("the call", "option", str, "See help() of the configuration.", "Check its spelling.")
"""How messages speak of options that a call has as keywords."""


def configured(base: Config, **options: object) -> Config:
    """A configuration with other values.

    Args:
        base: The values that stay.
        options: New values by field name. A group of options takes a mapping (`ppo={"rate": 1e-4}`), and a field of
            several values also takes a single one.

    Raises:
        ConfigError: There is no such option, or its value is of another type or cannot work.
    """
    known = {item.name for item in fields(base)}
    for name in options:
        if name not in known:
            raise ConfigError(f"unknown option {name!r}. Options are: {', '.join(sorted(known))}.")
    return rebuild(cast("type[Config]", type(base)), _merged(base, options), source=KEYWORDS)


def _merged(base: DataclassInstance, options: Mapping[str, object]) -> dict[str, object]:
    hints = get_type_hints(type(base))
    values: dict[str, object] = _plain(asdict(base))
    for name, value in options.items():
        group = getattr(base, name, None)
        if is_dataclass(group) and not isinstance(group, type) and isinstance(value, Mapping):
            values[name] = _merged(group, value)
        elif get_origin(hints.get(name)) is tuple and not isinstance(value, list | tuple):
            values[name] = (_plain(value),)
        else:
            values[name] = _plain(value)
    return values


def _plain(value: Any) -> Any:
    """The value as JSON would hold it: `rebuild` makes paths of texts."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def named(thing: object) -> str:
    """The name by which commands find a component: a text as it stands, `module:Thing` for a class or a function.

    Raises:
        ConfigError: It cannot be found by a name: an instance, a lambda, or something defined within a function.
    """
    if isinstance(thing, str):
        return thing
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if module is None or name is None or getattr(sys.modules.get(module), name, None) is not thing:
        raise ConfigError(
            f"{thing!r:.80}: expected a name, or a class or function at the top level of a module or of the main "
            "script, which worker processes can find again."
        )
    return f"{module}:{name}"


def several(things: object) -> list[str]:
    """The names of one component, or of several, as commands take them that compare: objects are labelled `Thing=…`.

    Raises:
        ConfigError: One cannot be found by a name.
    """
    single = isinstance(things, str) or callable(things) or not isinstance(things, Iterable)
    return [_labelled(thing) for thing in ([things] if single else cast("Iterable[object]", things))]


def _labelled(thing: object) -> str:
    text = named(thing)
    return text if isinstance(thing, str) else f"{text.rpartition(':')[2].rpartition('.')[2]}={text}"


def of_main(names: list[str]) -> bool:
    """Whether a component is defined in the main script or notebook, where no other process finds it."""
    return any(f"{MAIN}:" in name for name in names)

"""Names of code in a run that is resumed: a run folder may come from a stranger, and its words must not choose code.

`run.json` holds names such as `module:Class`, which are imported, `external:COMMAND`, which are run, and
`torchscript:FILE?trust=true`, whose graph is run unchecked. When a run is resumed, such a name counts only if whoever
resumes it types it again, and so does a place outside of the run folder that is written to. What lies in the run folder
is never imported, typed or not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.commands.configs import option
from harness.errors import ConfigError, GauntletError
from harness.registry import RegistryKind, targets
from harness.specs import labelled, parse

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

KINDS: Final[dict[str, RegistryKind]] = {
    "sut": "policy",
    "adversary": "adversary",
    "eval_adversary": "adversary",
    "evaluate_against": "adversary",
    "ablate": "adversary",
    "curriculum": "curriculum",
    "traffic": "traffic",
    "backbone": "backbone",
}
"""Fields of configurations that name components, and the kind of component."""
WRITTEN: Final = frozenset({"json", "samples", "rollouts", "cache", "junit", "freeze", "expected"})
"""Fields of configurations that name a file or folder which a run writes, besides its own folder."""
TRUST: Final = "trust"
"""Option of a component that lets its file do more than is checked."""
OBSERVE: Final = "observe"
"""Option of a system under test that names a function, `module:name`."""
RUN: Final = ("external",)
"""Registered names whose file is a command, or an address that is connected to."""


def check_resumed(config: DataclassInstance, arguments: Sequence[str], folder: Path) -> None:
    """Refuse names of code and places to write to that only the run folder names, and code that lies in the run folder.

    From then on this process imports nothing from the run folder: it is taken off the module search path.

    Args:
        config: The configuration, of the run and of the arguments.
        arguments: The command line.
        folder: The run folder.

    Raises:
        ConfigError: A name or place is not among the arguments, or a module lies in the run folder.
    """
    place, search = folder.resolve(), list(sys.path)
    typed = _typed(arguments)
    for name, path in _written(config):
        if path not in map(Path, typed) and not _inside(path, place):
            raise ConfigError(
                f"run {folder} names a place to write to: {option(name)} {path}. A run folder may come from a "
                f"stranger: give the option again, as in --resume {folder} {option(name)} {path}, or another place."
            )
    sys.path[:] = [entry for entry in sys.path if not _inside(Path(entry), place)]
    for name, text in names_of_code(config):
        if text not in typed:
            raise ConfigError(
                f"run {folder} names code to be run: {option(name)} {text}. A run folder may come from a stranger: "
                f"if you know this code, give the option again, as in --resume {folder} {option(name)} {text}."
            )
        for module in _modules(text):
            if found := _file_inside(module, search, place):
                raise ConfigError(
                    f"{option(name)} {text}: module {module!r} lies in the run folder ({found}). Code of a run folder "
                    "is never imported: if you trust it, move it to a folder of your own."
                )


def names_of_code(config: DataclassInstance) -> list[tuple[str, str]]:
    """Dotted field name and text of every component that is code of the user's own, or is trusted with its file."""
    return [(name, text) for name, text in _texts(config) if _is_code(name.rpartition(".")[2], text)]


def options_of_code(config: DataclassInstance) -> list[str]:
    """Arguments that repeat the options in which a configuration names code, each with all its values."""
    named = {name for name, _ in names_of_code(config)}
    values: dict[str, list[str]] = {name: [] for name in named}
    for name, text in _texts(config):
        if name in named:
            values[name].append(text)
    return [word for name in sorted(named) for word in (option(name), *values[name])]


def _texts(config: DataclassInstance, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Texts of the fields that name components, with their dotted names."""
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value) and not isinstance(value, type):
            yield from _texts(value, f"{prefix}{item.name}.")
        elif item.name in KINDS:
            for text in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
                yield prefix + item.name, text


def _typed(arguments: Sequence[str]) -> set[str]:
    """The words of a command line, and what stands behind an `=`; not the run folder, whose name is a stranger's."""
    named = {index + 1 for index, word in enumerate(arguments) if word == "--resume"}
    words = [word for index, word in enumerate(arguments) if index not in named and not word.startswith("--resume=")]
    return {*words, *(word.partition("=")[2] for word in words if word.startswith("--"))}


def _written(config: DataclassInstance, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Places outside of the run folder that a run writes to, with the dotted names of their fields."""
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value) and not isinstance(value, type):
            yield from _written(value, f"{prefix}{item.name}.")
        elif item.name in WRITTEN and isinstance(value, Path):
            yield prefix + item.name, value


def _is_code(field: str, text: str) -> bool:
    bare = labelled(text)[1]
    try:
        spec = parse(bare)
    except GauntletError:
        return ":" in bare  # It cannot be read: whatever it is, its reader will refuse it, or whoever resumes types it.
    if spec.name in targets(KINDS[field]):
        return spec.name in RUN or bool({TRUST, OBSERVE} & set(spec.options))
    return ":" in bare


def _modules(text: str) -> tuple[str, ...]:
    """Modules that a specification names, the first perhaps a registered name."""
    spec = parse(labelled(text)[1])
    return spec.name, *(str(spec.options[key]).partition(":")[0] for key in spec.options if key == OBSERVE)


def _inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder)
    except (OSError, ValueError):
        return True  # An entry that cannot be looked at holds nothing that is needed.


def _file_inside(module: str, search: Sequence[str], folder: Path) -> str:
    """Where in `folder` a module, or a package around it, could be found on a search path; empty if nowhere."""
    parts = module.split(".")
    for entry in search:
        for count in range(1, len(parts) + 1):
            package = Path(entry, *parts[: count - 1])
            for name in (parts[count - 1], *(parts[count - 1] + suffix for suffix in all_suffixes())):
                path = package / name
                if path.exists() and (_inside(path, folder) or _inside(package, folder)):
                    return str(path)
    return ""

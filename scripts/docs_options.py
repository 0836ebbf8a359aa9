"""Commands and their options as pages of the documentation site: what `--help` shows, as tables."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import tyro

from harness import cli
from harness.commands.configs import option
from harness.commands.scaffold import Command, Group
from scripts.docs_text import parts, table_row

REQUIRED: Final = "required"
"""What stands for the default of an option that has none."""


class OptionRow(NamedTuple):
    """One option of a command.

    Attributes:
        name: As it is typed, such as `--td3.batch-size`; a positional argument in capitals.
        kind: What it takes.
        default: Its default as it would be typed; `REQUIRED` where it has none.
        text: What it is for.
    """

    name: str
    kind: str
    default: str
    text: str


def commands() -> dict[str, Command[Any]]:
    """Every command by name, such as `benchmark` and `scenarios list`."""
    found: dict[str, Command[Any]] = {}
    for verb in cli.VERBS:
        main = getattr(importlib.import_module(f"harness.{verb}"), "main", None)
        members = {"": main.default, **main.members} if isinstance(main, Group) else {"": main}
        found |= {f"{verb} {name}".strip(): member for name, member in members.items() if isinstance(member, Command)}
    return found


def command_page(verb: str) -> str:
    """The page of a verb: what it does, its presets and its options, with those of the commands under it."""
    main = importlib.import_module(f"harness.{verb}").main
    about = inspect.cleandoc(main.description)
    text = [f"# `{verb}`\n\n{about}\n"]
    for name, member in commands().items():
        if name.split()[0] != verb:
            continue
        if name != verb:
            text.append(f"## `{name}`\n\n{inspect.cleandoc(member.description)}\n")
        text.append(_usage(name, member))
    return "\n".join(text)


def _usage(name: str, command: Command[Any]) -> str:
    rows = option_rows(command.kind)
    places = [row.name for row in rows if not row.name.startswith("-")]
    words = ["gauntlet", name, *(["PRESET"] if command.presets else []), *places, "[options]"]
    text = [f"```text\n{' '.join(words)}\n```\n"]
    if command.presets:
        plain = {row.name: row.default for row in rows}
        text.append("| preset | for | what it sets |\n|---|---|---|")
        for preset, (purpose, config) in command.presets.items():
            given = option_rows(command.kind, config)
            told = [f"`{row.name} {row.default}`" for row in given if row.default != plain[row.name]]
            text.append(table_row(f"`{preset}`", purpose, ", ".join(told) or "the defaults"))
        text.append("")
    text.append("| option | takes | default | what it says |\n|---|---|---|---|")
    for row in rows:
        default = row.default if row.default == REQUIRED else f"`{row.default}`"
        text.append(table_row(f"`{row.name}`", row.kind, default, row.text))
    return "\n".join(text) + "\n"


def option_rows(kind: type, values: object = None, prefix: str | None = "") -> list[OptionRow]:
    """The options of a configuration, those of its groups after the group's name.

    Args:
        kind: Configuration, a dataclass.
        values: One of it, whose values stand as defaults; None for the class's own.
        prefix: Name of the group with a dot, for a group; None where groups leave their names out.
    """
    hints, texts = get_type_hints(kind, include_extras=True), field_texts(kind)
    found: list[OptionRow] = []
    for item in fields(kind):
        bare, extras = _unwrapped(hints[item.name])
        value = _default(item) if values is None else getattr(values, item.name)
        group = None if prefix is None or tyro.conf.OmitArgPrefixes in extras else f"{prefix}{item.name}."
        if isinstance(bare, type) and is_dataclass(bare):
            found += option_rows(bare, None if value is MISSING else value, group)
            continue
        text = next((given.help for given in extras if getattr(given, "help", None)), texts.get(item.name, ""))
        if isinstance(value, Mapping) and value:
            kind_of = _takes(get_args(bare)[1])
            found += [OptionRow(option((group or "") + key), kind_of, _typed(value[key]), text) for key in value]
            continue
        name = option((prefix or "") + item.name)
        if tyro.conf.Positional in extras:
            name = name.removeprefix("--").replace("-", "_").upper()
        elif bare is bool:
            negative = option((prefix or "") + f"no-{item.name}")
            name = f"{name}, {negative}"
        found.append(OptionRow(name, _takes(bare), REQUIRED if value is MISSING else _typed(value), text))
    return found


def field_texts(kind: type) -> dict[str, str]:
    """What is said of the fields of a dataclass and of those that it inherits, below them or under `Attributes:`."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if is_dataclass(owner):
            found |= parts(owner.__doc__).members
            tree = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
            assert isinstance(tree, ast.ClassDef)
            found |= dict(_texts_below(tree.body))
    return found


def _texts_below(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, below in pairwise(body):
        text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and below.value.value
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and isinstance(text, str):
            yield statement.target.id, inspect.cleandoc(text)


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type hint without its annotations, and these."""
    return (get_args(hint)[0], hint.__metadata__) if get_origin(hint) is Annotated else (hint, ())


def _default(item: Field[Any]) -> object:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def _takes(hint: Any) -> str:
    """What an option of a type takes, for readers: `INT`, `STR …`, a choice of words."""
    hint, _ = _unwrapped(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(_takes(item) for item in inner)
    if origin is tuple:
        return f"{_takes(inner[0])} …" if inner[-1] is Ellipsis else " ".join(map(_takes, inner))
    if origin in (Mapping, dict):
        return " ".join(map(_takes, inner)) + " …"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{item.name}`" for item in hint)
    if hint is bool:
        return "a switch"
    return "`None`" if hint is types.NoneType else getattr(hint, "__name__", str(hint)).upper()


def _typed(value: object) -> str:
    """A value as it would be typed."""
    if isinstance(value, (tuple, list)):
        return " ".join(map(_typed, value)) or "(none)"
    return value.as_posix() if isinstance(value, Path) else str(value)

"""How a user names a traffic model, traffic policy or backbone: `NAME`, `NAME:FILE`, `NAME:FILE?option=value&…`."""

from __future__ import annotations

import ast
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from harness import registry
from harness.errors import ConfigError
from harness.interfaces import TrafficPolicy


class Spec(NamedTuple):
    """A specification in its parts.

    Attributes:
        head: Everything before the question mark.
        name: The head up to its first colon.
        file: What follows that colon; empty if nothing does.
        options: By name; numbers, booleans and None as such, everything else as text.
    """

    head: str
    name: str
    file: str
    options: dict[str, Any]


def split_spec(spec: str) -> Spec:
    """Take a specification apart."""
    head, _, query = spec.partition("?")
    name, _, file = head.partition(":")
    return Spec(head, name, file, {key: _value(text) for key, text in parse_qsl(query, keep_blank_values=True)})


def make_traffic(spec: str) -> TrafficPolicy:
    """Build the policy that moves the background.

    Args:
        spec: A registry name (`log`, `idm`, `smart`, or a third party's), a name and a weights file (`smart:FILE`), or
            `module:Class`; options behind a question mark, as in `smart:FILE?temperature=0.8&top_k=20`.

    Raises:
        UnknownNameError: No such name.
        ConfigError: It cannot be imported or built, takes no file, or has no such option.
        WeightsError: The file cannot be used.
    """
    policy: TrafficPolicy = make_from_spec("traffic", spec)
    return policy


def make_from_spec(kind: registry.RegistryKind, spec: str) -> Any:
    """Build what a specification names; errors as of `make_traffic`."""
    head, name, file, options = split_spec(spec)
    if name in registry.targets(kind):
        if file:
            options["weights"] = file
        head = name
    try:
        return registry.make(kind, head, **options)
    except TypeError as error:
        raise ConfigError(f"{kind} {spec!r}: {error}. Check its file and options.") from error


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text.capitalize() if text in ("true", "false", "none") else text)
    except (ValueError, SyntaxError):
        return text

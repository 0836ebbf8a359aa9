"""The grammar of names: how a user writes a component on a command line, in a configuration or in code.

    NAME[:FILE][?key=value&key=value…][@λ]

`NAME` is a registered name, or `module:Class` for a class of one's own. `FILE` is a file or folder of weights. The
options behind the question mark go to the component's constructor. `@λ` sets the intensity of an adversary. Examples:
`smart:FILE?temperature=0.9`, `sage:EXPERTS?spacing=4@0.5`, `cat@0.3`, `td3:FILE`, `my.module:Class?gain=2`.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from harness import registry
from harness.errors import ConfigError, GauntletError, foreign

FILE_PARAMETERS: Final = ("experts", "prior", "weights", "path")
"""`FILE` is passed as the first of these parameters that the component has."""
EXAMPLES: Final[dict[registry.RegistryKind, str]] = {
    "adversary": "sage:EXPERTS?spacing=4@0.5",
    "policy": "td3:FILE",
    "curriculum": "dual_axis?frequency_end=1.0",
    "traffic": "smart:FILE?temperature=0.9",
    "backbone": "smart:FILE?temperature=0.9",
    "sequence_model": "transformer",
}
"""A specification of each kind, for error messages."""
_METHODS: Final[Mapping[registry.RegistryKind, str]] = {"adversary": "plan", "curriculum": "schedule"}
"""What a component must be able to do. Policies may be any callable, and traffic may do whole scenes only."""
_LABEL: Final = re.compile(r"[A-Za-z0-9_.+-]+")


class Spec(NamedTuple):
    """A specification in its parts.

    Attributes:
        name: The registered name, or the module of `module:Class`.
        file: What follows the colon; empty if nothing does.
        options: By name; numbers, booleans and None as such, everything else as text.
        intensity: λ, or None where it is not given.
        text: All of it as written.
    """

    name: str
    file: str
    options: Mapping[str, Any]
    intensity: float | None
    text: str

    @property
    def head(self) -> str:
        """`NAME`, `NAME:FILE` or `module:Class`, without options and intensity."""
        return f"{self.name}:{self.file}" if self.file else self.name


def parse(text: str) -> Spec:
    """Take a specification apart.

    What follows the last `@` is an intensity if it is a number; a file name may hold other `@`. A file name that ends
    in `@` and a number is written with a `?` behind it (`smart:weights@2?`).

    Raises:
        ConfigError: It is no text, the intensity of a name is not a finite number, or an option has no name or is given
            twice.
    """
    if not isinstance(text, str):
        raise ConfigError(f"{text!r:.80}: expected a text, NAME[:FILE][?key=value][@λ], such as {EXAMPLES['traffic']}.")
    rest, at, tail = text.rpartition("@")
    intensity = _number(tail) if at else None
    if intensity is None:
        if at and not set(rest) & {":", "?"}:
            raise ConfigError(f"{text!r}: expected a finite number after @, such as {rest or 'sage'}@0.5.")
        rest = text
    head, _, query = rest.partition("?")
    name, _, file = head.partition(":")
    pairs = parse_qsl(query, keep_blank_values=True)
    options = {key: _value(word) for key, word in pairs}
    if len(options) < len(pairs) or "" in options:
        raise ConfigError(
            f"{text!r}: expected options as NAME?key=value&other=value, every key once, found {query!r}. "
            f"For example {EXAMPLES['traffic']}."
        )
    return Spec(name, file, options, intensity, text)


def labelled(text: str) -> tuple[str | None, str]:
    """A label of the user's own in front of a specification, `LABEL=SPEC`, and the specification.

    The label is None where there is none: an `=` within a path or an option makes no label.
    """
    label, equals, rest = text.partition("=")
    return (label, rest) if equals and _LABEL.fullmatch(label) else (None, text)


def with_option(text: str, name: str, value: str) -> str:
    """A specification without intensity, with one option more.

    Raises:
        ConfigError: It has that option already.
    """
    if name in parse(text).options:
        raise ConfigError(f"{text!r}: {name!r} is an option that is to be set here; leave it out.")
    return f"{text}{'' if text.endswith('?') else '&' if '?' in text else '?'}{name}={value}"


def build(kind: registry.RegistryKind, spec: str | Spec, **offered: Any) -> Any:
    """Build the component that a specification names.

    Args:
        kind: Kind of component.
        spec: A specification (see the module) or its parts. Its intensity is the caller's to use.
        offered: Options of the command, for all components alike: each is passed to a component that has a parameter
            of that name, None stands for the component's own default, and the specification's own options and file
            come first.

    Raises:
        UnknownNameError: No such name.
        ConfigError: The component cannot be imported or built, reads no file, has no such option, or is no adversary
            and was given an intensity.
        GauntletError: What the component itself raises, `WeightsError` for an unusable file above all.
    """
    spec = parse(spec) if isinstance(spec, str) else spec
    return construct(kind, spec, resolve(kind, spec), **offered)


def resolve(kind: registry.RegistryKind, spec: Spec) -> Callable[..., Any]:
    """The class (or function) that a specification names; errors as of `build`."""
    if spec.intensity is not None and kind != "adversary":
        raise ConfigError(
            f"{kind} {spec.text!r}: only adversaries have an intensity (@λ). A file name that ends in @ and a number "
            "needs a question mark behind it."
        )
    return registry.resolve(kind, spec.name if spec.name in registry.targets(kind) else spec.head)


def construct(kind: registry.RegistryKind, spec: Spec, target: Callable[..., Any], **offered: Any) -> Any:
    """Call `target` with the file and the options of a specification and what is offered; errors as of `build`."""
    if not callable(target):
        raise ConfigError(
            f"{kind} {spec.text!r}: it names {target!r:.80}, expected a class or a function. "
            f"An example is {EXAMPLES[kind]}."
        )
    known = _parameters(target)
    own = dict(spec.options)
    if spec.file and spec.name in registry.targets(kind):
        own[_file_parameter(kind, spec, known)] = spec.file
    _check_options(kind, spec, own, known)
    _check_protocol(spec, offered)
    common = {key: value for key, value in offered.items() if key in known and value is not None}
    try:
        with foreign(f"{kind} {spec.text!r} failed while it was built", ConfigError, (TypeError, GauntletError)):
            made = target(**{**common, **own})
    except TypeError as error:
        raise ConfigError(
            f"{kind} {spec.text!r}: {error}. Check its file and options; an example is {EXAMPLES[kind]}."
        ) from error
    method = _METHODS.get(kind)
    if method is not None and not callable(getattr(made, method, None)):
        raise ConfigError(
            f"{kind} {spec.text!r}: it gives {made!r:.80}, which has no method {method}(). "
            f"An example is {EXAMPLES[kind]}."
        )
    return made


def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except ValueError:  # some classes written in C do not say
        return {}


def _file_parameter(kind: registry.RegistryKind, spec: Spec, known: Mapping[str, inspect.Parameter]) -> str:
    found = next((name for name in FILE_PARAMETERS if name in known), None)
    if found is None:
        raise ConfigError(f"{kind} {spec.text!r}: {spec.name!r} reads no file, but was given {spec.file!r}.")
    if found in spec.options:
        raise ConfigError(f"{kind} {spec.text!r}: {found!r} is given twice, as a file and as an option.")
    return found


def _check_options(
    kind: registry.RegistryKind, spec: Spec, own: Mapping[str, Any], known: Mapping[str, inspect.Parameter]
) -> None:
    """Refuse options that the component does not name, unless it takes any; see also `check_switches`."""
    named = [name for name, item in known.items() if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
    takes_any = any(item.kind is item.VAR_KEYWORD for item in known.values())
    if (unknown := sorted(set(own) - set(named))) and not takes_any:
        raise ConfigError(
            f"{kind} {spec.text!r}: {spec.name!r} has no option {unknown[0]!r}; it has {', '.join(named) or 'none'}. "
            f"An example is {EXAMPLES[kind]}."
        )
    check_switches(kind, spec, known)


def check_switches(kind: registry.RegistryKind, spec: Spec, known: Mapping[str, inspect.Parameter]) -> None:
    """Refuse an option that is a text or a number where the component has a switch.

    Any text is true to Python, so that `no` would switch on what it is to switch off.

    Args:
        kind: Kind of component, for the message.
        spec: Its specification.
        known: Parameters of what is called with the options.

    Raises:
        ConfigError: An option whose parameter is a boolean by its type or default is neither true nor false.
    """
    for name, value in spec.options.items():
        item = known.get(name)
        switch = item is not None and (item.annotation in (bool, "bool") or isinstance(item.default, bool))
        if switch and not isinstance(value, bool):
            raise ConfigError(f"{kind} {spec.text!r}: {name} is {value!r}, expected true or false.")


def _check_protocol(spec: Spec, offered: Mapping[str, Any]) -> None:
    """Readings of the published numbers are never mixed in one run, so a component has none of its own."""
    if offered.get("protocol") is not None and "protocol" in spec.options:
        raise ConfigError(f"{spec.text!r}: the protocol is that of the whole run; set it with --protocol.")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text.capitalize() if text in ("true", "false", "none") else text)
    except (ValueError, SyntaxError):
        return text

"""The one exception family. A message says what was expected, what was found, where, and what to do."""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

METADRIVE: Final = "pip install --no-deps --ignore-requires-python metadrive-simulator==0.4.3"
"""Installs MetaDrive where its own metadata forbids it: on Python 3.12 and up."""
MAX_MESSAGE: Final = 1500
"""Characters of a message. Names of strangers' files occur in messages, and such a name can have any length."""
_CONTROL: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f\u2028-\u202e\ufff9-\ufffb\ud800-\udfff"
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "]"
)
"""Characters that break a line, steer a terminal, reorder what is beside them, cannot
be written as UTF-8 (halves of surrogate pairs), or are not seen (Unicode's `Default_Ignorable_Code_Point`)."""


def one_line(text: str, limit: int = MAX_MESSAGE) -> str:
    """`text` on one line: control characters escaped, and of more than `limit` characters the middle left out."""
    if len(text) > limit:
        # Cut before escaping, so that a long text costs no more than a short one.
        text = f"{text[: limit * 2 // 3]} … {text[-(limit // 3) + 3 :]}"
    return shown(text)


def shown(name: str, keep: str = "") -> str:
    """A name as it can be shown and written everywhere: what is not shown is escaped, but for characters of `keep`."""

    def escaped(found: re.Match[str]) -> str:
        letter = found.group()
        return letter if letter in keep else letter.encode("unicode_escape").decode()

    return _CONTROL.sub(escaped, name)


class GauntletError(Exception):
    """Base of every error that Gauntlet raises on purpose; its message is one line."""

    def __str__(self) -> str:
        """The message as `one_line` writes it."""
        return one_line(super().__str__())


class ScenarioError(GauntletError, ValueError):
    """A scenario file or scenario is unusable: names file, field and reason."""


class UnsafePickleError(ScenarioError):
    """A pickle asks for something other than numpy arrays and builtin containers."""


class ConfigError(GauntletError, ValueError):
    """An option has a value that cannot work."""


class UnknownNameError(ConfigError, KeyError):
    """A registry name that does not exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        """Compose the message, with the nearest known names first."""
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Known: {', '.join(known) or 'none'}.")

    def __str__(self) -> str:
        """The plain message (KeyError would print its repr)."""
        return one_line(str(self.args[0]))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by message: errors cross process borders, and `args` no longer fit the constructor."""
        return _restore, (type(self), self.args)


def _restore(kind: type[UnknownNameError], args: tuple[object, ...]) -> UnknownNameError:
    error = kind.__new__(kind)
    error.args = args
    return error


class EngineError(GauntletError, RuntimeError):
    """The simulator cannot do what was asked (a second engine in one process, say)."""


class PolicyError(GauntletError, RuntimeError):
    """A policy under test returned something that is not an action, or could not be loaded."""


class NoAnswerError(PolicyError):
    """A policy that is a program of its own died, was late, or said what is no answer: it may do better once more."""


class AdversaryError(GauntletError, RuntimeError):
    """An adversary cannot plan on this scene."""


class WeightsError(GauntletError, RuntimeError):
    """Weights are missing, of another architecture, or not a safetensors file."""


class RunError(GauntletError, RuntimeError):
    """A run directory cannot be written, resumed or read."""


class WorkerError(GauntletError, RuntimeError):
    """Workers cannot be started, or a job raised in one."""


class ConformanceError(GauntletError, AssertionError):
    """A component breaks its contract: names the component, the rule, and what was found."""


@contextlib.contextmanager
def metadrive_needed() -> Iterator[None]:
    """Turn the absence of MetaDrive or Panda3D into an `EngineError` that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("metadrive", "panda3d"):
            raise
        raise EngineError(f"MetaDrive is not installed ({error}). In this environment: {METADRIVE}") from error


_MISREAD: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What code raises that meets data of another kind, shape or size than it was written for."""


@contextlib.contextmanager
def reading(source: object, expected: str, error: type[GauntletError] = ScenarioError) -> Iterator[None]:
    """Turn what reading a stranger's file can raise into one error that names the file: one bad file costs one file.

    Args:
        source: The file, for the message.
        expected: What it should have been, such as `a GPUDrive scene`.
        error: What is raised.

    Raises:
        GauntletError: One of the type `error`, for everything but a `GauntletError`, which passes as it is.
    """
    try:
        yield
    except GauntletError:
        raise
    except _MISREAD as reason:
        what = one_line(told(reason), 300)
        raise error(f"{source}: cannot be read ({what}). Expected {expected}.") from reason


def told(error: BaseException) -> str:
    """The type of an exception, and what it says, if anything."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 (a number of more digits than Python writes; or a class whose own text fails)
        text = ""
    return f"{type(error).__name__}: {text}".removesuffix(": ")


def _torch_defaults() -> tuple[Any, ...] | None:
    """Number type and device that torch gives new tensors, and whether it keeps gradients; None without torch."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    made = torch.empty(0)
    return made.dtype, made.device, torch.is_grad_enabled()


class foreign:  # noqa: N801 (it reads like the context managers beside it)
    """Turns whatever a user's own code raises into one error that says whose it was; `sys.exit()` ends no run of ours.

    What it sets torch's defaults to ends with it: every network in the process would compute by them.

    No generator as its neighbour is: `contextlib` lets a StopIteration pass that has become a RuntimeError.
    """

    def __init__(self, what: str, error: type[GauntletError], passing: tuple[type[Exception], ...] = ()) -> None:
        """Keep the message.

        Args:
            what: What failed, and where, for the message.
            error: What is raised.
            passing: What passes as it is, as Ctrl-C always does.
        """
        self._what, self._error, self._passing = what, error, passing

    def __enter__(self) -> None:
        """Remember torch's defaults."""
        self._before = _torch_defaults()

    def __exit__(self, kind: type[BaseException] | None, reason: BaseException | None, trace: object) -> None:
        """Put torch's defaults back, and raise the error where there is one."""
        after = _torch_defaults()
        if after is not None and after != self._before:
            import torch

            # Torch may have been imported only now, with the defaults that it then has.
            dtype, device, gradients = self._before or (torch.float32, torch.device("cpu"), True)
            torch.set_default_dtype(dtype)
            torch.set_default_device(None if device.type == "cpu" else device)
            torch.set_grad_enabled(gradients)
        if reason is not None and not isinstance(reason, (KeyboardInterrupt, *self._passing)):
            raise self._error(f"{self._what}: {told(reason)}") from reason

"""Ctrl-C ends a command with exit code 130, SIGTERM with 143, SIGHUP with 129: at every moment, in one line.

SIGHUP is what a closed terminal or a lost connection sends; where it is ignored (`nohup`), it stays so. Until a command
begins (while modules are imported) and after it has ended, a signal ends the process at once. In between the first one
is raised as an exception, so that files are closed and checkpoints written, and a second one ends the process at once.
What was written is whole in either case (`harness.files`), and workers end with their parent.
"""

from __future__ import annotations

import _thread
import atexit
import errno
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NoReturn

CODES: Final = {number: 128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
"""Exit codes by signal, as shells report them."""
Hook = Callable[["sys.UnraisableHookArgs"], object]
_AGAIN_S: Final = 0.05
"""After this time a signal comes again whose exception was lost, s."""


class Terminated(KeyboardInterrupt):
    """SIGTERM."""

    number: signal.Signals = signal.SIGTERM


class HungUp(Terminated):
    """SIGHUP."""

    number = signal.SIGHUP


def exception_of(number: int) -> KeyboardInterrupt:
    """What a signal is raised as."""
    kinds = {kind.number: kind for kind in (Terminated, HungUp)}
    return kinds.get(signal.Signals(number), KeyboardInterrupt)()


def signal_of(error: KeyboardInterrupt) -> signal.Signals:
    """The signal that an exception of `exception_of`, which has been caught, stands for."""
    # Python ends itself by SIGINT where the text that it ran last was interrupted (a data class is made of text),
    # whoever caught that; any other text makes it forget.
    exec("")
    return error.number if isinstance(error, Terminated) else signal.SIGINT


def takeable() -> dict[signal.Signals, Any]:
    """The signals that a command may take, with their present handlers.

    SIGTERM always. Ctrl-C and SIGHUP stay as they are where somebody else takes them (a caller's own handler), or where
    they are ignored (`nohup`).
    """
    before = {number: signal.getsignal(number) for number in CODES}
    return {
        number: action
        for number, action in before.items()
        if action in _USUAL or _ours(action) or (number == signal.SIGTERM and action is not None)
    }


def leave_terminal(streams: tuple[int, ...] = (1, 2)) -> None:
    """After SIGHUP: where the terminal is gone, let what is still printed go nowhere instead of failing."""
    for stream in streams:
        try:
            termios.tcgetattr(stream)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def end_at_once(number: int, frame: FrameType | None = None) -> NoReturn:
    """End the process with the signal's exit code; nothing is closed and nothing waited for. A signal handler."""
    # A bar that was being drawn has hidden the cursor.
    cursor = b"\x1b[?25h" if os.isatty(2) else b""
    try:
        os.write(2, cursor + b"stopped at once; whatever was finished is kept.\n")
    except OSError:
        os._exit(CODES[signal.Signals(number)])
    os._exit(CODES[signal.Signals(number)])


def guard_start() -> None:
    """Let signals end this process without a traceback while a command's modules are imported.

    Only in a process that was started for a command (`gauntlet`, `python -m harness.VERB`), and only where nobody has
    set handlers: a program that imports this package keeps its own.
    """
    if not _is_command() or threading.current_thread() is not threading.main_thread():
        return
    for number in CODES:
        if signal.getsignal(number) in _USUAL:
            signal.signal(number, end_at_once)
    atexit.register(_go_deaf)


def _go_deaf() -> None:
    """Ignore signals while the interpreter takes itself down: all is done, and it would give these handlers up."""
    for number in CODES:
        if signal.getsignal(number) is end_at_once:
            signal.signal(number, signal.SIG_IGN)


def _is_command() -> bool:
    asked = sys.orig_argv[1:]
    module = asked[asked.index("-m") + 1] if "-m" in asked[:-1] else ""
    return module.partition(".")[0] == "harness" or os.path.basename(sys.argv[0] if sys.argv else "") == "gauntlet"


_USUAL: Final = (signal.SIG_DFL, signal.default_int_handler, end_at_once)
"""Handlers that nobody has set but Python and this module."""


@contextmanager
def raised() -> Iterator[None]:
    """Within, the first signal that is `takeable` is raised, as `exception_of` it; the second ends the process.

    Elsewhere than in the main thread, where nobody may set handlers, nothing changes.
    """
    state, before = _Raising(), takeable()
    try:
        for number in before:
            signal.signal(number, state.handle)
    except ValueError:
        yield
        return
    hook = sys.unraisablehook
    sys.unraisablehook = state.unraisable(hook)
    try:
        yield
    finally:
        state.raising = False
        sys.unraisablehook = hook
        for number, action in before.items():
            signal.signal(number, action)


def _ours(action: object) -> bool:
    return isinstance(getattr(action, "__self__", None), _Raising)


class _Raising:
    """Raises the first signal."""

    def __init__(self) -> None:
        self.raising = True

    def handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            leave_terminal()
        if not self.raising:
            end_at_once(number)
        self.raising = False
        raise exception_of(number)

    def unraisable(self, hook: Hook) -> Hook:
        """A hook for exceptions that nobody can catch (in destructors, say): a signal that got lost comes again."""

        def look(lost: sys.UnraisableHookArgs) -> None:
            error = lost.exc_value
            if not isinstance(error, KeyboardInterrupt):
                hook(lost)
                return
            self.raising = True
            again = threading.Timer(_AGAIN_S, _thread.interrupt_main, (signal_of(error),))
            again.daemon = True
            again.start()

        return look

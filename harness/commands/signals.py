"""Ctrl-C ends a command with exit code 130, SIGTERM with 143: at every moment, in one line, without a traceback.

Until a command begins (while modules are imported) and after it has ended, a signal ends the process at once. In
between the first one is raised as an exception, so that files are closed and checkpoints written, and a second one ends
the process at once. What was written is whole in either case (`harness.files`), and workers end with their parent.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes, as shells report the two signals."""
CODES: Final = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
Hook = Callable[["sys.UnraisableHookArgs"], object]
_AGAIN_S: Final = 0.05
"""After this time a signal comes again whose exception was lost, s."""


class Terminated(KeyboardInterrupt):
    """SIGTERM."""


def exception_of(number: int) -> KeyboardInterrupt:
    """What a signal is raised as."""
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


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
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end_at_once)
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


@contextmanager
def raised() -> Iterator[None]:
    """Within, the first signal is raised: SIGINT as KeyboardInterrupt, SIGTERM as `Terminated`; the second ends all.

    Elsewhere than in the main thread, where nobody may set handlers, nothing changes. Ctrl-C stays as it is where
    somebody else takes it (a caller's own handler), or where it is ignored (`nohup`).
    """
    state = _Raising()
    try:
        before = {number: signal.getsignal(number) for number in CODES}
        if before[signal.SIGINT] not in (signal.default_int_handler, end_at_once) and not _ours(before[signal.SIGINT]):
            del before[signal.SIGINT]
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
            number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
            self.raising = True
            again = threading.Timer(_AGAIN_S, _thread.interrupt_main, (number,))
            again.daemon = True
            again.start()

        return look

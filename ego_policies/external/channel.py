"""Lines of JSON to and from a program: one question, one answer, and a deadline for each."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NoReturn

from harness.errors import NoAnswerError, PolicyError, one_line
from harness.files import MEGABYTE, parsed_json

ADDRESS: Final = "tcp://"
"""What a target begins with that is an address, `tcp://HOST:PORT`, and no command."""
MAX_ANSWER: Final = MEGABYTE
"""Bytes of an answer."""
LEAVE_S: Final = 1.0
"""Time that a program gets to end by itself after its standard input has ended, s."""
LAST_WORDS: Final = 2000
"""Bytes of a program's standard error that are kept for messages."""
_CHUNK: Final = 65536


class Channel:
    """A program that answers lines of JSON.

    A command is run without a shell. Its standard input and output are one socket of this process, so that a program
    behind a port is spoken to in the same way. It ends with `close()`, with this object, and with this process.
    """

    def __init__(self, target: str, start_s: float) -> None:
        """Start the program, or connect to it.

        Args:
            target: A command, or `tcp://HOST:PORT`.
            start_s: Longest time for a connection, s.

        Raises:
            PolicyError: There is no such program, or the target cannot be read.
            NoAnswerError: Nobody listens at the address.
        """
        self.target = target
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: deque[bytes] = deque()
        self._unread = bytearray()
        if target.startswith(ADDRESS):
            self._socket = _connected(target, start_s)
        else:
            self._socket, self._process = _started(target)
            self._reader = threading.Thread(target=_keep_tail, args=(self._process, self._errors), daemon=True)
            self._reader.start()
        self._end = weakref.finalize(self, _end, self._socket, self._process, os.getpid())

    def close(self) -> None:
        """End the program, at once where it does not end by itself."""
        self._end()

    def ask(self, message: Mapping[str, Any], seconds: float, what: str) -> dict[str, Any]:
        """Send a message and wait for the answer.

        Args:
            message: JSON-able.
            seconds: Longest time, s.
            what: What is asked, for error messages.

        Raises:
            NoAnswerError: The program has ended, is late, or says something else than one object of JSON.
        """
        until = time.monotonic() + seconds
        self._refuse_unasked(what)
        try:
            self._wait(until)
            self._socket.sendall(json.dumps(message, allow_nan=False).encode() + b"\n")
            return self._parsed(self._line(until), what)
        except TimeoutError as late:
            self.fail(
                f"gave no answer to {what} within {seconds:g} s. Allow more with ?timeout=SECONDS (?start=SECONDS for "
                f"its start), or flush what it writes: an answer is one line.{self._last_words()}",
                late,
            )
        except OSError as gone:
            self._fail_ended(what, gone)

    def fail(self, text: str, cause: BaseException | None = None) -> NoReturn:
        """Raise what went wrong, with the target in front, and end the program: its next line would be misread."""
        self.close()
        raise NoAnswerError(f"external policy `{self.target}` {text}") from cause

    def _refuse_unasked(self, what: str) -> None:
        """Whoever has answered twice would from now on be one answer ahead."""
        with suppress(BlockingIOError, OSError):
            self._socket.setblocking(False)
            self._unread += self._socket.recv(_CHUNK)
        if self._unread:
            shown = one_line(self._unread[:80].decode(errors="replace"))
            self.fail(
                f"wrote a line before it was asked for {what}: {shown!r}. Expected one line for each message; what is "
                "no answer belongs on standard error."
            )

    def _wait(self, until: float) -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _line(self, until: float) -> bytes:
        while (end := self._unread.find(b"\n")) < 0:
            if len(self._unread) > MAX_ANSWER:
                self.fail(f"wrote a line of more than {MAX_ANSWER:,} bytes. Expected one short line for each message.")
            self._wait(until)
            received = self._socket.recv(_CHUNK)
            if not received:
                raise ConnectionResetError("it closed its output")
            self._unread += received
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    def _parsed(self, line: bytes, what: str) -> dict[str, Any]:
        try:
            answer = parsed_json(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            shown = one_line(line[:80].decode(errors="replace"))
            self.fail(
                f"answered {what} with {shown!r}. Expected one object of JSON on one line; what is no answer belongs "
                "on standard error."
            )
        return answer

    def _fail_ended(self, what: str, reason: OSError) -> NoReturn:
        how = f"closed the connection ({reason})"
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LEAVE_S)
            self._reader.join(LEAVE_S)
            code = self._process.returncode
            if code is not None:
                how = f"died of {_signal(-code)}" if code < 0 else f"ended with exit code {code}"
            else:
                how = f"closed its output ({reason})"
        self.fail(f"{how} before it answered {what}. Run it by hand to see why.{self._last_words()}", reason)

    def _last_words(self) -> str:
        words = b"".join(self._errors)[-LAST_WORDS:].decode(errors="replace").strip().splitlines()
        return f" Its last words on standard error: {one_line(words[-1], 300)}." if words else ""


def words_of(command: str) -> list[str]:
    """The words of a command, as a shell splits it; one word where the whole of it is a file.

    Raises:
        PolicyError: A quotation mark is not closed, or there is no word.
    """
    try:
        words = [command] if os.path.isfile(command) else shlex.split(command)
    except ValueError as error:
        raise PolicyError(
            f"external policy `{command}`: the command cannot be read ({error}). Close its quotes."
        ) from error
    if not words:
        raise PolicyError(
            'external policy: expected a command or an address, as in --sut "external:python planner.py" or --sut '
            "external:tcp://localhost:5000."
        )
    return words


def _started(command: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(
            words_of(command),
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
            # Ctrl-C is this process's business, and whatever the program starts ends with it.
            start_new_session=True,
        )
    except OSError as error:
        ours.close()
        raise PolicyError(
            f"external policy `{command}` cannot be started: {error.strerror or error}. Is it installed, executable, "
            "and named from the working folder?"
        ) from error
    finally:
        theirs.close()
    return ours, process


def _connected(target: str, seconds: float) -> socket.socket:
    host, colon, port = target.removeprefix(ADDRESS).rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise PolicyError(f"external policy `{target}`: expected {ADDRESS}HOST:PORT, as in {ADDRESS}localhost:5000.")
    try:
        found = socket.create_connection((host.strip("[]"), int(port)), timeout=seconds)
    except OSError as error:
        raise NoAnswerError(
            f"external policy `{target}`: nobody answers at this address ({error}). Start the program first, and let "
            "it take a connection for each worker."
        ) from error
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def _signal(number: int) -> str:
    """The name of a signal, where it has one."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _keep_tail(process: subprocess.Popen[bytes], kept: deque[bytes]) -> None:
    """Read a program's standard error, which would else fill up, and keep its end."""
    assert process.stderr is not None, "it is started with a pipe"
    with process.stderr as stream, suppress(ValueError, OSError):
        while chunk := os.read(stream.fileno(), 4096):
            kept.append(chunk)
            while sum(map(len, kept)) - len(kept[0]) > LAST_WORDS:
                kept.popleft()


def _end(connection: socket.socket, process: subprocess.Popen[bytes] | None, owner: int) -> None:
    """Close the connection and, after a moment, whatever the program and its children still do."""
    connection.close()
    if process is None or os.getpid() != owner:
        return
    with suppress(subprocess.TimeoutExpired):
        process.wait(LEAVE_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

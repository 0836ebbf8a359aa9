"""Fresh interpreters on a pipe: objects that need a process of their own, wherever their owner runs.

`multiprocessing` imports the caller's main script again and gives no children to daemonic processes. A `Child` does
neither, so that it works in a plain script, a notebook, `python -c`, a script from standard input, and within the
workers of vectorised environments.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Mapping
from multiprocessing import Pipe, spawn
from multiprocessing.connection import Connection
from typing import Any, Final, NoReturn

import cloudpickle

from harness.errors import WorkerError

THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Variables that hold the number of threads of numerical libraries."""
LEAVE_S: Final = 5.0
"""Time that a child gets to end by itself after its pipe was closed, s."""
PARENT_EVERY_S: Final = 0.5
"""How often a child looks whether its parent still lives, s."""
_BOOT: Final = (
    "import sys; from multiprocessing.connection import Connection; pipe = Connection(int(sys.argv[1])); "
    "sys.path[:] = pipe.recv(); from scenarios.children import live; live(pipe, int(sys.argv[2]))"
)
Ask = Callable[[object], Any]
"""What a child calls to have a question answered by its owner."""


class ChildDiedError(WorkerError):
    """A child process ended before it answered."""


class RemoteTraceback(Exception):  # noqa: N818 (no error of its own: the cause that is shown with one)
    """Where in the child an exception was raised, as text."""

    def __str__(self) -> str:
        """The traceback on lines of its own."""
        return f"\n{self.args[0]}"


class Child:
    """An object in a fresh interpreter, whose methods are called from here.

    `build(*args)` makes the object; it and its arguments travel by value where they are defined in the main script. Its
    exceptions are raised here as themselves. The process ends with `close()`, with this object, and with its parent,
    however that ends. Ctrl-C and SIGHUP do not reach it: whoever called decides what happens then.
    """

    def __init__(
        self,
        build: Callable[..., object],
        *args: object,
        answer: Ask | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the interpreter; `ready()` waits for it.

        Args:
            build: Makes the object.
            args: Its arguments.
            answer: Answers what the object asks during a call. If given, `build` receives a function as its first
                argument, before `args`, that asks.
            environment: Variables in addition to this process's.

        Raises:
            WorkerError: No interpreter can be started.
        """
        self.pipe, theirs = Pipe()
        self._answer = answer
        self._owner = os.getpid()
        self._built = False
        self._process = _start(theirs, environment)
        theirs.close()
        self._end = weakref.finalize(self, _end, self._process, self.pipe, self._owner)
        try:
            self.pipe.send([path or os.getcwd() for path in sys.path])
            self.pipe.send_bytes(cloudpickle.dumps((build, args, answer is not None)))
        except ConnectionError:
            # It died at once: `result` says so.
            return

    def __reduce__(self) -> NoReturn:
        """Refuse copies: a copy of the pipe would close the same file descriptor when it is forgotten."""
        raise TypeError("a process cannot be copied or pickled")

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def owned(self) -> bool:
        """Whether this process started it: a fork inherits the object, but must not use the pipe."""
        return self._owner == os.getpid()

    def ready(self, timeout: float | None = None) -> None:
        """Wait until the object is built, which the first `result()` does otherwise.

        Raises:
            WorkerError: Not within `timeout` seconds, or the process died.
            Exception: What `build` raised.
        """
        if timeout is not None and not self.pipe.poll(timeout):
            self.kill()
            raise WorkerError(f"a process of its own did not start within {timeout:.0f} s; is the machine overloaded?")
        self._built = True
        self._receive()

    def start(self, method: str, *args: object, by_value: bool = True, **kwargs: object) -> None:
        """Call a method; `result()` returns what it returns.

        Args:
            method: Name.
            args: Arguments.
            by_value: Whether arguments may hold things that the main script defines (slower).
            kwargs: More arguments.
        """
        try:
            self.pipe.send_bytes((cloudpickle if by_value else pickle).dumps((method, args, kwargs)))
        except ConnectionError:
            # It died while idle: `result` says so.
            return

    def result(self) -> Any:
        """The answer to the last call.

        Raises:
            ChildDiedError: The process died.
            Exception: What the method raised, with the child's traceback as its cause.
        """
        if not self._built:
            self.ready()
        return self._receive()

    def _receive(self) -> Any:
        try:
            while True:
                kind, value = pickle.loads(self.pipe.recv_bytes())
                if kind != "ask":
                    break
                assert self._answer is not None, "only an object that was given the means can ask"
                self.pipe.send_bytes(_packed(_tried(self._answer, value)))
        except (EOFError, ConnectionError) as error:
            code = self._exit_code()
            raise ChildDiedError(f"the process died ({code})") from error
        except BaseException:
            # An answer may be half read (Ctrl-C): whatever came next would be taken for another call's.
            self.kill()
            raise
        return _opened(kind, value)

    def call(self, method: str, *args: object, by_value: bool = True, **kwargs: object) -> Any:
        """Call a method and wait: `start` and `result`."""
        self.start(method, *args, by_value=by_value, **kwargs)
        return self.result()

    def close(self, leave_s: float = LEAVE_S) -> None:
        """Let the process end, or end it; closing twice is allowed."""
        self.pipe.close()
        if self.owned and self._process.poll() is None:
            try:
                self._process.wait(leave_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._end()

    def kill(self) -> None:
        """End the process at once."""
        self._end()

    def _exit_code(self) -> str:
        try:
            code = self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        finally:
            self._end()
        if code < 0:
            name = signal.Signals(-code).name
            return f"{name}; often the machine was out of memory" if name == "SIGKILL" else name
        return f"exit code {code}"


def _start(theirs: Connection, environment: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    executable = spawn.get_executable()
    if not executable:
        raise WorkerError("this program has no Python interpreter of its own to start another: sys.executable is empty")
    # -P: a file in the current folder must not stand in for a standard module before the path is set.
    options = ["-P", "-Wignore:pkg_resources is deprecated", *(f"-W{option}" for option in sys.warnoptions)]
    number = theirs.fileno()
    # Blocked here and thereby in the child from its first moment on: they reach the whole process group.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        return subprocess.Popen(
            [os.fsdecode(executable), *options, "-c", _BOOT, str(number), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            pass_fds=(number,),
            env={**os.environ, **(environment or {})},
        )
    except OSError as error:
        raise WorkerError(f"a process of its own cannot be started: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(process: subprocess.Popen[bytes], pipe: Connection, owner: int) -> None:
    pipe.close()
    if os.getpid() == owner:
        process.kill()
        process.wait()


def live(pipe: Connection, parent: int) -> None:
    """Life of a child: build the object, then answer calls until the pipe is closed. Runs in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    # What libraries print must not mix with what the program prints.
    os.dup2(2, 1)

    def ask(question: object) -> Any:
        pipe.send_bytes(_packed(("ask", question)))
        return _opened(*pickle.loads(pipe.recv_bytes()))

    def build(message: bytes) -> object:
        make, args, asks = pickle.loads(message)
        return make(ask, *args) if asks else make(*args)

    def call(message: bytes) -> object:
        method, args, kwargs = pickle.loads(message)
        return getattr(service, method)(*args, **kwargs)

    kind, service = _tried(build, pipe.recv_bytes())
    pipe.send_bytes(_packed((kind, service if kind == "raised" else None)))
    while kind == "answer":
        try:
            message = pipe.recv_bytes()
        except (EOFError, ConnectionError):
            break
        pipe.send_bytes(_packed(_tried(call, message)))
    close = getattr(service, "close", None)
    if close is not None:
        close()


def _tried(call: Callable[[Any], object], argument: object) -> tuple[str, object]:
    """What a call returned (`answer`), or what it raised (`raised`: exception and traceback)."""
    try:
        return "answer", call(argument)
    except Exception as error:  # noqa: BLE001 (whatever fails is raised on the other side of the pipe)
        text = "".join(traceback.format_exception(error))
        return "raised", (_portable(error), text)


def _portable(error: Exception) -> Exception:
    """The exception itself, or, where it does not survive a pickle, a `WorkerError` that says the same."""
    try:
        pickle.loads(cloudpickle.dumps(error))
    except Exception:  # noqa: BLE001 (a third party's exception may fail in any way)
        return WorkerError(f"{type(error).__name__}: {error}")
    return error


def _packed(result: tuple[str, object]) -> bytes:
    try:
        return pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 (what plain pickle cannot take may still travel by value; it fails in many ways)
        try:
            return cloudpickle.dumps(result)
        except Exception as error:  # noqa: BLE001 (a result that cannot travel is an error of the call)
            return pickle.dumps(("raised", (WorkerError(f"what it returned cannot be sent: {error}"), "")))


def _opened(kind: str, value: Any) -> Any:
    if kind == "raised":
        error, text = value
        raise error from RemoteTraceback(text)
    return value


def _die_with(parent: int) -> None:
    """A killed parent must not leave children behind. The pipe tells nothing where a fork holds its end too."""
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY_S)
    os._exit(1)

"""One worker of a matrix: it starts a training run as a process of its own, and waits for it.

A run has its simulator, its threads, its output and its signals for itself, and a run that crashes takes no worker
along. When a worker ends, however that comes, its run is told to stop, and leaves a checkpoint.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from harness.commands.code_names import options_of_code
from harness.commands.runs import RUN_FILE, in_use
from harness.errors import RunError, WorkerError
from harness.training.matrix import TRAIN_VERB, TrainedCell, steps_done
from scenarios.children import THREADS

OUTPUT: Final = "output.log"
"""What a run printed, in its folder."""
STOP_S: Final = 180.0
"""Time that a run gets to end its episode and to write a checkpoint, s."""
_LOOK_S: Final = 0.2
"""Time between looks at a run folder that is in use, s."""
_LIBC: Final = ctypes.CDLL(None)
_PR_SET_PDEATHSIG: Final = 1
"""Number of the wish for a signal at the parent's death (`prctl` of Linux)."""


def build(place: Path) -> Callable[[TrainedCell], None]:
    """Target of `harness.executors.crew.WorkerSetup`: what trains one run after the other.

    Args:
        place: Working directory of the runs.

    Raises:
        RunError: It does not exist on the worker's machine.
    """
    stand_in(place)
    return train_one


def stand_in(place: Path) -> None:
    """Make a folder this process's working directory: relative paths of a run's options start from there.

    Raises:
        RunError: It does not exist on this machine.
    """
    if not place.is_dir():
        raise RunError(not_shared(place))
    os.chdir(place)


def not_shared(folder: Path) -> str:
    """The message about a folder that a worker's machine lacks."""
    return (
        f"{folder} does not exist on a worker's machine. Workers on other machines need the same paths: the working "
        "directory, the scenes, and the run folder, which --out gives on a shared file system."
    )


def train_one(cell: TrainedCell) -> None:
    """Train a prepared run, or go on with it, until its budget is spent.

    Raises:
        WorkerError: It failed, or its folder cannot be used; the message holds its last words.
        RunError: The folder is not here: the machines share no file system.
    """
    folder = cell.folder
    if not (folder / RUN_FILE).is_file():
        raise RunError(not_shared(folder))
    try:
        # An attempt before this one, whose worker was lost, may still be writing its checkpoint.
        if not until_free(folder):
            raise WorkerError(f"{cell.name}: run folder {folder} is in use by another process.")
        if code := _run(cell):
            raise WorkerError(_last_words(cell, code))
    except RunError as error:
        # Damage to one run is that run's; a worker that raises RunError would end the matrix.
        raise WorkerError(f"{cell.name}: {error}") from error


def until_free(folder: Path, seconds: float = STOP_S) -> bool:
    """Wait until no process has a run folder open; returns whether that came in time.

    Raises:
        RunError: The folder cannot be written.
    """
    end = time.monotonic() + seconds
    while in_use(folder):
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_S)
    return True


def processors_of(cell: TrainedCell) -> int:
    """Processors that a run keeps busy."""
    config = cell.config
    return config.threads if config.engine == "fast" else max(config.td3.threads, config.workers)


def _run(cell: TrainedCell) -> int:
    """Start the run and wait for its end; returns its exit code."""
    # Workers allow themselves one thread; how many a run has is for its own options to say.
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    command = [sys.executable, "-m", f"harness.{TRAIN_VERB}", "--resume", str(cell.folder)]
    # Names of the user's own code count only where they are typed.
    command += options_of_code(cell.config)
    with (cell.folder / OUTPUT).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C reaches the matrix alone, which passes one signal on: a second would cost the checkpoint.
            process_group=0,
            preexec_fn=_stop_with_parent if sys.platform == "linux" else None,
        )
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _stop_with_parent() -> None:
    """Have the system send SIGTERM when the worker ends: a worker that is killed can pass nothing on itself."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _last_words(cell: TrainedCell, code: int) -> str:
    log = cell.folder / OUTPUT
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1] if lines else "no output"
    return f"{cell.name} ended with exit code {code} at step {steps_done(cell):,}: {last} (all of it: {log})"

"""Training commands of tests: what workers of a matrix start instead of `train_ego`."""

import os
import signal
import threading
import time
from pathlib import Path

STARTED, KEPT = "started.txt", "kept.txt"
ENDLESS = f"""
import fcntl, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[2])
lock = open(folder / ".lock", "a")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
def stop(*_):
    time.sleep(0.3)
    (folder / "{KEPT}").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
(folder / "{STARTED}").touch()
time.sleep(120)
"""
"""Opens its run folder, works on and on, and takes a moment for its checkpoint when it is told to stop."""


def command_beside(place: Path) -> Path:
    """Where to write the text of a `train_ego` that is found by whatever runs in a folder."""
    (place / "harness").mkdir()
    (place / "harness" / "__init__.py").touch()
    return place / "harness" / "train_ego.py"


def interrupt_when(file: Path) -> None:
    """Send this process Ctrl-C as soon as there is a file."""
    # A shell's background job ignores it from the start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def wait() -> None:
        while not file.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()

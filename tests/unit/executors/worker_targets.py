"""Workers that succeed, raise, crash or hang; importable from spawned processes."""

import os
import signal
import time
from pathlib import Path

from harness.errors import RunError


def square(offset: int = 0):
    return lambda job: job * job + offset


def troubled(folder: str):
    """Jobs are (name, behaviour); every attempt leaves a file `name.<attempt>`."""

    def work(job):
        name, behaviour = job
        tried = len(list(Path(folder).glob(f"{name}.*")))
        Path(folder, f"{name}.{tried}").write_text(str(os.getpid()))
        if behaviour == "once" and tried > 0:
            behaviour = "fine"
        if behaviour in ("exit", "once"):
            os._exit(3)
        if behaviour == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if behaviour == "hang":
            time.sleep(600)
        if behaviour == "full":
            raise RunError("the disk is full")
        if behaviour == "raise":
            raise ValueError("broken job")
        return name.upper()

    return work


class Closing:
    def __init__(self, folder: str):
        self.folder = folder

    def __call__(self, job):
        return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}

    def close(self):
        Path(self.folder, f"closed.{os.getpid()}").touch()


def unbuildable():
    raise ValueError("no weights here")


def exits_at_once():
    os._exit(4)


def slow_writer(folder: str):
    def work(job):
        for _ in range(600):
            Path(folder, "alive").write_text(str(time.monotonic()))
            time.sleep(0.02)

    return work


def on_node(folder: str, seconds: float):
    """Leave a mark of the Ray node that a job runs on, then take some time."""
    import ray

    node = ray.get_runtime_context().get_node_id()

    def work(job):
        Path(folder, f"node.{node}").touch()
        time.sleep(seconds)
        return job

    return work

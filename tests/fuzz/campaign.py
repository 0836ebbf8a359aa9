"""The campaign: hands cases to worker processes, starts those anew that die or hang, and counts what came of all."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz.formats import FORMATS
from tests.fuzz.worker import KNOWN, keep

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10.0
"""Processor time of a case; the largest files that are read in earnest take less."""
PATIENCE = 120
"""Seconds without a word after which a worker hangs: its cases end after `SECONDS` by themselves."""
GOOD = ("read", "refused")


@dataclass
class Result:
    """What came of a campaign.

    Attributes:
        counts: Cases by format and outcome.
        failures: Format, index, outcome and detail of each case that failed.
        memory: Most bytes that one case took, and its name.
        seconds: Most processor time that one case took, and its name.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[tuple[str, int, str, str]] = field(default_factory=list)
    memory: tuple[int, str] = (0, "")
    seconds: tuple[float, str] = (0.0, "")

    def add(self, found: dict[str, Any]) -> None:
        """Count one case."""
        name, outcome = found["name"], found["outcome"]
        self.counts[name, outcome] += 1
        label = f"{name} {found['index']}"
        self.memory = max(self.memory, (found["memory"], label))
        self.seconds = max(self.seconds, (found["seconds"], label))
        if outcome not in GOOD:
            self.failures.append((name, found["index"], outcome, found["detail"]))


def run(
    indices: Sequence[int],
    seed: int,
    names: Sequence[str] | None = None,
    workers: int = 1,
    out: Path = Path("fuzz"),
    watch: Callable[[], None] = lambda: None,
    seconds: float = SECONDS,
) -> Result:
    """Read damaged files.

    Args:
        indices: Which cases.
        seed: Of the campaign; a case is the same whenever seed, index and formats are.
        names: Formats; all that can be read here if not given.
        workers: Processes.
        out: Where inputs that fail are kept.
        watch: Called after every case.
        seconds: Processor time of a case.
    """
    chosen = [name for name in names or FORMATS if KNOWN[name].available]
    result, lock = Result(), threading.Lock()

    def add(found: dict[str, Any]) -> None:
        with lock:
            result.add(found)
            watch()

    shares = [list(indices[worker::workers]) for worker in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        tasks = [pool.submit(_drive, share, _Task(seed, seconds, chosen, out.resolve(), add)) for share in shares]
        for task in tasks:
            task.result()
    result.failures.sort()
    return result


class _Task(NamedTuple):
    """What the workers of a campaign have in common."""

    seed: int
    seconds: float
    names: list[str]
    out: Path
    add: Callable[[dict[str, Any]], None]


def _drive(indices: list[int], task: _Task) -> None:
    """Run one worker after another until all cases are done."""
    while indices:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
            done, broken = _one_worker(Path(scratch), indices, task)
            indices = indices[done:]
            if broken is not None:
                # The damaged file lies where the worker left it.
                file = Path(scratch) / "samples" / broken["name"] / KNOWN[broken["name"]].file
                made = broken["outcome"] != "unmade" and file.exists()
                keep(task.out, task.seed, broken, file.read_bytes() if made else b"")
                task.add(broken)
                indices = indices[1:]
            elif done == 0:
                raise RuntimeError("a worker of the campaign does not start: see its errors above")


def _one_worker(scratch: Path, indices: list[int], task: _Task) -> tuple[int, dict[str, Any] | None]:
    """How many cases a worker did, and the one that it died or hung at."""
    cache = str(scratch / "cache")
    own = {"XDG_CACHE_HOME": cache, "GAUNTLET_CACHE": "", "OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)}
    environment = {**os.environ, **own, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    arguments = (str(scratch / "samples"), str(task.out), str(task.seed), str(task.seconds), json.dumps(task.names))
    command = [sys.executable, "-m", "tests.fuzz.worker", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as child:
        assert child.stdin is not None
        child.stdin.write(json.dumps(indices))
        child.stdin.close()
        done, now, hangs = _listen(child, task.add)
        code = child.wait()
    if now is None:
        return done, None
    outcome, detail = ("hang", f"no word for {PATIENCE} s") if hangs else ("died", f"exit code {code}")
    if "made" not in now:
        outcome, detail = "unmade", f"no fault of the reader: {outcome} while the damaged file was made ({detail})"
    told = {"index": now["begin"], "name": now["name"], "memory": 0, "seconds": 0.0}
    return done, {**told, "outcome": outcome, "detail": detail}


def _listen(
    child: subprocess.Popen[str], add: Callable[[dict[str, Any]], None]
) -> tuple[int, dict[str, Any] | None, bool]:
    """Count cases until a worker ends or says nothing; also the case that it has begun, and whether it hangs."""
    assert child.stdout is not None
    done, now = 0, None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while selector.select(PATIENCE):
            line = child.stdout.readline()
            if not line:
                return done, now, False
            found = json.loads(line)
            if "begin" in found:
                now = found
            else:
                add(found)
                done, now = done + 1, None
    child.kill()
    return done, now, True

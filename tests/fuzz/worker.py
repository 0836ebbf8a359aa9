"""One process of the campaign: reads damaged files within limits, and says over a pipe what came of each.

Run by `tests.fuzz.campaign`; `python -m tests.fuzz.worker` is of no use by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import GauntletError
from tests.fuzz.formats import FORMATS, Format
from tests.fuzz.traps import TRAPS

KNOWN = {**FORMATS, **TRAPS}
MEMORY = 600_000_000
"""Most bytes that a case may take beyond what the process has; the samples have up to 0.3 MB."""
LONGEST = 5000
"""Characters of a message: a line of 1,500, escaped at worst."""


class Slow(BaseException):
    """A case took too long. No `Exception`, so that no handler of the code under test takes it for its own."""


class Case(NamedTuple):
    """What is damaged, and how."""

    index: int
    name: str
    rng: random.Random


def case(seed: int, index: int, names: list[str]) -> Case:
    """Case `index` of a campaign: the same in every process, whatever the others are."""
    rng = random.Random(f"{seed}-{index}")
    name = rng.choices(names, weights=[KNOWN[name].share for name in names])[0]
    return Case(index, name, rng)


def mutant(form: Format, sound: bytes, rng: random.Random) -> bytes:
    """The damaged file; numbers of any length are written here, but not read by the code under test."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return form.mutant(sound, rng)
    except (ValueError, TypeError, RecursionError, OverflowError, UnicodeError, AttributeError):
        # The change cannot be written in this format, such as an array in a pickle's key.
        return sound[: rng.randrange(len(sound))]
    finally:
        sys.set_int_max_str_digits(limit)


class Sandbox:
    """Folders of the samples, and a watch over files that are opened for writing."""

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root = root
        self.sound: dict[str, bytes] = {}
        self.written: list[str] = []
        self.watching = False
        for name in names:
            folder = root / name
            folder.mkdir(parents=True)
            KNOWN[name].make(folder)
            self.sound[name] = (folder / KNOWN[name].file).read_bytes()
            KNOWN[name].read(folder)  # The sound sample is read, and imports are done.
        self.cwd = root / "cwd"
        self.cwd.mkdir()
        os.chdir(self.cwd)
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and self._foreign(path):
                self.written.append(f"opened {path} for writing")
        elif event in ("os.remove", "os.rename", "os.mkdir", "shutil.rmtree") and self._foreign(arguments[0]):
            self.written.append(f"{event} {arguments[0]}")
        elif event in ("subprocess.Popen", "os.system", "os.exec", "socket.connect", "os.posix_spawn"):
            self.written.append(event)

    def _foreign(self, path: object) -> bool:
        """Whether a path is none of the user's cache, where an index or an answer may be kept."""
        return not str(path).startswith((os.environ.get("XDG_CACHE_HOME", "/nowhere"), "/dev/null"))

    def files(self, name: str) -> set[str]:
        """What lies in a sample's folder and in the working folder."""
        return {str(path) for folder in (self.root / name, self.cwd) for path in folder.rglob("*")}

    @contextlib.contextmanager
    def damaged(self, name: str, data: bytes) -> Iterator[Path]:
        """The sample's folder with the damaged file in it."""
        folder = self.root / name
        file = folder / KNOWN[name].file
        file.write_bytes(data)
        before, self.written, self.watching = self.files(name), [], True
        try:
            yield folder
        finally:
            self.watching = False
            file.write_bytes(self.sound[name])
            new = self.files(name) - before
            self.written += [f"made {path}" for path in sorted(new)]
            for path in new:
                with contextlib.suppress(OSError):
                    os.unlink(path)


def judge(form: Format, folder: Path) -> tuple[str, str]:
    """What reading came to: `read`, `refused`, or a fault; and the message or the traceback."""
    try:
        form.read(folder)
        return "read", ""
    except GauntletError as error:
        text, cause = str(error), error.__cause__
        while cause is not None:
            if isinstance(cause, MemoryError):
                return "memory", f"refused only by the limit of this process: {text}"
            cause = cause.__cause__
        if "\n" in text or len(text) > LONGEST or not text:
            return "message", repr(text[:5000])
        return "refused", text
    except Slow:
        return "slow", traceback.format_exc()
    except MemoryError:
        return "memory", traceback.format_exc()
    except BaseException:  # noqa: BLE001 - whatever escapes is what the campaign looks for
        return "traceback", traceback.format_exc()


def memory() -> tuple[int, int]:
    """Resident bytes of this process: now, and the most since `forget_peak`."""
    found = dict.fromkeys(("VmRSS", "VmHWM", "VmSize"), 0)
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, rest = line.partition(":")
        if key in found:
            found[key] = int(rest.split()[0]) * 1024
    return found["VmRSS"], found["VmHWM"]


def forget_peak() -> None:
    """Let the peak of resident memory begin anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Little address space while a file is read. None is taken from whoever makes it: without memory pyarrow dies."""
    most = resource.getrlimit(resource.RLIMIT_AS)[1]  # Of the shell; a process cannot raise it.
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + 3 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def run_case(box: Sandbox, found: Case, data: bytes, limit: float) -> dict[str, Any]:
    """Read one damaged file; what came of it."""
    form = KNOWN[found.name]
    forget_peak()
    before, _ = memory()
    start = os.times()
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        with bounded(), box.damaged(found.name, data) as folder:
            outcome, detail = judge(form, folder)
    except Slow:
        outcome, detail = "slow", ""
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    end = os.times()
    seconds = end.user + end.system - start.user - start.system
    extra = max(memory()[1] - before, 0)
    if outcome in ("read", "refused"):
        if box.written:
            outcome, detail = "wrote", "; ".join(box.written[:5])
        elif extra > MEMORY:
            outcome, detail = "memory", f"{extra / 1e6:.0f} MB: {detail}"
    return {"index": found.index, "name": found.name, "outcome": outcome, "detail": detail, "seconds": seconds,
            "memory": extra, "data": data if outcome not in ("read", "refused") else b""}  # fmt: skip


def _late(number: int, frame: object) -> None:
    raise Slow


def main(root: str, out: str, seed: int, seconds: float, names: list[str], indices: list[int]) -> None:
    """Read the cases `indices`, writing lines to standard output: before each, when its file is made, and after it."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    warnings.simplefilter("ignore")
    box = Sandbox(Path(root), names)
    os.dup2(1, 2)  # Libraries complain of what they are given.
    signal.signal(signal.SIGPROF, _late)
    for index in indices:
        chosen = case(seed, index, names)
        told = {"begin": index, "name": chosen.name}
        print(json.dumps(told), file=pipe, flush=True)
        data = mutant(KNOWN[chosen.name], box.sound[chosen.name], chosen.rng)
        print(json.dumps({**told, "made": True}), file=pipe, flush=True)
        result = run_case(box, chosen, data, seconds)
        data = result.pop("data")
        if data:
            keep(Path(out), seed, result, data)
        print(json.dumps(result), file=pipe, flush=True)


def keep(out: Path, seed: int, result: dict[str, Any], data: bytes) -> None:
    """Keep the input of a failed case, and what it did."""
    out.mkdir(parents=True, exist_ok=True)
    stem = f"{result['name']}-{seed}-{result['index']}"
    (out / f"{stem}{Path(KNOWN[result['name']].file).suffix}").write_bytes(data)
    (out / f"{stem}.txt").write_text(f"{result['outcome']}\n{result['detail']}\n", errors="replace")


if __name__ == "__main__":
    numbers, formats = (int(sys.argv[3]), float(sys.argv[4])), json.loads(sys.argv[5])
    main(sys.argv[1], sys.argv[2], *numbers, formats, json.loads(sys.stdin.read()))

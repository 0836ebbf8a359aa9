"""Kill `benchmark` and `train_ego` at random moments, resume them, and compare every number with undisturbed runs.

    python -m tests.kills benchmark --kills 50
    python -m tests.kills train_ego --kills 20
    python -m tests.kills train_fast --kills 20

One undisturbed run is the truth. Then a run is started, killed after a random time (SIGKILL, SIGTERM or Ctrl-C, to the
process or to its whole group), gone on with by `--resume`, killed again, and so on; once it is complete it must be
equal in every column and record, and the next one begins. SIGTERM and Ctrl-C must end with 143 and 130 and without a
traceback, and no process may be left behind. Needs no data: the scenes are made here.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import load_file

from harness.episodes.records import EpisodeStore
from scenarios.export import write_folder
from tests.scenes import LANE_WIDTH, Agent, crossing, straight_road

ROOT: Final = Path(__file__).resolve().parents[1]
CODES: Final = {signal.SIGTERM: 143, signal.SIGINT: 130}
GONE_S: Final = 20.0
"""Time in which a killed process and its workers must be gone, s."""
TIMES: Final = ("seconds", "_ms", "per_second")
"""Parts of the names of numbers that differ from run to run."""
RESULTS: Final = ("seconds_before_impact",)
"""Beginnings of names with such a part that are results all the same."""

Run = Path
Same = Callable[[Run, Run], list[str]]


@dataclass
class Case:
    """A command that is killed.

    Attributes:
        verb: Its name.
        options: What it is told, without `--data` and `--out`.
        same: What differs between two finished runs; empty where they are equal.
    """

    verb: str
    options: Sequence[str]
    same: Same


@dataclass
class Result:
    """What a campaign found.

    Attributes:
        kills, runs: How many.
        faults: What went wrong, in words; empty where all is well.
        moments: Number of kills by signal.
    """

    kills: int = 0
    runs: int = 0
    faults: list[str] = field(default_factory=list)
    moments: dict[str, int] = field(default_factory=dict)


def write_scenes(root: Path, count: int = 8) -> Path:
    """A folder with `count` training scenes and half as many test scenes."""
    aside = Agent("aside", -15.0, LANE_WIDTH, 0.0, 10.0)
    for split, number in (("train", count), ("test", count // 2)):
        scenes = [
            straight_road(scene_id=f"{split}{index}", extra=[aside], opponent_gap=10.0 + 3 * index)
            if index % 2
            else crossing(scene_id=f"{split}{index}", opponent_delay=-2.0 + index / 2)
            for index in range(number)
        ]
        write_folder(scenes, root / split)
    return root


# ---- what must be equal


def untimed(value: Any) -> Any:
    """Numbers without those that tell how long something took."""
    if isinstance(value, dict):
        kept = {key for key in value if key.startswith(RESULTS) or not any(part in key for part in TIMES)}
        return {key: untimed(item) for key, item in value.items() if key in kept}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def same_benchmark(one: Run, other: Run) -> list[str]:
    """Tables, and every record with its arrays."""
    found = []
    first, second = (untimed(json.loads((run / "summary.json").read_text())) for run in (one, other))
    for name in ("cells", "comparisons"):
        if first[name] != second[name]:
            found.append(f"summary.json: {name}")
    for name in ("benchmark.csv", "comparisons.csv"):
        a, b = (untimed(list(csv.DictReader((run / name).open()))) for run in (one, other))
        if a != b:
            found.append(name)
    records = sorted(path.relative_to(one) for path in one.rglob("episodes/*/*/*.npz"))
    if records != sorted(path.relative_to(other) for path in other.rglob("episodes/*/*/*.npz")):
        return [*found, "other records"]
    stores = EpisodeStore(one), EpisodeStore(other)
    for path in records:
        with np.load(one / path) as a, np.load(other / path) as b:
            metas = [untimed(json.loads(file["meta"].tobytes())) for file in (a, b)]
            arrays = set(a.files) == set(b.files) and all(
                np.array_equal(a[key], b[key], equal_nan=a[key].dtype.kind == "f") for key in a.files if key != "meta"
            )
        if metas[0] != metas[1] or not arrays:
            found.append(f"record {path}")
    if stores[0].sweep() or stores[1].sweep():
        found.append("half-written records")
    return found


def same_training(one: Run, other: Run) -> list[str]:
    """Every record of episodes, evaluations and losses, and the networks of the last checkpoint."""
    found = []
    for name in (
        name for name in ("episodes", "evaluation", "metrics", "validation") if (one / f"{name}.jsonl").exists()
    ):
        a, b = (
            [untimed(json.loads(line)) for line in (run / f"{name}.jsonl").read_text().splitlines()]
            for run in (one, other)
        )
        if a != b:
            at = next((index for index, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), "the end")
            found.append(f"{name}.jsonl: {len(a)} and {len(b)} lines, first difference at {at}")
    # `about` tells where and when a run was made.
    results = [{**untimed(json.loads((run / "results.json").read_text())), "about": None} for run in (one, other)]
    if results[0] != results[1]:
        found.append("results.json")
    if (one / "curve.csv").read_text() != (other / "curve.csv").read_text():
        found.append("curve.csv")
    models = [next((run / "checkpoint").glob("model-*.safetensors")) for run in (one, other)]
    tensors = [load_file(file) for file in models]
    if models[0].name != models[1].name or any(not np.array_equal(tensors[0][k], tensors[1][k]) for k in tensors[0]):
        found.append("networks")
    return found


CASES: Final = {
    "benchmark": Case(
        "benchmark",
        ["--split", "all", "--adversary", "rule", "cat", "--sut", "replay", "idm", "--workers", "2"],
        same_benchmark,
    ),
    "train_ego": Case(
        "train_ego",
        [
            *("quick", "--adversary", "rule", "--eval-adversary", "rule", "--train-scenes", "8", "--test-scenes", "4"),
            *("--steps", "5000", "--eval-every", "1000", "--checkpoint-every", "500", "--td3.warmup", "500"),
            *("--td3.precision", "float32", "--no-pictures", "--no-tensorboard", "--curriculum", "adaptive"),
        ],
        same_training,
    ),
    "train_fast": Case(
        "train_ego",
        [
            *("best", "--adversary", "rule", "--eval-adversary", "rule", "--train-scenes", "8", "--test-scenes", "4"),
            *("--val-split", "train", "--val-scenes", "#0,#1", "--environments", "32", "--threads", "1"),
            *("--steps", "60000", "--eval-every", "10000", "--checkpoint-every", "4000", "--curriculum", "adaptive"),
            *("--ppo.steps", "32", "--ppo.minibatch", "512", "--ppo.hidden", "32", "--no-pictures", "--no-tensorboard"),
        ],
        same_training,
    ),
}


# ---- killing


def command(case: Case, data: Path, out: Run) -> list[str]:
    """The command that begins a run, or goes on with it."""
    begin = [sys.executable, "-m", f"harness.{case.verb}"]
    if (out / "run.json").is_file():
        return [*begin, "--resume", str(out)]
    preset = [case.options[0]] if not case.options[0].startswith("-") else []
    return [*begin, *preset, "--data", str(data), "--out", str(out), *case.options[len(preset) :]]


def start(case: Case, data: Path, out: Run, log: Path) -> subprocess.Popen[bytes]:
    """Start it in a group of its own, output to a file."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with log.open("wb") as file:
        return subprocess.Popen(
            command(case, data, out),
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )


def left_behind(group: int) -> list[str]:
    """Processes of a group that still live."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _, owner = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(owner) == group and state != "Z":
            found.append(entry.name)
    return found


def catches(process: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal (`SigCgt` in its status, see proc(5))."""
    status = Path(f"/proc/{process}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def kill(process: subprocess.Popen[bytes], number: signal.Signals, whole_group: bool, log: Path) -> list[str]:
    """Send a signal and wait; what is wrong about how the process ended."""
    # Before it has imported the package, the process ends as Python ends it, which takes no care of SIGTERM.
    began = catches(process.pid, signal.SIGTERM)
    expected = ({CODES[number], 0} if began else {CODES[number], 0, -number}) if number in CODES else set()
    (os.killpg if whole_group else os.kill)(process.pid, number)
    try:
        code = process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return [f"{number.name}: it did not end within 60 s"]
    faults = []
    if expected and code not in expected:
        faults.append(f"{number.name}: exit code {code}, expected {CODES[number]}")
    text = log.read_text(errors="replace")
    if began and number in CODES and ("Traceback" in text or "Exception ignored" in text):
        faults.append(f"{number.name}: a traceback: {text[-600:]!r}")
    end = time.monotonic() + GONE_S
    while (left := left_behind(process.pid)) and time.monotonic() < end:
        time.sleep(0.1)
    if left:
        faults.append(f"{number.name}: {len(left)} processes were left behind")
        os.killpg(process.pid, signal.SIGKILL)
    return faults


def campaign(case: Case, folder: Path, kills: int, seed: int, say: Callable[[str], None] = print) -> Result:
    """Kill and resume runs until `kills` kills are done and the last run is complete.

    Args:
        case: Which command.
        folder: Empty; scenes, runs and output go there.
        kills: How many.
        seed: Seed of moments and signals.
        say: Takes a line after every kill and run.

    Raises:
        RuntimeError: The undisturbed run fails.
    """
    data, log = write_scenes(folder / "data"), folder / "output.log"
    truth, rng, result = folder / "undisturbed", random.Random(seed), Result()
    began = time.monotonic()
    process = start(case, data, truth, log)
    if process.wait():
        raise RuntimeError(f"the undisturbed run failed: {log.read_text(errors='replace')[-2000:]}")
    whole_s = time.monotonic() - began
    say(f"{case.verb}: undisturbed run in {whole_s:.0f} s; {kills} kills follow")
    while result.kills < kills or result.runs == 0:
        result.runs += 1
        out, before, began = folder / f"run{result.runs}", result.kills, time.monotonic()
        killed_run(case, data, out, log, rng, whole_s, kills, result, say)
        if result.kills == before:
            # The machine has become faster, or every kill would come too late.
            whole_s = min(whole_s, time.monotonic() - began)
        if result.faults:
            break
        different = case.same(truth, out)
        result.faults += [f"run {result.runs} differs: {item}" for item in different[:10]]
        say(f"run {result.runs} complete after {result.kills} kills: {'EQUAL' if not different else 'DIFFERENT'}")
        if not different:
            shutil.rmtree(out)
    return result


def killed_run(
    case: Case,
    data: Path,
    out: Run,
    log: Path,
    rng: random.Random,
    whole_s: float,
    kills: int,
    result: Result,
    say: Callable[[str], None],
) -> None:
    """One run to its end, killed on the way; faults are added to the result."""
    while not result.faults:
        process = start(case, data, out, log)
        # Some at the very beginning, most anywhere in a run.
        delay = rng.uniform(0.0, 3.0) if rng.random() < 0.2 else rng.uniform(0.0, 0.8 * whole_s)
        try:
            code = process.wait(delay if result.kills < kills else None)
        except subprocess.TimeoutExpired:
            number = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            faults = kill(process, number, rng.random() < 0.5 and number != signal.SIGTERM, log)
            result.kills += 1
            result.moments[number.name] = result.moments.get(number.name, 0) + 1
            result.faults += [f"kill {result.kills} (after {delay:.1f} s): {fault}" for fault in faults]
            say(f"  kill {result.kills}/{kills}: {number.name} after {delay:.1f} s{''.join('  ' + f for f in faults)}")
            continue
        if code:
            result.faults.append(f"resuming failed with exit code {code}: {log.read_text(errors='replace')[-1500:]}")
        return


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign; 0 where every run was equal, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__.partition("\n")[0])
    parser.add_argument("verb", choices=sorted(CASES))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep everything here; a temporary folder by default")
    chosen = parser.parse_args(argv)
    # A shell that starts this in the background has it ignore Ctrl-C, and the runs that it starts as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    began = time.monotonic()
    result = campaign(CASES[chosen.verb], folder, chosen.kills, chosen.seed, lambda text: print(text, flush=True))
    signals = ", ".join(f"{name} {count}" for name, count in sorted(result.moments.items()))
    print(f"{chosen.verb}: {result.kills} kills ({signals}) in {result.runs} runs, {time.monotonic() - began:.0f} s")
    for fault in result.faults:
        print(f"FAULT: {fault}")
    print(
        "VERDICT: " + (f"FAILED (kept in {folder})" if result.faults else "every run is equal to the undisturbed one")
    )
    if not result.faults and chosen.folder is None:
        shutil.rmtree(folder)
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""A matrix of training runs: adversaries and curricula × seeds, each a run folder of `train_ego`."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from harness.commands.code_names import options_of_code
from harness.commands.options import RunOptions
from harness.commands.runs import RUN_FILE, RunDirectory, read_records
from harness.commands.scaffold import check_same
from harness.errors import ConfigError, RunError
from harness.files import file_name
from harness.training.config import MAY_DIFFER, QUICK, TrainConfig

TRAIN_VERB: Final = "train_ego"
AXES: Final = ("frequency_axis", "intensity_axis")
"""Curricula in which one axis of the dual-axis curriculum is held at its final value."""
MATRIX_MAY_DIFFER: Final = ("adversary", "ablate", "seed", "evaluate_against", "parallel")
"""Options in which a resumed matrix may differ: only what is missing is trained and evaluated."""


@dataclass(frozen=True)
class MatrixConfig(RunOptions):
    """Train one ego per adversary (and per ablated curriculum) and seed; evaluate all of them alike."""

    adversary: tuple[str, ...] = ("none", "rule", "cat", "sage")
    """Registry names of what attacks in training."""
    ablate: tuple[str, ...] = ("sage",)
    """Adversaries that are also trained against with either axis of the curriculum held at its final value."""
    seed: tuple[int, ...] = (0,)
    """One run per seed and row of the tables. Seeds that are added later only train what is missing."""
    evaluate_against: tuple[str, ...] = ("sage", "cat")
    """Adversaries of the final evaluation, the same for every ego (SAGE: itself with w_adv = 1)."""
    parallel: int = 1
    """Runs at a time, each a process of its own."""
    train: TrainConfig = field(default_factory=lambda: replace(QUICK, pictures=False))
    """What all runs share; `adversary`, `curriculum`, `seed` and `out` are set by the matrix."""

    def __post_init__(self) -> None:
        """Reject what cannot work.

        Raises:
            ConfigError: Names the option.
        """
        if not self.adversary or not self.seed or not self.evaluate_against:
            raise ConfigError("--adversary, --seed and --evaluate-against: expected at least one each.")
        if unknown := sorted(set(self.ablate) - set(self.adversary)):
            among = " ".join(self.adversary)
            raise ConfigError(f"--ablate {unknown[0]}: not among --adversary {among}. Name some of them, or none.")
        if "none" in self.ablate or "none" in self.evaluate_against:
            raise ConfigError("--ablate and --evaluate-against: `none` never attacks. Name another adversary.")
        if self.parallel < 1:
            raise ConfigError(f"--parallel {self.parallel}: expected at least 1.")


@dataclass(frozen=True, slots=True)
class TrainedCell:
    """One run.

    Attributes:
        row: Row of the tables that it belongs to: the adversary, with the curriculum where that is ablated.
        config: Configuration of the run.
    """

    row: str
    config: TrainConfig

    @property
    def folder(self) -> Path:
        """Run folder."""
        assert self.config.out is not None, "cells always have one"
        return self.config.out

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name


def cells(config: MatrixConfig, out: Path) -> list[TrainedCell]:
    """Every run of the matrix: seeds outermost, so that whole tables come early."""
    rows = [(name, name, config.train.curriculum) for name in config.adversary]
    rows += [(f"{name}, {axis}", name, axis) for name in config.ablate for axis in AXES]
    return [
        TrainedCell(
            row,
            replace(
                config.train,
                adversary=adversary,
                curriculum=curriculum,
                seed=seed,
                out=out / f"{file_name(row.replace(', ', '-'), '-_@.')}-seed{seed}",
            ),
        )
        for seed in config.seed
        for row, adversary, curriculum in rows
    ]


def prepare(cell: TrainedCell) -> None:
    """Make the run folder, or check that the one that is there is this run's.

    Raises:
        ConfigError: It was made with other options.
        RunError: It, or its checkpoint, cannot be read or written.
    """
    if (cell.folder / RUN_FILE).exists():
        check_same(cell.config, cell.folder, TRAIN_VERB, MAY_DIFFER)
        finished(cell)
    else:
        RunDirectory.create(cell.folder, TRAIN_VERB, asdict(cell.config)).close()


def finished(cell: TrainedCell) -> bool:
    """Whether the run has spent its budget and left its policy."""
    from harness.training import checkpoint  # Imported here: it needs PyTorch, and `--help` does not.

    return checkpoint.complete(cell.folder, cell.config.steps) and (cell.folder / checkpoint.MODEL_ZIP).is_file()


def steps_done(cell: TrainedCell, records: str = "metrics.jsonl") -> int:
    """Steps that the run has recorded."""
    try:
        found = read_records(cell.folder / records)
    except RunError:
        return 0  # The run itself says what is wrong with its records.
    step = found[-1].get("step") if found else None
    return step if type(step) is int and step >= 0 else 0


_LIBC: Final = ctypes.CDLL(None)
_PR_SET_PDEATHSIG: Final = 1
"""Number of the wish for a signal at the parent's death (`prctl` of Linux)."""


@dataclass
class _Process:
    cell: TrainedCell
    handle: subprocess.Popen[bytes]


def train_all(
    cells: Sequence[TrainedCell], parallel: int, watch: Callable[[list[TrainedCell]], None], *, poll_s: float = 2.0
) -> Iterator[tuple[TrainedCell, str]]:
    """Train what is not finished, each run in a process of its own, and yield each with an error or an empty text.

    Args:
        cells: In the order in which they begin; prepared.
        parallel: Processes at a time.
        watch: Called now and then with the runs under way.
        poll_s: Seconds between looks at the processes.
    """
    waiting = [cell for cell in cells if not finished(cell)]
    running: list[_Process] = []
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                running.append(_start(waiting.pop(0)))
            for process in list(running):
                try:
                    code = process.handle.wait(poll_s / len(running))
                except subprocess.TimeoutExpired:
                    continue
                running.remove(process)
                yield process.cell, "" if code == 0 and finished(process.cell) else _reason(process.cell, code)
            watch([process.cell for process in running])
    finally:
        # A run that is told to stop leaves a checkpoint.
        for process in running:
            process.handle.terminate()
        for process in running:
            process.handle.wait()


def _start(cell: TrainedCell) -> _Process:
    environment = os.environ | {"OMP_NUM_THREADS": str(cell.config.td3.threads)}
    command = [sys.executable, "-m", f"harness.{TRAIN_VERB}", "--resume", str(cell.folder)]
    # Names of the user's own code count only where they are typed.
    command += options_of_code(cell.config)
    with (cell.folder / "output.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C reaches this process alone, which passes one signal on: a second would cost the checkpoint.
            process_group=0,
            preexec_fn=_stop_with_parent if sys.platform == "linux" else None,
        )
    return _Process(cell, process)


def _stop_with_parent() -> None:
    """Have the system send SIGTERM when the parent ends, however that ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _reason(cell: TrainedCell, code: int) -> str:
    log = cell.folder / "output.log"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1] if lines else "no output"
    return f"{cell.name} ended with exit code {code} at step {steps_done(cell):,}: {last} (all of it: {log})"

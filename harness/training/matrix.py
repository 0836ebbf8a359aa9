"""A matrix of training runs: adversaries and curricula × seeds, each a run folder of `train_ego`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from harness.commands.configs import at_least
from harness.commands.options import RunOptions, WorkerOptions
from harness.commands.runs import RUN_FILE, RunDirectory, read_records
from harness.commands.scaffold import check_same
from harness.episodes.protocol import protocol_of
from harness.errors import ConfigError, RunError
from harness.files import file_name
from harness.specs import parse
from harness.training.config import MAY_DIFFER, QUICK, TrainConfig

TRAIN_VERB: Final = "train_ego"
AXES: Final = ("frequency_axis", "intensity_axis")
"""Curricula in which one axis of the dual-axis curriculum is held at its final value."""
POLICY_FILES: Final = ("policy.safetensors", "policy.zip")
"""Names of the file in which runs leave their policy."""
MATRIX_MAY_DIFFER: Final = (
    *("adversary", "ablate", "seed", "evaluate_against", "against_log"),
    *("executor", "workers", "timeout"),
)
"""Options in which a resumed matrix may differ: only what is missing is trained and evaluated."""


@dataclass(frozen=True)
class MatrixConfig(RunOptions, WorkerOptions):
    """Train one ego per adversary (and per ablated curriculum) and seed; evaluate all of them alike."""

    adversary: tuple[str, ...] = ("none", "rule", "cat", "sage")
    """Registry names of what attacks in training."""
    ablate: tuple[str, ...] = ("sage",)
    """Adversaries that are also trained against with either axis of the curriculum held at its final value."""
    seed: tuple[int, ...] = (0,)
    """One run per seed and row of the tables. Seeds that are added later only train what is missing."""
    evaluate_against: tuple[str, ...] = ("sage", "cat")
    """Adversaries of the final evaluation, the same for every ego (SAGE: itself with w_adv = 1)."""
    against_log: bool = False
    """Evaluate every adversary a second time with attacks that are planned against the logged drive, not the ego's own,
    as the papers' code does. With `--train.protocol as-published` all attacks are, and this changes nothing."""
    timeout: float | None = None
    """Longest time for one attempt of one run, s (no limit with `serial`); it is then stopped, with a checkpoint, and
    gone on with once. No limit by default."""
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
        if self.workers is not None:
            at_least(1, workers=self.workers)
        if self.timeout is not None:
            at_least(1, timeout=self.timeout)


@dataclass(frozen=True, slots=True)
class TrainedCell:
    """One run.

    Attributes:
        row: Row of the tables that it belongs to: the adversary, with the curriculum where that is ablated.
        config: Configuration of the run.
    """

    row: str
    config: TrainConfig

    def __str__(self) -> str:
        return self.name

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


class MatrixAttack(NamedTuple):
    """What egos meet in the evaluation.

    Attributes:
        adversary: Registry name, with options.
        logged: Whether its attacks are planned against the logged drive instead of the ego's own, undisturbed one.
    """

    adversary: str
    logged: bool = False

    @property
    def label(self) -> str:
        """In tables, and in names of files."""
        return self.adversary + (" against the log" if self.logged else "")


def attacks_of(config: MatrixConfig) -> list[MatrixAttack]:
    """Every attack of the evaluation."""
    twice = config.against_log and not protocol_of(config.train.protocol).attack_logged_ego
    return [MatrixAttack(name, logged) for name in config.evaluate_against for logged in ((False, True)[: 1 + twice])]


def held_out(config: MatrixConfig) -> list[str]:
    """Labels of the attacks by adversaries that no ego of the matrix is trained against, whatever their options."""
    met = {parse(name).head for name in config.adversary}
    return [attack.label for attack in attacks_of(config) if parse(attack.adversary).head not in met]


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

    return checkpoint.complete(cell.folder, cell.config.steps) and policy_file(cell) is not None


def policy_file(cell: TrainedCell) -> Path | None:
    """The file with the policy that a run has left, or None before there is one."""
    return next((file for file in (cell.folder / name for name in POLICY_FILES) if file.is_file()), None)


def steps_done(cell: TrainedCell, records: str = "metrics.jsonl") -> int:
    """Steps that the run has recorded."""
    try:
        found = read_records(cell.folder / records)
    except RunError:
        return 0  # The run itself says what is wrong with its records.
    step = found[-1].get("step") if found else None
    return step if type(step) is int and step >= 0 else 0

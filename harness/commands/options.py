"""Options that several commands have, spelled and explained once: inherit the groups that a command needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import tyro

from harness.executors import Executor
from scenarios.importers.layouts import KINDS
from scenarios.opponents import OpponentKind
from scenarios.scenario import ScenarioSource
from scenarios.selection import open_scenes
from scenarios.sources import PROCEDURAL
from scenarios.splits import SPLITS

DATA_HELP: Final = (
    f"Folder of scenes, root of a data set, or one scene file ({KINDS}); or the word `{PROCEDURAL}` for the generated "
    "scenes."
)
"""What `--data` takes, for every command."""
Data = Annotated[str, tyro.conf.arg(help=DATA_HELP)]
"""Type of the option `--data`."""
FitOnly = Annotated[
    bool,
    tyro.conf.arg(
        help="Leave out scenes that are unfit for attacks: no opponent, its track too short or off the road, ego at "
        "rest. What is left out is counted and listed."
    ),
]
"""Type of the option `--fit-only`."""
WhereOption = Annotated[
    str | None,
    tyro.conf.arg(
        help="Take only scenes whose tags meet a condition, such as `type=cut-in and speed>10`; it narrows the split "
        "before scenes of it are counted. `scenarios list` shows the tags."
    ),
]
"""Type of the option `--where`."""
NO_SCENES: Final = "none"
"""Name of a split that is empty."""


@dataclass(frozen=True)
class OutOption:
    """Where a run writes."""

    out: Path | None = None
    """New run folder; by default one under `runs/`."""


@dataclass(frozen=True)
class RunOptions(OutOption):
    """Where a run that can be resumed lies."""

    resume: Path | None = None
    """Go on with this run folder. Its configuration counts; options that contradict it are refused."""


@dataclass(frozen=True)
class DataOption:
    """Which data."""

    data: Data = PROCEDURAL
    fit_only: FitOnly = False
    where: WhereOption = None

    def part(self, split: str, scenes: str | None) -> ScenarioSource:
        """Scenes of a split of the data; errors as of `DataOptions.open`."""
        return open_scenes(self.data, split, scenes, fit_only=self.fit_only, where=self.where)

    @property
    def origin(self) -> str:
        """What weights tell of their data: `procedural` or `own`, never a path."""
        return PROCEDURAL if self.data == PROCEDURAL else "own"


@dataclass(frozen=True)
class DataOptions(DataOption):
    """Which scenes."""

    split: str = "test"
    """Split of the data: `train`, `val`, `test`, or `all` for every scene."""
    scenes: str | None = None
    """Scenes of the split: `20` for the first 20, `10:20` for a range, `#3` for one, a scene's id, or several with
    commas; all by default."""

    def open(self, cache_scenes: int | None = None) -> ScenarioSource:
        """The scenes that the options name.

        Raises:
            ConfigError: Unknown split, or a selection that is none.
            ScenarioError: The data cannot be read.
        """
        return self._opened(cache_scenes, fit_only=self.fit_only)

    def open_all(self, cache_scenes: int | None = None) -> ScenarioSource:
        """As `open`, with what is unfit or cannot be read: for whoever looks up by id what `open` gave."""
        return self._opened(cache_scenes, unread=True)

    @property
    def attacker(self) -> OpponentKind:
        """Who attacks, for commands in which that can be chosen."""
        return "vehicle"

    def _opened(self, cache_scenes: int | None, *, fit_only: bool = False, unread: bool = False) -> ScenarioSource:
        return open_scenes(
            self.data,
            self.split,
            self.scenes,
            cache_scenes=cache_scenes,
            fit_only=fit_only,
            where=self.where,
            unread=unread,
            opponent=self.attacker,
        )


@dataclass(frozen=True)
class AttackedScenes(DataOptions):
    """Which scenes, and who attacks there."""

    opponent: OpponentKind = "vehicle"
    """Who attacks: the `vehicle` in conflict with the ego, or the `pedestrian`, the `cyclist`, or either of both
    (`vulnerable`) who needs the least effort to meet the ego. Scenes without one are unfit."""

    @property
    def attacker(self) -> OpponentKind:
        """Who attacks."""
        return self.opponent


@dataclass(frozen=True)
class AllDataOptions(DataOptions):
    """Which scenes, where those of every split are meant by default."""

    split: str = "all"
    """Split of the data: `train`, `val`, `test`, or `all` for every scene."""


@dataclass(frozen=True)
class TrainScenes(DataOption):
    """Scenes to learn from."""

    train_split: str = "train"
    """Split for training: `train`, `val`, `test`, or `all` for every scene."""
    train_scenes: str | None = None
    """Scenes of that split: `20` for the first 20, `10:20` for a range, `#3` for one, a scene's id, or several with
    commas; all by default."""

    def open_train(self) -> ScenarioSource:
        """The scenes to learn from; errors as of `DataOptions.open`."""
        return self.part(self.train_split, self.train_scenes)


@dataclass(frozen=True)
class ValScenes(DataOption):
    """Scenes that decide when to stop."""

    val_split: str = "val"
    """Split for validation, by which training stops and an epoch is chosen: `train`, `val`, `test`, or `all`."""
    val_scenes: str | None = None
    """Scenes of that split, written as for `--train-scenes`; all by default."""

    def open_val(self) -> ScenarioSource:
        """The scenes to validate on; errors as of `DataOptions.open`."""
        return self.part(self.val_split, self.val_scenes)


@dataclass(frozen=True)
class TestScenes(DataOption):
    """Scenes that decide nothing."""

    test_split: str = "test"
    """Split that is held out and decides nothing: `train`, `val`, `test`, `all`, or `none` for no scenes."""
    test_scenes: str | None = None
    """Scenes of that split, written as for `--train-scenes`; all by default."""

    def open_test(self) -> ScenarioSource | None:
        """The scenes held out, or None without any; errors as of `DataOptions.open`."""
        if self.test_split == NO_SCENES:
            return None
        return self.part(self.test_split, self.test_scenes)


@dataclass(frozen=True)
class WorkerOptions:
    """Where episodes run."""

    executor: Executor = "process"
    """`serial`, `process`, or `ray` (needs the extra `ray`; the cluster of `RAY_ADDRESS`, or a local one)."""
    workers: int | None = None
    """Number of workers; every processor by default."""


def part(name: str = "") -> Callable[[str], Sequence[str]]:
    """For old options that took a split's name or indices: `0:280,300`; empty text was no scene at all.

    Args:
        name: Name of the part, as in `--NAME-split` and `--NAME-scenes`; without it `--split` and `--scenes`.
    """
    head = f"--{name}-" if name else "--"

    def respell(value: str) -> Sequence[str]:
        if not value or not set(value) <= set("0123456789:, "):
            return [f"{head}split", value or NO_SCENES]
        items = [item.strip() for item in value.split(",")]
        scenes = ",".join(item if ":" in item else f"#{item}" for item in items)
        return [f"{head}split", "all", f"{head}scenes", scenes]

    return respell


def split_or_scenes(value: str) -> Sequence[str]:
    """For `--scenes` where it took a split's name, too."""
    return ["--split" if value in ("all", *SPLITS) else "--scenes", value]

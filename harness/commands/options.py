"""Options that several commands have, spelled and explained once: inherit the groups that a command needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.executors import Executor
from scenarios.scenario import ScenarioSource
from scenarios.selection import open_scenes


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
class DataOptions:
    """Which scenes."""

    data: str = "procedural"
    """Folder of scenes or one scene file (ScenarioNet pickles, WOMD TFRecords, GPUDrive JSON, Argoverse 2); or the
    word `procedural` for the generated scenes."""
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
        return open_scenes(self.data, self.split, self.scenes, cache_scenes=cache_scenes)


@dataclass(frozen=True)
class AllDataOptions(DataOptions):
    """Which scenes, where those of every split are meant by default."""

    split: str = "all"
    """Split of the data: `train`, `val`, `test`, or `all` for every scene."""


@dataclass(frozen=True)
class WorkerOptions:
    """Where episodes run."""

    executor: Executor = "process"
    """`serial`, `process`, or `ray` (needs the extra `ray`; the cluster of `RAY_ADDRESS`, or a local one)."""
    workers: int | None = None
    """Number of workers; every processor by default."""

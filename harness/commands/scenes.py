"""Options of the commands under `scenarios`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import tyro

from harness.commands.options import AllDataOptions, Data, FitOnly, WhereOption
from harness.errors import ConfigError
from scenarios.importers.layouts import KINDS
from scenarios.procedural.config import ProceduralConfig
from scenarios.scenario import CURRENT_STEP, ScenarioSource
from scenarios.selection import matching_scenes, open_scenes
from scenarios.sources import PROCEDURAL
from scenarios.where import Where

SOURCE_HELP: Final = f"Folder of scenes, root of a data set, or one scene file: {KINDS}."


@dataclass(frozen=True)
class ListConfig(AllDataOptions):
    """Which scenes to list."""

    data: tyro.conf.Positional[Data] = PROCEDURAL
    csv: Path | None = None
    """File that the table is written to as well."""
    html: Path | None = None
    """Page to write: what the folder holds, what is unfit and why, and a small picture of each scene."""
    pictures: int = 400
    """With `--html`: number of scenes that get a picture, the first ones. 100 pictures make about a megabyte."""

    def whole_and_chosen(self) -> tuple[ScenarioSource, ScenarioSource]:
        """All scenes of the split, what cannot be read among them, and those that meet `where`.

        Raises:
            ConfigError: Unknown split, or a condition that cannot be read or that no scene meets.
            ScenarioError: The data cannot be read.
        """
        condition = None if self.where is None else Where.parse(self.where)
        whole = open_scenes(self.data, self.split, None, cache_scenes=0, unread=True)
        return whole, whole if condition is None else matching_scenes(whole, condition, self.data)


@dataclass(frozen=True)
class CoverageConfig(AllDataOptions):
    """Whose coverage, and how much is said of what is missing."""

    data: tyro.conf.Positional[Data] = PROCEDURAL
    csv: Path | None = None
    """File for every pair of values: how many scenes have it, and which other scenes of the data would cover it."""
    additions: int = 10
    """Number of other scenes that are named, those that would cover the most of what is missing."""

    def __post_init__(self) -> None:
        """Reject a number of scenes that is none."""
        if not 0 <= self.additions <= 10_000:
            raise ConfigError(f"--additions {self.additions}: expected 0 to 10000 scenes.")


@dataclass(frozen=True)
class ImportConfig:
    """What to import, and where to."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(help=SOURCE_HELP)]
    out: tyro.conf.Positional[Path]
    """Folder to write; files of the same name are replaced."""
    join: float | None = None
    """CommonRoad alone: join windows that follow one another to logs, and cut these into scenes of so many seconds. A
    part of a log in which no vehicle is there throughout has no ego and is left out."""
    ego_may_leave: bool = False
    """With `--join`: the ego need only be there for the first 2 s of its scene. It is one that drives and stays
    longest. For traffic that is watched by a camera that stands (`--observer middle`)."""
    hold_out: int = 0
    """Write a split file in which so many scenes are `test` and the others `train`; those that share a map stay
    together."""
    hold_out_last: float = 0.0
    """With `--join`: write a split file in which the scenes of the last so many seconds of each log are `test`, and
    those before `train`; a scene that has a moving agent in common with one of the former is in no split."""
    fit_only: FitOnly = False
    where: WhereOption = None
    strict: bool = False
    """Stop at the first bad file instead of leaving it out and reporting it."""
    not_in: tuple[str, ...] = ()
    """Leave out windows of drives that are in these scenes, by scene id and by shared map: folders or files, with
    `@val` or `@test` for one split of a folder. For training data: `--not-in womd@val womd@test`."""


@dataclass(frozen=True)
class GenerateConfig:
    """How many scenes to generate, and where to."""

    out: Path | None = None
    """Folder to write; this user's cache by default."""
    workers: int | None = None
    """Number of processes; every processor by default."""
    config: tyro.conf.OmitArgPrefixes[ProceduralConfig] = field(default_factory=ProceduralConfig)
    """Counts and options of the generator."""


@dataclass(frozen=True)
class ValidateConfig:
    """Which files to examine, and what their scenes must have."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(help=SOURCE_HELP)]
    steps: int = CURRENT_STEP + 2
    """Steps that the ego must last, 0.1 s each (for a horizon of 90 steps: 91)."""
    road_edges: bool = False
    """Count missing road edges as an error."""
    opponent: bool = False
    """Count a missing opponent as an error."""
    quiet: bool = False
    """Show errors only, not warnings."""


@dataclass(frozen=True)
class DrawConfig(AllDataOptions):
    """Which scenes to draw, and where to."""

    data: tyro.conf.Positional[Data] = PROCEDURAL
    scenes: str | None = "1"
    """Scenes of the split: `20` for the first 20, `10:20` for a range, `#3` for one, a scene's id, or several with
    commas."""
    out: Path = Path("pictures")
    """Folder for the PNG files."""
    step: int = CURRENT_STEP
    """Step whose boxes are drawn (0.1 s each)."""

"""Options of the commands under `scenarios`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from harness.commands.options import AllDataOptions
from scenarios.procedural.config import ProceduralConfig
from scenarios.scenario import CURRENT_STEP


@dataclass(frozen=True)
class ListConfig(AllDataOptions):
    """Which scenes to list."""

    data: tyro.conf.Positional[str] = "procedural"
    """Folder of scenes or one scene file (ScenarioNet pickles, WOMD TFRecords, GPUDrive JSON, Argoverse 2); or the
    word `procedural` for this user's generated scenes, which are made if they are missing."""
    csv: Path | None = None
    """File that the table is written to as well."""


@dataclass(frozen=True)
class ImportConfig:
    """What to import, and where to."""

    source: tyro.conf.Positional[Path]
    """ScenarioDescription pickles (ScenarioNet, MetaDrive or CAT, any version), WOMD TFRecords, GPUDrive JSON or
    Argoverse 2 (parquet with the map beside it): a folder of them, or one file."""
    out: tyro.conf.Positional[Path]
    """Folder to write; files of the same name are replaced."""
    fit_only: bool = False
    """Leave out scenes that are unfit for attacks (no opponent, its track too short or off the road, ego at rest)."""
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

    path: tyro.conf.Positional[Path]
    """A scene file, or a folder of them."""
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

    data: tyro.conf.Positional[str] = "procedural"
    """Folder of scenes or one scene file, as for `scenarios list`; or the word `procedural`."""
    scenes: str | None = "1"
    """Scenes of the split: `20` for the first 20, `10:20` for a range, `#3` for one, a scene's id, or several with
    commas."""
    out: Path = Path("pictures")
    """Folder for the PNG files."""
    step: int = CURRENT_STEP
    """Step whose boxes are drawn (0.1 s each)."""

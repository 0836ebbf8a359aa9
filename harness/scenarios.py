"""`python -m harness.scenarios`: list, import, generate, validate and draw scenes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, track

from harness.drawing.scenes import draw_scenario
from harness.errors import ConfigError, GauntletError, ScenarioError
from harness.files import write_text
from harness.report.command_tables import scenes_table
from scenarios import export, open_source, splits
from scenarios.filters import reject_reason
from scenarios.opponents import path_lengths
from scenarios.procedural import ProceduralConfig, default_folder, generate
from scenarios.scenario import CURRENT_STEP, Scenario, ScenarioSource
from scenarios.store import ScenarioStore, examine
from scenarios.training_pool import training_pool
from scenarios.validate import Needs, duplicates


@dataclass(frozen=True)
class ListConfig:
    """Table of the scenes of a folder: size, ego path, opponent, split, and why a scene is unfit for attacks."""

    data: tyro.conf.Positional[str] = "procedural"
    """Folder of ScenarioDescription pickles, or `procedural` for this user's cache (generated if missing)."""
    split: str | None = None
    """Only `train`, `val` or `test`; all scenes by default."""
    limit: int | None = None
    """Show at most so many scenes; all by default."""
    csv: Path | None = None
    """Write the table to this file as well."""


@dataclass(frozen=True)
class ImportConfig:
    """Check the scenes of a file or folder and write the good ones as a ScenarioNet folder with summary and mapping."""

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
    """Generate procedural scenes: MetaDrive's roads with IDM traffic, deterministic from a seed."""

    out: Path | None = None
    """Folder to write; this user's cache by default."""
    workers: int | None = None
    """Processes; one per core by default."""
    config: tyro.conf.OmitArgPrefixes[ProceduralConfig] = field(default_factory=ProceduralConfig)
    """Counts and options."""


@dataclass(frozen=True)
class ValidateConfig:
    """Report everything that is wrong with scene files; exit code 1 if any cannot be used."""

    path: tyro.conf.Positional[Path]
    """A scene file, or a folder of them."""
    steps: int = CURRENT_STEP + 2
    """Steps that the ego must last (for a horizon of 90 steps: 91)."""
    road_edges: bool = False
    """Count missing road edges as an error."""
    opponent: bool = False
    """Count a missing opponent as an error."""
    quiet: bool = False
    """Show errors only, not warnings."""


@dataclass(frozen=True)
class DrawConfig:
    """Draw scenes from above: lanes, road edges, tracks, ego and opponent."""

    data: tyro.conf.Positional[str] = "procedural"
    """Folder of ScenarioDescription pickles, or `procedural`."""
    scenes: tuple[str, ...] = ("0",)
    """Scene ids, or indices written as `#3`. A plain number is an id where such an id exists, else an index."""
    out: Path = Path("pictures")
    """Folder for the PNG files."""
    split: str | None = None
    """Index within `train`, `val` or `test`; within all scenes by default."""
    step: int = CURRENT_STEP
    """Step whose boxes are drawn (0.1 s each)."""


def list_scenes(config: ListConfig, console: Console) -> int:
    """Print the table; bad scenes are listed with their error."""
    source = open_source(config.data, config.split, cache_scenes=0)
    chosen = splits.assign(source) if config.split is None else (config.split,) * len(source)
    count = len(source) if config.limit is None else min(config.limit, len(source))
    rows = [
        _row(source, index, chosen[index] or "")
        for index in track(range(count), "reading", console=Console(stderr=True), transient=True)
    ]
    table = scenes_table(rows, f"{config.data}: {count} of {len(source)} scenes")
    console.print(table.rich())
    fit = sum(not row[-1] for row in rows)
    console.print(f"{fit} of {count} are fit for attacks.")
    if config.csv is not None:
        write_text(config.csv, table.csv())
        console.print(f"table: {config.csv}")
    return 0


def _row(source: ScenarioSource, index: int, split: str) -> tuple[str, ...]:
    try:
        scenario = source[index]
    except ScenarioError as error:
        return (source.ids[index], "", "", "", "", split, f"cannot be read: {error}")
    opponent = "" if scenario.opponent is None else scenario.agent_ids[scenario.opponent]
    travelled = f"{path_lengths(scenario)[scenario.ego]:.1f}"
    counts = (str(scenario.num_steps), str(scenario.num_agents))
    return (source.ids[index], *counts, travelled, opponent, split, reject_reason(scenario) or "")


def import_scenes(config: ImportConfig, console: Console) -> int:
    """Copy good scenes; report the others."""
    if config.out.resolve() == config.source.resolve():
        raise ConfigError(f"import: {config.out} is the source itself. Choose another folder.")
    store: ScenarioSource = open_source(config.source, cache_scenes=0)
    count = len(store)
    left_out: list[tuple[str, str]] = []
    if config.not_in:
        pool = training_pool(store, [_held_out(text) for text in config.not_in])
        left_out += [(name, f"{reason}: {held_out}") for name, held_out, reason in pool.dropped]
        store = pool

    def scenes() -> Iterator[Scenario]:
        for index in track(range(len(store)), "importing", console=Console(stderr=True), transient=True):
            try:
                scenario = store[index]
            except ScenarioError as error:
                if config.strict:
                    raise
                left_out.append((store.ids[index], str(error)))
                continue
            reason = reject_reason(scenario) if config.fit_only else None
            if reason is not None:
                left_out.append((scenario.id, reason))
                continue
            yield scenario

    written = export.write_folder(scenes(), config.out)
    for name, reason in left_out:
        console.print(f"left out {escape(name)}: {escape(reason)}", highlight=False, soft_wrap=True)
    console.print(f"{len(written)} scenes in {config.out}, {len(left_out)} left out of {count}.")
    return 0 if written else 1


def _held_out(text: str) -> ScenarioSource:
    data, _, split = text.partition("@")
    return open_source(data, split or None, cache_scenes=0)


def generate_scenes(config: GenerateConfig, console: Console) -> int:
    """Fill a folder with procedural scenes."""
    folder = config.out or default_folder(config.config)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("generating", total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        generate(config.config, folder, config.workers, advance)
    store = ScenarioStore(folder)
    console.print(f"{len(store)} scenes in {folder}")
    return 0


def validate_scenes(config: ValidateConfig, console: Console) -> int:
    """Report per file; 1 if any file has an error."""
    if not config.path.exists():
        raise ScenarioError(f"{config.path}: no such file or folder.")
    paths = ScenarioStore(config.path, on_error="raise").paths if config.path.is_dir() else (config.path,)
    needs = Needs(steps=config.steps, road_edges=config.road_edges, opponent=config.opponent)
    bad = warned = 0
    ids: list[tuple[str, str]] = []
    for path in track(paths, "validating", console=Console(stderr=True), transient=True):
        scenario, findings = examine(path, needs)
        if scenario is not None:
            ids.append((path.name, str(scenario.metadata.get("scenario_id", scenario.id))))
        errors = [finding for finding in findings if finding.level == "error"]
        bad += bool(errors)
        warned += bool(findings) and not errors
        for finding in errors if config.quiet else findings:
            colour = "red" if finding.level == "error" else "yellow"
            text = escape(f"{finding.field}: {finding.reason}")
            console.print(f"{escape(path.name)}: [{colour}]{finding.level}[/]: {text}", highlight=False, soft_wrap=True)
    for name, files in duplicates(ids).items():
        warned += 1
        if not config.quiet:
            console.print(
                f"{', '.join(files)}: [yellow]warning[/]: all hold scene {escape(name)}",
                highlight=False,
                soft_wrap=True,
            )
    console.print(f"{len(paths)} files: {bad} with errors, {warned} with warnings only.")
    return 1 if bad else 0


def draw_scenes(config: DrawConfig, console: Console) -> int:
    """Write one PNG per scene."""
    source = open_source(config.data, config.split, cache_scenes=1)
    for name in config.scenes:
        index = _index(source, name)
        path = config.out / f"{source.ids[index].replace('/', '_')}.png"
        draw_scenario(source[index], path, step=config.step)
        console.print(f"{path}")
    return 0


def _index(source: ScenarioSource, name: str) -> int:
    if name in source.ids:
        return source.ids.index(name)
    number = name.removeprefix("#")
    if number.isdecimal() and int(number) < len(source):
        return int(number)
    raise ConfigError(f"draw: no scene {name!r}; there are {len(source)}, such as {source.ids[0]!r}.")


Command = (
    Annotated[ListConfig, tyro.conf.subcommand("list")]
    | Annotated[ImportConfig, tyro.conf.subcommand("import")]
    | Annotated[GenerateConfig, tyro.conf.subcommand("generate")]
    | Annotated[ValidateConfig, tyro.conf.subcommand("validate")]
    | Annotated[DrawConfig, tyro.conf.subcommand("draw")]
)
RUN: Final[dict[type, Any]] = {
    ListConfig: list_scenes,
    ImportConfig: import_scenes,
    GenerateConfig: generate_scenes,
    ValidateConfig: validate_scenes,
    DrawConfig: draw_scenes,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options and do it; the exit code is 0, 1 (bad scenes found) or 2 (cannot be done)."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    config = tyro.cli(Command, args=argv, description=__doc__)  # type: ignore[call-overload]
    try:
        code = RUN[type(config)](config, Console())
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()

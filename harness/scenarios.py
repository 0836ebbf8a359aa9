"""List, count, import, generate, validate and draw scenes."""

from __future__ import annotations

from collections import Counter
from functools import partial

from harness.commands.left_out import note_left_out
from harness.commands.printing import grouped
from harness.commands.scaffold import Group, Session, command
from harness.commands.scene_lists import say_coverage, say_list
from harness.commands.scenes import CoverageConfig, DrawConfig, GenerateConfig, ImportConfig, ListConfig, ValidateConfig
from harness.files import file_name


@command(ListConfig, "Table or page of scenes, their tags, and why some are unfit.", renamed={"--limit": "--scenes"})
def list_(config: ListConfig, session: Session) -> None:
    """Print the table; bad scenes are listed with their error."""
    say_list(config, session)


@command(CoverageConfig, "Which combinations of tags scenes cover along four axes, and which scenes would add some.")
def coverage(config: CoverageConfig, session: Session) -> None:
    """Print the tables."""
    say_coverage(config, session)


@command(ImportConfig, "Check scenes and write the good ones as a ScenarioNet folder with summary and mapping.")
def import_(config: ImportConfig, session: Session) -> int:
    """Copy good scenes and report the others; 1 if there is none."""
    from scenarios.importing import import_folder

    options = {name: value for name, value in vars(config).items() if name not in ("source", "out")}
    watch = partial(session.track, description="importing")
    written, left_out, count, resampled = import_folder(config.source, config.out, **options, watch=watch)
    for line in grouped(left_out, "scenes"):
        session.say(f"left out {line}")
    session.say(f"{len(written)} scenes in {config.out}, {len(left_out)} left out of {count}.{resampled}")
    return 0 if written else 1


@command(GenerateConfig, "Generate procedural scenes: MetaDrive's roads with IDM traffic, deterministic from a seed.")
def generate(config: GenerateConfig, session: Session) -> None:
    """Fill a folder with scenes."""
    from scenarios import ScenarioStore, procedural

    folder = config.out or procedural.default_folder(config.config)
    with session.counter("generating") as count:
        # Without a terminal there is no bar: the generator then says by itself how far it is, in lines.
        procedural.generate(config.config, folder, config.workers, count if session.news.is_terminal else None)
    session.say(f"{len(ScenarioStore(folder))} scenes in {folder}")


@command(ValidateConfig, "Report what is wrong with scene files, equal findings as one; exit code 1 if any is no use.")
def validate(config: ValidateConfig, session: Session) -> int:
    """Report what is wrong, and with which files; 1 if any file has an error."""
    from scenarios.examination import examine_files, scene_files
    from scenarios.validate import Needs

    files = scene_files(config.path)
    needs = Needs(steps=config.steps, road_edges=config.road_edges, opponent=config.opponent)
    found, remarks = Counter[str](), list[tuple[str, str]]()
    for report in examine_files(session.track(files, "validating"), needs):
        found[report.worst] += 1
        remarks += [(report.name, str(item)) for item in report.findings if item.level == "error" or not config.quiet]
    for line in grouped(remarks, "files"):
        session.say(line, "red" if ": error: " in line else "yellow")
    session.say(f"{len(files)} files: {found['error']} with errors, {found['warning']} with warnings only.")
    return 1 if found["error"] else 0


@command(DrawConfig, "Draw scenes from above: lanes, road edges, tracks, ego and opponent.")
def draw(config: DrawConfig, session: Session) -> None:
    """Write one PNG per scene."""
    from harness.drawing.scenes import draw_scenario

    note_left_out(session.say, [source := config.open(cache_scenes=1)], None)
    for index, name in enumerate(source.ids):
        path = config.out / f"{file_name(name, '-_.')}.png"
        draw_scenario(source[index], path, step=config.step)
        session.say(str(path))


main = Group(
    "scenarios",
    __doc__,
    {"list": list_, "coverage": coverage, "import": import_, "generate": generate, "validate": validate, "draw": draw},
)

if __name__ == "__main__":
    main()

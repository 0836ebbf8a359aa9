"""Copies of good scenes, in ScenarioNet's format: the bad, the unfit and the held-out ones stay behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.errors import ConfigError, ScenarioError
from scenarios.export import write_folder
from scenarios.filters import reject_reason
from scenarios.importers.commonroad_logs import LogScenes, cut, held_out_by_time, read_logs
from scenarios.resampling import recorded_rate, resampling_note
from scenarios.same_map import map_groups
from scenarios.scenario import Scenario, ScenarioSource
from scenarios.selection import LeftOut
from scenarios.sources import open_part, open_source
from scenarios.splits import SPLIT_FILE, some_held_out, write_splits
from scenarios.tagging.scene_tags import tags_of
from scenarios.training_pool import training_pool
from scenarios.where import Where

Watch = Callable[[Iterable[int]], Iterable[int]]
"""Passes indices on, and may count them for whoever waits."""


class Imported(NamedTuple):
    """What came of an import.

    Attributes:
        written: The files.
        left_out: Scenes that were not copied.
        total: Number of scenes there were.
        resampled: How many of those written were recorded at another rate than 10 Hz, as one more sentence, or empty.
    """

    written: Sequence[Path]
    left_out: Sequence[LeftOut]
    total: int
    resampled: str = ""


def import_folder(
    source: Path,
    out: Path,
    *,
    fit_only: bool = False,
    where: str | None = None,
    strict: bool = False,
    not_in: Sequence[str] = (),
    join: float | None = None,
    ego_may_leave: bool = False,
    hold_out: int = 0,
    hold_out_last: float = 0.0,
    watch: Watch = iter,
) -> Imported:
    """Check scenes and write the good ones.

    Args:
        source: A folder of scenes in any format, or one file.
        out: Folder to write; files of the same name are replaced.
        fit_only: Leave out scenes that are unfit for attacks.
        where: Leave out scenes whose tags do not meet this condition (`scenarios.where`).
        strict: Raise at the first scene that cannot be read, instead of leaving it out.
        not_in: Leave out what shares a drive with these scenes: folders or files, with `@val` or `@test` for a split.
        join: Join CommonRoad windows that follow one another to logs, and cut these into scenes of so many seconds.
        ego_may_leave: With `join`, an ego need only be there for the first 2 s of its scene.
        hold_out: Write a split file in which so many scenes of the folder are `test`, whole maps of them, and the
            others `train`; 0 for none.
        hold_out_last: Write a split file in which the scenes of the last seconds of each log are `test`, and those
            before `train`, save those that have a moving agent in common with them; 0 for none. Only with `join`.
        watch: Sees the scenes go by.

    Raises:
        ConfigError: `out` is the source itself, an unknown split is named, no log is as long as `join`, or what is to
            be held out cannot be.
        ScenarioError: There is nothing to read, the folder cannot be written, or a scene is bad and `strict` is set.
    """
    if out.resolve() == source.resolve():
        raise ConfigError(f"import: {out} is the source itself. Choose another folder.")
    if (hold_out and hold_out_last) or (hold_out_last and join is None):
        raise ConfigError("import: --hold-out-last goes with --join, and not with --hold-out.")
    condition = None if where is None else Where.parse(where)
    if ego_may_leave and join is None:
        raise ConfigError(
            "import: --ego-may-leave goes with --join: elsewhere a scene lasts as long as its ego is there."
        )
    left_out: list[LeftOut] = []
    scenes: ScenarioSource
    if join is None:
        scenes = open_source(source, cache_scenes=0)
    else:
        scenes = _log_scenes(source, join, ego_may_leave, None if strict else left_out)
    by_time = held_out_by_time(scenes.parts, hold_out_last) if isinstance(scenes, LogScenes) and hold_out_last else {}
    count = len(scenes) + len(left_out)
    rates: dict[str, str] = {}
    if not_in:
        scenes = pool = training_pool(scenes, [open_part(text) for text in not_in])
        left_out += [LeftOut(name, f"{reason}: {held_out}") for name, held_out, reason in pool.dropped]
    good = _good(scenes, watch(range(len(scenes))), fit_only, condition, strict, left_out)
    written = write_folder(_noted(good, rates), out)
    if hold_out_last:
        write_splits({name: by_time[name] for name in rates}, out / SPLIT_FILE)
    elif hold_out:
        # A split file that is there already would say which scenes there are.
        (out / SPLIT_FILE).unlink(missing_ok=True)
        store = open_source(out, cache_scenes=0)
        write_splits(some_held_out(store.ids, map_groups(store), hold_out), out / SPLIT_FILE)
    note = resampling_note(rates.values())
    return Imported(written, left_out, count, f" {note}." if note else "")


def _noted(scenarios: Iterable[Scenario], rates: dict[str, str]) -> Iterator[Scenario]:
    """The scenes; the rates at which they were recorded are noted by their names."""
    for scenario in scenarios:
        rates[scenario.id] = recorded_rate(scenario)
        yield scenario


def _good(
    source: ScenarioSource,
    indices: Iterable[int],
    fit_only: bool,
    where: Where | None,
    strict: bool,
    left_out: list[LeftOut],
) -> Iterator[Scenario]:
    """The scenes that are copied; the others are noted in `left_out`."""
    for index in indices:
        try:
            scenario = source[index]
        except ScenarioError as error:
            if strict:
                raise
            left_out.append(LeftOut(source.ids[index], str(error)))
            continue
        reason = reject_reason(scenario) if fit_only else None
        if reason is None and where is not None and not where.holds(tags_of(scenario)):
            reason = f"does not meet --where {where.text!r}"
        if reason is None:
            yield scenario
        else:
            left_out.append(LeftOut(scenario.id, reason))


def _log_scenes(source: Path, seconds: float, ego_may_leave: bool, left_out: list[LeftOut] | None) -> LogScenes:
    bad: dict[str, str] = {}
    logs = read_logs(source, bad=None if left_out is None else bad)
    if left_out is not None:
        left_out += [LeftOut(name, reason) for name, reason in bad.items()]
    return LogScenes(cut(logs, seconds), ego_may_leave)

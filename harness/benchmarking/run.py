"""One benchmark, from its configuration to its tables and report."""

from __future__ import annotations

import time
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from harness.benchmarking.budget import Completeness, completed
from harness.benchmarking.certificates.files import FILE as CERTIFICATE
from harness.benchmarking.certificates.making import carried, certify, check_can_be_made, kept
from harness.benchmarking.certificates.statements import statement
from harness.benchmarking.comparison import compare
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.freezing import freeze
from harness.benchmarking.gate.outcomes import check_expected
from harness.benchmarking.gate.run import FILE as GATE
from harness.benchmarking.gate.run import Gate, GateVerdict, pass_through
from harness.benchmarking.lineup import FILE, Lineup, assemble
from harness.benchmarking.runner import prepare, run_all
from harness.benchmarking.summary import Cell, as_object, summarise
from harness.commands.configs import seconds_of
from harness.commands.left_out import note_unfit
from harness.commands.printing import bars
from harness.commands.scaffold import Session
from harness.errors import RunError, reading
from harness.files import explained, read_json, write_json, write_text
from harness.report.benchmark_tables import write_all
from harness.report.html import FILE as REPORT
from harness.report.html import write_report
from harness.report.html.choice import choose
from harness.report.tag_tables import rates_by_tag
from scenarios.indexing.facts import scene_facts
from scenarios.scenario import ScenarioSource
from scenarios.tagging.vocabulary import SceneTags

TAGS: Final = "tags.csv"
FILES: Final = {
    REPORT: "report with playback of the most telling scenes: open it in a browser",
    "benchmark.md": "every table, paired tests, failures, and what the columns mean",
    "benchmark.csv": "every number of every cell",
    "benchmark.tex": "tables for LaTeX",
    TAGS: "how often attacks succeed and egos crash, by tags of scenes and by kinds of encounter as they were played",
    "comparisons.csv": "paired tests between adversaries",
    "summary.json": "everything as JSON",
    "episodes": "a record of every episode",
    "left_out.json": "scenes that were left out, and why",
    GATE: "what a gate found: conditions, and episodes that are otherwise than expected",
    CERTIFICATE: "fidelity certificate of the traffic, to be named by `--certificate` of other runs with it",
}
"""What a benchmark leaves in its run folder."""


class Benchmarked(NamedTuple):
    """What has become of a benchmark.

    Attributes:
        cells: Its numbers.
        folder: Its run folder.
        verdict: What the gate found.
        completeness: How much of it there is.
    """

    cells: list[Cell]
    folder: Path
    verdict: GateVerdict
    completeness: Completeness


def run_benchmark(config: BenchmarkConfig, session: Session) -> Benchmarked:
    """Run (or go on with) a benchmark, write its tables and its report.

    Raises:
        GauntletError: Unknown names, unusable data or weights, a folder that cannot be written, another run's folder.
    """
    until = None if config.budget is None else time.time() + seconds_of("budget", config.budget)
    for file in (config.json, config.junit, config.freeze, config.expected if config.update_expected else None):
        _check_writable(file)
    check_expected(config)
    lineup, known = assemble(config), carried(config)
    gate = Gate.of(config, lineup)
    check_can_be_made(config, lineup)
    with session.open_run(config) as directory:
        folder = directory.path
        _take_up(folder, config, lineup)
        for line in lineup.notes:
            session.say(line)
        total = len(lineup.scenes) + len(lineup.left_out)
        note_unfit(session.say, lineup.left_out, total, folder)
        with bars(session.console) as progress, chdir("."):
            task = progress.add_task("episodes", total=None)
            run_all(
                config, lineup, folder, lambda done, total: progress.update(task, completed=done, total=total), until
            )
        completeness, lineup = completed(lineup, config.seed, folder)
        if not lineup.scenes:
            raise RunError(
                f"the budget of {config.budget} ended the run before one scene was complete: "
                f"{completeness.episodes} of {completeness.of_episodes} episodes have been run. Go on with --resume "
                f"{folder}."
            )
        episodes = len(lineup.scenes) * len(lineup.systems) * (1 + len(config.attackers))
        cells = summarise(folder, config, lineup, partial(session.track, description="summarising", total=episodes))
        known = certify(config, lineup, folder, cells, session) if config.certify else kept(config, folder, known)
        stated = statement(config, lineup, known)
        if stated["line"]:
            session.say(stated["line"])
        write_all(folder, cells, compare(cells), config, stated, completeness)
        # Scenes are looked up by their ids: none need be filtered again.
        scenes = config.open_all(cache_scenes=0)
        write_text(folder / TAGS, rates_by_tag(cells, _tags(scenes, lineup)).csv())
        if config.freeze is not None:
            freeze(config.freeze, config, lineup, folder, session)
        if config.json is not None:
            about = {"certificate": stated["checks"], "completeness": completeness.as_object()}
            write_json(config.json, [as_object(cell, config) | about for cell in cells])
        shown = choose(cells, lineup.scenes, config.playback)
        write_report(folder, scenes, shown, partial(session.track, description="report"))
        verdict = pass_through(gate, config, lineup, folder, cells, completeness)
        if completeness.line:
            session.warn(f"{completeness.line} Go on with --resume {folder}.")
        return Benchmarked(cells, folder, verdict, completeness)


def _tags(source: ScenarioSource, lineup: Lineup) -> list[SceneTags]:
    """The tags of the scenes that take part, in their order."""
    places = {name: place for place, name in enumerate(source.ids)}
    return [facts.tags for facts in scene_facts(source, [places[name] for name in lineup.scenes])]


def _take_up(folder: Path, config: BenchmarkConfig, lineup: Lineup) -> None:
    """Write who takes part; on resumption check that it is who took part, and drop what was half written.

    Raises:
        RunError: Scenes, systems or weights have changed since.
    """
    stored = folder / FILE
    if config.resume is not None and stored.exists():
        with reading(stored, "who takes part in this run. Delete it if the run is yours", RunError):
            lineup.check_same(read_json(stored), folder)
    # Anew on resumption, too: the page is made of it, and a run folder may be a stranger's.
    write_json(stored, lineup.as_dict(config.protocol))
    if config.resume is not None:
        prepare(folder, retry_failures=config.retry_failures)


def _check_writable(path: Path | None) -> None:
    """Say at once, not after an hour, that a file cannot be written."""
    if path is not None:
        with explained(path, "write"):
            existed = path.exists()
            path.open("a").close()
            if not existed:
                path.unlink()

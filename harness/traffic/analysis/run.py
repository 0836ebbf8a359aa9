"""From options to tables and pictures: what `traffic_analysis` prints, and what it leaves in its run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from harness.commands.printing import listed
from harness.commands.scaffold import Session
from harness.drawing.analysis import draw_attention, draw_frequencies, draw_references
from harness.files import JsonDict, write_json, write_text
from harness.metrics.zipf import FEWEST
from harness.report.analysis_tables import attention_tables, frequency_tables
from harness.report.tables import Table
from harness.traffic.analysis.config import AttentionConfig, ReferencesConfig, TokenFrequencyConfig
from harness.traffic.analysis.references import retrieved_windows
from harness.traffic.analysis.results import attention_result, frequency_result
from scenarios.scenario import Scenario, ScenarioSource

NUMBERS: Final = "analysis.json"
TABLES: Final = "tables.md"
PICTURE: Final = "{what}.png"


def run_frequencies(config: TokenFrequencyConfig, session: Session) -> Path:
    """Count tokens and words; returns the run folder.

    Raises:
        GauntletError: Unusable data, text, vocabulary or folder.
    """
    source = config.open(cache_scenes=0)
    with session.open_run(config, source) as run:
        result = frequency_result(config, _tracked(session, source)("counting"))
        for name, types in result["skipped"].items():
            session.say(f"{name}: skipped, {types} different tokens occur and a fit needs {FEWEST}")
        _leave(session, run.path, result, frequency_tables(result), "zipf", draw_frequencies)
        return run.path


def run_attention(config: AttentionConfig, session: Session) -> Path:
    """Measure the attention of models; returns the run folder.

    Raises:
        GauntletError: Unusable data, weights or folder.
    """
    source = config.open(cache_scenes=0)
    with session.open_run(config, source) as run:
        result = attention_result(config, _tracked(session, source))
        _leave(session, run.path, result, attention_tables(result), "attention", draw_attention)
        return run.path


def run_references(config: ReferencesConfig, session: Session) -> Path:
    """Draw retrieved windows; returns the run folder.

    Raises:
        GauntletError: Unusable data, model or folder.
    """
    source = config.open(cache_scenes=0)
    with session.open_run(config, source) as run:
        rows = retrieved_windows(config, _tracked(session, source)("rolling out"))
        picture = PICTURE.format(what="references")
        draw_references(rows, run.path / picture)
        told = [[{"window": one.name, "distance": one.distance} for one in row] for row in rows]
        write_json(run.path / NUMBERS, told)
        for line in listed(run.path, {NUMBERS: "which windows, and their distances", picture: "the picture"}):
            session.say(line)
        return run.path


def _tracked(session: Session, source: ScenarioSource) -> Callable[[str], Iterable[Scenario]]:
    """Loads the scenes of a source, with a bar that says for what."""
    return lambda what: session.track((source[index] for index in range(len(source))), what, len(source))


def _leave(
    session: Session,
    folder: Path,
    result: JsonDict,
    tables: Sequence[Table],
    what: str,
    draw: Callable[[JsonDict, Path], object],
) -> None:
    """Print tables; write them, their numbers and a picture."""
    picture = PICTURE.format(what=what)
    write_json(folder / NUMBERS, result)
    write_text(folder / TABLES, "\n".join(line for table in tables for line in (*_headed(table), "")))
    draw(result, folder / picture)
    for table in tables:
        session.console.print(table.rich())
    for line in listed(folder, {NUMBERS: "all numbers", TABLES: "the tables", picture: "the picture"}):
        session.say(line)


def _headed(table: Table) -> list[str]:
    return [f"## {table.title}", "", *table.markdown(), *(["", table.caption] if table.caption else [])]

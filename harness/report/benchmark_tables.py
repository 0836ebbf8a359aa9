"""Tables of a benchmark, laid out as SAGE's: Markdown, CSV, LaTeX, JSON, and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from harness.benchmarking.budget import Completeness
from harness.benchmarking.columns import COLUMNS, SAGE_COLUMNS, TABLES, undisturbed_note
from harness.benchmarking.comparison import Comparison
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.lineup import SystemInfo
from harness.benchmarking.published import SAGE_TABLES, published_row
from harness.benchmarking.summary import Cell, as_object
from harness.episodes.protocol import NOT_REPEATED, protocol_of
from harness.episodes.records import UNDISTURBED
from harness.files import Json, write_json, write_text
from harness.metrics.compliance import JUDGED_BY_EDGES, VULNERABLE_NOTE, without_edges_note
from harness.metrics.intervals import Interval
from harness.report.certificate_tables import certificate_lines
from harness.report.tables import Column, Table, TableRow, csv_text, tex

ADVERSARY: Final = Column("adversary")
SCENES: Final = Column("n", "N", "number")
SECONDS: Final = Column("seconds_per_scene", "s per scene", "number", digits=2)
CSV_COLUMNS: Final = (
    *(Column(key) for key in ("sut", "privileged", "adversary", "protocol", "split", "n", "failures")),
    SECONDS,
    *COLUMNS,
)
TERMINAL_COLUMNS: Final = (
    Column("adversary", ""),
    replace(SCENES, about="scenes"),
    Column("failures", "fail", "number", "episodes that broke down, which are in no number"),
    *(
        replace(
            column,
            title=column.short,
            digits=0 if column.key == "success" else 2,
            bare=column.key != "success",
            arrow="",
            group="",
        )
        for column in SAGE_COLUMNS
    ),
)
DEVIATION_COLUMNS: Final = (
    Column("name", "deviation"),
    Column("repeated"),
    Column("published", "as published"),
    Column("corrected"),
)
COMPARISON_COLUMNS: Final = (
    *(Column(key) for key in ("score", "first", "second")),
    Column("interval", "difference", "mean"),
    Column("p_value", "p", "number", digits=2, form="g"),
    Column("p_holm", "p (Holm)", "number", digits=2, form="g"),
    Column("scenes", kind="number"),
)


def write_all(
    folder: Path,
    cells: Sequence[Cell],
    comparisons: Sequence[Comparison],
    config: BenchmarkConfig,
    stated: Json | None = None,
    completeness: Completeness | None = None,
) -> None:
    """Write `benchmark.md`, `benchmark.csv`, `comparisons.csv`, `benchmark.tex` and `summary.json`.

    Args:
        folder: Run folder.
        cells, comparisons, config: What was found.
        stated: What there is to say of the traffic, by `harness.benchmarking.certificates.statements`.
        completeness: How much of the run there is; None: all.

    Raises:
        RunError: The folder cannot be written.
    """
    write_text(folder / "benchmark.md", markdown(cells, comparisons, config, stated, completeness))
    write_text(folder / "benchmark.csv", csv_table(cells, config))
    write_text(folder / "comparisons.csv", csv_text(asdict(item) for item in comparisons))
    write_text(folder / "benchmark.tex", latex(cells, config, completeness))
    write_json(folder / "summary.json", summary(cells, comparisons, config, stated, completeness))


def summary(
    cells: Sequence[Cell],
    comparisons: Sequence[Comparison],
    config: BenchmarkConfig,
    stated: Json | None = None,
    completeness: Completeness | None = None,
) -> dict[str, object]:
    """Everything as one JSON object: `about`, `cells` (one per adversary and system), `comparisons`, `certificate`."""
    return {
        "about": {
            "config": asdict(config),
            "completeness": None if completeness is None else completeness.as_object(),
            "protocol": config.protocol,
            "deviations": protocol_of(config.protocol).describe(),
            "columns": [
                {
                    "name": column.key,
                    "title": column.title,
                    "kind": column.kind,
                    "unit": column.unit,
                    "table_factor": column.factor,
                    "about": column.about,
                }
                for column in COLUMNS
            ],
        },
        "cells": [as_object(cell, config) for cell in cells],
        "comparisons": [asdict(item) for item in comparisons],
        "certificate": stated,
    }


def terminal(cells: Sequence[Cell], config: BenchmarkConfig, completeness: Completeness | None = None) -> list[Table]:
    """SAGE's table for every system, short enough for 80 characters: intervals of the success rate only.

    The last one has the legend of all.
    """
    part = "" if completeness is None else completeness.title
    tables = [
        Table(
            TERMINAL_COLUMNS, _rows(own, config), f"{system.title}, {config.protocol}{part}", notes(own), legend=False
        )
        for system, own in by_system(cells)
    ]
    return [*tables[:-1], *(replace(last, legend=True) for last in tables[-1:])]


def markdown(
    cells: Sequence[Cell],
    comparisons: Sequence[Comparison],
    config: BenchmarkConfig,
    stated: Json | None = None,
    completeness: Completeness | None = None,
) -> str:
    """Every table of every system, the paired tests, failures, and what the protocol repeats."""
    lines = [f"# Benchmark, protocol `{config.protocol}`", "", *_preamble(config), *certificate_lines(stated)]
    if completeness is not None and completeness.line:
        lines[2:2] = [f"**{completeness.line}**", ""]
    failed = Column("failures", "failed", "number")
    for system, own in by_system(cells):
        lines += [f"## Against {system.title}", ""]
        if note := notes(own):
            lines += [note, ""]
        for title, columns in TABLES:
            kept = [column for column in columns if any(column.key in cell.columns for cell in own)]
            if kept:
                table = Table((ADVERSARY, SCENES, failed, *kept, SECONDS), _rows(own, config), count="n")
                lines += [f"### {title}", "", *table.markdown(), ""]
        if config.protocol == "as-published":
            lines += _published(own)
        lines += _failures(own)
        lines += _comparison_lines([item for item in comparisons if item.sut == system.label])
    lines += ["## Columns", ""]
    lines += [f"- **{column.heading()}**: {column.about}." for column in COLUMNS]
    return "\n".join([*lines, ""])


def csv_table(cells: Sequence[Cell], config: BenchmarkConfig) -> str:
    """One line per cell: every column as plain number with low, high and the scenes where it is defined."""
    return Table(CSV_COLUMNS, _rows(cells, config), count="n").csv()


def latex(cells: Sequence[Cell], config: BenchmarkConfig, completeness: Completeness | None = None) -> str:
    """SAGE's table for every system (packages booktabs and graphicx); intervals in small print."""
    part = "" if completeness is None or completeness.complete else f" of {completeness.of_scenes} planned"
    parts = [f"% protocol: {config.protocol}"]
    for system, own in by_system(cells):
        scenes = max((cell.scenes for cell in own), default=0)
        caption = (
            rf"Adversaries against \textbf{{{tex(system.title)}}} ({config.protocol}; "
            rf"$N={scenes}$ scenes{tex(part)}; 95\,\% intervals). {tex(notes(own))}".rstrip()
        )
        columns = (replace(ADVERSARY, title="Methods"), *SAGE_COLUMNS)
        parts.append(Table(columns, _rows(own, config)).latex(caption))
    return "\n".join(parts)


def by_system(cells: Sequence[Cell]) -> list[tuple[SystemInfo, list[Cell]]]:
    """Cells of each system, in order of first appearance."""
    labels = dict.fromkeys(cell.system.label for cell in cells)
    grouped = [[cell for cell in cells if cell.system.label == label] for label in labels]
    return [(own[0].system, own) for own in grouped]


def notes(cells: Sequence[Cell]) -> str:
    """Why there are dashes in the tables of a system, in one line: nobody's attack, and maps without road edges."""
    most = max(cells, key=lambda cell: cell.without_edges)
    quiet = [
        undisturbed_note({name: found.interval for name, found in cell.columns.items()})
        for cell in cells
        if cell.adversary == UNDISTURBED
    ]
    edges = without_edges_note(most.without_edges, most.scenes, JUDGED_BY_EDGES)
    return " ".join([*quiet, edges]).rstrip()


def _rows(cells: Sequence[Cell], config: BenchmarkConfig) -> list[TableRow]:
    """A row per cell, which every format shares."""
    return [
        {
            "sut": cell.system.label,
            "privileged": cell.system.privileged,
            "adversary": cell.adversary,
            "protocol": config.protocol,
            "split": config.split,
            "n": cell.scenes,
            "failures": cell.failures,
            "seconds_per_scene": cell.seconds["episode"],
            **cell.columns,
        }
        for cell in cells
    ]


def _preamble(config: BenchmarkConfig) -> list[str]:
    deviations = protocol_of(config.protocol).describe()
    lines = [
        f"Data `{Path(config.data).name}`, split `{config.split}`, seeds {', '.join(map(str, config.seed))}, traffic "
        f"`{config.traffic}`, intensity {config.intensity:g}. Numbers with 95 % intervals over scenes; N counts scenes "
        "that did not fail, and failures are in no rate."
        + (f" Only scenes with `{config.where}` take part." if config.where is not None else "")
        + (" Scenes unfit for attacks are left out: `left_out.json` says which and why." if config.fit_only else "")
        + (f" {VULNERABLE_NOTE}" if config.opponent != "vehicle" else ""),
        "",
        "Deviations of the published code, and whether this table repeats them:",
        "",
        *Table(DEVIATION_COLUMNS, deviations).markdown(),
        "",
        f"Never repeated: {'; '.join(NOT_REPEATED)}.",
        "",
    ]
    return lines


def _published(cells: Sequence[Cell]) -> list[str]:
    """The paper's rows for the same cells, to be read beside the table `attack`."""
    found = [(cell, published_row(cell.system.label, cell.adversary, cell.intensity)) for cell in cells]
    pairs = [(cell, row) for cell, row in found if row is not None]
    if not pairs:
        return []
    rows = [
        {"adversary": cell.adversary, **{c.key: f"{number:g}" for c, number in zip(SAGE_COLUMNS, row, strict=True)}}
        for cell, row in pairs
    ]
    return [
        f"### the paper's numbers: {SAGE_TABLES[pairs[0][0].system.label].title}",
        "",
        *Table((ADVERSARY, *SAGE_COLUMNS), rows).markdown(),
        "",
        "(On the paper's own choice of scenes; no intervals are published.)",
        "",
    ]


def _failures(cells: Sequence[Cell]) -> list[str]:
    lines = []
    for cell in cells:
        kinds = ", ".join(f"{kind} {count}" for kind, count in cell.reasons.items())
        if cell.failures:
            lines.append(f"- `{cell.adversary}`: {cell.failures} failed ({kinds}); for example {cell.examples[0]}")
    return ["### failures", "", *lines, ""] if lines else []


def _comparison_lines(comparisons: Sequence[Comparison]) -> list[str]:
    if not comparisons:
        return []
    rows = [{**asdict(item), "interval": Interval(item.difference, item.low, item.high)} for item in comparisons]
    return [
        "### paired tests",
        "",
        *Table(COMPARISON_COLUMNS, rows).markdown(),
        "",
        "`success`: McNemar's exact test; the others: paired bootstrap over scenes.",
        "",
    ]

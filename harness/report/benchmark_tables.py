"""Tables of a benchmark, laid out as SAGE's: Markdown, CSV, LaTeX, JSON, and the terminal."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from harness.benchmarking.columns import COLUMNS, SAGE_COLUMNS, TABLES, Column
from harness.benchmarking.comparison import Comparison, as_rows
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.lineup import SystemInfo
from harness.benchmarking.protocols import NOT_REPEATED, describe
from harness.benchmarking.published import SAGE_TABLES, published_row
from harness.benchmarking.summary import Cell, Value, as_object
from harness.files import write_atomically, write_json

ARROWS: Final = {"up": " ↑", "down": " ↓", "": ""}
LATEX_ARROWS: Final = {"up": r" $\uparrow$", "down": r" $\downarrow$", "": ""}
DASH: Final = "–"
SHORT_HEADS: Final = ("rew.", "beh.", "kin.", "obj.", "line", "acc.", "vel.", "yaw")
"""Heads of SAGE's columns after the success rate, for the terminal."""
_LATEX: Final = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "²": "$^2$", "³": "$^3$", "λ": r"$\lambda$"}


def write_all(folder: Path, cells: Sequence[Cell], comparisons: Sequence[Comparison], config: BenchmarkConfig) -> None:
    """Write `benchmark.md`, `benchmark.csv`, `comparisons.csv`, `benchmark.tex` and `summary.json`.

    Raises:
        RunError: The folder cannot be written.
    """
    _write(folder / "benchmark.md", markdown(cells, comparisons, config))
    _write(folder / "benchmark.csv", csv_table(cells, config))
    _write(folder / "comparisons.csv", csv_rows(as_rows(comparisons)))
    _write(folder / "benchmark.tex", latex(cells, config))
    write_json(folder / "summary.json", summary(cells, comparisons, config))


def summary(cells: Sequence[Cell], comparisons: Sequence[Comparison], config: BenchmarkConfig) -> dict[str, Any]:
    """Everything as one JSON object: `about`, `cells` (one per adversary and system), `comparisons`."""
    return {
        "about": {
            "config": config.as_dict(),
            "protocol": config.protocol,
            "deviations": describe(config.protocol),
            "columns": [
                {
                    "name": column.name,
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
        "comparisons": as_rows(comparisons),
    }


def show(column: Column, value: Value | None, *, interval: bool = True) -> str:
    """A number of a table with its interval, or a dash."""
    if value is None or not math.isfinite(value.interval.mean):
        return DASH
    mean, low, high = (f"{column.factor * end:.{column.digits}f}" for end in value.interval)
    # One scene has a value, but no interval.
    return f"{mean} [{low}, {high}]" if interval and math.isfinite(value.interval.low) else mean


def terminal(cells: Sequence[Cell], config: BenchmarkConfig) -> list[Table]:
    """SAGE's table for every system, short enough for 80 characters: intervals of the success rate only."""
    tables = []
    for system, own in by_system(cells):
        shown = Table(title=f"{system.title}, {config.protocol}", title_justify="left", padding=(0, 0), pad_edge=False)
        shown.add_column("")
        for head in ("N", "fail", "success %", *SHORT_HEADS):
            shown.add_column(head, justify="right", no_wrap=True)
        for cell in own:
            success, *others = (cell.columns.get(column.name) for column in SAGE_COLUMNS)
            numbers = [
                show(replace(column, digits=2), value, interval=False)
                for column, value in zip(SAGE_COLUMNS[1:], others, strict=True)
            ]
            rate = show(replace(SAGE_COLUMNS[0], digits=0), success).replace(", ", " ")
            shown.add_row(cell.adversary, str(cell.scenes), str(cell.failures), rate, *numbers)
        tables.append(shown)
    return tables


def markdown(cells: Sequence[Cell], comparisons: Sequence[Comparison], config: BenchmarkConfig) -> str:
    """Every table of every system, the paired tests, failures, and what the protocol repeats."""
    lines = [f"# Benchmark, protocol `{config.protocol}`", "", *_preamble(cells, config)]
    for system, own in by_system(cells):
        lines += [f"## Against {system.title}", ""]
        for title, columns in TABLES:
            kept = [column for column in columns if any(column.name in cell.columns for cell in own)]
            if kept:
                lines += [f"### {title}", "", *_markdown_table(kept, own), ""]
        if config.protocol == "as-published":
            lines += _published(own)
        lines += _failures(own)
        lines += _comparison_lines([item for item in comparisons if item.sut == system.label])
    lines += ["## Columns", ""]
    lines += [f"- **{heading(column)}**: {column.about}." for column in COLUMNS]
    return "\n".join([*lines, ""])


def csv_table(cells: Sequence[Cell], config: BenchmarkConfig) -> str:
    """One line per cell: every column as plain number with low, high and the scenes where it is defined."""
    rows = []
    for cell in cells:
        row: dict[str, Any] = {
            "sut": cell.system.label,
            "privileged": cell.system.privileged,
            "adversary": cell.adversary,
            "protocol": config.protocol,
            "split": config.split,
            "n": cell.scenes,
            "failures": cell.failures,
            "seconds_per_scene": cell.seconds["episode"],
        }
        for column in COLUMNS:
            value = cell.columns.get(column.name)
            ends = (*value.interval, value.scenes) if value is not None else ("", "", "", 0)
            row |= dict(
                zip((column.name, *(f"{column.name}_{end}" for end in ("low", "high", "n"))), ends, strict=True)
            )
        rows.append(row)
    return csv_rows(rows)


def csv_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Dictionaries of the same keys as CSV with a head line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def latex(cells: Sequence[Cell], config: BenchmarkConfig) -> str:
    """SAGE's table for every system (packages booktabs and graphicx); intervals in small print."""
    parts = [f"% protocol: {config.protocol}"]
    for system, own in by_system(cells):
        groups = _groups(SAGE_COLUMNS)
        head = " & ".join(
            rf"\multicolumn{{{len(columns)}}}{{c}}{{{_tex(name)}}}" if name else "" for name, columns in groups
        )
        titles = " & ".join(f"{_tex(column.title)}{LATEX_ARROWS[column.arrow]}" for column in SAGE_COLUMNS)
        parts += [
            r"\begin{table}[t]",
            rf"\caption{{Adversaries against \textbf{{{_tex(system.title)}}} ({config.protocol}; "
            rf"$N={max((cell.scenes for cell in own), default=0)}$ scenes; 95\,\% intervals).}}",
            r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{l{'c' * len(SAGE_COLUMNS)}}}",
            r"\toprule",
            rf"Methods & {head} \\",
            rf" & {titles} \\",
            r"\midrule",
            *(rf"{_tex(cell.adversary)} & {' & '.join(_tex_cells(cell))} \\" for cell in own),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    return "\n".join(parts)


def by_system(cells: Sequence[Cell]) -> list[tuple[SystemInfo, list[Cell]]]:
    """Cells of each system, in order of first appearance."""
    labels = dict.fromkeys(cell.system.label for cell in cells)
    grouped = [[cell for cell in cells if cell.system.label == label] for label in labels]
    return [(own[0].system, own) for own in grouped]


def heading(column: Column) -> str:
    """Title of a column with its group, unit and arrow."""
    group = f"{column.group}: " if column.group else ""
    unit = f", {column.unit}" if column.unit else ""
    return f"{group}{column.title}{unit}{ARROWS[column.arrow]}"


def _preamble(cells: Sequence[Cell], config: BenchmarkConfig) -> list[str]:
    lines = [
        f"Data `{Path(config.data).name}`, split `{config.split}`, seeds {', '.join(map(str, config.seed))}, traffic "
        f"`{config.traffic}`, intensity {config.intensity:g}. Numbers with 95 % intervals over scenes; N counts scenes "
        "that did not fail, and failures are in no rate.",
        "",
        "Deviations of the published code, and whether this table repeats them:",
        "",
        "| deviation | repeated | as published | corrected |",
        "|---|---|---|---|",
        *(
            f"| `{d['name']}` | {d['repeated']} | {d['published']} | {d['corrected']} |"
            for d in describe(config.protocol)
        ),
        "",
        f"Never repeated: {'; '.join(NOT_REPEATED)}.",
        "",
    ]
    return lines


def _markdown_table(columns: Sequence[Column], cells: Iterable[Cell]) -> list[str]:
    heads = ["adversary", "N", "failed", *(heading(column) for column in columns), "s per scene"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for cell in cells:
        shown = [_with_count(column, cell) for column in columns]
        row = [cell.adversary, str(cell.scenes), str(cell.failures), *shown, f"{cell.seconds['episode']:.2f}"]
        lines.append(f"| {' | '.join(row)} |")
    return lines


def _with_count(column: Column, cell: Cell) -> str:
    """A number with how many scenes it rests on, where that is not the table's N."""
    value = cell.columns.get(column.name)
    text = show(column, value)
    return text if value is None or text == DASH or value.scenes == cell.scenes else f"{text} (n = {value.scenes})"


def _published(cells: Sequence[Cell]) -> list[str]:
    """The paper's rows for the same cells, to be read beside the table `attack`."""
    found = [(cell, published_row(cell.system.label, cell.adversary, cell.intensity)) for cell in cells]
    rows = [(cell, row) for cell, row in found if row is not None]
    if not rows:
        return []
    heads = ["adversary", *(heading(column) for column in SAGE_COLUMNS)]
    lines = [f"### the paper's numbers: {SAGE_TABLES[rows[0][0].system.label].title}", ""]
    lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {cell.adversary} | {' | '.join(f'{number:g}' for number in row)} |" for cell, row in rows]
    return [*lines, "", "(On the paper's own choice of scenes; no intervals are published.)", ""]


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
    lines = [
        "### paired tests",
        "",
        "| score | first | second | difference | p | p (Holm) | scenes |",
        "|---|---|---|---|---|---|---|",
    ]
    for item in comparisons:
        lines.append(
            f"| {item.score} | {item.first} | {item.second} | {item.difference:.3f} [{item.low:.3f}, {item.high:.3f}] "
            f"| {item.p_value:.2g} | {item.p_holm:.2g} | {item.scenes} |"
        )
    return [*lines, "", "`success`: McNemar's exact test; the others: paired bootstrap over scenes.", ""]


def _groups(columns: Sequence[Column]) -> list[tuple[str, list[Column]]]:
    """Neighbouring columns under one head; a column without a group stands alone."""
    found: list[tuple[str, list[Column]]] = []
    for column in columns:
        if column.group and found and found[-1][0] == column.group:
            found[-1][1].append(column)
        else:
            found.append((column.group, [column]))
    return found


def _tex_cells(cell: Cell) -> list[str]:
    shown = []
    for column in SAGE_COLUMNS:
        value = cell.columns.get(column.name)
        text = show(column, value, interval=False)
        if value is None or text == DASH or not math.isfinite(value.interval.low):
            shown.append("--" if text == DASH else text)
            continue
        low, high = (f"{column.factor * end:.{column.digits}f}" for end in value.interval[1:])
        unit = r"\%" if column.unit == "%" else ""
        shown.append(rf"{text}{unit} {{\scriptsize [{low}, {high}]}}")
    return shown


def _tex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _write(path: Path, text: str) -> None:
    def write(beside: Path) -> None:
        beside.write_text(text, encoding="utf-8")

    write_atomically(path, write)

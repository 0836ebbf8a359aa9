"""Tables: columns are declared once, rows are mappings of plain values, and every format has one renderer."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, TypeAlias

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table as RichTable

from harness.errors import one_line, shown
from harness.metrics.intervals import Estimate, Interval

Value: TypeAlias = str | int | float | Interval | Estimate | None
"""What a row holds under the key of a column."""
TableRow: TypeAlias = Mapping[str, Value]
Kind = Literal["rate", "mean", "distance", "number", "text"]
"""`rate`: share of scenes, Wilson's interval; `mean`: bootstrap over scenes; `distance`: pooled over scenes, bootstrap.
`number` and `text` have no interval."""

DASH: Final = "–"
"""Stands where nothing was measured."""
ARROWS: Final = {"up": " ↑", "down": " ↓", "": ""}
_LATEX_ARROWS: Final = {"up": r" $\uparrow$", "down": r" $\downarrow$", "": ""}
_LATEX: Final = {
    **{"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "²": "$^2$", "³": "$^3$", "λ": r"$\lambda$"},
    **{
        "\\": r"\textbackslash{}",
        "$": r"\$",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    },
}
_MARKDOWN: Final = str.maketrans({letter: f"\\{letter}" for letter in "|[]<>`\\"})
"""What begins a cell, a link, an element or code in Markdown."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        key: Under which rows hold its values, and its name in CSV and JSON.
        title: In tables; the key by default.
        kind: What its values are.
        about: What it means.
        group: Head above several columns.
        factor: What a number is multiplied with in tables (100 for percentages); CSV and JSON hold the plain number.
        digits: After the point, in tables (`form` "g": significant digits).
        form: Python's presentation type of numbers.
        signed: Whether positive numbers have a sign.
        bare: Whether the interval is left out of tables.
        arrow: `up` or `down` where higher or lower is better, or empty.
        unit: Unit of the number in tables.
        styles: Colour of a text in the terminal, by text.
    """

    key: str
    title: str | None = None
    kind: Kind = "text"
    about: str = ""
    group: str = ""
    factor: float = 1.0
    digits: int = 3
    form: Literal["f", "g"] = "f"
    signed: bool = False
    bare: bool = False
    arrow: Literal["up", "down", ""] = ""
    unit: str = ""
    styles: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def percent(cls, key: str, title: str | None = None, about: str = "", group: str = "", **more: Any) -> Self:
        """A rate in percent, with one digit after the point."""
        return cls(key, title, "rate", about, group=group, **{"factor": 100.0, "digits": 1, "unit": "%", **more})

    @property
    def has_interval(self) -> bool:
        """Whether its values are means or rates over scenes."""
        return self.kind not in ("number", "text")

    @property
    def name(self) -> str:
        """The title, or the key where there is none."""
        return self.key if self.title is None else self.title

    def heading(self, *, group: bool = True) -> str:
        """Title with group, unit and arrow."""
        head = f"{self.group}: " if self.group and group else ""
        unit = f", {self.unit}" if self.unit else ""
        return f"{head}{self.name}{unit}{ARROWS[self.arrow]}"

    def number(self, value: float | None) -> str:
        """One number as in tables, or a dash where it is undefined."""
        if value is None or not math.isfinite(value):
            return DASH
        return f"{self.factor * value:{'+' if self.signed else ''}.{self.digits}{self.form}}"

    def show(self, value: Value) -> str:
        """A value as in tables: texts and counts as they are, intervals as `mean [low, high]`."""
        if isinstance(value, Estimate):
            shown = self.show(value.interval)
            return shown if math.isnan(value.spread) else f"{shown} ± {value.spread:.2f}"
        if isinstance(value, Interval):
            # One scene has a value, but no interval.
            if self.bare or not math.isfinite(value.mean) or not math.isfinite(value.low):
                return self.number(value.mean)
            return f"{self.number(value.mean)} [{self.number(value.low)}, {self.number(value.high)}]"
        return one_line(str(value)) if isinstance(value, str | int) else self.number(value)


@dataclass(frozen=True)
class Table:
    """Rows under columns.

    Attributes:
        columns: From left to right; the first one names the row where a table is turned on its side.
        rows: Values by the columns' keys; a key that is missing is a dash. Further keys are not shown.
        title, caption: Above and below, in the terminal.
        legend: Whether the terminal says below what the heads mean, of columns that say it themselves.
        count: Key of the number of scenes of a row. Where it is given, Markdown says on how many scenes a number rests
            if they are fewer, and CSV has that count of every number.
    """

    columns: Sequence[Column]
    rows: Sequence[TableRow]
    title: str = ""
    caption: str = ""
    count: str = ""
    legend: bool = True

    def below(self) -> str:
        """What stands below it in the terminal: its caption, then what its heads mean."""
        told = dict.fromkeys(f"{one.name or one.key}: {one.about}" for one in self.columns if one.about and self.legend)
        return "\n".join(filter(None, [self.caption, f"{'. '.join(told)}." if told else ""]))

    def cells(self, row: TableRow) -> list[str]:
        """A row as texts."""
        return [column.show(row.get(column.key)) for column in self.columns]

    def rich(self, *, turned: bool = False, compact: bool = False) -> RichTable:
        """For the terminal.

        Args:
            turned: One column per row and one line per column, for few rows of many numbers.
            compact: No space between columns.
        """
        below = escape(self.below()) or None
        shown = RichTable(title=escape(self.title) or None, title_justify="left", caption=below, caption_justify="left")
        if compact:
            shown.padding, shown.pad_edge = (0, 0), False
        if turned:
            self._turn(shown)
            return shown
        for column in self.columns:
            shown.add_column(escape(column.heading()), justify="left" if column.kind == "text" else "right")
        for row in self.rows:
            shown.add_row(*self._styled(row))
        return shown

    def plain(self) -> str:
        """Aligned columns without borders: Rich takes milliseconds for every row of a table."""
        lines = [[column.heading() for column in self.columns], *map(self.cells, self.rows)]
        lines = [[shown(cell) for cell in line] for line in lines]
        widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
        texts = []
        for line in lines:
            filled = [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
            texts.append("  ".join(filled).rstrip())
        return "\n".join([self.title, *texts, *filter(None, [self.below()])])

    def _turn(self, shown: RichTable) -> None:
        lines = [self._styled(row) for row in self.rows]
        shown.add_column(escape(self.columns[0].heading()))
        for line in lines:
            shown.add_column(line[0], justify="right")
        for place, column in enumerate(self.columns[1:], 1):
            ends = place + 1 < len(self.columns) and self.columns[place + 1].group != column.group
            shown.add_row(escape(column.heading(group=False)), *(line[place] for line in lines), end_section=ends)

    def _styled(self, row: TableRow) -> list[str]:
        texts = self.cells(row)
        styles = [column.styles.get(text, "") for column, text in zip(self.columns, texts, strict=True)]
        return [
            f"[{style}]{escape(text)}[/]" if style else escape(text) for text, style in zip(texts, styles, strict=True)
        ]

    def markdown(self) -> list[str]:
        """Lines of a Markdown table."""
        lines = [[column.heading() for column in self.columns]]
        for row in self.rows:
            values = [row.get(column.key) for column in self.columns]
            texts = [
                markdown_text(text) if isinstance(value, str) else text
                for text, value in zip(self.cells(row), values, strict=True)
            ]
            lines.append([text + self._rests_on(row, v) for text, v in zip(texts, values, strict=True)])
        head, *body = (f"| {' | '.join(line)} |" for line in lines)
        return [head, f"|{'---|' * len(self.columns)}", *body]

    def _rests_on(self, row: TableRow, value: Value) -> str:
        if not self.count or not isinstance(value, Estimate) or not math.isfinite(value.interval.mean):
            return ""
        return "" if value.scenes == row[self.count] else f" (n = {value.scenes})"

    def records(self) -> list[dict[str, Value]]:
        """Rows as flat mappings of plain numbers: a mean or rate is followed by its ends `_low` and `_high`."""
        return [self._flat(row) for row in self.rows]

    def _flat(self, row: TableRow) -> dict[str, Value]:
        flat: dict[str, Value] = {}
        for column in self.columns:
            value = row.get(column.key)
            if not column.has_interval:
                flat[column.key] = value
                continue
            interval = value.interval if isinstance(value, Estimate) else value
            ends = interval if isinstance(interval, Interval) else ("", "", "")
            flat |= zip((column.key, f"{column.key}_low", f"{column.key}_high"), ends, strict=True)
            if self.count:
                flat[f"{column.key}_n"] = value.scenes if isinstance(value, Estimate) else 0
        return flat

    def csv(self) -> str:
        """`records` as CSV with a head line, the head line alone where there are no rows."""
        return csv_text(self.records(), list(self._flat({})))

    def latex(self, caption: str) -> str:
        """A LaTeX table (packages booktabs and graphicx), intervals in small print.

        Args:
            caption: LaTeX.
        """
        label, *columns = self.columns
        head = " & ".join(
            rf"\multicolumn{{{len(group)}}}{{c}}{{{tex(name)}}}" if name else "" for name, group in grouped(columns)
        )
        titles = " & ".join(f"{tex(column.name)}{_LATEX_ARROWS[column.arrow]}" for column in columns)
        lines = []
        for row in self.rows:
            texts = [_tex_cell(column, row.get(column.key)) for column in columns]
            lines.append(" & ".join([tex(label.show(row[label.key])), *texts]))
        return "\n".join(
            [
                r"\begin{table}[t]",
                rf"\caption{{{caption}}}",
                r"\resizebox{\linewidth}{!}{%",
                rf"\begin{{tabular}}{{l{'c' * len(columns)}}}",
                r"\toprule",
                rf"{tex(label.name)} & {head} \\",
                rf" & {titles} \\",
                r"\midrule",
                *(rf"{line} \\" for line in lines),
                r"\bottomrule",
                r"\end{tabular}}",
                r"\end{table}",
                "",
            ]
        )


def grouped(columns: Iterable[Column]) -> list[tuple[str, list[Column]]]:
    """Neighbouring columns under one head; a column without a group stands alone."""
    found: list[tuple[str, list[Column]]] = []
    for column in columns:
        if column.group and found and found[-1][0] == column.group:
            found[-1][1].append(column)
        else:
            found.append((column.group, [column]))
    return found


def csv_text(records: Iterable[Mapping[str, object]], heads: Sequence[str] = ()) -> str:
    """Mappings as CSV, with a head line of the keys of the first one (or of `heads`)."""
    rows = list(records)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else list(heads), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _plain_text(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _plain_text(value: object) -> object:
    """A cell of CSV that a spreadsheet does not take for a formula, and that stays in its line."""
    if not isinstance(value, str):
        return value
    text = one_line(value, len(value))
    return f"'{text}" if text.startswith(tuple("=+-@＝＋－＠")) else text


def markdown_text(text: str) -> str:
    """A text that Markdown shows as it is, but for what stands at the begin of a line."""
    return text.translate(_MARKDOWN)


def tex(text: str) -> str:
    """A text with LaTeX's special letters escaped."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _tex_cell(column: Column, value: Value) -> str:
    interval = value.interval if isinstance(value, Estimate) else value
    if not isinstance(interval, Interval):
        return "--" if interval is None else tex(column.show(interval))
    mean, low, high = (column.number(end) for end in interval)
    if DASH in (mean, low):
        return "--" if mean == DASH else mean
    unit = r"\%" if column.unit == "%" else ""
    return rf"{mean}{unit} {{\scriptsize [{low}, {high}]}}"

"""What commands print: consoles that control characters of strangers' names cannot reach, bars, and errors."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from harness.errors import one_line, shown

Item = TypeVar("Item")
NAMED: Final = 3
"""Names that a line shows which holds of more."""
PLAIN_WIDTH: Final = 160
"""Columns where the output is no terminal: a log file has no width of its own, and 80 columns cut tables off."""


def grouped(remarks: Iterable[tuple[str, str]], things: str) -> Iterator[str]:
    """Remarks as lines; equal ones become one line, with a count and some of the names.

    Args:
        remarks: Name of a thing, and what is remarked on it.
        things: What the named are, in the plural.

    Yields:
        Lines in the order in which the remarks came first.
    """
    names: dict[str, list[str]] = {}
    for name, remark in remarks:
        names.setdefault(remark, []).append(name)
    for remark, of in names.items():
        if len(of) == 1:
            yield one_line(f"{of[0]}: {remark}")
            continue
        more = f" and {len(of) - NAMED} more" if len(of) > NAMED else ""
        yield one_line(f"{len(of)} {things}: {remark} ({', '.join(of[:NAMED])}{more})")


def listed(folder: Path, files: Mapping[str, str]) -> Iterator[str]:
    """Where everything lies, in lines: a folder, and what of these files and folders is there.

    Args:
        folder: A run folder, say.
        files: What they hold, by their names in the folder.
    """
    yield f"everything lies in {folder.resolve()}:"
    for name, purpose in files.items():
        if (folder / name).exists():
            yield f"  {name:26} {purpose}"


def clean(text: str) -> str:
    """The text with its control characters written out as escapes, so that a name cannot steer the terminal."""
    return shown(text, keep="\t\n")


class CleanConsole(Console):
    """A console whose every text is cleaned, table cells included."""

    def render_str(self, text: str, **options: object) -> Text:  # type: ignore[override]
        """Rich's own, of the cleaned text."""
        return super().render_str(clean(text), **options)  # type: ignore[arg-type]


def make_console(*, errors: bool = False) -> Console:
    """The console of results, or the one of errors and passing news (standard error)."""
    stream = sys.stderr if errors else sys.stdout
    return CleanConsole(stderr=errors, width=None if stream.isatty() else PLAIN_WIDTH, highlight=False, emoji=False)


def bars(console: Console) -> Progress:
    """Progress bars with counts, elapsed and remaining time; nothing where the output is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    return _Bars(*columns, console=console, speed_estimate_period=600, disable=not console.is_terminal)


class _Bars(Progress):
    """Bars whose tasks have a `note` (a speed, say), empty by default."""

    def add_task(self, description: str, *args: object, **fields: object) -> object:  # type: ignore[override]
        """Rich's own, with the note."""
        return super().add_task(description, *args, **{"note": "", **fields})  # type: ignore[arg-type]


def tracked(items: Iterable[Item], description: str, console: Console, total: int | None = None) -> Iterable[Item]:
    """The items, with a bar that counts them."""
    with bars(console) as progress:
        yield from progress.track(items, total=total, description=description)

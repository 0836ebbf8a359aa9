"""How a command shows the events of a fit: a bar per task, a line per epoch, and TensorBoard where it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console
from rich.progress import TaskID

from harness.commands.board import Board
from harness.commands.printing import bars
from harness.errors import RunError, reading
from harness.fitting.events import Advanced, Done, Epoch, Event, Row, Started, number, numbers


class ShownNumber(NamedTuple):
    """One number of an epoch's line.

    Attributes:
        key: Dotted key of the number in the row.
        form: Format specification of the number.
        unit: What follows it.
        label: What precedes it; the key by default.
    """

    key: str
    form: str = ".3f"
    unit: str = ""
    label: str | None = None

    def text(self, value: float) -> str:
        """The number with its label and unit; a dash where it is undefined."""
        label = self.key if self.label is None else self.label
        return f"{label} {value:{self.form}}{self.unit}" if value == value else f"{label} –"


SECONDS = ShownNumber("seconds", ".0f", " s", "after")
"""The time spent so far."""


class FitDisplay:
    """Takes the events of a fit; use it as a context manager, which draws the bars and closes TensorBoard's files.

    Args:
        console: Where lines and bars go. Bars are drawn on a terminal only.
        columns: Numbers of an epoch's line, in order; those that a row lacks are left out. Without columns a line holds
            every number of the row.
        every: A line is printed for every so many epochs, and for the last one.
        board: Folder of a run whose `tensorboard/` receives every number of every epoch, or None.
    """

    def __init__(
        self, console: Console, columns: Sequence[ShownNumber] = (), *, every: int = 1, board: Path | None = None
    ) -> None:
        self.console, self.columns, self.every = console, tuple(columns), every
        self._progress = bars(console)
        self._tasks: dict[str, TaskID] = {}
        self._epochs: dict[str, int] = {}
        self._board = None if board is None else Board(board)

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing and close the files."""
        self._progress.stop()
        if self._board is not None:
            self._board.close()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Advanced):
            self._advance(event)
        elif isinstance(event, Epoch):
            self._epoch(event.part, event.row)
        elif isinstance(event, Started):
            self._epochs[event.part] = event.epochs
            self._say(f"{event.part}: {event.note}" if event.note else "")
        elif isinstance(event, Done):
            self._say(f"{event.part}: {event.note}" if event.note else "")

    def _say(self, text: str) -> None:
        if text:
            self.console.print(text, highlight=False, markup=False)

    def _advance(self, event: Advanced) -> None:
        if event.task not in self._tasks:
            self._tasks[event.task] = self._progress.add_task(event.task, total=event.total)
        self._progress.update(self._tasks[event.task], completed=event.done)
        if event.done >= event.total:
            self._progress.remove_task(self._tasks.pop(event.task))

    def _epoch(self, part: str, row: Row) -> None:
        if row["epoch"] % self.every == 0 or row["epoch"] == self._epochs.get(part):
            columns = self.columns or [ShownNumber(key, ".4g") for key in numbers(row) if key != "epoch"]
            shown = [(column, number(row, column.key)) for column in columns]
            texts = [column.text(value) for column, value in shown if value is not None]
            self._say("  ".join((f"{part} epoch {row['epoch']:3}", *texts)))
        self._write(part, row)

    def _write(self, part: str, row: Row) -> None:
        if self._board is None:
            return
        for key, value in numbers(row).items():
            self._board.add(f"{part}/{key.replace('.', '/')}", value, row["epoch"])
        self._board.flush()


def epochs_of(folder: Path) -> AbstractContextManager[None]:
    """Turns what drawing the rows of a checkpoint raises into a `RunError`: what they hold only their reader knows."""
    return reading(folder, "epochs of this command in its checkpoint. Start a new run", RunError)

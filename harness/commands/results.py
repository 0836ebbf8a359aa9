"""How a command that compares ends: tables and lines on the console, numbers in a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.table import Table

from harness.commands.scaffold import Session
from harness.files import write_json


def tell(session: Session, parts: Iterable[Table | str], numbers: Mapping[str, object], file: Path | None) -> None:
    """Print tables and lines, and write the numbers to a JSON file, if there is to be one."""
    for part in parts:
        session.say(part) if isinstance(part, str) else session.console.print(part)
    if file is not None:
        write_json(file, numbers)
        session.say(f"numbers: {file}")

"""What a command says of its scenes: how many a split has, how many are resampled, and which ones are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from harness.commands.printing import grouped
from harness.files import write_json
from scenarios.scenario import ScenarioSource
from scenarios.selection import LeftOut, left_out, left_out_line, matching_line, reasons, resampled_line, split_line

FILE: Final = "left_out.json"
SHOWN: Final = 10
"""Reasons that are listed where there is no folder for the whole list."""


def note_left_out(say: Callable[[str], None], sources: Sequence[ScenarioSource | None], folder: Path | None) -> None:
    """Say what was left out of sources, by splits too, and what is resampled; nothing where all is there, at 10 Hz.

    Args:
        say: Takes lines.
        sources: As they were opened; None counts as no scenes.
        folder: Run folder that the list is written to, or None.

    Raises:
        RunError: The list cannot be written.
    """
    opened = [source for source in sources if source is not None]
    for line in scene_lines(opened):
        say(line)
    unfit = [item for source in opened for item in left_out(source)]
    total = len(unfit) + sum(len(source) for source in opened)
    note_unfit(say, unfit, total, folder)


def scene_lines(sources: Sequence[ScenarioSource]) -> list[str]:
    """What there is to say of scenes besides what is left out."""
    return [f"{line}." for line in (split_line(sources), matching_line(sources), resampled_line(sources)) if line]


def note_unfit(say: Callable[[str], None], unfit: Sequence[LeftOut], total: int, folder: Path | None) -> None:
    """As `note_left_out`, of scenes that are known already."""
    if not unfit:
        return
    if folder is not None:
        write_json(folder / FILE, reasons(unfit))
        say(f"{left_out_line(unfit, total)} {folder / FILE} lists them.")
        return
    say(left_out_line(unfit, total))
    lines = list(grouped(unfit, "scenes"))
    for line in lines[:SHOWN]:
        say(f"  {line}")
    if len(lines) > SHOWN:
        say(f"  … and {len(lines) - SHOWN} other reasons")

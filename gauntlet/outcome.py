"""What a call of the façade gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Row = Mapping[str, object]
"""Plain values by name, as in the run's JSON file."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        folder: Its run folder: tables, report, pictures and records.
        rows: Its table. `attack`: one row per adversary. `benchmark`: one row per system under test and adversary, the
            values with their intervals under `columns`. `train`: one row per evaluation and stage.
    """

    folder: Path
    rows: tuple[Row, ...]

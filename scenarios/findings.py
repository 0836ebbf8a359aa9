"""What a check of a scene reports, and what a use of it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.errors import one_line
from scenarios.scenario import CURRENT_STEP


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        level: `error` (the scene cannot be used) or `warning` (some uses suffer).
        field: What it concerns.
        reason: Why, with numbers.
    """

    level: Literal["error", "warning"]
    field: str
    reason: str

    def __str__(self) -> str:
        return one_line(f"{self.level}: {self.field}: {self.reason}")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a use asks of a scene; what is not needed is reported as a warning instead of an error.

    Attributes:
        steps: Steps that the ego must last, counted from the start (for a horizon of 90: 91).
        road_edges: Whether road boundaries are needed (map compliance).
        opponent: Whether an opponent is needed (attacks).
    """

    steps: int = CURRENT_STEP + 2
    road_edges: bool = False
    opponent: bool = False


def error(field: str, reason: str) -> Finding:
    """A finding for which the scene cannot be used."""
    return Finding("error", field, reason)


def warning(field: str, reason: str) -> Finding:
    """A finding from which some uses suffer."""
    return Finding("warning", field, reason)

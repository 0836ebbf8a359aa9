"""What a fit tells while it runs: the events that every trainer emits and one display shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.files import JsonDict

Row = JsonDict
"""Numbers of one epoch as they are written to JSON: `epoch`, and floats by name, or dictionaries of floats."""


@dataclass(frozen=True, slots=True)
class Started:
    """A part of the work begins.

    Attributes:
        part: Name of the part: a stage, an expert, a network.
        note: What it is, for people.
        epochs: The last epoch it may reach; 0 where it has no epochs.
    """

    part: str
    note: str = ""
    epochs: int = 0


@dataclass(frozen=True, slots=True)
class Advanced:
    """A countable task went on; it is complete when `done` equals `total`.

    Attributes:
        task: What is counted.
        done: How many are done.
        total: How many there are.
    """

    task: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch of a part is over.

    Attributes:
        part: See `Started`.
        row: Numbers of the epoch.
    """

    part: str
    row: Row


@dataclass(frozen=True, slots=True)
class Done:
    """A part is over.

    Attributes:
        part: See `Started`.
        note: What came of it, for people.
    """

    part: str
    note: str = ""


Event = Started | Advanced | Epoch | Done
Report = Callable[[Event], None]
"""Takes the events of a fit."""


def unheard(event: Event) -> None:
    """Takes events and tells nobody."""


def number(row: Row, key: str) -> float | None:
    """The number behind a dotted key such as `held_out.reward`, or None where there is none."""
    value: object = row
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) else None


def numbers(row: Row, prefix: str = "") -> dict[str, float]:
    """Every number of a row by its dotted key, in order."""
    found: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            found[f"{prefix}{name}"] = float(value)
    return found

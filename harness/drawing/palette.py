"""One palette: a role has the same colour in every picture, and its own shade of it in the page's dark theme.

Pictures take `LIGHT`; the page of a benchmark receives both themes as CSS variables.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from scenarios.scenario import Kind


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours as `#rrggbb`, by role.

    Attributes:
        ego: The ego vehicle, its path, and what it did in the log.
        opponent: The attacker, its path and its plan.
        vehicle, pedestrian, cyclist, object: Everybody else, by kind.
        candidate: What the attacker might have done.
        log: What was recorded, where roll-outs are drawn over it.
        contact: Where ego and attacker meet.
        ground, lane, lane_centre, bike, mark, edge, median, area: The road map; `mark` is a painted line.
        halo: Thin outlines that lift a box off what lies under it, and the notch at its front.
        ink, soft: Text, and text of less weight.
        paper, card, border: Backgrounds and rules of the page.
        accent, warn, good, bad: What can be chosen, and judgements.
        series: Colours of curves and groups, in their order; the ninth starts again.
    """

    ego: str
    opponent: str
    vehicle: str
    pedestrian: str
    cyclist: str
    object: str
    candidate: str
    log: str
    contact: str
    ground: str
    lane: str
    lane_centre: str
    bike: str
    mark: str
    edge: str
    median: str
    area: str
    halo: str
    ink: str
    soft: str
    paper: str
    card: str
    border: str
    accent: str
    warn: str
    good: str
    bad: str
    series: tuple[str, ...]

    def of_kind(self, kind: Kind) -> str:
        """Colour of an agent that is neither ego nor opponent."""
        roles = {Kind.VEHICLE: self.vehicle, Kind.PEDESTRIAN: self.pedestrian, Kind.CYCLIST: self.cyclist}
        return roles.get(kind, self.object)

    def css(self) -> str:
        """Everything as CSS variables, such as `--lane-centre`, `--series-0`, and `--shade` for accent as `r, g, b`."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "series"}
        values |= {f"series-{number}": colour for number, colour in enumerate(self.series)}
        values["shade"] = ", ".join(str(part) for part in rgb(self.accent))
        return " ".join(f"--{name.replace('_', '-')}: {value};" for name, value in values.items())


LIGHT: Final = Palette(
    ego="#1f6fb2",
    opponent="#c8323a",
    vehicle="#8592a8",
    pedestrian="#c98a1b",
    cyclist="#2f8f7a",
    object="#8d7f74",
    candidate="#d9776f",
    log="#22242a",
    contact="#111111",
    ground="#f3f3ef",
    lane="#e0e3e8",
    lane_centre="#c6cbd4",
    bike="#dcebdc",
    mark="#b9bcc6",
    edge="#4a4d57",
    median="#8a6a3a",
    area="#ebe5d3",
    halo="#ffffff",
    ink="#22242a",
    soft="#656a76",
    paper="#fbfbf9",
    card="#ffffff",
    border="#dfe1e6",
    accent="#1f5fa8",
    warn="#9a5b00",
    good="#1c7a4d",
    bad="#b3261e",
    series=("#0072b2", "#d55e00", "#009e73", "#9a4f96", "#b38600", "#3e8fb0", "#7a5230", "#5a5f6b"),
)
"""Colours of every picture, and of the page by day."""

DARK: Final = Palette(
    ego="#5fb0f5",
    opponent="#ff6f6a",
    vehicle="#7c8698",
    pedestrian="#e0ab4c",
    cyclist="#5cc4ac",
    object="#a39487",
    candidate="#b9625d",
    log="#e4e6ea",
    contact="#ffffff",
    ground="#1a1c21",
    lane="#2c3038",
    lane_centre="#464c58",
    bike="#26352b",
    mark="#666c79",
    edge="#b4b9c4",
    median="#b18d57",
    area="#37342a",
    halo="#15171b",
    ink="#e4e6ea",
    soft="#a0a6b2",
    paper="#15171b",
    card="#1d2026",
    border="#343842",
    accent="#7db4ee",
    warn="#e5b567",
    good="#6fce9f",
    bad="#ff8f86",
    series=("#4fb0ee", "#ff8f4a", "#35cfa0", "#d58fd1", "#e3bd3f", "#8bcbe6", "#c79a6d", "#aab0bd"),
)
"""Colours of the page by night."""

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "h")
"""Marker of a series, so that curves differ without colour too."""


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 … 255, of `#rrggbb`."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def blend(colour: str, under: str, alpha: float) -> tuple[int, int, int]:
    """`colour` laid over `under`, where `alpha` = 1 hides what is under it."""
    red, green, blue = (
        round(alpha * top + (1 - alpha) * bottom) for top, bottom in zip(rgb(colour), rgb(under), strict=True)
    )
    return red, green, blue


def series_colour(number: int) -> str:
    """Colour of a series."""
    return LIGHT.series[number % len(LIGHT.series)]


def series_marker(number: int) -> str:
    """Marker of a series, as matplotlib names it."""
    return MARKERS[number % len(MARKERS)]

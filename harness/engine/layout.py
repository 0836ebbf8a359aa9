"""What each number of an observation in MetaDrive's layout is: one table for documents and tests."""

from __future__ import annotations

from typing import NamedTuple

from harness.engine.config import SensorPreset


class ObservationPart(NamedTuple):
    """Neighbouring numbers of an observation.

    Attributes:
        first, size: Index of the first, and how many they are.
        what: What they say, with units and frame.
        scale: What becomes 0 and what becomes 1.
    """

    first: int
    size: int
    what: str
    scale: str

    @property
    def numbers(self) -> str:
        """Their indices."""
        return str(self.first) if self.size == 1 else f"{self.first}–{self.first + self.size - 1}"


def observation_layout(preset: SensorPreset) -> list[ObservationPart]:
    """The parts of an observation in their order; empty for `route`, which has a table of its own, and `none`."""
    if preset.route or preset.blind:
        return []
    reach = f"0 to {preset.distance:g} m; 1 where there is nothing"
    around = "anticlockwise round the car"
    lane = (preset.lane_line, f"rays to every line of a lane, from its left on {around}", reach)
    parts = [
        (preset.side, f"rays to road edges and continuous lines, from its left on {around}", reach)
        if preset.side
        else (2, "nothing: always 0", ""),
        (1, "sine of the heading error, positive where the car points to the right of the route", "-1 to 1"),
        (1, "speed, km/h", "-1 to 80 km/h"),
        (1, "steering action of the step, left positive", "-60 to 60"),
        (1, "steering action of the step, left positive", "-1 to 1"),
        (1, "throttle (positive) or brake (negative) of the step", "-1 to 1"),
        (1, "size of the yaw rate, rad/s", "0 to 1 rad/s"),
        lane if preset.lane_line else (1, "offset from the route, right positive, m", "-2.25 to 2.25 m"),
        (
            18,
            "nine way points of the route, m ahead of the car, each number twice (as MetaDrive has it)",
            "-30 to 30 m",
        ),
        (1, "offset from the route, right positive, m", f"-{preset.max_lateral:g} to {preset.max_lateral:g} m"),
        (1, "heading of the route less the car's, left positive, rad", "-π to π rad"),
        (2, "nothing: always 0", ""),
        (
            4 * preset.others,
            f"the {preset.others} nearest vehicles within {preset.distance:g} m, nearest first, four numbers each: "
            "m ahead and to the left of the car, and velocity less the car's ahead and to the left, km/h; 0 where "
            "there is none",
            f"-{preset.distance:g} to {preset.distance:g} m, -80 to 80 km/h",
        ),
        (preset.lidar, f"rays to vehicles, people and objects, from ahead on {around}", reach),
    ]
    found, first = [], 0
    for count, what, scale in parts:
        if not count:
            continue
        found.append(ObservationPart(first, count, what, scale))
        first += count
    return found


def layout_table(preset: SensorPreset) -> list[str]:
    """Lines of a Markdown table of `observation_layout`."""
    rows = [f"| {part.numbers} | {part.what} | {part.scale} |" for part in observation_layout(preset)]
    return ["| numbers | what | 0 and 1 are |", "|---|---|---|", *rows]

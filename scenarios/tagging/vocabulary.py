"""Every tag and every number that scenes have: names, values, what they mean, and the axis of coverage they lie on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Axis = Literal["environment", "competency", "type", "rules"]

AXES: Final[Mapping[Axis, str]] = {
    "environment": "operational environment",
    "competency": "behavioural competency",
    "type": "scenario type",
    "rules": "rules of the road",
}
"""The four items by whose combinations the coverage of tests is judged, as the guidance to paragraph 8.3.2.1.2 of the
UN regulation on automated driving systems (draft of 2026) names them."""


@dataclass(frozen=True, slots=True)
class TagKind:
    """A tag.

    Attributes:
        name: As it is written in conditions.
        axis: What it describes.
        values: What it may be, each with its rule. A scene has any number of them.
    """

    name: str
    axis: Axis
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number that scenes have.

    Attributes:
        name: As it is written in conditions.
        unit: Its unit, or empty.
        about: What it is.
    """

    name: str
    unit: str
    about: str


@dataclass(frozen=True, slots=True)
class SceneTags:
    """What a scene is tagged with.

    Attributes:
        values: Values by tag, in the order of the vocabulary. A tag without values is missing.
        numbers: Quantities by name. What is not known is missing.
    """

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)

    def without_opponent(self) -> SceneTags:
        """What is left where nobody attacks."""
        types = tuple(value for value in self.values.get("type", ()) if value not in MEETINGS)
        values = {name: found for name, found in {**self.values, "type": types}.items() if found}
        return SceneTags(values, {name: n for name, n in self.numbers.items() if name != "opponent_speed"})

    def __str__(self) -> str:
        """All values, in the order of the vocabulary."""
        return ", ".join(dict.fromkeys(value for values in self.values.values() for value in values))


MEETINGS: Final[Mapping[str, str]] = {
    "cut-in": "it shares the ego's path; its box came from beside, not behind the ego, which keeps its lane",
    "merging": "it shares the ego's path, and 2 s before it came it headed 45° or more away from that, as far back",
    "rear-end": "it shares the ego's path otherwise: one is behind the other",
    "parallel": "it does not; headings differ by less than 45° where the two are nearest to a conflict",
    "crossing": "it does not; headings differ by 45° to 135° there",
    "oncoming": "it does not; headings differ by more than 135° there",
}
"""How a vehicle meets the ego. It shares the ego's path if its box is in that for 0.5 s and heads along within 45°."""

TAGS: Final[tuple[TagKind, ...]] = (
    TagKind(
        "road",
        "environment",
        {
            "junction": "another lane crosses the ego's way at 30° or more, or a lane leaves or joins it and turns "
            "45° or more away within 25 m",
            "roundabout": "a lane of the ego's way lies on a loop of at most 300 m that is nearly a circle",
            "merge": "another lane joins the ego's way, at less than 45° over the last 25 m",
            "curve": "none of junction and roundabout, on a lane, and the ego's heading spans 20° or more",
            "straight": "none of the others, and the ego is on a lane",
        },
    ),
    TagKind(
        "traffic",
        "environment",
        {"sparse": "`density` below 5", "moderate": "`density` from 5 to below 15", "dense": "`density` of 15 or more"},
    ),
    TagKind(
        "manoeuvre",
        "competency",
        {
            "follow-lane": "neither turn nor lane change",
            "lane-change": "the ego settles within 1 m of the centre of a lane that its lane does not lead to, at "
            "least 2 m beside its own",
            "left-turn": "the ego's heading ends 45° to 135° further left than it began, and the road is no curve",
            "right-turn": "the same to the right",
            "u-turn": "the ego's heading ends 135° or more from where it began",
            "stop": "the ego falls from more than 2 m/s to less than 0.5 m/s",
            "start": "the ego rises from less than 0.5 m/s to more than 2 m/s",
        },
    ),
    TagKind(
        "type",
        "type",
        {
            **{name: f"the opponent: {rule}" for name, rule in MEETINGS.items()},
            "pedestrian": "the opponent is one, or one comes within 2.5 m of a place where the ego is at most 3 s "
            "earlier or later",
            "cyclist": "the same for a cyclist",
        },
    ),
    TagKind(
        "lights",
        "rules",
        {
            "red": "a light of a lane on the ego's way is red before the ego gets there",
            "yellow": "the same light is yellow",
            "green": "the same light is green",
            "unlit": "the ego's way has a light whose colour is not known",
        },
    ),
    TagKind(
        "rule",
        "rules",
        {
            "stop-sign": "a stop sign stands at a lane on the ego's way",
            "crosswalk": "the ego's way crosses a crosswalk",
            "right-of-way": "junction, roundabout or merge without light and stop sign",
            "safe-distance": "a vehicle is at most 3 s ahead in the ego's path and heads the same way",
        },
    ),
)
"""Every tag, in the order of tables."""

QUANTITIES: Final[tuple[Quantity, ...]] = (
    Quantity("speed", "m/s", "mean speed of the ego"),
    Quantity("top_speed", "m/s", "highest speed of the ego"),
    Quantity("opponent_speed", "m/s", "mean speed of the opponent"),
    Quantity("density", "", "vehicles within 50 m of the ego, the mean over its steps"),
    Quantity("curvature", "1/m", "largest curvature of the ego's path, over 5 m"),
    Quantity("path", "m", "length of the ego's path"),
    Quantity("vehicles", "", "vehicles, the ego among them"),
    Quantity("pedestrians", "", "pedestrians"),
    Quantity("cyclists", "", "cyclists"),
)
"""Every number, in the order of tables."""

TAG_NAMES: Final = tuple(tag.name for tag in TAGS)
QUANTITY_NAMES: Final = tuple(quantity.name for quantity in QUANTITIES)


ALL_VALUES: Final = tuple((tag.name, value) for tag in TAGS for value in tag.values)
"""Tags with their values, in the order of tables."""


def axis_values(axis: Axis) -> tuple[tuple[str, str], ...]:
    """Tags with the values that lie on an axis."""
    return tuple((tag.name, value) for tag in TAGS if tag.axis == axis for value in tag.values)


def tag_pairs(tags: SceneTags) -> list[tuple[str, str]]:
    """Tags with the values that a scene has."""
    return [(name, value) for name, values in tags.values.items() for value in values]

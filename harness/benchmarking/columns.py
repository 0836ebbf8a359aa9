"""The columns of the benchmark: one definition of each, for tables, JSON and documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from harness.episodes.records import UNDISTURBED
from harness.metrics.intervals import Interval
from harness.report.tables import Column
from scenarios.tagging.vocabulary import MEETINGS


@dataclass(frozen=True, slots=True)
class ScoreColumn(Column):
    """A column that is made of one score of every episode.

    Attributes:
        source: Score of an episode that it is made of (`distance`: name of the samples); empty: the key.
        equals: The score counts where it has this value (`rate` of a category), or None.
        short: Head in the terminal, where room is scarce.
        of_attack: Whether it says how an attack did, so that it means nothing in the row `none`.
    """

    source: str = ""
    equals: str | None = None
    short: str = ""
    of_attack: bool = False

    @property
    def score(self) -> str:
        """Name of the score."""
        return self.source or self.key


_percent: Final = ScoreColumn.percent


def _from_log(source: str, title: str, what: str, unit: str, short: str) -> ScoreColumn:
    about = f"distance of the attacks' {what} from the log's, {unit}"
    return ScoreColumn(f"wd_{source}", title, "distance", about, source=source, group="Dist. Diff. (WD)", short=short)


SAGE_COLUMNS: Final[tuple[ScoreColumn, ...]] = (
    _percent(
        "success",
        "Attack Succ. Rate",
        "corrected: the boxes of ego and opponent met in the simulation after the attack began; as published: the "
        "planned opponent's box overlaps the re-simulated ego's",
        arrow="up",
        short="success",
        of_attack=True,
    ),
    ScoreColumn("reward", "Adv. Reward", "mean", "adversarial reward (SAGE, eq. 11)", arrow="up", short="rew."),
    ScoreColumn(
        "behavioural",
        "Behav.",
        "mean",
        "P_beh, penalty of behaviour that is not lifelike (eq. 13)",
        group="Real. Pen.",
        arrow="down",
        short="beh.",
    ),
    ScoreColumn(
        "kinematic",
        "Kine.",
        "mean",
        "P_kin, penalty of motion that is not lifelike (eq. 12)",
        group="Real. Pen.",
        arrow="down",
        short="kin.",
    ),
    ScoreColumn(
        "map_objects",
        "Crash Obj.",
        "rate",
        "share of attacks that meet the track of anyone but the ego, times 10 (the paper's scaling)",
        source="hits_objects",
        group="Map Comp.",
        factor=10.0,
        arrow="down",
        short="hits",
    ),
    ScoreColumn(
        "map_edges",
        "Cross Line",
        "rate",
        "share of attacks that cross a road edge, of those on maps that have any, times 50 (the paper's scaling)",
        source="crosses_edge",
        group="Map Comp.",
        factor=50.0,
        arrow="down",
        short="edge",
    ),
    _from_log("acceleration", "Accel.", "acceleration", "m/s²", "acc."),
    _from_log("speed", "Vel.", "speed", "m/s", "vel."),
    _from_log("yaw_rate", "Yaw", "yaw rate", "rad/s", "yaw"),
)
"""The columns of SAGE's tables 1, 2, 6 and 7, in their order."""

SUCCESS_COLUMNS: Final[tuple[ScoreColumn, ...]] = (
    _percent("success_geometry", "opponent, boxes", "the boxes of ego and opponent met in the simulation", "Contact"),
    _percent(
        "success_contact",
        "opponent, engine",
        "the first vehicle contact that the engine reported (after the attack began) was with the opponent",
        "Contact",
    ),
    _percent(
        "success_new",
        "not undisturbed",
        "boxes met, and they did not in the undisturbed drive",
        "Contact",
        of_attack=True,
    ),
    _percent("crashed", "any vehicle", "the ego touched any vehicle at any time, by engine or by boxes", "Contact"),
    _percent(
        "success_planned",
        "plan, stage 1",
        "the plan's box overlaps the ego's as recorded in stage 1 (every step, true headings)",
        "Open loop",
        of_attack=True,
    ),
    _percent(
        "success_sage",
        "plan, SAGE's check",
        "the plan overlaps the re-simulated ego, path headings",
        "Open loop",
        of_attack=True,
    ),
    _percent(
        "success_cat",
        "plan, CAT's check",
        "the plan's edges cross the logged ego's, every fifth step",
        "Open loop",
        of_attack=True,
    ),
)
"""Every reading of success, side by side."""

ENCOUNTER_COLUMNS: Final[tuple[ScoreColumn, ...]] = (
    ScoreColumn("min_distance", "min. distance", "mean", "smallest distance of the boxes", digits=2, unit="m"),
    ScoreColumn(
        "min_ttc",
        "min. TTC",
        "mean",
        "smallest time to collision, over scenes where they ever approach",
        digits=2,
        unit="s",
    ),
    ScoreColumn(
        "impact_speed", "impact speed", "mean", "relative speed before contact, over contacts", digits=2, unit="m/s"
    ),
)
"""How close and how hard."""

_SIDES: Final = ("front", "left", "right", "rear")

SEVERITY_COLUMNS: Final[tuple[ScoreColumn, ...]] = (
    ScoreColumn(
        "closing_speed",
        "closing speed",
        "mean",
        "rate at which the centres approach before contact, over contacts",
        digits=2,
        unit="m/s",
    ),
    ScoreColumn(
        "impact_angle", "angle", "mean", "angle between both headings, over contacts; 180: head-on", digits=0, unit="°"
    ),
    ScoreColumn(
        "delta_v",
        "Δv of the ego",
        "mean",
        "change of the ego's velocity by momentum, with masses by length, over contacts",
        digits=2,
        unit="m/s",
    ),
    ScoreColumn(
        "injury_given_contact",
        "serious injury, contacts",
        "mean",
        "probability that an occupant of the ego is seriously injured (MAIS3+), by Δv and side (NHTSA 2022), over "
        "contacts",
        factor=100.0,
        digits=2,
        unit="%",
    ),
    ScoreColumn(
        "injury_risk",
        "serious injury, attacks",
        "mean",
        "the same over all attacks, 0 where nobody is met: success, weighted by severity",
        factor=100.0,
        digits=2,
        unit="%",
    ),
    *(
        _percent(
            f"side_{side}",
            side,
            f"the ego is struck at its {side}, over contacts",
            "Side struck",
            source="side_struck",
            equals=side,
        )
        for side in _SIDES
    ),
)
"""How bad contacts are for the ego's occupants: see `harness.metrics.severity`."""

REACTIONS_S: Final = (0.5, 1.0, 1.5, 2.0)
"""Times to react, s, for which it is told how many contacts are still avoidable; at 0 it is `avoidable`."""
LATE: Final = "avoidable_after_"
"""What the names of these scores begin with; the time in ms follows."""

TYPE_COLUMNS: Final[tuple[ScoreColumn, ...]] = tuple(
    _percent(f"played_{name}", name, f"played as `{name}`: see docs/tags.md", "Kind", source="attack_type", equals=name)
    for name in (*MEETINGS, "pedestrian", "cyclist")
)
"""What kind of encounter opponent and ego had, as it was played: at their contact, or where they were nearest."""

VERDICT_COLUMNS: Final[tuple[ScoreColumn, ...]] = (
    _percent(
        "avoidable",
        "avoidable",
        "a feasible motion of the ego on the road, begun once the attack was visible, avoids it; not judged on maps "
        "without road edges",
    ),
    *(
        _percent(
            f"{LATE}{round(1000 * reaction)}ms",
            f"{reaction:g} s",
            f"a driver who acts {reaction:g} s after the attack was visible can still avoid it",
            "Avoidable after",
        )
        for reaction in REACTIONS_S
    ),
    ScoreColumn("time_to_react", "left to react", "mean", "time from visible to the last way out", digits=2, unit="s"),
    ScoreColumn(
        "seconds_before_impact",
        "lost before impact",
        "mean",
        "time before the contact at which it stopped being avoidable, over avoidable ones",
        digits=2,
        unit="s",
    ),
    _percent("cc_prevented", "CC", "the competent driver of UN R157 would have prevented it", "Prevented by"),
    _percent("fsm_prevented", "FSM", "the fuzzy safety model would have prevented it", "Prevented by"),
    _percent("fault_ego", "ego", "the ego is at fault", "Fault", source="fault", equals="ego"),
    _percent("fault_opponent", "opponent", "the opponent is at fault", "Fault", source="fault", equals="opponent"),
    _percent("fault_both", "both", "both are", "Fault", source="fault", equals="both"),
)
"""Shares of the contacts: the first one of an episode, if it is with the opponent (undisturbed: with any vehicle)."""

DRIVE_COLUMNS: Final[tuple[ScoreColumn, ...]] = (
    ScoreColumn(
        "completion",
        "route completion",
        "mean",
        "share of the logged path that was driven, of egos whose path leads somewhere (2 m and more)",
        factor=100.0,
        digits=1,
        unit="%",
    ),
    _percent(
        "off_road_ego",
        "off road",
        "the ego left the road by the engine's rule, which needs no road edges: more than 10 m beside its logged path, "
        "or over a continuous yellow line",
    ),
    _percent("crashed_geometry", "collision, boxes", "the ego's box met any vehicle's"),
    _percent("crashed_contact", "collision, engine", "the engine reported a contact of the ego with a vehicle"),
    ScoreColumn("speed", "speed", "mean", "mean speed of the ego", digits=2, unit="m/s"),
    ScoreColumn("jerk", "jerk", "mean", "mean absolute longitudinal jerk of the ego", digits=2, unit="m/s³"),
)
"""How the system under test drove; in the row `none`, undisturbed."""

RATE_COLUMNS: Final[tuple[ScoreColumn, ...]] = (
    _percent("hits_objects", "meets others", "share of attacks that meet the track of anyone but the ego", "Map"),
    _percent(
        "crosses_edge", "crosses edge", "share of attacks that cross a road edge, of those on maps that have any", "Map"
    ),
)
"""Map compliance as plain rates."""


def _share(key: str, title: str, about: str) -> ScoreColumn:
    return ScoreColumn(key, title, "mean", about, group="Shield", factor=100.0, digits=2, unit="%")


SHIELD_COLUMNS: Final[tuple[ScoreColumn, ...]] = (
    _share("shield_changed", "changed", "decisions of the traffic that its shield changed"),
    _share("shield_no_way_out", "no way out", "decisions of the traffic for which its shield found no good candidate"),
)
"""What the shield of learned traffic did."""


def _measured(key: str, group: str, title: str, about: str, unit: str, digits: int = 3) -> ScoreColumn:
    factor = {"%": 100.0, "ms": 1000.0}.get(unit, 1.0)
    given = {"source": f"policy_{key}", "group": group, "factor": factor, "digits": digits, "unit": unit}
    return ScoreColumn(key, title, "mean", about, **given)  # type: ignore[arg-type]


_WANTED: Final = "distance of the ego from where its last trajectory had it"
_CLOCK: Final = "time that an external system took for an answer, by the clock"
POLICY_COLUMNS: Final[tuple[ScoreColumn, ...]] = (
    _measured("tracking_mean", "Tracking error", "mean", f"{_WANTED}, mean of an episode", "m"),
    _measured("tracking_max", "Tracking error", "max.", f"{_WANTED}, largest of an episode", "m"),
    _measured("sensor_dropped", "Sensors", "dropped", "frames of the sensors that never arrived", "%", 1),
    _measured("sensor_age", "Sensors", "age", "age of what the system saw", "s"),
    _measured("answer_mean", "Answer", "mean", f"{_CLOCK}, mean of an episode", "ms", 1),
    _measured("answer_max", "Answer", "max.", f"{_CLOCK}, longest of an episode", "ms", 1),
)
"""What a system under test measured of itself: the tracker, the sensors and the answers of programs."""

COLUMNS: Final[tuple[ScoreColumn, ...]] = (
    *SAGE_COLUMNS,
    *SUCCESS_COLUMNS,
    *RATE_COLUMNS,
    *ENCOUNTER_COLUMNS,
    *SEVERITY_COLUMNS,
    *TYPE_COLUMNS,
    *VERDICT_COLUMNS,
    *DRIVE_COLUMNS,
    *SHIELD_COLUMNS,
    *POLICY_COLUMNS,
)
"""Every column, as in JSON and CSV."""

TABLES: Final[tuple[tuple[str, tuple[ScoreColumn, ...]], ...]] = (
    ("attack", SAGE_COLUMNS),
    ("success by every reading", (*SUCCESS_COLUMNS, *RATE_COLUMNS)),
    ("encounter", ENCOUNTER_COLUMNS),
    ("severity of contacts with the opponent", SEVERITY_COLUMNS),
    ("kinds of encounter, as they were played", TYPE_COLUMNS),
    ("contacts: avoidable, preventable, whose fault", VERDICT_COLUMNS),
    ("system under test", DRIVE_COLUMNS),
    ("shield of the traffic", SHIELD_COLUMNS),
    ("tracker, sensors and answers of the system", POLICY_COLUMNS),
)
"""What is printed for every system under test: a title and its columns."""

OF_ATTACKS: Final = frozenset(column.score for column in COLUMNS if column.of_attack)
"""Scores that mean nothing where nobody attacks."""
_MET: Final = (("success_geometry", "the opponent"), ("crashed", "any vehicle"))
_WHOLE: Final = ScoreColumn.percent("", digits=0)


def means_something(score: str, adversary: str) -> bool:
    """Whether a score says something of episodes of an adversary; of nobody's attack there is no success."""
    return adversary != UNDISTURBED or score not in OF_ATTACKS


def undisturbed_note(found: Mapping[str, Interval]) -> str:
    """Why the row `none` has no success, and whom the ego met there all the same; one line for below a table.

    Args:
        found: Values of the row by column; those that are missing are not told.
    """
    met = [f"{who} in {_WHOLE.show(found[key])} %" for key, who in _MET if key in found]
    told = f" Undisturbed, the ego met {' and '.join(met)} of scenes." if met else ""
    return f"{UNDISTURBED}: nobody attacks, so there is no success.{told}"

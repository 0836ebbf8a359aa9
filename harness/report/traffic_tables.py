"""Tables of simulated traffic: realism, reactions to a braking ego, and roll-outs of single scenes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import rich.table

from harness.files import Json
from harness.metrics.compliance import without_edges_note
from harness.metrics.intervals import Interval
from harness.metrics.wosac import FEATURES
from harness.report.tables import Column, Table, Value
from harness.traffic.evaluation import RATES, SUMMARY

_TITLES: Final = {
    "simulated_collision_rate": "collided",
    "simulated_offroad_rate": "off road",
    "simulated_traffic_light_violation_rate": "red lights",
    "min_ade": "min_ade, m",
    "ade": "ade, m",
}
_ABOUT: Final = {
    "meta": "weighted mean of the features that follow, 0 to 1",
    "min_ade": "mean distance from the log, of the nearest roll-out",
    "ade": "mean distance from the log, of all roll-outs",
}
REALISM: Final = tuple(
    Column(key, _TITLES.get(key), "mean", _ABOUT.get(key, ""), digits=4, group=group)
    for group, keys in (("summary", SUMMARY), ("features", FEATURES), ("rates", RATES))
    for key in keys
)
"""Every number of the sim-agents metrics."""
_REALISM: Final = (Column("model", ""), *REALISM, Column("seconds", "s / scene", "number", digits=2))
_PAIRED: Final = (
    Column("pair", "paired difference"),
    *(Column(key, kind="mean", digits=4, signed=True) for key in SUMMARY[:4]),
)
_SHIELD: Final = (
    Column.percent("changed", "decisions changed", group="shield"),
    Column.percent("no_way_out", "no way out", group="shield"),
)
_ROLLOUTS: Final = (
    Column("scene"),
    Column("agents", kind="number"),
    Column("ego_contact", "roll-outs with ego contact"),
    Column("in_contact", "agents in contact", "number", digits=1),
    Column("ego_distance", "ego drives, m"),
    Column("distance", "all drive, m", "number", digits=0),
    Column("seconds", "s", "number", digits=1),
)
_COMINGS: Final = (Column("entered", kind="number", digits=1), Column("left", kind="number", digits=1))
"""Columns of traffic that agents enter and leave."""


def _shield(rows: Sequence[dict[str, Value]], done: Sequence[Json | None]) -> tuple[Column, ...]:
    """Columns of what shields have done, if there were any; their values go into `rows`."""
    for row, counts in zip(rows, done, strict=True):
        if counts is not None:
            # Choices are not independent of one another, so there is no interval.
            total = max(counts["decisions"], 1)
            row.update({column.key: counts[column.key] / total for column in _SHIELD})
    return _SHIELD if any(counts is not None for counts in done) else ()


def comparison_tables(result: Json, count: int) -> Iterator[rich.table.Table | str]:
    """What `evaluate_traffic` prints: tables, and lines of text.

    Args:
        result: Result of `harness.traffic.comparison.compare`.
        count: Number of scenes that were looked at.
    """
    settings = result["settings"]
    if settings["reactivity"]:
        title = f"ego brakes at {settings['deceleration']:g} m/s²: {len(result['scenes'])} of {count} scenes"
        yield reactivity_table(result["traffic"], title).rich()
        yield "95 % Wilson intervals over scenes; exact McNemar tests on the same scenes"
        return
    if settings["dial"]:
        yield dial_table(
            result["traffic"], settings["dial"], f"{count} scenes × {settings['rollouts']} roll-outs"
        ).rich()
        yield "95 % bootstrap intervals over scenes; ρ: Spearman's rank correlation with the level, mean over scenes"
        return
    if settings["causes"]:
        yield causes_table(result["traffic"], f"who causes contacts: {count} scenes, the recorded ego").rich()
        yield "could prevent a contact: whoever does so by being careful from 4 s before, all else drawing the same"
        return
    for name, reason in result["left_out"].items():
        yield f"left out {name}: {reason}"
    reading = "as the official code" if settings["parity"] else "corrected reading"
    scenes = f"{len(result['scenes']['ids'])} scenes × {settings['rollouts']} roll-outs"
    title = f"realism {settings['config']}, {reading}: {scenes}"
    yield realism_table(result["models"], title).rich(turned=True)
    what = "leaving the road, and with it map and meta,"
    if note := without_edges_note(len(result["without_edges"]), len(result["scenes"]["ids"]), what):
        yield note
    rules = ", ".join(f"{rule} ({number})" for rule, number in result["evaluated_agents"].items())
    who = "everybody within 100 m of the AV" if settings["agents"] == "near" else f"the AV and {rules}"
    yield f"scored agents: {who}; 95 % bootstrap intervals over scenes"
    if result["paired"]:
        yield paired_table(result["paired"]).rich()


def realism_table(models: Json, title: str) -> Table:
    """One row per model.

    Args:
        models: `models` of `harness.traffic.evaluation.summarise`.
        title: What was measured on what.
    """
    rows: list[dict[str, Value]] = [
        {
            "model": name,
            "seconds": float(sum(numbers["seconds"].values())),
            **{key: Interval(numbers[key], *ends) for key, ends in numbers["intervals"].items()},
        }
        for name, numbers in models.items()
    ]
    shield = _shield(rows, [numbers["interventions"] for numbers in models.values()])
    return Table((*_REALISM, *shield), rows, title)


def paired_table(pairs: Json) -> Table:
    """One row per pair of models.

    Args:
        pairs: `paired` of `harness.traffic.evaluation.summarise`.
    """
    rows: list[dict[str, Value]] = [
        {"pair": name, **{key: Interval(gap["mean"], gap["low"], gap["high"]) for key, gap in metrics.items()}}
        for name, metrics in pairs.items()
    ]
    return Table(_PAIRED, rows, "same scenes, first minus second")


def reactivity_table(rates: Json, title: str) -> Table:
    """One row per kind of traffic.

    Args:
        rates: Rates of `harness.traffic.reactivity.summarise`.
        title: How hard the ego braked in how many scenes.
    """
    columns = (
        Column("traffic"),
        Column("scenes", kind="number"),
        Column("hits", "followers hit the braking ego", "number"),
        Column.percent("share", "share"),
        Column("closing_speed", "closing speed", "number", digits=1, unit="m/s"),
        Column("speed_lost", "speed lost by followers", "number", digits=1, unit="m/s"),
        Column("p_against_first", f"p against {next(iter(rates))}", "number"),
    )
    rows: list[dict[str, Value]] = [
        {**row, "traffic": name, "share": Interval(row["rate"], *row["interval"])} for name, row in rates.items()
    ]
    shield = _shield(rows, [row["interventions"] for row in rates.values()])
    return Table((*columns, *shield), rows, title)


def dial_table(found: Json, dial: str, title: str) -> Table:
    """One row per kind of traffic and level, and one for the trend over levels.

    Args:
        found: Result of `harness.traffic.dials.turn`.
        dial: What was turned.
        title: What was measured on what.
    """
    option = dial.partition("=")[0]
    columns = (
        Column("traffic"),
        Column("level", option),
        Column("speed", "mean speed", "mean", digits=2, unit="m/s"),
        Column("time_gap", "mean time gap", "mean", digits=2, unit="s"),
        Column("contacts", "agents in contact", "mean", digits=3),
        Column("hits", "followers hit a braking ego", "mean", digits=3),
    )
    rows: list[dict[str, Value]] = []
    for name, numbers in found.items():
        for level, measured in [*numbers["levels"].items(), ("ρ", numbers["trend"])]:
            shown = {key: Interval(*(part[end] for end in Interval._fields)) for key, part in measured.items()}
            rows.append({"traffic": name, "level": level, **shown})
    return Table(columns, rows, title)


def causes_table(rows: Json, title: str) -> Table:
    """One row per kind of traffic.

    Args:
        rows: Counts of `harness.traffic.causes.summarise`.
        title: What was looked at.
    """
    columns = (
        Column("traffic"),
        Column("scenes", kind="number"),
        Column("contacts", kind="number"),
        Column("one", "one of the two alone could prevent", "number"),
        Column("either", "either could", "number"),
        Column("neither", "neither alone could", "number"),
    )
    return Table(columns, [{**row, "traffic": name} for name, row in rows.items()], title)


def rollouts_table(results: Sequence[Json], title: str) -> Table:
    """One row per scene.

    Args:
        results: As `simulate` writes them to `summary.json`.
        title: What was simulated how often.
    """
    rows: list[dict[str, Value]] = []
    for result in results:
        rollouts = result["rollouts"]
        hits = sum(row["ego_contact_step"] is not None for row in rollouts)
        ego = [row["ego_distance_m"] for row in rollouts if row["ego_distance_m"] is not None]
        rows.append(
            {
                "scene": result["scene"],
                "agents": result["agents"],
                "ego_contact": f"{hits} of {len(rollouts)}",
                "in_contact": sum(row["agents_in_contact"] for row in rollouts) / len(rollouts),
                "ego_distance": f"{min(ego):.0f} … {max(ego):.0f}" if ego else "",
                "distance": sum(row["mean_distance_m"] for row in rollouts) / len(rollouts),
                "seconds": result["seconds"],
                "entered": _mean(rollouts, "entered"),
                "left": _mean(rollouts, "left"),
            }
        )
    shield = _shield(rows, [result.get("interventions") for result in results])
    comings = _COMINGS if any(row["entered"] is not None for row in rows) else ()
    return Table((*_ROLLOUTS, *comings, *shield), rows, title)


def _mean(rollouts: Sequence[Json], name: str) -> float | None:
    """Mean of a number over roll-outs; None where they do not have it."""
    values = [row[name] for row in rollouts if name in row]
    return sum(values) / len(values) if values else None

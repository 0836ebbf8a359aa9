"""The tables of the page, from `summary.json`: nothing is computed anew, so they say what the other tables say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness.benchmarking.columns import COLUMNS, TABLES, ScoreColumn, means_something, undisturbed_note
from harness.benchmarking.lineup import FILE as LINEUP
from harness.commands.runs import read_run
from harness.episodes.records import UNDISTURBED
from harness.errors import RunError
from harness.files import Json, JsonDict, read_json
from harness.metrics.compliance import JUDGED_BY_EDGES, without_edges_note
from harness.metrics.intervals import Interval
from harness.report.certificate_tables import certificate_block
from harness.report.tables import DASH, Column, grouped

SUMMARY: Final = "summary.json"
EPISODE_TITLES: Final = {
    "success": "counts as a success",
    "reward": "adversarial reward (eq. 11)",
    "behavioural": "behavioural penalty P_beh (eq. 13)",
    "kinematic": "kinematic penalty P_kin (eq. 12)",
    "fault": "at fault",
    "avoidable": "contact was avoidable",
}
"""Names of an episode's numbers where the table's column speaks of many."""
PLOTTED: Final = ("success", "kinematic", "behavioural", "reward")
"""Columns that the plot of success against realism is made of."""
SECONDS: Final = Column("seconds_per_scene", kind="number", digits=2)
FACTS: Final = ("data", "split", "where", "scenes", "seed", "traffic", "intensity", "sut", "adversary", "executor")


def load(folder: Path) -> tuple[JsonDict, JsonDict, JsonDict]:
    """`run.json`, `lineup.json` and `summary.json` of a finished benchmark.

    Raises:
        RunError: One is missing or damaged.
    """
    run = read_run(folder)
    found = []
    for name in (LINEUP, SUMMARY):
        if not (folder / name).is_file():
            raise RunError(
                f"{folder} has no {name}: it is no finished benchmark. Finish it: "
                f"python -m harness.benchmark --resume {folder}."
            )
        found.append(read_json(folder / name))
    return run, found[0], found[1]


def context(run: Json, lineup: Json, summary: Json) -> JsonDict:
    """Everything that the page says outside its plots and its player."""
    cells, config = summary["cells"], run["config"]
    protocol = str(lineup["protocol"])
    systems = [str(item["label"]) for item in lineup["systems"]]
    adversaries = [UNDISTURBED, *map(str, lineup["adversaries"])]
    part = _part(summary["about"].get("completeness"))
    return {
        "protocol": protocol,
        "corrected": protocol == "corrected",
        "deviations": summary["about"]["deviations"],
        "data": Path(str(config.get("data", ""))).name,
        "scenes": len(lineup["scenes"]) if part is None else part["scenes"],
        "completeness": part,
        "systems": systems,
        "adversaries": adversaries,
        "config": {name: _plain(config[name]) for name in FACTS if config.get(name) is not None},
        "seeds": list(config.get("seed", [])),
        "provenance": _provenance(run),
        "matrix": _matrix(cells, systems, adversaries),
        "success_means": _success(summary["about"]["deviations"]),
        "tables": [
            _system(item, [cell for cell in cells if cell["sut"] == item["label"]]) for item in lineup["systems"]
        ],
        "failures": [
            {"sut": cell["sut"], "adversary": cell["adversary"], "count": cell["failures"], "examples": examples}
            for cell in cells
            if cell["failures"] and (examples := cell.get("failure_examples", [])) is not None
        ],
        "comparisons": summary.get("comparisons", []),
        "certificate": certificate_block(summary.get("certificate")),
        "columns": [{"heading": column.heading(), "about": column.about} for column in COLUMNS],
    }


def _part(completeness: object) -> JsonDict | None:
    """How much of the run there is, where it is not all."""
    if not isinstance(completeness, dict) or completeness.get("complete", True):
        return None
    return {name: int(completeness[name]) for name in ("scenes", "of_scenes", "episodes", "of_episodes")}


def plot_cells(summary: Json) -> list[JsonDict]:
    """What the plot of success against realism needs."""
    return [
        {
            "sut": cell["sut"],
            "adversary": cell["adversary"],
            "n": cell["n"],
            "columns": {name: cell["columns"][name] for name in PLOTTED if name in cell["columns"]},
        }
        for cell in summary["cells"]
        if cell["adversary"] != UNDISTURBED
    ]


def score_titles() -> list[JsonDict]:
    """How the numbers of an episode are called, by the score that each comes from."""
    found: dict[str, JsonDict] = {}
    for column in COLUMNS:
        # Some rates stand in two columns; the one in the paper's scaling means nothing for a single episode.
        scaled = column.kind == "rate" and column.unit != "%"
        if column.kind == "distance" or scaled or column.score in found:
            continue
        plain = column.kind == "rate"
        head = f"{column.group}: " if column.group and column.equals is None else ""
        found[column.score] = {
            "name": column.score,
            "title": EPISODE_TITLES.get(column.score, f"{head}{column.title}"),
            "about": column.about if column.equals is None else column.group,
            "unit": "" if plain else column.unit,
            "factor": 1.0 if plain else column.factor,
            "digits": column.digits,
        }
    return list(found.values())


def _matrix(cells: Sequence[Json], systems: Sequence[str], adversaries: Sequence[str]) -> JsonDict:
    """Success of every adversary against every system."""
    by_pair = {(cell["adversary"], cell["sut"]): cell for cell in cells}
    column = next(item for item in COLUMNS if item.key == "success")
    rows = []
    for adversary in adversaries:
        if adversary == UNDISTURBED:
            continue
        entries = []
        for system in systems:
            cell = by_pair.get((adversary, system))
            value = None if cell is None else cell["columns"].get("success")
            entry = _entry(column, value)
            entry |= {"n": 0 if cell is None else cell["n"], "failed": 0 if cell is None else cell["failures"]}
            entry["share"] = 0.0 if value is None or value["value"] is None else round(value["value"], 4)
            entries.append({**entry, "sut": system})
        rows.append({"adversary": adversary, "entries": entries})
    return {"rows": rows}


def _success(deviations: Sequence[Mapping[str, str]]) -> str:
    """What counts as a success under the protocol of the run."""
    for item in deviations:
        if item["name"] == "success_of_the_plan":
            return item["published" if item["repeated"] == "yes" else "corrected"]
    return ""


def _system(system: Json, cells: Sequence[Json]) -> JsonDict:
    """Every table of one system under test."""
    tables = []
    for title, columns in TABLES:
        kept = [column for column in columns if any(column.key in cell["columns"] for cell in cells)]
        if not kept:
            continue
        rows = [
            {
                "adversary": cell["adversary"],
                "n": cell["n"],
                "failed": cell["failures"],
                "entries": [_entry(column, _value(column, cell)) for column in kept],
                "seconds": SECONDS.number(cell["seconds_per_scene"].get("episode")),
            }
            for cell in cells
        ]
        heads = [{"text": column.heading(group=False), "about": column.about} for column in kept]
        tables.append({"title": title, "groups": _groups(kept), "heads": heads, "rows": rows})
    notes = []
    if system.get("sees_futures"):
        notes.append("privileged: reads true states and futures")
    elif system.get("privileged"):
        notes.append("privileged: reads true states")
    if system.get("control") == "replay":
        notes.append("replays the log: does not react")
    most: Json = max(cells, key=lambda cell: int(cell.get("without_road_edges", 0)), default={})
    without = int(most.get("without_road_edges", 0))
    if note := without_edges_note(without, int(most.get("n", 0)), JUDGED_BY_EDGES):
        notes.append(note.rstrip("."))
    return {
        "label": system["label"],
        "privileged": bool(system.get("privileged")),
        "notes": notes,
        "tables": tables,
        "undisturbed": [_undisturbed(cell) for cell in cells if cell["adversary"] == UNDISTURBED],
    }


def _value(column: ScoreColumn, cell: Json) -> Json | None:
    """A number of a cell; runs of earlier versions have a success of nobody's attack."""
    return cell["columns"].get(column.key) if means_something(column.score, cell["adversary"]) else None


def _undisturbed(cell: Json) -> str:
    known = {name: value for name, value in cell["columns"].items() if value["value"] is not None}
    return undisturbed_note(
        {name: Interval(found["value"], found["low"], found["high"]) for name, found in known.items()}
    )


def _groups(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Heads above neighbouring columns, with the number of columns each spans."""
    found = [(name, len(group)) for name, group in grouped(columns)]
    return found if any(name for name, _ in found) else []


def _entry(column: Column, value: Json | None) -> JsonDict:
    """A number with its interval and the scenes where it is defined; a dash where there is none."""
    if value is None or value["value"] is None:
        return {"text": DASH, "interval": "", "defined": 0}
    mean, low, high = (column.number(value[end]) for end in ("value", "low", "high"))
    return {"text": mean, "interval": f"{low} to {high}", "defined": value["n"]}


def _provenance(run: Json) -> list[tuple[str, str]]:
    known = run.get("provenance", {})
    rows = [(name, str(known[name])) for name in ("started", "commit", "python", "platform") if known.get(name)]
    rows += sorted((name, str(version)) for name, version in known.get("versions", {}).items())
    return rows + [("resumed", f"{len(run['resumed'])} times")] * bool(run.get("resumed"))


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return Path(value).name if isinstance(value, str) and "/" in value else str(value)

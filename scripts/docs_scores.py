"""What the cards of the documentation say of scores and of costs, read from what was measured and published.

Success of attacks comes from `docs/results/attacks.csv`, costs from `docs/results/costs.csv`, and the two headline
tables without a file, egos and traffic, from `docs/results.md` itself. No number is written here.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from harness import registry
from harness.episodes.records import UNDISTURBED
from harness.metrics.intervals import Interval
from harness.report.tables import Column

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
RESULTS: Final = "../../results.md"
"""The page of the headline tables, from where cards lie."""
SECTIONS: Final[Mapping[str, str]] = {
    "adversary": "attacks",
    "policy": "attacks",
    "curriculum": "egos",
    "traffic": "traffic",
}
"""Section of that page which kinds of components may have a row in; all other kinds have none."""
SUCCESS: Final = Column("success", kind="rate", factor=100.0, digits=0)
COSTED: Final[Mapping[str, str]] = {"policy": "a decision", "traffic": "a step of all agents in a scene"}
"""Kinds whose costs are measured, and what one measurement is of."""
COSTS: Final = (
    "Measured cost is processor time of one thread on a server with two cores and without a GPU, on procedural scenes. "
    "`python -m scripts.docs_costs docs/results/costs.csv` measures it anew. "
    "Memory is what the process grew by, beside the simulator."
)
"""What the pages of those kinds say of the measurement."""
METRICS: Final[Mapping[str, tuple[str, str]]] = {
    "adversarial": ("R_adv", "attacks"),
    "collision": ("Attack success", "attacks"),
    "compliance": ("Leaves the road, and hits others,", "attacks"),
    "realism": ("P_kin and P_beh", "attacks"),
    "driving": ("Completion", "egos"),
    "wosac": ("Meta, kinematic, interactive and map", "traffic"),
}
"""Modules of metrics behind columns of the headline tables: the columns, and the section of the table."""


@cache
def csv_rows(name: str) -> Sequence[Mapping[str, str]]:
    """The rows of a file of `docs/results/`, whose first line is its command; none where the file is not there.

    Args:
        name: Without `.csv`.
    """
    path = DOCS / "results" / f"{name}.csv"
    if not path.is_file():
        return ()
    return tuple(csv.DictReader(path.read_text(encoding="utf-8").splitlines()[1:]))


@cache
def published(section: str) -> Sequence[Mapping[str, str]]:
    """The rows of the first table of a section of `docs/results.md`, by the titles of the columns.

    Args:
        section: Heading of the section in small letters.

    Raises:
        ValueError: There is no such section, or it has no table.
    """
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    _, found, below = text.partition(f"\n## {section.capitalize()}\n")
    lines = below.split("\n## ")[0].splitlines()
    start = next((place for place, line in enumerate(lines) if line.startswith("|")), None)
    if not found or start is None:
        raise ValueError(f"docs/results.md has no section {section!r} with a table")
    end = next((place for place in range(start, len(lines)) if not lines[place].startswith("|")), len(lines))
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:end])
    return tuple(dict(zip(head, row, strict=True)) for row in rows)


def score_facts(kind: registry.RegistryKind, name: str) -> dict[str, str]:
    """What the card of a component says of its score in the headline table: a label, and Markdown."""
    section = SECTIONS.get(kind)
    if section is None:
        return {"Headline table": f"[None of the three tables]({RESULTS}) has a row for it."}
    link = f"[table of {section}]({RESULTS}#{section})"
    scores = {"adversary": _attacking, "policy": _attacked, "traffic": _moving}
    text = scores[kind](name) if kind in scores else ""
    facts = {"Headline table": f"{text} From the {link}." if text else f"The {link} has no row for it."}
    if kind == "adversary" and (trained := _trained(name)):
        facts["Egos trained against it"] = f"{trained} From the [table of egos]({RESULTS}#egos)."
    return facts


def _attacking(name: str) -> str:
    """How often an adversary succeeds against each system under test, by intensity where it has several rows."""
    if name == UNDISTURBED:
        calm = [f"`{row['sut']}` {_met(row)}" for row in csv_rows("attacks") if row["adversary"] == name]
        return (
            f"Nobody attacks. Scenes in which the opponent is met all the same, in %: {', '.join(calm)}."
            if calm
            else ""
        )
    labels: dict[str, list[str]] = {}
    for row in csv_rows("attacks"):
        own, _, level = row["adversary"].partition("@")
        if own == name:
            labels.setdefault(level, []).append(f"{_success(row)} against `{row['sut']}`")
    many = len(labels) > 1
    parts = [f"{f'At λ = {level or 1}: ' if many else ''}{', '.join(found)}." for level, found in labels.items()]
    return f"Success in %: {' '.join(parts)}" if parts else ""


def _attacked(name: str) -> str:
    """How often each adversary succeeds against a system under test."""
    rows = [row for row in csv_rows("attacks") if row["sut"] == name]
    shown = [f"{_success(row)} by `{row['adversary']}`" for row in rows if row["adversary"] != UNDISTURBED]
    calm = [f"Unattacked it meets the opponent in {_met(row)} %." for row in rows if row["adversary"] == UNDISTURBED]
    return f"Attacks that succeed, in %: {', '.join(shown)}. {' '.join(calm)}".strip() if rows else ""


def _success(row: Mapping[str, str], key: str = "success") -> str:
    numbers = (float(row[name]) for name in (key, f"{key}_low", f"{key}_high"))
    return SUCCESS.show(Interval(*numbers))


def _met(row: Mapping[str, str]) -> str:
    """How often ego and opponent meet, whoever attacks."""
    return _success(row, "success_geometry")


def _moving(name: str) -> str:
    """Realism of a traffic model, with each of its options that the table has."""
    rows = [row for row in published("traffic") if row["traffic"].strip("`").partition("?")[0] == name]
    return " ".join(f"{row['traffic']}: meta {row['meta'].replace('**', '')}." for row in rows)


def _trained(name: str) -> str:
    """What becomes of egos that are trained against an adversary."""
    label = "nobody" if name == "none" else f"`{name}`"
    mine = [row for row in published("egos") if row["trained against"] == label]
    return " ".join(
        f"Completion as recorded {row['completion, as recorded']}, attacked by `sage` {row['completion, attacked']}."
        for row in mine
    )


def cost_facts(kind: registry.RegistryKind, name: str) -> dict[str, str]:
    """What the card of a component says of its cost: a label, and Markdown; nothing where nothing was measured."""
    if kind not in COSTED or not csv_rows("costs"):
        return {}
    row = next((row for row in csv_rows("costs") if (row["kind"], row["name"]) == (kind, name)), None)
    if row is None:
        return {
            "Measured cost": "Not measured: it decides nothing, or needs weights that do not come with the package."
        }
    each = COSTED[kind]
    rounded = {key: f"{float(row[key]):g}" for key in ("median_ms", "slowest_ms", "memory_mb")}
    return {
        "Measured cost": f"{rounded['median_ms']} ms {each} in the median. {rounded['slowest_ms']} ms at most. "
        f"The process grew by {rounded['memory_mb']} MB. From [costs.csv](../../results/costs.csv)."
    }


def metric_facts(name: str) -> dict[str, str]:
    """What the card of a metric says of the headline tables: which of them it makes; a label, and Markdown.

    Args:
        name: Dotted name of the module.
    """
    section = METRICS.get(name.rpartition(".")[2])
    if section is None:
        return {"Headline table": f"[None of the three tables]({RESULTS}) has a column of it."}
    column, place = section
    return {"Headline table": f"{column} in the [table of {place}]({RESULTS}#{place})."}

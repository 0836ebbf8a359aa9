"""Submissions to a leaderboard: one system under test in one benchmark, as a JSON file.

| key | holds |
|---|---|
| `format` | `gauntlet-submission-1` |
| `name`, `authors`, `link`, `kind` | what the system is called, by whom, where to read of it, and one of `KINDS` |
| `gauntlet` | `version` and `commit` of what measured it |
| `scenes` | `count`, and `digest`: SHA-256 of their ids, a line each, in their order |
| `opponent` | who attacks: `vehicle`, `pedestrian`, … |
| `horizon` | steps after which episodes were cut off, or null |
| `adversaries` | by label, as they were written on the command line |
| `weights` | SHA-256 of weights that adversaries and traffic were given, sorted; the package's own are not listed |
| `cells` | what `benchmark --json` writes, of this system: one cell for `none`, and one for each adversary |

Two submissions are comparable where all `terms` are equal: protocol, scenes, traffic, seeds, adversaries, version.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, get_args

from harness.commands.runs import read_run
from harness.episodes.records import UNDISTURBED
from harness.errors import ConfigError, GauntletError, RunError, one_line, reading
from harness.files import MEGABYTE, Json, JsonDict, read_json
from harness.metrics.intervals import Interval
from harness.specs import labelled, parse
from scenarios.sources import PROCEDURAL
from scenarios.values import brief

SystemKind = Literal["learned", "rules", "planner", "replay", "other"]

FORMAT: Final = "gauntlet-submission-1"
KINDS: Final[tuple[str, ...]] = get_args(SystemKind)
MAX_SUBMISSION: Final = 5 * MEGABYTE
MAX_TEXT: Final = 120
"""Characters of a name."""
OPPONENT: Final = "vehicle"
"""Who attacks in runs that do not say."""
SHARED_TERMS: Final = ("protocol", "deviations_repeated", "data", "split", "traffic", "seeds")
"""What all cells of a benchmark say alike."""
RATES: Final = ("success", "crashed", "off_road_ego", "completion")
"""Columns of a cell between 0 and 1 that a leaderboard shows."""
ROUNDING: Final = 1e-9
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_VERSION: Final = re.compile(r"\d+\.\d+(\.\d+)?[\w.+-]{0,40}")
_LINK: Final = re.compile(r"https://[^\s\"'<>]{1,500}")


@dataclass(frozen=True)
class Submission:
    """A checked submission.

    Attributes:
        file: Where it was read from.
        content: What it holds.
    """

    file: Path
    content: Json

    @property
    def name(self) -> str:
        """What the system is called."""
        return str(self.content["name"])

    @property
    def adversaries(self) -> tuple[str, ...]:
        """Labels of the adversaries, in their order."""
        return tuple(self.content["adversaries"])

    def cell(self, adversary: str) -> Json:
        """The cell of an adversary."""
        found: Json = next(cell for cell in self.content["cells"] if cell["adversary"] == adversary)
        return found

    def interval(self, adversary: str, column: str) -> Interval | None:
        """A number with its interval; None where it was not measured."""
        value = self.cell(adversary)["columns"].get(column)
        if value is None or value["value"] is None:
            return None
        low, high = (math.nan if value[name] is None else value[name] for name in ("low", "high"))
        return Interval(value["value"], low, high)

    def terms(self) -> dict[str, str]:
        """What must be equal for two systems to be compared, in words."""
        cell, held = self.content["cells"][0], self.content
        given = [
            f"{label} ({text}, λ = {self.cell(label)['intensity']:g})" for label, text in held["adversaries"].items()
        ]
        return {
            "Gauntlet": held["gauntlet"]["version"],
            "protocol": cell["protocol"],
            "repeats of published code": ", ".join(map(str, cell["deviations_repeated"])) or "none",
            "data": cell["data"],
            "split": cell["split"],
            "scenes": f"{held['scenes']['count']}, digest {held['scenes']['digest'][:12]}",
            "traffic": cell["traffic"],
            "seeds": ", ".join(map(str, cell["seeds"])),
            "opponent": held["opponent"],
            "horizon": "recording" if held["horizon"] is None else f"{held['horizon']} steps",
            "adversaries": ", ".join(given),
            "weights given": ", ".join(text[:12] for text in held["weights"]) or "none: the package's own",
        }

    def unlike(self, other: Submission) -> list[str]:
        """In what this one cannot be compared with another, in words; empty where it can."""
        mine, theirs = self.terms(), other.terms()
        return [f"{name} is {mine[name]}, not {theirs[name]}" for name in mine if mine[name] != theirs[name]]


def compose(run: Path, sut: str, header: Json) -> JsonDict:
    """The content of a submission, made of a benchmark's run folder.

    Args:
        run: The folder.
        sut: Label of the system in it.
        header: `name`, `authors`, `link` and `kind`.

    Raises:
        RunError: It is no finished run of `benchmark`, or damaged.
        ConfigError: There is no such system in it.
    """
    info = read_run(run)
    if info["verb"] != "benchmark" or not (run / "summary.json").is_file():
        raise RunError(f"{run} is no finished run of benchmark. Run `gauntlet benchmark` first, or go on with it.")
    summary, lineup = (read_json(run / name) for name in ("summary.json", "lineup.json"))
    with reading(run, "the record of a benchmark. Run it anew", RunError):
        if not (summary.get("about", {}).get("completeness") or {"complete": True})["complete"]:
            raise ConfigError(f"{run} is not complete: its budget ended it. Go on with it: benchmark --resume {run}.")
        labels = list(dict.fromkeys(cell["sut"] for cell in summary["cells"]))
        if sut not in labels:
            raise ConfigError(f"{run} has no system {sut!r}, only {', '.join(labels)}.")
        texts = dict(zip(lineup["adversaries"], _adversaries(info["config"]["adversary"]), strict=True))
        cells = [_public(cell) for cell in summary["cells"] if cell["sut"] == sut]
        digests = sorted(filter(None, [*lineup["digests"].values(), lineup["traffic_digest"]]))
        return {
            "format": FORMAT,
            **header,
            "gauntlet": {
                "version": info["provenance"]["versions"]["gauntlet-drive"],
                "commit": info["provenance"]["commit"],
            },
            "scenes": {"count": len(lineup["scenes"]), "digest": scenes_digest(lineup["scenes"])},
            "opponent": info["config"].get("opponent", OPPONENT),
            "horizon": info["config"]["horizon"],
            "adversaries": texts,
            "weights": digests,
            "cells": cells,
        }


def scenes_digest(ids: Sequence[str]) -> str:
    """SHA-256 of the ids of scenes, a line each."""
    return hashlib.sha256("".join(f"{name}\n" for name in ids).encode()).hexdigest()


def read_submission(file: Path) -> tuple[Submission | None, list[str]]:
    """A submission, or what is wrong with it: one sentence for each fault, which names file and key."""
    try:
        content = read_json(file, MAX_SUBMISSION, ConfigError)
        faults = [f"{file}: {one_line(text, 300)}" for text in faults_of(content)]
    except GauntletError as error:
        return None, [str(error)]
    return (None, faults) if faults else (Submission(file, content), [])


def faults_of(content: object) -> list[str]:
    """What is wrong with the content of a submission; cells are looked at where the rest is in order."""
    if not isinstance(content, dict):
        return [f"expected a JSON object, found {brief(content)}."]
    return list(_header_faults(content)) or list(_cell_faults(content))


def _header_faults(content: Json) -> Iterator[str]:
    expected = {
        "format": (FORMAT, content.get("format") == FORMAT),
        "name": (f"a text of 1 to {MAX_TEXT} characters", _is_text(content.get("name"))),
        "authors": ("a list of one or more names", _is_list(content.get("authors"), _is_text, 1)),
        "link": ("an address that begins with https://, or null", _is_link(content.get("link", ""))),
        "kind": (f"one of {', '.join(KINDS)}", content.get("kind") in KINDS),
        "gauntlet.version": ("a version such as 0.1.0", _matches(_VERSION, _inner(content, "gauntlet", "version"))),
        "gauntlet.commit": ("a commit or null", _is_text_or_none(_inner(content, "gauntlet", "commit"))),
        "scenes.count": ("a number of 1 and more", _is_count(_inner(content, "scenes", "count"), 1)),
        "scenes.digest": ("64 hexadecimal digits", _matches(_DIGEST, _inner(content, "scenes", "digest"))),
        "opponent": ("a kind of road user", _is_text(content.get("opponent"))),
        "horizon": ("a number of steps or null", content.get("horizon") is None or _is_count(content["horizon"], 1)),
        "adversaries": ("one or more names by label", _is_naming(content.get("adversaries"))),
        "weights": ("a list of digests", _is_list(content.get("weights"), lambda item: _matches(_DIGEST, item), 0)),
        "cells": ("a list of cells", _is_list(content.get("cells"), lambda item: isinstance(item, dict), 1)),
    }
    for key, (wanted, fits) in expected.items():
        if not fits:
            outer, _, inner = key.partition(".")
            found = _inner(content, outer, inner) if inner else content.get(outer)
            yield f"{key}: expected {wanted}, found {brief(found)}."
    if unknown := sorted(set(content) - {key.partition(".")[0] for key in expected}):
        yield f"{unknown[0]}: is no key of a submission. Leave it out."


def _cell_faults(content: Json) -> Iterator[str]:
    cells = content["cells"]
    labels = [cell.get("adversary") for cell in cells]
    if sorted(map(str, labels)) != sorted([UNDISTURBED, *content["adversaries"]]):
        wanted = ", ".join([UNDISTURBED, *content["adversaries"]])
        yield f"cells: expected one for each of {wanted}, found {brief(labels)}."
        return
    for key in ("sut", *SHARED_TERMS):
        values = [cell.get(key) for cell in cells]
        if values[0] is None or any(value != values[0] for value in values):
            yield f"cells: {key}: expected the same in every cell, found {brief(values)}."
    lists = ("seeds", "deviations_repeated")
    if not all(isinstance(cells[0].get(key), list if key in lists else str) for key in SHARED_TERMS):
        yield f"cells: expected texts and lists under {', '.join(SHARED_TERMS)}, found another kind."
    for cell in cells:
        where = f"cells: {cell['adversary']}: "
        count = content["scenes"]["count"]
        if not _is_count(cell.get("n"), 1) or cell["n"] > count:
            yield f"{where}n: expected 1 to {count} scenes, found {brief(cell.get('n'))}."
        if not _is_count(cell.get("failures"), 0):
            yield f"{where}failures: expected a number of 0 and more, found {brief(cell.get('failures'))}."
        if not _is_number(cell.get("intensity")):
            yield f"{where}intensity: expected a finite number, found {brief(cell.get('intensity'))}."
        if not isinstance(cell.get("privileged"), bool):
            yield f"{where}privileged: expected true or false, found {brief(cell.get('privileged'))}."
        yield from (where + text for text in _column_faults(cell))


def _column_faults(cell: Json) -> Iterator[str]:
    columns = cell.get("columns")
    if not isinstance(columns, dict):
        yield f"columns: expected numbers by name, found {brief(columns)}."
        return
    needed = "crashed" if cell["adversary"] == UNDISTURBED else "success"
    if needed not in columns or "completion" not in columns:
        yield f"columns: expected {needed} and completion among them, found {brief(sorted(columns))}."
    for name in RATES:
        held = columns.get(name)
        if held is None:
            continue
        parts: list[Any] = [held.get(key) for key in ("low", "value", "high")] if isinstance(held, dict) else [""]
        known = [part for part in parts if part is not None]
        numbers = [part for part in known if _is_number(part)]
        if len(numbers) < len(known) or not _rises([0.0, *map(float, numbers), 1.0]):
            yield f"columns: {name}: expected 0 <= low <= value <= high <= 1, found {', '.join(map(brief, parts))}."


def _rises(numbers: Sequence[float]) -> bool:
    """Whether numbers rise, but for what rounding leaves of them."""
    return all(one <= other + ROUNDING for one, other in pairwise(numbers))


def _public(cell: Json) -> JsonDict:
    """A cell without folders of this machine; where scenes and weights lie is nobody's business."""
    data = cell["data"] if cell["data"] == PROCEDURAL else Path(cell["data"]).name
    kept = {key: value for key, value in cell.items() if key != "failure_examples"}
    return {**kept, "data": data, "traffic": _without_folders(cell["traffic"])}


def _adversaries(texts: Sequence[str]) -> list[str]:
    """Adversaries as written, without labels; files by their name alone, because their digests are listed."""
    found = [labelled(text)[1] for text in texts]
    return [_without_folders(text) for text in found if parse(text).head != UNDISTURBED]


def _without_folders(text: str) -> str:
    return re.sub(r"[^\s:?=&]*/", "", text)


def _inner(content: Json, outer: str, inner: str) -> Any:
    held = content.get(outer)
    return held.get(inner, "") if isinstance(held, Mapping) else ""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) <= MAX_TEXT


def _is_text_or_none(value: object) -> bool:
    return value is None or _is_text(value)


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_link(value: object) -> bool:
    return value is None or _matches(_LINK, value)


def _is_list(value: object, fits: Any, least: int) -> bool:
    return isinstance(value, list) and len(value) >= least and len(value) <= 1000 and all(map(fits, value))


def _is_naming(value: object) -> bool:
    return isinstance(value, dict) and 0 < len(value) <= 50 and all(map(_is_text, [*value, *value.values()]))


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 10**9


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

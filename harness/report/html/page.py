"""The pages: reads a run folder, writes `report.html` and further pages, scene by scene, so that memory stays small."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from harness.engine.config import EngineConfig
from harness.episodes.records import UNDISTURBED, CellKey, EpisodeStore, Record
from harness.errors import RunError, reading
from harness.files import Json, JsonDict, explained
from harness.report.html.choice import PAGE_SCENES, Shown
from harness.report.html.encoding import safe_json
from harness.report.html.episodes import OUTCOMES, episode_block, outcome, places, shown_scores
from harness.report.html.overview import context, load, plot_cells, score_titles
from harness.report.html.safety import write_page
from harness.report.html.scenes import frame_of, scene_block
from scenarios.scenario import Scenario, ScenarioSource

FILE: Final = "report.html"
FOLDER: Final = "report"
"""Folder of further pages, in the run folder."""
_PAGE: Final = re.compile(r"scenes-[0-9]+-[0-9]+\.html")
Watch = Callable[[Iterable[str]], Iterable[str]]
"""Passes names of scenes on, and may count them for whoever waits."""
SCRIPTS: Final = (
    "core.js",
    "decode.js",
    "drawing.js",
    "player.js",
    "list.js",
    "dial.js",
    "beside.js",
    "plots.js",
    "main.js",
)
"""In the order in which they are joined into one."""


def write_report(
    run_folder: Path, source: ScenarioSource, shown: Shown | None = None, watch: Watch = iter, *, beside: bool = False
) -> Path:
    """Write `report.html` into a finished benchmark's folder, and further pages into `report` beside it.

    A page needs no network and no other file; what strangers named (scenes, policies) is shown as text only.
    Playback holds the episodes of the first seed; the tables hold all.

    Args:
        run_folder: As `python -m harness.benchmark` left it.
        source: Scenes that the benchmark ran on (more may be there).
        shown: Scenes that are played back; every one on one page by default.
        watch: Sees the scenes go by.
        beside: Whether the page opens with the last system beside the one that is chosen; a reader may choose anyhow.

    Returns:
        The page.

    Raises:
        RunError: The folder is no finished benchmark, a record is damaged, or a page cannot be written.
        ScenarioError: A scene cannot be read.
    """
    run, lineup, summary = load(run_folder)
    with reading(run_folder, "run.json, lineup.json and summary.json of a finished benchmark", RunError):
        scenes = [str(name) for name in lineup["scenes"]]
        shown = shown or Shown((), scenes)
        values = {**context(run, lineup, summary), "telling": len(shown.telling), "sample": len(shown.sample)}
    chosen = {*shown.telling, *shown.sample}
    first = [name for name in scenes if name in chosen]
    pages = [Part(FILE, first, {first.index(name) for name in shown.sample} if shown.telling else None)]
    for begin in range(0, len(shown.others), PAGE_SCENES):
        names = shown.others[begin : begin + PAGE_SCENES]
        pages.append(Part(f"{FOLDER}/scenes-{begin + 1}-{begin + len(names)}.html", names))  # As `_PAGE` has it.
    indices = {name: index for index, name in enumerate(source.ids)}
    if missing := [name for page in pages for name in page.scenes if name not in indices]:
        raise RunError(
            f"the report needs scene {missing[0]!r}, but the scenes given do not hold it. Restore the data the "
            "benchmark was run on."
        )
    values["links"] = [{"file": page.file, "first": page.scenes[0], "last": page.scenes[-1]} for page in pages[1:]]
    seen = iter(watch([name for page in pages for name in page.scenes]))
    for page in pages:
        collector = _Collector(EpisodeStore(run_folder), lineup, page)
        blocks = collector.blocks((name, source[indices[name]]) for name in islice(seen, len(page.scenes)))
        tail = {"protocol": values["protocol"], "cells": plot_cells(summary), "beside": beside}
        _write_page(run_folder / page.file, {**values, "part": page.file != FILE}, collector, blocks, tail)
    _remove_others(run_folder, {page.file for page in pages})
    return run_folder / FILE


def _remove_others(run_folder: Path, written: Collection[str]) -> None:
    """Remove pages of an earlier report of more scenes, to which nothing leads any more."""
    with explained(run_folder / FOLDER, "write"):
        for path in (run_folder / FOLDER).glob("scenes-*.html"):
            if _PAGE.fullmatch(path.name) and f"{FOLDER}/{path.name}" not in written:
                path.unlink(missing_ok=True)


def _write_page(path: Path, values: Json, collector: _Collector, blocks: Iterator[str], tail: Json) -> None:
    with explained(path.parent, "make"):
        path.parent.mkdir(exist_ok=True)
    # The index is asked for after the scenes: by then every episode has been seen.
    index = {"index": lambda: safe_json({**collector.index(), **tail})}
    write_page(path, "page.html.j2", ("page.css",), SCRIPTS, **values, scene_blocks=blocks, **index)


class Part(NamedTuple):
    """One page: its file below the run folder, its scenes, and which of these distributions show (None: all)."""

    file: str
    scenes: Sequence[str]
    sample: Collection[int] | None = None


def fitting(record: Record, scenario: Scenario) -> Record:
    """The record, as a failed episode where it was made of another scene of the same name."""
    found = len(record.episode.agents_valid) - len(record.episode.newcomers)
    expected = scenario.num_agents
    if record.episode.error or found == expected:
        return record
    error = f"recorded with {found} agents, but the scene has {expected}: it is another one now"
    return replace(record, episode=replace(record.episode, error=error))


class _Collector:
    """Goes through the scenes once: yields each one's JSON, and gathers the index of all episodes."""

    def __init__(self, store: EpisodeStore, lineup: Json, part: Part) -> None:
        self._store = store
        self._systems = {str(item["label"]): item.get("control") == "replay" for item in lineup["systems"]}
        self._adversaries = [UNDISTURBED, *map(str, lineup["adversaries"])]
        self._part = part
        self._options = EngineConfig()
        self._rows: list[JsonDict] = []
        self._errors: dict[int, str] = {}

    def blocks(self, scenes: Iterable[tuple[str, Scenario]]) -> Iterator[str]:
        """JSON of every scene, in order.

        Raises:
            RunError: A record is damaged.
        """
        for number, (name, scenario) in enumerate(scenes):
            yield safe_json(self._scene(number, name, scenario))

    def index(self) -> JsonDict:
        """What the page knows of every episode before it decodes any scene; columns, because that is compact."""
        names = sorted({name for row in self._rows for name in row["scores"]})
        return {
            "scenes": list(self._part.scenes),
            "sample": None if self._part.sample is None else sorted(self._part.sample),
            "systems": list(self._systems),
            "adversaries": self._adversaries,
            "outcomes": OUTCOMES,
            "titles": score_titles(),
            "episodes": {key: [row[key] for row in self._rows] for key in ("scene", "sut", "adversary", "outcome")},
            "scores": {name: [row["scores"].get(name) for row in self._rows] for name in names},
            "errors": self._errors,
        }

    def _scene(self, number: int, name: str, scenario: Scenario) -> dict[str, object]:
        """A scene with all its episodes."""
        records = [fitting(record, scenario) for record in self._records(name)]
        good = [record for record in records if not record.episode.error]
        logged = scenario.position[scenario.ego, scenario.valid[scenario.ego], :2]
        frame = frame_of(np.concatenate([logged, *(places(scenario, record) for record in good)]))
        episodes: dict[int, object] = {}
        for record in records:
            row = len(self._rows)
            self._rows.append(self._entry(number, record))
            if record.episode.error:
                self._errors[row] = record.episode.error
                continue
            size = self._options.ego_box_in(scenario, replay=self._systems[record.key.policy])
            episodes[row] = episode_block(scenario, record, size, frame)
        return {**scene_block(scenario, frame), "episodes": episodes}

    def _records(self, name: str) -> Iterator[Record]:
        keys = (CellKey(name, system, adversary) for system in self._systems for adversary in self._adversaries)
        return (self._store.read(key) for key in keys if key in self._store)

    def _entry(self, number: int, record: Record) -> dict[str, object]:
        key = record.key
        return {
            "scene": number,
            "sut": list(self._systems).index(key.policy),
            "adversary": self._adversaries.index(key.adversary),
            "outcome": outcome(record.episode, record.scores, key.adversary),
            "scores": shown_scores(record.scores, key.adversary),
        }

"""The page itself: reads a run folder, writes `report.html`, scene by scene, so that memory stays small."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np

from harness.drawing.palette import DARK, LIGHT
from harness.engine.config import EngineConfig
from harness.episodes.records import UNDISTURBED, CellKey, EpisodeStore, Record
from harness.errors import RunError
from harness.files import Json, JsonDict, write_atomically
from harness.report.html.encoding import safe_json
from harness.report.html.episodes import OUTCOMES, episode_block, outcome, places, shown_scores
from harness.report.html.overview import context, load, plot_cells, score_titles
from harness.report.html.scenes import frame_of, scene_block
from scenarios.scenario import Scenario, ScenarioSource

FILE: Final = "report.html"
SCRIPTS: Final = ("core.js", "decode.js", "drawing.js", "player.js", "list.js", "plots.js", "main.js")
"""In the order in which they are joined into one."""


def write_report(run_folder: Path, source: ScenarioSource) -> Path:
    """Write `report.html` into a finished benchmark's folder.

    The page needs no network and no other file; what strangers named (scenes, policies) is shown as text only.
    Playback holds the episodes of the first seed; the tables hold all.

    Args:
        run_folder: As `python -m harness.benchmark` left it.
        source: Scenes that the benchmark ran on (more may be there).

    Returns:
        The page.

    Raises:
        RunError: The folder is no finished benchmark, a record is damaged, or the page cannot be written.
        ScenarioError: A scene cannot be read.
    """
    run, lineup, summary = load(run_folder)
    folder = resources.files("harness.report.html") / "templates"
    style = themes() + (folder / "page.css").read_text(encoding="utf-8")
    # One strict function around all: the page has no global names.
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}\n}})();'
    collector = _Collector(EpisodeStore(run_folder), lineup, source)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    values = context(run, lineup, summary)
    stream = template.stream(
        **values,
        policy=f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        style=style,
        script=script,
        scene_blocks=collector.blocks(),
        # Asked for after the scenes: by then every episode has been seen.
        index=lambda: safe_json({**collector.index(), "protocol": values["protocol"], "cells": plot_cells(summary)}),
    )
    path = run_folder / FILE
    write_atomically(path, lambda beside: _dump(stream, beside))
    return path


def themes() -> str:
    """The palette of pictures as CSS variables, by day and by night."""
    return f':root {{ {LIGHT.css()} }}\n:root[data-theme="dark"] {{ {DARK.css()} }}\n'


def _dump(stream: Any, path: Path) -> None:
    stream.enable_buffering(64)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        stream.dump(file)


def _digest(text: str) -> str:
    """The one script (or style) that the page's content security policy lets run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class _Collector:
    """Goes through the scenes once: yields each one's JSON, and gathers the index of all episodes."""

    def __init__(self, store: EpisodeStore, lineup: Json, source: ScenarioSource) -> None:
        self._store, self._source = store, source
        self._systems = {str(item["label"]): item.get("control") == "replay" for item in lineup["systems"]}
        self._adversaries = [UNDISTURBED, *map(str, lineup["adversaries"])]
        self._scenes = [str(name) for name in lineup["scenes"]]
        self._options = EngineConfig()
        self._rows: list[JsonDict] = []
        self._errors: dict[int, str] = {}

    def blocks(self) -> Iterator[str]:
        """JSON of every scene, in order.

        Raises:
            RunError: The source lacks a scene, or a record is damaged.
        """
        indices = {name: index for index, name in enumerate(self._source.ids)}
        for number, name in enumerate(self._scenes):
            if name not in indices:
                raise RunError(
                    f"the report needs scene {name!r}, but the scenes given do not hold it. Restore the data the "
                    "benchmark was run on."
                )
            yield safe_json(self._scene(number, name, self._source[indices[name]]))

    def index(self) -> JsonDict:
        """What the page knows of every episode before it decodes any scene; columns, because that is compact."""
        names = sorted({name for row in self._rows for name in row["scores"]})
        return {
            "scenes": self._scenes,
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
        records = list(self._records(name))
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
            "scores": shown_scores(record.scores),
        }

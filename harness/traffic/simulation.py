"""Scenes rolled out by a traffic model, each into a folder of its own: the roll-outs, pictures, and numbers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch

from harness.commands.runs import provenance
from harness.drawing.simulated import draw_simulated
from harness.errors import RunError, ScenarioError, reading
from harness.exports.library import library
from harness.exports.openscenario import write_openscenario
from harness.exports.played import later_part, played_scene
from harness.files import Json, file_name, read_json, write_json
from harness.traffic.config import SimulateConfig
from harness.traffic.make import make_roller
from harness.traffic.recording import as_episode, save_rollouts, summary
from harness.traffic.rollouts import Interventions, SimulatedScene, total_interventions
from scenarios.export import write_folder
from scenarios.scenario import CURRENT_STEP, Scenario

_LARGEST: Final = 1e15
_LOG = logging.getLogger(__name__)
SUMMARY: Final = "summary.json"
"""Written last: a scene that has it is done."""


_NUMBERS: Final = ("agents_in_contact", "mean_distance_m")
_OR_NONE: Final = ("ego_contact_step", "ego_distance_m")
"""Numbers of a roll-out, and those that may be none."""


def _done(file: Path) -> Json | None:
    """The numbers of a scene that has been simulated; None where it has to be (again)."""
    if not file.exists():
        return None
    try:
        with reading(file, "the numbers of simulated scenes", RunError):
            result = read_json(file)
            for row in result["rollouts"]:
                values = [row[name] for name in _NUMBERS] + [row[name] for name in _OR_NONE if row[name] is not None]
                if not all(abs(float(value)) < _LARGEST for value in (*values, result["agents"], result["seconds"])):
                    raise ValueError("a number is none, or larger than any that a simulation gives")
            done = result.get("interventions") or {}
            if not all(0 <= int(done.get(name, 0)) < _LARGEST for name in Interventions._fields):
                raise ValueError("a count of interventions is none")
            if not result["rollouts"] or not isinstance(result["scene"], str):
                raise ValueError("it has no roll-outs of a scene")
        return result
    except RunError as error:
        _LOG.warning("%s The scene is simulated again.", error)
        return None


def _export(config: SimulateConfig, scenario: Scenario, simulated: SimulatedScene, place: Path, model: str) -> None:
    """Every roll-out as a scene, where that is wanted."""
    for number in range(simulated.rollouts if config.export or config.export_openscenario else 0):
        episode = as_episode(scenario, simulated, number, model, config.seed)
        played = played_scene(scenario, episode, f"{scenario.id}-{model}-{number}")
        if first := round(config.warm_up / scenario.dt):
            try:
                played = later_part(played, first)
            except ScenarioError as error:
                _LOG.warning("roll-out %d is not exported: %s", number, error)
                continue
        if config.export:
            write_folder([played], place / "scenes")
        if config.export_openscenario:
            write_openscenario(played, place / "openscenario", file_name(played.id))


def simulate(config: SimulateConfig, scenes: Iterable[Scenario], folder: Path) -> Iterator[Mapping[str, object]]:
    """Roll scenes out from their first second (step 10).

    Args:
        config: What to do with the scenes; `scenes` are those that it names.
        scenes: Loaded one at a time.
        folder: Gets one folder per scene: `rollouts.npz`, `fan.png`, `rollout_N.gif`, exports and `summary.json`. A
            scene that is there already is not simulated again.

    Yields:
        What `summary.json` of each scene holds.

    Raises:
        ConfigError: The model cannot be built.
        ScenarioError: A scene cannot be simulated.
        RunError: The folder cannot be written.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.export_openscenario:
        library()
    simulator = make_roller(config.traffic, config.steps)
    for scenario in scenes:
        place = folder / file_name(scenario.id, "-_.")
        if (done := _done(place / SUMMARY)) is not None:
            yield done
            continue
        begin = time.perf_counter()
        simulated = simulator.simulate(scenario, config.rollouts, config.seed)
        seconds = time.perf_counter() - begin
        place.mkdir(parents=True, exist_ok=True)
        save_rollouts(scenario, simulated, place / "rollouts.npz")
        draw_simulated(scenario, simulated, place, model=simulator.name, seed=config.seed, gifs=config.gifs)
        _export(config, scenario, simulated, place, simulator.name)
        result = {
            "settings": asdict(config),
            "provenance": provenance(),
            "scene": scenario.id,
            "agents": int(scenario.valid[:, CURRENT_STEP].sum()),
            "seconds": seconds,
            "interventions": total_interventions([simulated.interventions]),
            "rollouts": summary(scenario, simulated),
        }
        write_json(place / SUMMARY, result)
        yield result

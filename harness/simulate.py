"""`python -m harness.simulate`: roll a scene out with a traffic model; files, a picture and moving pictures."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from harness.commands.runs import default_folder, provenance
from harness.drawing.playback import View, save_playback
from harness.drawing.rollouts import draw_fan
from harness.errors import ConfigError, GauntletError
from harness.files import file_name, write_json
from harness.report.traffic_tables import rollouts_table
from harness.traffic.make import make_simulator
from harness.traffic.recording import as_episode, save_rollouts, summary
from scenarios import open_source
from scenarios.scenario import ScenarioSource

VERB: Final = "simulate"


@dataclass(frozen=True)
class SimulateConfig:
    """Roll scenes out from their first second (step 10) for 8 s; everybody, the ego too, is moved by the model."""

    data: str = "procedural"
    """Folder of scenes or one scene file (ScenarioNet pickles, WOMD TFRecords, GPUDrive JSON), or `procedural`."""
    split: str | None = None
    """`train`, `val` or `test`; every scene by default."""
    scene: tuple[str, ...] = ("0",)
    """One or more scenes: index in the split, or id."""
    model: str = "smart"
    """`smart`, `smart:FILE`, `log`, `constant_velocity`, `idm-lane`, `idm-path`, `module:Class`; options as in
    `smart:FILE?temperature=0.9` (smart: temperature, top_k, method=top_k|warm_k, continuity, choices,
    rule=likelihood|overlaps, device)."""
    rollouts: int = 16
    """Independent roll-outs of each scene."""
    seed: int = 0
    """Same seed, same roll-outs."""
    gifs: int = 1
    """Moving pictures of the first so many roll-outs of each scene (10 frames per second: real time); 0 for none."""
    out: Path | None = None
    """Folder for the results, one folder per scene in it; by default a new one under `runs/`."""
    threads: int | None = None
    """Torch threads; Torch's own default if not given."""

    def __post_init__(self) -> None:
        """Reject what cannot work.

        Raises:
            ConfigError: Out of range.
        """
        if self.rollouts < 1 or self.gifs < 0 or self.seed < 0 or not self.scene:
            raise ConfigError(
                f"simulate: expected a scene, rollouts >= 1, gifs >= 0 and seed >= 0; found {len(self.scene)}, "
                f"{self.rollouts}, {self.gifs}, {self.seed}."
            )


def run(config: SimulateConfig, console: Console) -> list[dict[str, Any]]:
    """Simulate, write, print; returns one summary per scene (what its `summary.json` holds)."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    simulator = make_simulator(config.model)
    source = open_source(config.data, config.split, cache_scenes=0)
    chosen = [find_scene(source, name) for name in config.scene]
    folder = config.out or default_folder(VERB)
    results = []
    for index in track(chosen, "simulating", console=Console(stderr=True), transient=True):
        scenario = source[index]
        begin = time.perf_counter()
        simulated = simulator.simulate(scenario, config.rollouts, config.seed)
        seconds = time.perf_counter() - begin
        where = folder / file_name(scenario.id, "-_.")
        where.mkdir(parents=True, exist_ok=True)
        save_rollouts(scenario, simulated, where / "rollouts.npz")
        title = f"{scenario.id}: {config.rollouts} roll-outs of {config.model.partition(':')[0]}"
        draw_fan(scenario, simulated, where / "fan.png", title=title)
        for number in range(min(config.gifs, config.rollouts)):
            episode = as_episode(scenario, simulated, number, simulator.name, config.seed)
            view = View(caption=f"{simulator.name}, roll-out {number}")
            save_playback(scenario, episode, scenario.box(scenario.ego), where / f"rollout_{number}.gif", view)
        result = {
            "settings": asdict(config),
            "provenance": provenance(),
            "scene": scenario.id,
            "agents": len(simulated.agents),
            "seconds": seconds,
            "rollouts": summary(scenario, simulated),
        }
        write_json(where / "summary.json", result)
        results.append(result)
    show(config, results, console)
    console.print(f"files: {folder}", highlight=False)
    return results


def find_scene(source: ScenarioSource, name: str) -> int:
    """Index of a scene given by id or index.

    Raises:
        ConfigError: There is none.
    """
    if name in source.ids:
        return source.ids.index(name)
    if name.isdecimal() and int(name) < len(source):
        return int(name)
    raise ConfigError(f"simulate: no scene {name!r}; give an index below {len(source)}, or an id.")


def show(config: SimulateConfig, results: list[dict[str, Any]], console: Console) -> None:
    """Print a row per scene."""
    title = f"{config.model}: {config.rollouts} roll-outs of 8 s, seed {config.seed}"
    console.print(rollouts_table(results, title).rich())


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options and run; a `GauntletError` becomes one line and exit code 2."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    try:
        run(tyro.cli(SimulateConfig, args=argv, description=__doc__), Console())
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()

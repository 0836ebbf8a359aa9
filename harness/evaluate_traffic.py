"""`python -m harness.evaluate_traffic`: realism of traffic models by the sim-agents metrics, with intervals.

With `--reactivity log idm-path smart` it measures instead how often followers hit an ego that brakes hard in its lane.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from harness.commands.runs import provenance
from harness.errors import ConfigError, GauntletError
from harness.files import write_json
from harness.report.traffic_tables import paired_table, reactivity_table, realism_table
from harness.traffic.evaluation import RealismTable, evaluate, summarise
from harness.traffic.make import make_simulator, make_traffic
from harness.traffic.reactivity import Reaction, find_case, react
from harness.traffic.reactivity import summarise as summarise_reactions
from scenarios import open_source
from scenarios.scenario import Scenario


@dataclass(frozen=True)
class EvaluateTrafficConfig:
    """Simulate every scene with every model and score the roll-outs by the sim-agents realism metrics (WOSAC)."""

    data: str = "procedural"
    """Folder of scenes or one scene file (ScenarioNet pickles, WOMD TFRecords, GPUDrive JSON), or `procedural`."""
    models: tuple[str, ...] = ("log", "constant_velocity", "idm-lane")
    """`log`, `constant_velocity`, `idm-lane`, `idm-path`, `smart:FILE`, `module:Class`; options as in
    `smart:FILE?temperature=0.9`."""
    split: str | None = None
    """`train`, `val` or `test`; every scene by default."""
    scenes: int | None = None
    """Only the first so many scenes."""
    rollouts: int = 32
    """Roll-outs per scene; the challenge has 32."""
    config: Literal["2025", "2024"] = "2025"
    """Year of the challenge whose weights are used."""
    parity: bool = False
    """Reproduce the official code with its quirks, bit for bit where it counts, instead of what it evidently means."""
    seed: int = 0
    """Of the simulators and the bootstrap."""
    threads: int | None = None
    """Torch threads; Torch's own default if not given."""
    json: Path | None = None
    """Write means, intervals, paired differences and the numbers of every scene to this file."""
    reactivity: tuple[str, ...] = ()
    """Instead of realism: how often followers hit a braking ego if the background is `log`, `idm-path`, `smart`,
    `smart:FILE` … (traffic policies, as in `benchmark --traffic`); the first is what the others are compared with."""
    deceleration: float = 6.0
    """Of the braking ego, m/s² (6: hard, on a dry road)."""


def run(config: EvaluateTrafficConfig, console: Console) -> dict[str, Any]:
    """Evaluate, print, write; returns what the JSON file holds."""
    if config.rollouts < 1 or not config.models:
        raise ConfigError(f"evaluate_traffic: {config.rollouts} roll-outs of {len(config.models)} models; give some.")
    if len(set(config.models)) != len(config.models):
        raise ConfigError("evaluate_traffic: a model is named twice.")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.reactivity:
        return run_reactivity(config, console)
    simulators = {name: make_simulator(name, parity=config.parity) for name in config.models}
    source = open_source(config.data, config.split, cache_scenes=0)
    count = len(source) if config.scenes is None else min(config.scenes, len(source))

    def scenes() -> Iterator[Scenario]:
        for index in track(range(count), "evaluating", console=Console(stderr=True), transient=True):
            yield source[index]

    found = evaluate(
        simulators,
        scenes(),
        rollouts=config.rollouts,
        seed=config.seed,
        config=config.config,
        parity=config.parity,
    )
    for name, reason in found.left_out.items():
        console.print(f"left out {escape(name)}: {escape(reason)}", highlight=False, soft_wrap=True)
    if not found.scenes:
        raise ConfigError(f"evaluate_traffic: none of the {count} scenes of {config.data} can be scored.")
    result = {
        "settings": asdict(config),
        "provenance": provenance(),
        "evaluated_agents": dict(found.rules),
        "left_out": found.left_out,
        **summarise(found, config.seed),
        "scenes": {"ids": found.scenes, "scores": found.scores},
    }
    show(config, result, found, console)
    if config.json is not None:
        write_json(config.json, result)
        console.print(f"numbers: {config.json}")
    return result


def show(config: EvaluateTrafficConfig, result: dict[str, Any], found: RealismTable, console: Console) -> None:
    """Print the tables."""
    reading = "as the official code" if config.parity else "corrected reading"
    rules = ", ".join(f"{rule} ({count})" for rule, count in found.rules.items())
    title = f"realism {config.config}, {reading}: {len(found.scenes)} scenes × {config.rollouts} roll-outs"
    console.print(realism_table(result["models"], title).rich(turned=True))
    console.print(f"scored agents: the AV and {rules}; 95 % bootstrap intervals over scenes", highlight=False)
    if result["paired"]:
        console.print(paired_table(result["paired"]).rich())


def run_reactivity(config: EvaluateTrafficConfig, console: Console) -> dict[str, Any]:
    """Measure the reactions to a braking ego, print, write; returns what the JSON file holds."""
    if not config.deceleration > 0 or len(set(config.reactivity)) != len(config.reactivity):
        raise ConfigError("evaluate_traffic: deceleration must be > 0 m/s², and each traffic named once.")
    traffics = {name: make_traffic(name) for name in config.reactivity}
    source = open_source(config.data, config.split, cache_scenes=0)
    count = len(source) if config.scenes is None else min(config.scenes, len(source))
    found: dict[str, list[Reaction]] = {name: [] for name in traffics}
    scenes = []
    for index in track(range(count), "braking", console=Console(stderr=True), transient=True):
        case = find_case(source[index], config.deceleration)
        if case is not None:
            scenes.append((case.scenario.id, case.scenario.agent_ids[case.scenario.ego]))
            for name, traffic in traffics.items():
                found[name].append(react(case, traffic, config.seed))
    rates = summarise_reactions(found)
    title = f"ego brakes at {config.deceleration:g} m/s²: {len(scenes)} of {count} scenes"
    console.print(reactivity_table(rates, title).rich())
    console.print("95 % Wilson intervals over scenes; exact McNemar tests on the same scenes", highlight=False)
    result = {
        "settings": asdict(config),
        "provenance": provenance(),
        "traffic": rates,
        "scenes": scenes,
        "reactions": {name: [asdict(item) for item in items] for name, items in found.items()},
    }
    if config.json is not None:
        write_json(config.json, result)
        console.print(f"numbers: {config.json}")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options and run; a `GauntletError` becomes one line and exit code 2."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    config = tyro.cli(EvaluateTrafficConfig, args=argv, description=__doc__)
    try:
        run(config, Console())
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()

"""`python -m harness.train_experts`: align SAGE's experts on a folder of scenes, from one motion model.

The run folder's `prior.safetensors` then serves as `--prior` wherever `sage` attacks; `harness.attack` also takes the
folder, as `--experts`. The experts that ship with the package were made by this command with its defaults, on
procedural scenes.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import tyro
from rich.console import Console

from adversaries.sage.make import ExpertsConfig, load_goals, make_experts
from harness.commands.progress import Column, FitDisplay
from harness.commands.runs import RunDirectory, default_folder
from harness.drawing.curves import draw_experts
from harness.errors import ConfigError, GauntletError
from harness.files import write_json
from harness.report.training_tables import experts_table
from harness.specs import build, parse
from scenarios.selection import open_part

VERB: Final = "train_experts"
CURVES: Final = ("feasible", "adversarial", "realism", "reward", "success", "chosen_reward")
"""What is drawn and logged of every summary; see `adversaries.sage.alignment.summary`."""


@dataclass(frozen=True)
class TrainExpertsConfig:
    """Align experts by HGPO on the logged ego of every scene."""

    data: str = "procedural"
    """Folder of ScenarioNet pickles, or `procedural` for the generated scenes."""
    train: str = "train"
    """Scenes to align on: a split name, or indices such as `0:280` or `0:100,120,130:140`."""
    held_out: str = "test"
    """Scenes for the held-out curves, by which nothing is chosen: a split name, or indices; empty for none."""
    backbone: str = "goals"
    """Motion model to align: `goals`, the goal-conditioned prior that `sage` uses; `smart` (or `smart:FILE`,
    `smart:FILE?k=48&agents=8&temperature=1.0`), the traffic model's roll-outs, for `sage_smart`; or a registered
    one, or `module:Class`, of your own."""
    prior: Path | None = None
    """Weights of the goal-conditioned prior (safetensors); the shipped ones by default."""
    out: Path | None = None
    """Run folder; a new one under `runs/` by default."""
    resume: Path | None = None
    """Go on with the run in this folder (give the same options; more epochs and more experts are allowed)."""
    make: ExpertsConfig = field(default_factory=ExpertsConfig)
    """Which experts, and how."""


SHOWN: Final = ("feasible", "adversarial", "realism", "success", "expected_feasible")
"""What is shown of an epoch."""


def run(config: TrainExpertsConfig, console: Console) -> Path:
    """Align; return the run folder.

    Raises:
        GauntletError: Unusable data, weights, options or folder.
    """
    begin = time.perf_counter()
    reference = open_backbone(config)
    train = open_part(config.data, config.train)
    held_out = open_part(config.data, config.held_out) if config.held_out else None
    if config.resume is not None:
        record = RunDirectory.reopen(config.resume, VERB)
    else:
        record = RunDirectory.create(config.out or default_folder(VERB), VERB, asdict(config))
    columns = [Column(f"{'held_out' if config.held_out else 'train'}.{key}", label=key) for key in SHOWN]
    every = config.make.alignment.held_out_every
    display = FitDisplay(console, [Column("loss", ".4f"), *columns], every=every, board=record.path)
    with record, display:
        console.print(f"run folder: {record.path.resolve()}", highlight=False)
        info = {"data": "procedural" if config.data == "procedural" else "own"}
        histories = make_experts(config.make, reference, train, held_out, record.path, info=info, report=display)
        write_json(record.path / "curves.json", histories)
        draw_experts(histories, record.path / "curves.png")
    console.print(experts_table(histories, CURVES).rich())
    minutes = (time.perf_counter() - begin) / 60
    adversary = {"goals": "sage", "smart": "sage_smart"}.get(parse(config.backbone).name)
    use = f"; use it as: --adversary {adversary} --experts {record.path.resolve()}" if adversary else ""
    console.print(f"{minutes:.1f} min{use}", highlight=False)
    return record.path


def open_backbone(config: TrainExpertsConfig) -> Any:
    """The motion model that is to be aligned.

    Raises:
        WeightsError: Missing or unreadable weights.
        ConfigError: Unknown name or options, or a prior for a backbone that has none.
    """
    if config.backbone == "goals":
        return load_goals(config.prior, config.make.draw)
    if config.prior is not None:
        raise ConfigError("--prior holds weights of the goal-conditioned prior; others are named by --backbone.")
    return build("backbone", config.backbone)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options, align, print the table and where everything lies."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    console = Console()
    config = tyro.cli(TrainExpertsConfig, args=argv, description=__doc__)
    try:
        run(config, console)
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()

"""`python -m harness.train_seal`: SEAL's learned parts, from drives of an ego against every candidate of every scene.

The run folder then serves `--adversary seal --prior FOLDER/prior.safetensors` wherever attacks are made. The weights
that ship with the package were made by this command on procedural scenes.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import tyro
from rich.console import Console

from adversaries.prior import MotionPrior
from adversaries.seal.make import make_model, recorded_skills
from adversaries.seal.rollouts import Play, Rollouts, claim_rollouts, load_all, roll_out
from adversaries.seal.training import FitConfig
from adversaries.seal.weights import SealModel
from harness.attacks.every_candidate import collect
from harness.commands.progress import FitDisplay
from harness.commands.runs import RunDirectory, default_folder
from harness.episodes.policies import load_policy
from harness.errors import GauntletError
from harness.files import file_name, write_json
from harness.fitting.events import Advanced, Epoch, Event, Row
from harness.interfaces import AttackContext
from harness.report.training_tables import seal_table
from scenarios.scenario import ScenarioSource
from scenarios.selection import open_part

VERB: Final = "train_seal"


@dataclass(frozen=True)
class TrainSealConfig:
    """Simulate an ego against every candidate, then learn to foretell what comes of each, and skills."""

    data: str = "procedural"
    """Folder of ScenarioNet pickles, or `procedural` for the generated scenes."""
    train: str = "train"
    """Scenes: a split name, or indices such as `0:280` or `0:100,120,130:140`."""
    scenes: int | None = None
    """Use only the first so many of them; a scene costs 33 simulated drives, some 5 s of one core."""
    prior: Path | None = None
    """Motion prior weights (safetensors) that draw the candidates; the shipped ones by default."""
    policy: str = "idm"
    """The ego in the roll-outs (SEAL: an intelligent driver)."""
    rollouts: Path | None = None
    """Folder of roll-outs to use and add to; `rollouts/` in the run folder by default."""
    out: Path | None = None
    """Run folder; a new one under `runs/` by default."""
    resume: Path | None = None
    """Go on with the run in this folder: scenes that were simulated are not simulated again."""
    seed: int = 0
    """Of episodes, initial weights and batches."""
    fit: FitConfig = field(default_factory=FitConfig)
    """How each part is learnt."""


def run(config: TrainSealConfig, console: Console) -> Path:
    """Roll out, learn, write `seal.safetensors` and the prior it belongs to; return the run folder.

    Raises:
        GauntletError: Unusable data, weights, options or folder.
    """
    begin = time.perf_counter()
    prior = MotionPrior.load(config.prior, 4)
    source = open_part(config.data, config.train)
    if config.resume is not None:
        record = RunDirectory.reopen(config.resume, VERB)
    else:
        record = RunDirectory.create(config.out or default_folder(VERB), VERB, asdict(config))
    with record, FitDisplay(console, every=10) as display:
        console.print(f"run folder: {record.path.resolve()}", highlight=False)
        model, history = _make(config, source, prior, record.path, display)
        model.save(record.path / "seal.safetensors")
        prior.save(record.path / "prior.safetensors")
        write_json(record.path / "history.json", history)
    console.print(seal_table(history).rich())
    minutes = (time.perf_counter() - begin) / 60
    place = record.path.resolve() / "prior.safetensors"
    console.print(f"{minutes:.1f} min; use it as: --adversary seal --prior {place}", highlight=False)
    return record.path


def _make(
    config: TrainSealConfig, source: ScenarioSource, prior: MotionPrior, folder: Path, display: FitDisplay
) -> tuple[SealModel, dict[str, list[Row]]]:
    """The learnt model and every network's epochs."""
    place = config.rollouts or folder / "rollouts"
    place.mkdir(parents=True, exist_ok=True)
    claim_rollouts(place, prior.network, config.policy, config.seed)
    total = len(source) if config.scenes is None else min(config.scenes, len(source))

    def progress(done: int, total: int) -> None:
        display(Advanced("simulating", done, total))

    def roll(context: AttackContext, play: Play) -> Rollouts:
        return roll_out(prior, context, play)

    names = collect(source, load_policy(config.policy), roll, place, limit=total, seed=config.seed, report=progress)
    indices = [index for index in range(total) if file_name(source.ids[index]) in set(names)]
    skills = []
    for index in indices:
        skills.append(recorded_skills(source[index]))
        display(Advanced("reading tracks", len(skills), len(indices)))
    history: dict[str, list[Row]] = {}

    def report(event: Event) -> None:
        display(event)
        if isinstance(event, Epoch):
            history.setdefault(event.part, []).append(event.row)

    info = {"data": "procedural" if config.data == "procedural" else "own", "policy": config.policy}
    model = make_model(load_all(place, names), skills, config.fit, config.seed, info=info, report=report)
    return model, history


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options, make the weights, print the table and where everything lies."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    console = Console()
    config = tyro.cli(TrainSealConfig, args=argv, description=__doc__)
    try:
        run(config, console)
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()

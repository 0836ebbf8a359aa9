"""`python -m harness.train_traffic`: train learned traffic; `… train_traffic vocabulary`: build its tokens.

Stages build on one another: `bc` learns from logs, closed-loop stages start from its weights (`--init`).
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Literal

import tyro
from rich.console import Console

from harness.commands.progress import FitDisplay
from harness.commands.runs import RunDirectory, default_folder
from harness.drawing.curves import draw_traffic_training
from harness.errors import ConfigError, GauntletError
from harness.files import write_json
from harness.report.training_tables import tokens_table
from harness.traffic.tokens.build import VocabularyConfig, build_vocabulary, measure
from harness.traffic.tokens.scene import SceneOptions
from harness.traffic.training.config import LoopConfig
from harness.traffic.training.stages import FROM_SCRATCH, StageOptions, stages_of
from scenarios.scenario import ScenarioSource

VERB: Final = "train_traffic"


@dataclass(frozen=True)
class TrainTrafficConfig:
    """Train a traffic model on the logs of a scenario set."""

    data: str = "procedural"
    """Folder of ScenarioNet pickles, or `procedural` for the generated scenes."""
    extra: tuple[str, ...] = ()
    """More folders (or GPUDrive, WOMD files) to train on: all of their scenes, save those that are windows of a
    held-out drive of `data`."""
    train: str = "train"
    """Scenes to learn from: a split name, or indices such as `0:280`."""
    val: str = "val"
    """Scenes for validation and early stopping: a split name, or indices such as `280:320`."""
    test: str = "test"
    """Scenes of `data` that are never trained on; only used to choose among `extra`."""
    stage: str = "bc"
    """What to do: bc, gmm, catk and its rivals, mpo, ppo, dpo, grpo, grbo, or the recipe sft-rft-sft."""
    size: Literal["nano", "mini", "tiny"] = "nano"
    """Of a new model; later stages keep the size of the weights that they start from."""
    init: Path | None = None
    """Weights to start from; required by all stages but bc and gmm."""
    dropout: float | None = None
    """Dropout share instead of the model's (nano: 0.1); small models on few epochs do better with 0."""
    vocabulary: Path | None = None
    """Vocabulary of a new model; the shipped one by default."""
    mirror: bool = True
    """Train on mirrored scenes too."""
    out: Path | None = None
    """Run folder; a new one under `runs/` by default."""
    resume: Path | None = None
    """Go on with the run in this folder (give the same options)."""
    cache: Path | None = None
    """Folder for tokenised scenes, so that runs can share them; inside the run folder by default."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """Optimisation."""
    options: StageOptions = field(default_factory=StageOptions)
    """Of the objectives."""
    scene: SceneOptions = field(default_factory=SceneOptions)
    """What of a scene a new model sees."""


@dataclass(frozen=True)
class VocabularyCommand:
    """Build motion and map tokens by k-disks, and measure how well they reconstruct logs."""

    data: str = "procedural"
    """Folder of ScenarioNet pickles, `procedural`, or `none` for analytic motion alone."""
    split: str = "train"
    """Scenes to build from: a split name, or indices such as `0:60`."""
    measure_data: str = ""
    """Folder whose logs are reconstructed for the table; the same data by default."""
    measure_split: str = "val"
    """Its scenes."""
    out: Path = Path("vocabulary.safetensors")
    """File to write."""
    config: VocabularyConfig = field(default_factory=VocabularyConfig)
    """Sizes."""


def sources(config: TrainTrafficConfig, console: Console) -> tuple[ScenarioSource, ScenarioSource]:
    """Scenes to train on and held-out ones."""
    from scenarios import Concat, open_source
    from scenarios.selection import open_part
    from scenarios.training_pool import training_pool

    train, val = open_part(config.data, config.train), open_part(config.data, config.val)
    if not config.extra:
        return train, val
    held_out = [val, open_part(config.data, config.test)] if config.test else [val]
    pool = training_pool(Concat([train, *(open_source(folder) for folder in config.extra)]), held_out)
    console.print(f"{len(pool)} scenes to train on; {len(pool.dropped)} left out:", highlight=False)
    for dropped in pool.dropped:
        console.print(f"  {dropped.scene}: {dropped.reason} ({dropped.held_out})", highlight=False)
    return pool, val


def run(config: TrainTrafficConfig, console: Console) -> Path:
    """Train; return the run folder.

    Raises:
        GauntletError: Unusable data, options or folder.
    """
    from harness.traffic.training.recipe import StagePlan, run_stages

    names = stages_of(config.stage)
    if config.init is None and names[0] not in FROM_SCRATCH:
        raise ConfigError(
            f"stage {config.stage} starts from trained weights: give --init FILE (train with --stage bc)."
        )
    train, val = sources(config, console)
    if config.resume is not None:
        record = RunDirectory.reopen(config.resume, VERB)
    else:
        record = RunDirectory.create(config.out or default_folder(VERB), VERB, asdict(config))
    with record, FitDisplay(console, board=record.path) as display:
        console.print(f"run folder: {record.path.resolve()}", highlight=False)
        plan = StagePlan(
            stages=names,
            size=config.size,
            init=config.init,
            vocabulary=config.vocabulary,
            mirror=config.mirror,
            scene=config.scene,
            dropout=config.dropout,
            loop=config.loop,
            options=config.options,
            cache=config.cache or record.path / "tokens",
            info={"data": "procedural" if config.data == "procedural" else "own", "seed": config.loop.seed},
        )
        weights, rows = run_stages(plan, train, val, record.path, display)
        write_json(record.path / "history.json", rows)
        draw_traffic_training(rows, record.path / "curve.png")
    console.print(f"weights: {weights.resolve()}", highlight=False)
    return record.path


def build(config: VocabularyCommand, console: Console) -> Path:
    """Build a vocabulary, write it, show its reconstruction errors.

    Raises:
        GauntletError: Unusable data or options.
    """
    from scenarios.selection import open_part

    source = None if config.data == "none" else open_part(config.data, config.split)
    settings = asdict(config.config)
    info = {"data": config.data if config.data in ("procedural", "none") else "own", "config": settings}
    vocabulary = build_vocabulary(source, config.config, info)
    vocabulary.save(config.out)
    console.print(f"vocabulary: {config.out.resolve()}", highlight=False)
    console.print(json.dumps(vocabulary.info["radius"]), highlight=False)
    if config.measure_data or config.data != "none":
        held_out = open_part(config.measure_data or config.data, config.measure_split)
        console.print(tokens_table(measure(held_out, vocabulary)).rich())
    return config.out


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options, train or build, print where everything lies."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # A log file has no width of its own: 80 columns would cut the numbers off.
    console = Console(width=None if sys.stdout.isatty() else 160)
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["vocabulary"]:
            build(tyro.cli(VocabularyCommand, args=arguments[1:], description=VocabularyCommand.__doc__), console)
        else:
            run(tyro.cli(TrainTrafficConfig, args=arguments, description=__doc__), console)
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()

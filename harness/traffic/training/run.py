"""Learned traffic from options to files: a training run, and a vocabulary."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from harness.commands.options import NO_SCENES
from harness.commands.progress import FitDisplay, epochs_of
from harness.commands.scaffold import Session
from harness.drawing.curves import draw_traffic_training
from harness.errors import ConfigError
from harness.files import write_json
from harness.report.training_tables import tokens_table
from harness.traffic.tokens.build import build_vocabulary, measure
from harness.traffic.training.options import TrainTrafficConfig, VocabularyCommand
from harness.traffic.training.recipe import StagePlan, run_stages
from harness.traffic.training.stages import FROM_SCRATCH, JUDGED, stages_of
from scenarios.scenario import ScenarioSource
from scenarios.selection import edged_scenes, open_scenes
from scenarios.sources import open_part
from scenarios.splits import Concat
from scenarios.training_pool import training_pool


def sources(config: TrainTrafficConfig, session: Session) -> tuple[ScenarioSource, ScenarioSource]:
    """Scenes to train on and those to validate on; what is left out for the sake of others is printed."""
    train, val = config.open_train(), config.open_val()
    if not (config.extra or config.held_out):
        return train, val
    parts = [text.partition("@") for text in config.extra]
    extra = [
        open_scenes(folder, split or None, fit_only=config.fit_only, where=config.where) for folder, _, split in parts
    ]
    held_out = [source for source in (val, config.open_test()) if source is not None]
    held_out += [open_part(text) for text in config.held_out]
    pool = training_pool(Concat([train, *extra]), held_out)
    session.say(f"{len(pool)} scenes to train on; {len(pool.dropped)} left out:")
    for dropped in pool.dropped:
        session.say(f"  {dropped.scene}: {dropped.reason} ({dropped.held_out})")
    return pool, val


def train(config: TrainTrafficConfig, session: Session) -> Path:
    """Train; return the run folder.

    Raises:
        GauntletError: Unusable data, options or folder.
    """
    names = stages_of(config.stage)
    if config.init is None and names[0] not in FROM_SCRATCH:
        raise ConfigError(f"--stage {config.stage} starts from trained weights: give --init FILE (of --stage bc).")
    scenes = sources(config, session)
    if judged := [name for name in names if name in JUDGED]:
        train_on, val = (edged_scenes(source, f"stage {judged[0]}") for source in scenes)
        scenes = train_on, val
    with session.open_run(config, *scenes) as record:
        with FitDisplay(session.console, board=record.path) as display:
            weights, rows = run_stages(_plan(config, names, record.path), *scenes, record.path, display)
        write_json(record.path / "history.json", rows)
        with epochs_of(record.path):
            draw_traffic_training(rows, record.path / "curve.png")
    session.say(f"weights: {weights.resolve()}")
    return record.path


def _plan(config: TrainTrafficConfig, stages: tuple[str, ...], folder: Path) -> StagePlan:
    return StagePlan(
        stages=stages,
        size=config.size,
        init=config.init,
        vocabulary=config.vocabulary,
        mirror=config.mirror,
        examples=config.examples,
        scene=config.scene,
        dropout=config.dropout,
        loop=config.loop,
        options=config.options,
        rosetta=config.rosetta,
        infgen=config.infgen,
        cache=config.cache or folder / "tokens",
        info={"data": config.origin, "seed": config.loop.seed},
    )


def build(config: VocabularyCommand, session: Session) -> Path:
    """Build a vocabulary, write it, show its reconstruction errors.

    Raises:
        GauntletError: Unusable data or options.
    """
    source = None if config.data == NO_SCENES else config.open()
    origin = NO_SCENES if source is None else config.origin
    with session.counter("collecting motion") as count:
        vocabulary = build_vocabulary(
            source, config.config, {"data": origin, "config": asdict(config.config)}, progress=count
        )
    vocabulary.save(config.out)
    session.say(f"vocabulary: {config.out.resolve()}")
    session.say(json.dumps(vocabulary.info["radius"]))
    measured = config.open_measured()
    if measured is not None:
        session.console.print(tokens_table(measure(measured, vocabulary)).rich())
    return config.out

"""From one pretrained backbone and a folder of scenes to a folder of experts (lines 21 to 23 of algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from adversaries.prior.prior import MotionPrior
from adversaries.sage.alignment import Alignment
from adversaries.sage.backbone import Backbone, GoalBackbone
from adversaries.sage.bank import Bank, build_bank
from adversaries.sage.config import ExpertsConfig, recipe_of
from adversaries.sage.experts import PRIOR_FILE, save_expert
from adversaries.sage.groups import Draw
from harness.files import JsonDict
from harness.fitting.events import Advanced, Done, Report, Row, unheard
from scenarios.scenario import ScenarioSource


def make_experts(
    config: ExpertsConfig,
    reference: Backbone,
    train: ScenarioSource,
    held_out: ScenarioSource | None,
    folder: Path,
    *,
    info: JsonDict | None = None,
    report: Report = unheard,
) -> dict[str, list[Row]]:
    """Align every expert, write them and their reference into `folder`; finished and half-finished ones go on.

    Args:
        config: What to make.
        reference: Where all of them start.
        train: Scenes to align on, against their logged ego.
        held_out: Scenes for the curves, or None.
        folder: Exists.
        info: Goes into the weights' headers.
        report: Takes the events.

    Returns:
        The history of each expert: a row per epoch (see `alignment.Alignment.fit`).

    Raises:
        ConfigError: No usable scene.
        RunError: A checkpoint was made with other options.
    """
    # Before the banks too: on a busy machine many threads wait for each other in loops, for minutes or without end.
    torch.set_num_threads(config.alignment.threads)
    banks = {"train": _bank("train", train, reference, config, report)}
    held = None if held_out is None else _bank("held_out", held_out, reference, config, report)
    reference.save(folder / PRIOR_FILE)
    histories: dict[str, list[Row]] = {}
    for name in config.experts:
        recipe = recipe_of(name)
        alignment = Alignment(reference, banks["train"], held, recipe, config.alignment)
        histories[name] = alignment.fit(report, folder / f"{name}.checkpoint.safetensors", name)
        about = {"recipe": asdict(recipe), "alignment": asdict(config.alignment), "draw": asdict(config.draw)}
        info = {**(info or {}), "scenes": len(banks["train"])}
        save_expert(folder, name, alignment.policy, reference, {**info, **about})
    return histories


def load_goals(path: Path | None, draw: Draw) -> GoalBackbone:
    """The goal-conditioned prior behind a file, or the shipped one, as a backbone.

    Raises:
        WeightsError: Missing or unreadable.
    """
    return GoalBackbone(MotionPrior.load(path), draw)


def _bank(
    part: str, source: ScenarioSource | Sequence[Any], reference: Backbone, config: ExpertsConfig, report: Report
) -> Bank:
    bank = build_bank(
        source,
        reference,
        filtered=config.filtered,
        progress=lambda done, total: report(Advanced(f"scenes ({part})", done, total)),
    )
    report(Done(part, f"{len(bank)} scenes, {len(bank.rejected)} left out"))
    return bank

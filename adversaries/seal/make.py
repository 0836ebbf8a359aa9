"""From roll-outs and scenes to SEAL's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from adversaries.seal.config import FitConfig
from adversaries.seal.examples import candidate_examples, reactive_examples, together
from adversaries.seal.rollouts import Rollouts, load_all
from adversaries.seal.skills import Sequences, adversarial, join, mirrored, recorded
from adversaries.seal.training import Plan, fit_prior, fit_scorer, fit_skills
from adversaries.seal.weights import SealModel
from harness.errors import ConfigError
from harness.files import file_name
from harness.fitting.events import Advanced, Epoch, Event, Report, Row, unheard
from scenarios.scenario import ScenarioSource

MIN_ADVERSARIAL = 50
"""Fewer adversarial sequences than this make no prior."""


def make_model(
    rollouts: Sequence[Rollouts],
    scenes: Sequence[Sequences],
    config: FitConfig,
    seed: int,
    *,
    info: Mapping[str, object] | None = None,
    report: Report = unheard,
) -> SealModel:
    """Learn every part. Scenes are held out whole: the last share of `rollouts` and of `scenes`.

    Args:
        rollouts: One per scene, of training scenes only.
        scenes: Recorded skills per scene (`recorded_skills`).
        config: Optimisation.
        seed: Seed of initial weights, batches and moments.
        info: Goes into the file's header.
        report: Takes the events.

    Raises:
        ConfigError: Too little to learn from.
    """
    if len(rollouts) < 2 or len(scenes) < 2:
        raise ConfigError(f"seal: {len(rollouts)} scenes with roll-outs; 2 are the least, 50 or more make sense.")
    rng = np.random.default_rng(seed)
    cut = max(1, int(len(rollouts) * (1 - config.held_out)))
    cut_scenes = max(1, int(len(scenes) * (1 - config.held_out)))
    parts = rollouts[:cut], rollouts[cut:]
    whole = [together([candidate_examples(item) for item in part]) for part in parts]
    soon = [together([reactive_examples(item, rng) for item in part]) for part in parts]
    hits = [join(adversarial(item) for item in part) for part in parts]
    if len(hits[0].seen) < MIN_ADVERSARIAL:
        raise ConfigError(
            f"seal: only {len(hits[0].seen)} sequences lead up to a contact, too few for an adversarial prior. "
            "Give more scenes."
        )
    benign = [join(part) for part in (scenes[:cut_scenes], scenes[cut_scenes:])]
    both = [join(pair) for pair in zip(benign, hits, strict=True)]
    both[0], hits[0] = (join([part[0], mirrored(part[0])]) for part in (both, hits))

    def plan(rate: float, epochs: int, batch: int) -> Plan:
        return Plan(rate, epochs, batch, seed, report)

    rate, batch = config.scorer_rate, config.batch
    scorer = fit_scorer("scorer", whole[0], whole[1], plan(rate, config.scorer_epochs, config.scorer_batch))
    reactive = fit_scorer("reactive", soon[0], soon[1], plan(rate, config.reactive_epochs, batch))
    skills = fit_skills(both[0], both[1], config.divergence, plan(config.skill_rate, config.skill_epochs, batch))
    prior = fit_prior(skills, hits[0], hits[1], plan(rate, config.prior_epochs, batch))
    counts = {
        "scenes": len(rollouts),
        "candidates": len(whole[0].tracks),
        "moments": len(soon[0].tracks),
        "recorded_skills": len(benign[0].seen),
        "adversarial_skills": len(hits[0].seen) // 2,
    }
    made = SealModel(scorer, reactive, skills, prior, {**(info or {}), **counts, "seed": seed})
    return made.load_tensors(made.tensors())


def learn(
    folder: Path,
    names: Sequence[str],
    source: ScenarioSource,
    config: FitConfig,
    seed: int,
    *,
    info: Mapping[str, object] | None = None,
    report: Report = unheard,
) -> tuple[SealModel, dict[str, list[Row]]]:
    """Learn every part from a folder of roll-outs and the recorded tracks of the same scenes.

    Args:
        folder: Folder of the roll-outs.
        names: Names of the files to use, without suffix.
        source: Scenes; those without a file are left out.
        config, seed, info: See `make_model`.
        report: Takes the events.

    Returns:
        The model, and a row per epoch of every network.

    Raises:
        ConfigError: As of `make_model`.
        RunError: A file holds no roll-outs.
    """
    used = set(names)
    indices = [index for index, name in enumerate(source.ids) if file_name(name) in used]
    skills = []
    for index in indices:
        skills.append(recorded(source[index]))
        report(Advanced("reading tracks", len(skills), len(indices)))
    history: dict[str, list[Row]] = {}

    def tell(event: Event) -> None:
        report(event)
        if isinstance(event, Epoch):
            history.setdefault(event.part, []).append(event.row)

    return make_model(load_all(folder, names), skills, config, seed, info=info, report=tell), history

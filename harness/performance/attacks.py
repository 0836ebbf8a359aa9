"""Latency of the attacks: milliseconds per plan on one core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from harness import registry
from harness.episodes.attacks import plan_attack
from harness.episodes.ego_buffer import log_trajectory
from harness.errors import AdversaryError, GauntletError
from harness.interfaces import Adversary, Trajectory
from harness.performance.config import PerfConfig
from harness.performance.sample import spread
from scenarios.scenario import Scenario, ScenarioSource

AttackTimes = dict[str, dict[str, float | str]]
"""By adversary: `median` and `slowest` (ms of a first attack), `cached` (median ms of a later one, against five drives
of the ego) and `scenes`; or `error` where it cannot be built."""
ASIDE: Final = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""How far the five drives lie beside the log, m."""


def measure_attacks(source: ScenarioSource, config: PerfConfig) -> dict[str, AttackTimes]:
    """Milliseconds per attack on one core, for every registered adversary; parsing is not counted: `attack_ms`."""
    torch.set_num_threads(1)
    scenes = [scene for scene in spread(source, 2 * config.attack_sample) if scene.opponent is not None]
    found: AttackTimes = {}
    for name in registry.names("adversary"):
        try:
            adversary = registry.make("adversary", name)
        except (GauntletError, TypeError) as error:
            found[name] = {"error": str(error)}
            continue
        times = _times(adversary, scenes[: config.attack_sample + 1], config.seed)
        if times:
            first, later = (np.array(column) for column in zip(*times, strict=True))
            cached = float(np.median(later))
            found[name] = {
                "median": float(np.median(first)),
                "slowest": first.max(),
                "cached": cached,
                "scenes": len(times),
            }
    return {"attack_ms": found}


def _times(adversary: Adversary, scenes: Sequence[Scenario], seed: int) -> list[tuple[float, float]]:
    """Milliseconds of a first and of a later attack per scene, but for the first scene: its attack loads weights."""
    times = []
    for number, scene in enumerate(scenes):
        try:
            first = plan_attack(adversary, scene, np.random.default_rng(seed))
            later = plan_attack(adversary, scene, np.random.default_rng(seed), ego=_drives(scene))
        except AdversaryError:
            continue
        if number:
            times.append((1e3 * first.seconds, 1e3 * later.seconds))
    return times


def _drives(scene: Scenario) -> tuple[Trajectory, ...]:
    """The logged ego, displaced sideways."""
    log = log_trajectory(scene)
    left = np.stack([-np.sin(log.states[:, 2]), np.cos(log.states[:, 2])], -1)
    return tuple(
        Trajectory(np.concatenate([log.states[:, :2] + aside * left, log.states[:, 2:]], -1), log.valid)
        for aside in ASIDE
    )

"""Latency of the attacks: milliseconds per plan on one core."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from harness import registry
from harness.episodes.attacks import plan_attack
from harness.errors import AdversaryError, GauntletError
from harness.interfaces import Adversary
from harness.performance.config import PerfConfig
from harness.performance.sample import spread
from scenarios.scenario import Scenario, ScenarioSource

AttackTimes = dict[str, dict[str, float | str]]
"""By adversary: `median` and `slowest` (ms) and `scenes`, or `error` where it cannot be built."""


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
            found[name] = {"median": float(np.median(times)), "slowest": max(times), "scenes": len(times)}
    return {"attack_ms": found}


def _times(adversary: Adversary, scenes: Sequence[Scenario], seed: int) -> list[float]:
    """Milliseconds per scene that can be attacked, the first scene left out: its attack loads weights."""
    times = []
    for number, scene in enumerate(scenes):
        try:
            attack = plan_attack(adversary, scene, np.random.default_rng(seed))
        except AdversaryError:
            continue
        if number:
            times.append(1e3 * attack.seconds)
    return times

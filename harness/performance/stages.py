"""All measurements, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

from harness.commands.left_out import note_left_out
from harness.commands.runs import provenance
from harness.files import write_json
from harness.performance.against_fast import measure_fast_agreement
from harness.performance.against_stock import measure_differences, measure_speed
from harness.performance.attacks import measure_attacks
from harness.performance.config import PerfConfig
from harness.performance.decisions import measure_decisions
from harness.performance.fast_rates import measure_fast_speed, measure_fast_training
from harness.performance.memory import measure_memory
from harness.performance.sample import spread
from harness.performance.traffic_training import measure_traffic_training
from harness.performance.training import measure_training
from harness.performance.workers import measure_workers

Measured = dict[str, object]
"""`config`, `provenance`, `scenes` (their number), and what the measurements return."""
Stage = tuple[str, int, Callable[[], Mapping[str, object]]]
"""What is measured, how much of it (0: nothing), and how."""


def measure(config: PerfConfig, tell: Callable[[str], None]) -> Measured:
    """Measure everything; the file of `config.json` is rewritten after each measurement.

    Args:
        config: What to measure.
        tell: Takes a line before each measurement.

    Raises:
        GauntletError: Unusable data or options.
    """
    source = config.open()
    note_left_out(tell, [source], None)
    scenes = spread(source, config.sample)
    result: Measured = {"config": asdict(config), "provenance": provenance(), "scenes": len(scenes)}
    stages: list[Stage] = [
        ("speed against stock", config.blocks, lambda: measure_speed(scenes, config)),
        (
            "equality with stock",
            config.exact_sample,
            lambda: measure_differences(spread(source, config.exact_sample), config),
        ),
        (
            "agreement of the fast engine",
            config.fast_sample,
            lambda: measure_fast_agreement(source, config, tell),
        ),
        ("speed of the fast engine", config.fast_blocks, lambda: measure_fast_speed(scenes, config)),
        ("training on the fast engine", config.fast_train_steps, lambda: measure_fast_training(scenes, config)),
        ("training", config.train_steps, lambda: measure_training(scenes, config)),
        ("training with workers", config.worker_steps, lambda: measure_workers(scenes, config)),
        ("training of traffic", config.traffic_updates, lambda: measure_traffic_training(scenes, config)),
        ("attacks", config.attack_sample, lambda: measure_attacks(source, config)),
        ("decisions", config.decision_sample, lambda: measure_decisions(source, config)),
        ("memory", config.episodes, lambda: measure_memory(scenes, config)),
    ]

    for name, amount, stage in stages:
        if amount:
            tell(f"{name} …")
            result.update(stage())
            if config.json is not None:
                write_json(config.json, result)
    return result

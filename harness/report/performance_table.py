"""Table of what `perf` measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.table import Table

GOALS: Final = {
    "step_ratio": "≥ 2.5",
    "reset_ratio": "≥ 5",
    "max_observation_difference": "≤ 1e-4",
    "max_reward_difference": "≤ 1e-4",
    "train_steps_per_s": "≥ 250",
    "attack_ms cat": "≤ 40",
    "rss_growth_mb": "≤ 100",
}
"""What the measurements should reach."""


def performance_table(measured: Mapping[str, object]) -> Table:
    """Every measured number with its goal, for a terminal.

    Args:
        measured: As of `harness.performance.stages.measure`.
    """
    table = Table("measurement", "value", "goal")
    for name, value in measured.items():
        if isinstance(value, float | int):
            table.add_row(name, f"{value:.3g}" if isinstance(value, float) else str(value), GOALS.get(name, ""))
    attacks = measured.get("attack_ms")
    for name, times in attacks.items() if isinstance(attacks, Mapping) else ():
        found = times.get("error") or f"{times['median']:.1f}"
        table.add_row(f"attack_ms {name}", found, GOALS.get(f"attack_ms {name}", ""))
    return table

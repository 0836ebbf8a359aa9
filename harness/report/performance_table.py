"""Table of what `perf` measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from harness.report.tables import Column, Table, Value

GOALS: Final = {
    "step_ratio": "≥ 2.5",
    "reset_ratio": "≥ 5",
    "max_observation_difference": "≤ 1e-4",
    "max_reward_difference": "≤ 1e-4",
    "fast_position_error_50": "≤ .001",
    "fast_position_error_95": "≤ .05",
    "fast_position_error_99": "≤ .2",
    "fast_contact_agreement": "≥ .99",
    "fast_contact_same_step": "≥ .97",
    "fast_second_after_contact_50": "≤ .1",
    "fast_line_rays_beyond_0.01": "≤ .003",
    "fast_others_beyond_0.01": "≤ .001",
    "fast_outcome_agreement": "≥ .97",
    "fast_steps_per_s": "≥ 50,000",
    "fast_no_line_rays_steps_per_s": "≥ 150,000",
    "fast_train_steps_per_s": "≥ 16,700",
    "train_steps_per_s": "≥ 250",
    "workers_train_ratio": "≥ 1.4",
    "traffic_nano_scenes_per_s": "≥ 1,000 (GPU)",
    "traffic_tiny_scenes_per_s": "≥ 350 (GPU)",
    "attack_ms cat": "≤ 40",
    "attack_ms cat, cached": "≤ 1",
    "attack_ms sage, cached": "≤ 1",
    "rss_growth_mb": "≤ 100",
}
"""What the measurements should reach."""
COLUMNS: Final = (Column("measurement"), Column("value", form="g"), Column("goal"))


def performance_table(measured: Mapping[str, object]) -> Table:
    """Every measured number with its goal.

    Args:
        measured: See `harness.performance.stages.measure`.
    """
    values: dict[str, Value] = {name: value for name, value in measured.items() if isinstance(value, float | int)}
    attacks = measured.get("attack_ms")
    for name, times in attacks.items() if isinstance(attacks, Mapping) else ():
        values[f"attack_ms {name}"] = times.get("error") or f"{times['median']:.1f}"
        if "cached" in times:
            values[f"attack_ms {name}, cached"] = f"{times['cached']:.2f}"
    for kind in ("decision_ms", "traffic_ms"):
        costs = measured.get(kind)
        for name, cost in costs.items() if isinstance(costs, Mapping) else ():
            values[f"{kind} {name}"] = cost.get("error") or f"{cost['median']:.2f}"
    rows = [{"measurement": name, "value": value, "goal": GOALS.get(name, "")} for name, value in values.items()]
    return Table(COLUMNS, rows)

"""Realism of traffic simulators over scenes: scores per scene, means with intervals, paired differences."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

import numpy as np
import torch

from harness.errors import ScenarioError
from harness.metrics.intervals import bootstrap_mean
from harness.metrics.paired import paired_difference
from harness.metrics.wosac import FEATURES, Evaluated, Scorer, evaluated_agents
from harness.traffic.rollouts import Interventions, SceneSimulator, total_interventions
from scenarios.map_index import has_road_edges
from scenarios.scenario import Scenario

SUMMARY: Final = ("meta", "kinematic", "interactive", "map", "min_ade", "ade")
RATES: Final = ("simulated_collision_rate", "simulated_offroad_rate", "simulated_traffic_light_violation_rate")
METRICS: Final = (*SUMMARY, *FEATURES, *RATES)
"""Every number per scene; features are named as in the official configuration."""


@dataclass(frozen=True, slots=True)
class RealismTable:
    """Scores per model and scene.

    Attributes:
        scenes: Names of the scenes that every model was scored on.
        scores: Model → metric → one number per scene.
        seconds: Model → seconds spent in simulating and in scoring, over all scenes.
        interventions: Model → what its shield has done over all scenes; models without one are left out.
        rules: How the evaluated agents were chosen (`evaluated_agents`) → number of scenes.
        left_out: Scene → why it could not be scored.
        without_edges: Scenes without road edges: `meta`, `map` and what else rests on them is NaN there.
    """

    scenes: list[str] = field(default_factory=list)
    scores: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    interventions: dict[str, Interventions] = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)
    without_edges: list[str] = field(default_factory=list)


def evaluate(
    simulators: dict[str, SceneSimulator],
    scenes: Iterable[Scenario],
    *,
    rollouts: int,
    seed: int = 0,
    config: str = "2025",
    parity: bool = False,
    agents: Evaluated = "official",
) -> RealismTable:
    """Simulate and score every scene with every model; a scene that cannot be scored is left out for all.

    Args:
        simulators: By the name under which they appear in tables.
        scenes: Loaded one at a time.
        rollouts: Per scene; the challenge has 32.
        seed: Seed of the simulators; the same for all models and scenes.
        config, parity: See `Scorer`.
        agents: Who is scored: see `evaluated_agents`.
    """
    table = RealismTable(
        scores={name: {metric: [] for metric in METRICS} for name in simulators},
        seconds={name: {"simulate": 0.0, "score": 0.0} for name in simulators},
    )
    for scenario in scenes:
        try:
            chosen, rule = evaluated_agents(scenario, agents)
            with _one_thread():
                scorer = Scorer(scenario, config, parity, agents=chosen, partial=True)
            rows = _scene(simulators, scenario, rollouts, seed, scorer, table)
        except ScenarioError as error:
            table.left_out[scenario.id] = str(error)
            continue
        table.scenes.append(scenario.id)
        if not has_road_edges(scenario):
            table.without_edges.append(scenario.id)
        table.rules[rule] += 1
        for name, row in rows.items():
            for metric in METRICS:
                table.scores[name][metric].append(row[metric])
    return table


def _scene(
    simulators: dict[str, SceneSimulator],
    scenario: Scenario,
    rollouts: int,
    seed: int,
    scorer: Scorer,
    table: RealismTable,
) -> dict[str, dict[str, float]]:
    rows = {}
    for name, simulator in simulators.items():
        begin = time.perf_counter()
        simulated = simulator.simulate(scenario, rollouts, seed)
        middle = time.perf_counter()
        with _one_thread():
            rows[name] = scorer.score(simulated).as_dict()
        table.seconds[name]["simulate"] += middle - begin
        table.seconds[name]["score"] += time.perf_counter() - middle
        if simulated.interventions is not None:
            before = table.interventions.get(name, Interventions())
            table.interventions[name] = before.plus(simulated.interventions)
    return rows


@contextmanager
def _one_thread() -> Iterator[None]:
    """Scoring is many small operations: more threads gain nothing, and on a busy machine they wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def summarise(table: RealismTable, seed: int = 0) -> dict[str, object]:
    """Means over scenes with bootstrap intervals, and paired differences of every two models.

    Returns:
        `models`: model → every metric (mean over scenes), `N` (scenes), `intervals` (metric → [low, high]),
        `seconds` per scene, and `interventions` of its shield (None without one); `paired`: `a - b` → metric → mean,
        low, high, p value and scenes.
    """
    models: dict[str, object] = {}
    for name, scores in table.scores.items():
        intervals = {metric: bootstrap_mean(values, seed) for metric, values in scores.items()}
        count = max(len(table.scenes), 1)
        models[name] = {
            **{metric: interval.mean for metric, interval in intervals.items()},
            "N": len(table.scenes),
            "intervals": {metric: [interval.low, interval.high] for metric, interval in intervals.items()},
            "seconds": {part: spent / count for part, spent in table.seconds[name].items()},
            "interventions": total_interventions([table.interventions.get(name)]),
        }
    return {"models": models, "paired": _paired(table, seed)}


def _paired(table: RealismTable, seed: int) -> dict[str, object]:
    result: dict[str, object] = {}
    for one, two in combinations(table.scores, 2):
        result[f"{one} - {two}"] = {
            metric: _difference(table.scores[one][metric], table.scores[two][metric], seed) for metric in METRICS
        }
    return result


def _difference(one: Sequence[float], two: Sequence[float], seed: int) -> dict[str, float]:
    found = paired_difference(np.asarray(one), np.asarray(two), seed)
    gap = found.difference
    return {"mean": gap.mean, "low": gap.low, "high": gap.high, "p": found.p_value, "scenes": found.scenes}

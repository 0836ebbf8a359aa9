"""Traffic models on the same scenes: their realism, how they react to an ego that brakes hard, or to a dial."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import torch

from harness.commands.runs import provenance
from harness.errors import ConfigError
from harness.traffic.causes import Cause, causes
from harness.traffic.causes import summarise as summarise_causes
from harness.traffic.config import EvaluateTrafficConfig
from harness.traffic.dials import parse_dial, turn
from harness.traffic.evaluation import evaluate, summarise
from harness.traffic.make import make_simulator, make_traffic
from harness.traffic.reactivity import Reaction, find_case, react
from harness.traffic.reactivity import summarise as summarise_reactions
from harness.traffic.tokens.population import ego_states
from scenarios.scenario import Scenario


def compare(config: EvaluateTrafficConfig, scenes: Iterable[Scenario]) -> dict[str, object]:
    """Compare models as `config` says.

    Args:
        config: What to compare, and how; `scenes` are those that it names.
        scenes: Loaded one at a time.

    Returns:
        What the JSON file of `evaluate_traffic` holds.

    Raises:
        ConfigError: A model cannot be built, or no scene can be used.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    measure = _reactions if config.reactivity else _causes if config.causes else _dial if config.dial else _realism
    measured = measure(config, scenes)
    return {"settings": asdict(config), "provenance": provenance(), **measured}


def _realism(config: EvaluateTrafficConfig, scenes: Iterable[Scenario]) -> dict[str, object]:
    """Scores by the sim-agents metrics (WOSAC)."""
    simulators = {name: make_simulator(name, parity=config.parity) for name in config.traffic}
    found = evaluate(
        simulators,
        scenes,
        rollouts=config.rollouts,
        seed=config.seed,
        config=config.config,
        parity=config.parity,
        agents=config.agents,
    )
    if not found.scenes:
        reason = next(iter(found.left_out.values()), "there are none")
        raise ConfigError(f"none of the scenes of {config.data} can be scored: {reason}")
    return {
        "evaluated_agents": dict(found.rules),
        "left_out": found.left_out,
        "without_edges": found.without_edges,
        **summarise(found, config.seed),
        "scenes": {"ids": found.scenes, "scores": found.scores},
    }


def _dial(config: EvaluateTrafficConfig, scenes: Iterable[Scenario]) -> dict[str, object]:
    """How traffic answers to one of its options."""
    dial = parse_dial(config.dial or "")
    deceleration = config.deceleration
    found = turn(config.traffic, dial, scenes, rollouts=config.rollouts, seed=config.seed, deceleration=deceleration)
    return {"traffic": found, "dial": dial._asdict()}


def _causes(config: EvaluateTrafficConfig, scenes: Iterable[Scenario]) -> dict[str, object]:
    """Who causes contacts around the recorded ego."""
    traffics = {name: make_traffic(name) for name in config.traffic}
    found: dict[str, list[list[Cause]]] = {name: [] for name in traffics}
    for scenario in scenes:
        ego = ego_states(scenario)
        for name, traffic in traffics.items():
            found[name].append(causes(scenario, traffic, ego, config.seed))
    return {"traffic": summarise_causes(found)}


def _reactions(config: EvaluateTrafficConfig, scenes: Iterable[Scenario]) -> dict[str, object]:
    """How often followers hit a braking ego."""
    traffics = {name: make_traffic(name) for name in config.traffic}
    found: dict[str, list[Reaction]] = {name: [] for name in traffics}
    used = []
    for scenario in scenes:
        case = find_case(scenario, config.deceleration)
        if case is not None:
            used.append((case.scenario.id, case.scenario.agent_ids[case.scenario.ego]))
            for name, traffic in traffics.items():
                found[name].append(react(case, traffic, config.seed))
    return {
        "traffic": summarise_reactions(found),
        "scenes": used,
        "reactions": {name: [asdict(item) for item in items] for name, items in found.items()},
    }

"""Cost of those who move: milliseconds per decision of policies and per simulated step of traffic, and their memory.

Milliseconds are processor time on one thread, so that other work on the machine does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness import registry
from harness.engine.config import EngineConfig
from harness.engine.env import GauntletEnv
from harness.episodes.policies import load_policy
from harness.episodes.rollout import run_episode
from harness.errors import GauntletError
from harness.interfaces import EgoPolicy, EgoView
from harness.performance.config import PerfConfig
from harness.performance.memory import rss_mb
from harness.performance.sample import spread
from harness.traffic.make import make_roller
from scenarios.scenario import FUTURE_STEPS, LoadedScenes, Scenario, ScenarioSource

Costs = dict[str, dict[str, float | str]]
"""By name: `median` and `slowest` (ms), and `memory_mb` (MB that the process grew by); or `error`, where it cannot be
built by its name alone, or decides nothing."""


class TimedPolicy:
    """A policy whose decisions are timed; it has the attributes of the policy.

    Attributes:
        policy: Who decides.
        seconds: Processor time of each decision so far, s.
    """

    def __init__(self, policy: EgoPolicy) -> None:
        """Watch `policy`."""
        self.policy = policy
        self.seconds: list[float] = []
        self.name, self.control = policy.name, policy.control
        self.observation, self.privileged = policy.observation, policy.privileged

    def __getattr__(self, name: str) -> Any:
        """What only some policies have."""
        return getattr(self.policy, name)

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Begin an episode."""
        self.policy.reset(scenario, rng)

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """The policy's action [2]."""
        began = time.process_time()
        action = self.policy.act(observation, view)
        self.seconds.append(time.process_time() - began)
        return action


def measure_decisions(source: ScenarioSource, config: PerfConfig) -> dict[str, Costs]:
    """What every registered policy and traffic model costs: `decision_ms` and `traffic_ms`.

    Args:
        source: Where scenes are from.
        config: `decision_sample` scenes are driven; the first of them is not timed, because it loads weights.
    """
    torch.set_num_threads(1)
    scenes = spread(source, config.decision_sample + 1)
    # What the simulator itself takes is nobody's cost.
    _decisions("replay", scenes, config.seed)
    return {
        "decision_ms": _each("policy", lambda name: _decisions(name, scenes, config.seed)),
        "traffic_ms": _each("traffic", lambda name: _steps(name, scenes, config.seed)),
    }


def _each(kind: registry.RegistryKind, measured: Callable[[str], Sequence[float]]) -> Costs:
    found: Costs = {}
    for name in registry.names(kind):
        before = rss_mb()
        try:
            times = 1e3 * np.array(measured(name))
        except (GauntletError, TypeError) as error:
            found[name] = {"error": str(error)}
            continue
        if len(times) == 0:
            found[name] = {"error": "it decides nothing"}
            continue
        grown = max(rss_mb() - before, 0.0)
        found[name] = {"median": float(np.median(times)), "slowest": float(times.max()), "memory_mb": grown}
    return found


def _decisions(name: str, scenes: Sequence[Scenario], seed: int) -> Sequence[float]:
    """Seconds of every decision in all scenes but the first."""
    policy = TimedPolicy(load_policy(name))
    env = GauntletEnv(LoadedScenes(scenes), EngineConfig(observation=policy.observation, seed=seed))
    try:
        for place in range(len(scenes)):
            if place == min(1, len(scenes) - 1):
                policy.seconds.clear()
            run_episode(env, policy, None, place, seed=seed)
    finally:
        env.close()
    return policy.seconds


def _steps(name: str, scenes: Sequence[Scenario], seed: int) -> Sequence[float]:
    """Seconds per simulated step of all agents, one number for each scene but the first."""
    roller = make_roller(name, FUTURE_STEPS)
    times = []
    for scene in scenes:
        began = time.process_time()
        roller.simulate(scene, 1, seed)
        times.append((time.process_time() - began) / FUTURE_STEPS)
    return times[1:] or times

"""Whether a traffic policy keeps its contract."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.checks.base import Checker, require_name
from harness.interfaces import STATE, SpawningTraffic, TrafficPolicy
from harness.traffic.slots import Slots, reserve_of
from scenarios.scenario import Scenario
from scenarios.validate import MAX_SPEED


def check_traffic(traffic: TrafficPolicy, scenario: Scenario, *, start: int = 0, seed: int = 0) -> None:
    """Check a traffic policy over a whole scene; ego and opponent follow their logs.

    Where agents enter (`SpawningTraffic`), the scene gets the slots that it asks for.

    Args:
        traffic: The policy.
        scenario: The scene.
        start: First absolute step.
        seed: Seed of its generator.

    Raises:
        ConformanceError: With the broken rule.
    """
    checker = Checker(f"traffic {getattr(traffic, 'name', type(traffic).__name__)!r}")
    require_name(checker, traffic)
    checker.require(isinstance(traffic, TrafficPolicy), "it must have `name`, `reset` and `step`")
    first = _roll(checker, traffic, scenario, start, seed)
    second = _roll(checker, traffic, scenario, start, seed)
    same = all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(first, second, strict=True))
    checker.require(same, "after `reset`, equal inputs and generators must give equal motion")


def _roll(
    checker: Checker, traffic: TrafficPolicy, scenario: Scenario, start: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """States [N, A, 5] and validity [N, A] of the whole roll-out, each step checked."""
    reserve = reserve_of(traffic)
    scenario = scenario.with_reserve(reserve)
    slots = Slots(scenario, reserve)
    logs = np.stack([scenario.states(agent) for agent in range(scenario.num_agents)])
    given = [agent for agent in (scenario.ego, scenario.opponent) if agent is not None]
    states, valid = logs[:, start].copy(), scenario.valid[:, start].copy()
    history_states, history_valid = [], []
    with checker.scene_untouched(scenario), checker.only_own_randomness():
        traffic.reset(scenario, np.random.default_rng(seed))
        for step in range(start, scenario.num_steps - 1):
            checker.where = f"scene {scenario.id}, step {step}"
            with checker.untouched("the states it is given", states, valid):
                new_states, new_valid = traffic.step(step, states, valid)
            checker.array(new_states, (scenario.num_agents, STATE), np.floating, "states")
            checker.array(new_valid, (scenario.num_agents,), np.bool_, "valid")
            newcomers = traffic.spawned() if isinstance(traffic, SpawningTraffic) else ()
            slots.enter(newcomers, step + 1, new_valid, valid)
            checker.require(np.isfinite(new_states[new_valid]).all(), "states of valid agents must be finite")
            both = valid & new_valid
            both[given] = False
            moved = np.hypot(*(new_states - states)[both, :2].T)
            checker.require(
                moved.max(initial=0.0) <= MAX_SPEED * scenario.dt,
                "agents must not jump",
                f"{moved.max(initial=0.0):.1f} m in one step",
            )
            states, valid = new_states.astype(np.float64), new_valid.copy()
            states[given], valid[given] = logs[given, step + 1], scenario.valid[given, step + 1]
            history_states.append(states)
            history_valid.append(valid)
    checker.where = ""
    return np.array(history_states), np.array(history_valid)

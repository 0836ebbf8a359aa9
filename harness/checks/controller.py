"""Whether a plan's reactive controller keeps its contract, driven in a few lines of bicycle instead of the engine."""

from __future__ import annotations

import copy
import pickle
from typing import Final

import numpy as np

from harness.checks.base import Checker
from harness.episodes.watching import WatchingController
from harness.geometry import wrap_angle
from harness.interfaces import (
    HEADING,
    STATE,
    VX,
    VY,
    AttackPlan,
    ControlContext,
    Floats,
    ReactiveController,
    VehicleModel,
)
from harness.traffic.tokens.population import ego_states
from scenarios.scenario import Scenario

VEHICLE: Final = VehicleModel(
    front_axle=1.285, rear_axle=1.203, max_steering=0.785, throttle=2.5, brake=17.5, grip=7.36, rolling=0.33
)
"""MetaDrive's medium car."""
STEPS: Final = 30
"""How long it is driven."""
BRAKING: Final = 5.0
"""Deceleration of the other ego, m/s²."""


def check_controller(checker: Checker, plan: AttackPlan, scenario: Scenario) -> None:
    """Check the controller of a plan for the scene's opponent.

    Args:
        checker: Names the component.
        plan: With a controller.
        scenario: With an opponent.
    """
    controller = plan.controller
    checker.require(
        isinstance(controller, ReactiveController),
        "plan.controller must have `reset(plan, context)` and `act(step, opponent, ego)`",
        type(controller).__name__,
    )
    checker.require(plan.takeover_step is not None, "a plan with a controller needs a takeover_step")
    assert controller is not None, "just checked"
    try:
        pickle.dumps(plan)
        twin = copy.deepcopy(controller)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        checker.fail("plan.controller must be plain data that can be pickled for workers", str(error))
    logged, braking = _egos(scenario, plan)
    first = _drive(checker, controller, plan, scenario, logged)
    _drive(checker, controller, plan, scenario, braking)
    again = _drive(checker, controller, plan, scenario, logged)
    rule = "after `reset`, equal episodes must get equal actions, whatever was driven before"
    checker.require(np.array_equal(first, again), rule, _difference(first, again))
    elsewhere = _drive(checker, twin, plan, scenario, logged)
    rule = "a copy of the controller (as workers get it) must act as the original"
    checker.require(np.array_equal(first, elsewhere), rule, _difference(first, elsewhere))


def _egos(scenario: Scenario, plan: AttackPlan) -> tuple[Floats, Floats]:
    """[T, STATE] the logged ego (standing still where it is not seen), and one that brakes from the takeover on."""
    assert plan.takeover_step is not None, "checked before"
    logged = ego_states(scenario)
    braking = logged.copy()
    for step in range(plan.takeover_step, len(logged)):
        before = braking[step - 1]
        speed = float(np.hypot(*before[VX:]))
        slower = max(speed - BRAKING * scenario.dt, 0.0)
        direction = np.array([np.cos(before[HEADING]), np.sin(before[HEADING])])
        braking[step] = [*(before[:2] + direction * slower * scenario.dt), before[HEADING], *(direction * slower)]
    return logged, braking


def _drive(
    checker: Checker, controller: ReactiveController, plan: AttackPlan, scenario: Scenario, ego: Floats
) -> Floats:
    """The actions [n, 2] of one short episode."""
    assert plan.takeover_step is not None, "checked before"
    assert scenario.opponent is not None, "checked before"
    context = ControlContext(
        scenario, scenario.opponent, scenario.box(scenario.opponent), scenario.box(scenario.ego), VEHICLE
    )
    with checker.only_own_randomness(), checker.untouched("the plan", plan.states, plan.valid):
        controller.reset(plan, context)
    start = plan.takeover_step - 1
    own = np.where(plan.valid[start], plan.states[start], scenario.states(scenario.opponent)[start])
    actions = []
    watcher = controller if isinstance(controller, WatchingController) else None
    for step in range(min(start + STEPS, scenario.num_steps - 1)):
        if watcher is not None:
            _watch(checker, watcher, step, scenario, own if step >= start else None, ego[step])
        if step < start:
            continue
        seen = own.copy(), ego[step].copy()
        with checker.only_own_randomness(), checker.untouched("the states that it is shown", *seen):
            action = controller.act(step, *seen)
        values = np.asarray(action, dtype=np.float64)
        checker.require(values.shape == (2,), "`act` must return two numbers, [steering, throttle]", str(values.shape))
        checker.require(np.isfinite(values).all(), "`act` must return finite numbers", str(values.tolist()))
        actions.append(values)
        own = _bicycle(own, values.clip(-1.0, 1.0), scenario.dt)
    return np.array(actions).reshape(-1, 2)


def _watch(
    checker: Checker, controller: WatchingController, step: int, scenario: Scenario, own: Floats | None, ego: Floats
) -> None:
    """Show the logged traffic, with the opponent and the ego where they are."""
    valid = scenario.valid[:, step].copy()
    states = np.stack([scenario.states(agent)[step] for agent in range(scenario.num_agents)])
    if own is not None and scenario.opponent is not None:
        states[scenario.opponent], valid[scenario.opponent] = own, True
    states[scenario.ego], valid[scenario.ego] = ego, True
    states[~valid] = 0.0
    sizes = np.array([scenario.box(agent) for agent in range(scenario.num_agents)])
    with checker.only_own_randomness(), checker.untouched("what it watches", states, valid, sizes):
        controller.watch(step, states, valid, sizes)


def _bicycle(state: Floats, action: Floats, dt: float) -> Floats:
    """[STATE] one step on."""
    steering, pedal = action
    speed = float(np.hypot(*state[VX:]))
    push = pedal * (VEHICLE.throttle if pedal >= 0 else VEHICLE.brake)
    after = max(speed + dt * push, 0.0)
    turn = np.tan(steering * VEHICLE.max_steering) / (VEHICLE.front_axle + VEHICLE.rear_axle)
    heading = float(wrap_angle(np.array(state[HEADING] + turn * after * dt)))
    new = np.empty(STATE)
    new[[VX, VY]] = after * np.cos(heading), after * np.sin(heading)
    new[:2] = state[:2] + new[[VX, VY]] * dt
    new[HEADING] = heading
    return new


def _difference(first: Floats, second: Floats) -> str:
    if first.shape != second.shape:
        return f"{len(first)} and {len(second)} actions"
    row = int(np.abs(first - second).max(-1).argmax()) if len(first) else 0
    return f"action {row}: {first[row].tolist()} and {second[row].tolist()}"

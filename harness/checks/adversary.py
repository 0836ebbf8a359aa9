"""Whether an adversary keeps its contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from harness.checks.base import Checker, require_name
from harness.checks.controller import check_controller
from harness.episodes.attacks import attack_context
from harness.geometry import wrap_angle
from harness.interfaces import HEADING, STATE, VX, VY, Adversary, AttackPlan
from scenarios.scenario import CURRENT_STEP, Scenario
from scenarios.validate import MAX_SPEED

POSITION_TOLERANCE: Final = 1e-6
"""History rows must be the log's, m."""
SPEED_TOLERANCE: Final = 1.0
"""Velocity against differenced positions, m/s: half a step at 20 m/s²."""
RELATIVE_SPEED_TOLERANCE: Final = 0.1
"""Share of the speed by which the velocity may differ on top."""
HEADING_TOLERANCE: Final = np.deg2rad(45.0)
"""Heading against direction of travel, rad (either way round: cars may reverse)."""
HEADING_SPEED: Final = 3.0
"""Below it the direction of travel says nothing, m/s."""


def check_adversary(
    adversary: Adversary,
    scenarios: Iterable[Scenario],
    *,
    intensities: Sequence[float] = (0.0, 0.5, 1.0),
    seed: int = 0,
) -> None:
    """Check an adversary on scenes.

    Args:
        adversary: The adversary.
        scenarios: Scenes to plan on; at least one with an opponent.
        intensities: Tried on every scene.
        seed: Seed of the generators.

    Raises:
        ConformanceError: With the broken rule.
    """
    checker = Checker(f"adversary {getattr(adversary, 'name', type(adversary).__name__)!r}")
    require_name(checker, adversary)
    checker.require(isinstance(adversary, Adversary), "it must have `name` and `plan(context)`")
    planned = 0
    for scenario in scenarios:
        if scenario.opponent is None:
            continue
        for intensity in intensities:
            checker.where = f"scene {scenario.id}, intensity {intensity:g}"
            _check_scene(checker, adversary, scenario, intensity, seed)
            planned += 1
    checker.where = ""
    checker.require(planned, "the check needs at least one scene with an opponent")


def _check_scene(checker: Checker, adversary: Adversary, scenario: Scenario, intensity: float, seed: int) -> None:
    plans = []
    for _ in range(2):
        context = attack_context(scenario, np.random.default_rng(seed), intensity=intensity)
        ego = context.ego_trajectories[0]
        with (
            checker.scene_untouched(scenario),
            checker.untouched("the ego trajectories", ego.states, ego.valid),
            checker.only_own_randomness(),
        ):
            plans.append(adversary.plan(context))
    first, second = plans
    checker.require((first is None) == (second is None), "equal contexts and generators must give equal plans")
    if first is None or second is None:
        return
    check_plan(checker, first, scenario)
    same = np.array_equal(first.states, second.states, equal_nan=True) and np.array_equal(first.valid, second.valid)
    checker.require(
        same and first.chosen == second.chosen, "equal contexts and generators must give equal plans", "two that differ"
    )


def check_plan(checker: Checker, plan: AttackPlan, scenario: Scenario, step: int = CURRENT_STEP) -> None:
    """Check one plan for the scene's opponent.

    Args:
        checker: Names the component.
        plan: What was planned.
        scenario: With an opponent.
        step: The last observed step.
    """
    checker.require(isinstance(plan, AttackPlan), "`plan` must return an AttackPlan or None", type(plan).__name__)
    steps = scenario.num_steps
    states = checker.array(plan.states, (steps, STATE), np.floating, "plan.states")
    valid = checker.array(plan.valid, (steps,), np.bool_, "plan.valid")
    finite = np.isfinite(states[valid]).all()
    checker.require(finite, "valid rows of plan.states must be finite", "NaN or infinity")
    checker.require(valid[step + 1 :].any(), f"the plan must have a valid row after step {step}")
    _check_history(checker, plan, scenario, step)
    _check_motion(checker, states, valid, scenario.dt, step)
    _check_candidates(checker, plan, steps)
    if plan.takeover_step is not None:
        checker.require(
            step < plan.takeover_step < steps,
            f"takeover_step must lie in {step + 1} … {steps - 1}",
            f"{plan.takeover_step}",
        )
    if plan.controller is not None:
        check_controller(checker, plan, scenario)
    for key, value in plan.info.items():
        checker.require(
            isinstance(value, (float, int, str, bool, np.number, np.bool_)),
            f"plan.info[{key!r}] must be a scalar or a string",
            type(value).__name__,
        )


def _check_history(checker: Checker, plan: AttackPlan, scenario: Scenario, step: int) -> None:
    assert scenario.opponent is not None
    log, logged = scenario.states(scenario.opponent)[: step + 1], scenario.valid[scenario.opponent, : step + 1]
    both = logged & plan.valid[: step + 1]
    invented = plan.valid[: step + 1] & ~logged
    checker.require(
        not invented.any(),
        f"rows up to step {step} must be invalid where the log is (the opponent has not appeared yet)",
        f"valid rows {np.flatnonzero(invented).tolist()}",
    )
    gap = np.abs(plan.states[: step + 1][both] - log[both])[:, :2]
    checker.require(
        gap.max(initial=0.0) <= POSITION_TOLERANCE,
        f"rows up to step {step} must be the log's: they have happened",
        f"positions off by up to {gap.max(initial=0.0):.3g} m",
    )


def _check_motion(checker: Checker, states: np.ndarray, valid: np.ndarray, dt: float, step: int) -> None:
    """Positions, velocities and headings of the planned rows must tell one story."""
    pairs = valid[1:] & valid[:-1]
    moves = np.diff(states[:, :2], axis=0) / dt
    pace = np.where(pairs, np.hypot(*moves.T), 0.0)
    worst = int(pace.argmax())
    checker.require(
        pace[worst] <= MAX_SPEED, "the opponent must not jump", f"{pace[worst] * dt:.1f} m in step {worst + 1}"
    )
    backward = np.vstack([np.full((1, 2), np.nan), np.where(pairs[:, None], moves, np.nan)])
    forward = np.vstack([backward[1:], np.full((1, 2), np.nan)])
    velocity = states[:, [VX, VY]]
    speed = np.hypot(*velocity.T)
    # The velocity of row k may be meant at its beginning, middle or end: the nearest reading counts.
    readings = np.stack([backward, forward, (backward + forward) / 2])
    offs = np.hypot(*np.moveaxis(readings - velocity, -1, 0))
    off = np.where(np.isnan(offs).all(0), 0.0, np.nanmin(np.where(np.isnan(offs), np.inf, offs), axis=0))
    off = np.where(valid & (np.arange(len(valid)) > step), off - RELATIVE_SPEED_TOLERANCE * speed, 0.0)
    worst = int(off.argmax())
    checker.require(
        off[worst] <= SPEED_TOLERANCE,
        "velocities must be those of the positions (m/s, world frame)",
        f"row {worst}: velocity {np.round(velocity[worst], 2).tolist()}, positions moved at "
        f"{np.round(backward[worst], 2).tolist()}",
    )
    direction = np.arctan2(velocity[:, 1], velocity[:, 0])
    turn = np.abs(wrap_angle(2 * (states[:, HEADING] - direction))) / 2
    turn = np.where(valid & (speed > HEADING_SPEED) & (np.arange(len(valid)) > step), turn, 0.0)
    worst = int(turn.argmax())
    checker.require(
        turn[worst] <= HEADING_TOLERANCE,
        "headings must follow the direction of travel (rad, world frame)",
        f"row {worst}: heading {states[worst, HEADING]:.2f}, moving towards {direction[worst]:.2f}",
    )


def _check_candidates(checker: Checker, plan: AttackPlan, steps: int) -> None:
    if plan.candidates is None:
        checker.require(plan.chosen is None, "`chosen` needs `candidates`", f"chosen = {plan.chosen}")
        return
    candidates = plan.candidates
    checker.require(isinstance(candidates, np.ndarray) and candidates.ndim == 3, "candidates must be [K, T, 5]")
    count = len(candidates)
    checker.array(candidates, (count, steps, STATE), np.floating, "plan.candidates")
    for name, scores in plan.scores.items():
        checker.array(np.asarray(scores), (count,), np.number, f"plan.scores[{name!r}]")
        checker.require(not np.isnan(scores).any(), f"plan.scores[{name!r}] must not be NaN")
    if plan.chosen is None:
        return
    checker.require(0 <= plan.chosen < count, f"chosen must lie in 0 … {count - 1}", str(plan.chosen))
    # Headings and velocities may be worked out afterwards (CAT's code does so); positions are the choice.
    same = np.allclose(candidates[plan.chosen][plan.valid, :2], plan.states[plan.valid, :2], atol=1e-6)
    checker.require(same, "the chosen candidate must be the planned trajectory")

"""Around an adversary: the clock, and the published lag of one step."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from harness.interfaces import Adversary, AttackContext, AttackPlan


class Planner:
    """An `Adversary` that remembers its last plan and how long it took.

    Attributes:
        name: The adversary's.
        planned: The last plan as the adversary made it, or None.
        seconds: Time that it took, s.
    """

    def __init__(self, adversary: Adversary, *, late: bool = False) -> None:
        """Wrap `adversary`; `late` plays its plans one step late, as the published code does."""
        self.name = adversary.name
        self.planned: AttackPlan | None = None
        self.seconds = 0.0
        self._adversary, self._late = adversary, late

    def plan(self, context: AttackContext) -> AttackPlan | None:
        """Plan, and note what and how long.

        Raises:
            AdversaryError: As the adversary does.
        """
        self.planned, began = None, time.perf_counter()
        try:
            plan = self._adversary.plan(context)
        finally:
            self.seconds = time.perf_counter() - began
        self.planned = plan
        return one_step_late(plan, context.step) if self._late and plan is not None else plan


def one_step_late(plan: AttackPlan, step: int) -> AttackPlan:
    """The plan with row k played at step k + 1, for all k ≥ `step` (the published simulators' lag).

    At `step + 1` the opponent is where it was at `step`; the last row is never played.
    """
    states, valid = plan.states.copy(), plan.valid.copy()
    states[step + 1 :], valid[step + 1 :] = plan.states[step:-1], plan.valid[step:-1]
    if not plan.valid[step]:
        # Nothing is known of the step before: the first planned row is played twice.
        first = min(step + 1, len(valid) - 1)
        states[first], valid[first] = plan.states[first], plan.valid[first]
    return replace(plan, states=np.ascontiguousarray(states), valid=valid)

"""Adversaries for tests: one that hits, others that crash, hang, raise or take their time (as module:Class)."""

import os
import signal
import time

import numpy as np

from harness.interfaces import AttackContext, AttackPlan

PAUSE = "GAUNTLET_TEST_PAUSE"
"""Environment variable: seconds that `Jitter` takes for a plan."""


class Hit:
    """From step 30 on the opponent is 2 m ahead of where the ego was; deterministic."""

    name = "hit"

    def plan(self, context: AttackContext) -> AttackPlan:
        scene = context.scenario
        states = scene.states(context.opponent).copy()
        ego = context.ego_trajectories[-1]
        states[30:] = ego.states[30 : len(states)]
        states[30:, 0] += 2.0
        valid = np.ones(len(states), dtype=bool)
        valid[30:] = ego.valid[30 : len(states)]
        return AttackPlan(states, valid)


class Jitter(Hit):
    """Draws from its generator: the same seed must give the same plan."""

    name = "jitter"

    def plan(self, context: AttackContext) -> AttackPlan:
        time.sleep(float(os.environ.get(PAUSE, "0")))
        plan = super().plan(context)
        plan.states[30:, :2] += context.rng.normal(scale=0.5, size=2)
        return plan


class Exit(Hit):
    """Ends its process in the scene `crossing`."""

    name = "exit"

    def plan(self, context: AttackContext) -> AttackPlan:
        if context.scenario.id.endswith("crossing"):
            os._exit(7)
        return super().plan(context)


class Segfault(Hit):
    name = "segfault"

    def plan(self, context: AttackContext) -> AttackPlan:
        if context.scenario.id.endswith("crossing"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().plan(context)


class Hang(Hit):
    name = "hang"

    def plan(self, context: AttackContext) -> AttackPlan:
        if context.scenario.id.endswith("crossing"):
            time.sleep(600)
        return super().plan(context)


class Broken(Hit):
    """Raises what no contract foresees."""

    name = "broken"

    def plan(self, context: AttackContext) -> AttackPlan:
        raise ZeroDivisionError("a bug")


class Slow(Hit):
    """Leaves time to be killed."""

    name = "slow"

    def plan(self, context: AttackContext) -> AttackPlan:
        time.sleep(0.5)
        return super().plan(context)

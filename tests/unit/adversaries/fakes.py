"""A motion prior whose futures are given, and contexts around tiny scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.interfaces import STATE, AttackContext, Trajectory
from scenarios.scenario import Scenario


@dataclass
class Found:
    states: np.ndarray
    log_prob: np.ndarray


class FixedPrior:
    """Returns the futures it was given and counts how often it was asked."""

    def __init__(self, states: np.ndarray, log_prob: Sequence[float]) -> None:
        self.states, self.log_prob, self.calls = states, np.asarray(log_prob, dtype=float), 0

    def candidates(self, scenario: Scenario, agent: int, step: int = 10, num: int = 32, decode: str = "nms") -> Found:
        self.calls += 1
        return Found(self.states.copy(), self.log_prob.copy())


def line(x: float, y: float, heading: float, speed: float, steps: int = 91) -> np.ndarray:
    """States [steps, 5] of a straight drive that is at (x, y) at step 0."""
    time = np.arange(steps) * 0.1
    velocity = speed * np.array([np.cos(heading), np.sin(heading)])
    states = np.zeros((steps, STATE))
    states[:, :2] = np.array([x, y]) + time[:, None] * velocity
    states[:, 2] = heading
    states[:, 3:] = velocity
    return states


def log_of(scene: Scenario, agent: int, until: int | None = None) -> Trajectory:
    """An agent's log as a trajectory, cut off after step `until`."""
    valid = scene.valid[agent].copy()
    if until is not None:
        valid[until + 1 :] = False
    return Trajectory(scene.states(agent), valid)


def context(
    scene: Scenario, trajectories: Sequence[Trajectory] = (), *, opponent: int = 1, step: int = 10
) -> AttackContext:
    """A context against `trajectories`, or against the logged ego."""
    return AttackContext(
        scenario=scene,
        opponent=opponent,
        ego_trajectories=tuple(trajectories) or (log_of(scene, scene.ego),),
        intensity=0.5,
        rng=np.random.default_rng(0),
        ego_size=scene.box(scene.ego),
        step=step,
    )

"""Hand-made encounters shared by the tests of avoidability, reference drivers and fault: cars of 4.5 by 2 m, 0.1 s."""

from __future__ import annotations

import numpy as np

from harness.interfaces import Trajectory
from harness.metrics.collision import first_overlap

CAR = (4.5, 2.0)
DT = 0.1
STEPS = 91


def drive(
    x: float, y: float, heading: float, speed: float, *, braking: tuple[int, float] | None = None, steps: int = STEPS
) -> Trajectory:
    """Straight on at constant speed; `braking` = (step, m/s²) stops it from that step on."""
    velocity = np.full(steps, float(speed))
    if braking is not None:
        begin, rate = braking
        velocity[begin:] = np.maximum(speed - rate * DT * np.arange(steps - begin), 0.0)
    along = np.concatenate([[0.0], np.cumsum((velocity[1:] + velocity[:-1]) / 2 * DT)])
    cos, sin = np.cos(heading), np.sin(heading)
    columns = [x + along * cos, y + along * sin, np.full(steps, heading), velocity * cos, velocity * sin]
    return Trajectory(np.column_stack(columns), np.ones(steps, dtype=bool))


def cut_in(x: float, speed: float, *, begin: int, duration: float = 2.0, y: float = 3.5) -> Trajectory:
    """East at `speed`, from lateral position `y` to 0 within `duration` s from step `begin` on, at a constant rate."""
    clock = np.arange(STEPS) * DT
    share = np.clip((clock - begin * DT) / duration, 0.0, 1.0)
    across = y * (1 - share)
    rate = np.where((share > 0) & (share < 1), -y / duration, 0.0)
    columns = [x + speed * clock, across, np.arctan2(rate, speed), np.full(STEPS, speed), rate]
    return Trajectory(np.column_stack(columns), np.ones(STEPS, dtype=bool))


def road(right: float = -2.0, left: float = 2.0) -> np.ndarray:
    """Road edges along x at two lateral positions, [2, 2, 2]."""
    return np.array([[[-100.0, right], [400.0, right]], [[-100.0, left], [400.0, left]]])


def contact(ego: Trajectory, other: Trajectory) -> int:
    """First step at which the two touch; there must be one."""
    step = int(first_overlap(ego.states, ego.valid, CAR, other.states, other.valid, CAR))
    assert step >= 0
    return step

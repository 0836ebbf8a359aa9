"""Who drives the sequences by which the two engines are compared: by name, each from a generator of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.geometry import wrap_angle
from harness.interfaces import EgoView

RANDOM, FOLLOWING, BRAKING, STEERING, TRAINED = "random", "following", "braking", "steering", "trained"
DRIVERS: Final = (RANDOM, FOLLOWING, BRAKING, STEERING)
"""Drivers that need no file; `TRAINED` is a policy."""

Driver = Callable[[int, EgoView, float], NDArray[np.float32]]
"""From the step, what is there, and the logged speed (m/s) to steering and throttle [2] in [-1, 1]."""

_MAX_STEERING: Final = math.radians(40)
_WHEELBASE: Final = 2.469
"""Distance between the axles of the default car of MetaDrive, m."""


def make_driver(name: str, rng: np.random.Generator) -> Driver:
    """The driver of one sequence.

    `random` wanders about a mean of its own; the others pursue the logged path at the logged speed with some noise,
    `braking` with the brake fully on for half a second to four, `steering` with a hard turn for as long.

    Args:
        name: One of `DRIVERS`.
        rng: Decides all that is random about it.
    """
    noise = _noise(rng)
    mean = np.array([rng.uniform(-0.1, 0.1), rng.uniform(-0.05, 0.45)])
    begin, length = int(rng.integers(10, 50)), int(rng.integers(5, 40))
    turn = np.array([rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.0), rng.uniform(-0.3, 1.0)])

    def act(step: int, view: EgoView, speed: float) -> NDArray[np.float32]:
        if name == RANDOM:
            action = mean + next(noise)
        else:
            action = pursue(view, speed) + 0.1 * next(noise)
        if begin <= step < begin + length:
            if name == BRAKING:
                action[1] = -1.0
            elif name == STEERING:
                action = turn.copy()
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    return act


def pursue(view: EgoView, speed: float) -> NDArray[np.float64]:
    """Steering and throttle [2] towards the logged path (pure pursuit, .8 s ahead), at a wanted speed (m/s)."""
    x, y, heading, vx, vy = view.ego
    own = math.hypot(vx, vy)
    away = np.hypot(view.route[:, 0] - x, view.route[:, 1] - y)
    nearest = int(away.argmin())
    far = np.flatnonzero(away[nearest:] >= max(4.0, 0.8 * own))
    target = nearest + int(far[0]) if len(far) else len(away) - 1
    bearing = math.atan2(view.route[target, 1] - y, view.route[target, 0] - x)
    curve = 2 * _WHEELBASE * math.sin(float(wrap_angle(bearing - heading))) / max(float(away[target]), 2.0)
    throttle = 0.4 * (speed - own) if speed >= 0.3 else -0.3
    return np.array([math.atan(curve) / _MAX_STEERING, throttle])


def _noise(rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Slowly changing noise [2] (Ornstein and Uhlenbeck)."""
    value = np.zeros(2)
    while True:
        value = 0.85 * value + rng.normal(size=2) * (0.12, 0.25)
        yield value

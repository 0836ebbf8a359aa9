"""What controllers of cars have in common: how others go on as now, and which action gives a wanted motion."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.geometry import wrap_angle
from harness.interfaces import HEADING, VX, VY, VehicleModel

Floats = NDArray[np.float64]

HARDEST: Final = 9.0
"""No ego is expected to accelerate or brake harder, m/s²."""
SHARPEST: Final = 1.0
"""No ego is expected to turn faster, rad/s."""
GRIP_SHARE: Final = 0.9
"""Share of the tyres' grip that is used."""


def present_motion(before: Floats, now: Floats, dt: float) -> tuple[Floats, Floats]:
    """Acceleration (m/s²) and turn rate (rad/s) between two states [..., 5], within what a car can do."""
    speed_before, speed = (np.hypot(state[..., VX], state[..., VY]) for state in (before, now))
    push = np.clip((speed - speed_before) / dt, -HARDEST, HARDEST)
    turn = np.clip(wrap_angle(now[..., HEADING] - before[..., HEADING]) / dt, -SHARPEST, SHARPEST)
    return push, turn


def extrapolate(now: Floats, push: Floats, turn: Floats, steps: int, dt: float) -> Floats:
    """Go on as now: constant acceleration until standstill, constant curvature.

    Args:
        now: [..., 5].
        push: [...] m/s².
        turn: [...] rad/s at the present speed.
        steps: How far.
        dt: s.

    Returns:
        [..., steps, 5], the states 1 … `steps` steps from now.
    """
    speed = np.hypot(now[..., VX], now[..., VY])[..., None]
    time = dt * np.arange(1, steps + 1)
    paces = np.maximum(speed + np.asarray(push)[..., None] * time, 0.0)
    means = (np.concatenate([np.broadcast_to(speed, paces[..., :1].shape), paces[..., :-1]], -1) + paces) / 2
    # Heading goes with the way covered, so a car that brakes to a halt does not spin on the spot.
    ratio = np.divide(means, speed, out=np.zeros_like(means), where=speed > 0.5)
    turned = np.cumsum(np.asarray(turn)[..., None] * ratio * dt, -1)
    heading = now[..., HEADING][..., None] + turned
    middle = heading - np.diff(turned, prepend=0.0) / 2
    way = np.stack([means * np.cos(middle), means * np.sin(middle)], -1) * dt
    place = now[..., None, :2] + np.cumsum(way, -2)
    velocity = np.stack([paces * np.cos(heading), paces * np.sin(heading)], -1)
    return np.concatenate([place, wrap_angle(heading)[..., None], velocity], -1)


def limited(push: Floats, curvature: Floats, own: Floats, vehicle: VehicleModel) -> tuple[Floats, Floats]:
    """Controls [...] that the car can follow at the speed of `own` [..., 5]."""
    speed = np.maximum(np.hypot(own[..., VX], own[..., VY]), 1e-3)
    grip = GRIP_SHARE * vehicle.grip
    sharpest = np.minimum(math.tan(vehicle.max_steering) / (vehicle.front_axle + vehicle.rear_axle), grip / speed**2)
    return np.clip(push, -grip, vehicle.throttle), np.clip(curvature, -sharpest, sharpest)


def actuate(push: float, curvature: float, own: Floats, vehicle: VehicleModel) -> Floats:
    """Steering and throttle/brake [2] in [-1, 1] for an acceleration (m/s²) and a curvature (1/m)."""
    able_push, able_curvature = limited(np.array(push), np.array(curvature), own, vehicle)
    steering = math.atan(float(able_curvature) * (vehicle.front_axle + vehicle.rear_axle)) / vehicle.max_steering
    wanted = float(able_push)
    if wanted >= 0:
        throttle = wanted / vehicle.throttle
    else:
        # Rolling resistance works only while the engine does not pull, and replaces a weak brake.
        throttle = 0.0 if wanted > -vehicle.rolling else wanted / vehicle.brake
    return np.clip(np.array([steering, throttle]), -1.0, 1.0)

"""What an ego vehicle can physically do: a kinematic bicycle with limited jerk, steering rate and friction; batched.

The integrated point is the centre of the box, which travels along its heading (no slip): friction then limits exactly
what moves the box. The wheelbase is a fixed share of the length. All limits are generous on purpose: they decide what
*any* driver could have done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GRAVITY: Final = 9.81
"""Acceleration of free fall, m/s²."""
MIN_SPEED: Final = 0.5
"""Below this (m/s) a recorded yaw rate says nothing about the steering."""
SUBSTEPS: Final = 2
"""Integration steps per simulated step; the pose is then exact to millimetres at urban speeds."""


@dataclass(frozen=True, slots=True)
class EgoLimits:
    """Physical limits of the ego.

    Attributes:
        friction: Largest total acceleration (circle of forces), m/s²: 0.85 g, the full braking that UN R157 grants
            on a road friction of 1.0 (annex 4, appendix 3).
        drive: Largest forward acceleration, m/s² (vehicle model of ec-jrc/JRC-FSM).
        jerk: Rate of change of the longitudinal acceleration, m/s³: full braking within 0.6 s (UN R157, there).
        steering: Largest angle of the front wheels, rad (a turning circle of about 10 m for a 4.5 m car).
        steering_rate: rad/s; 640° /s at a steering wheel of ratio 16, what drivers reach in emergencies (our reading).
        wheelbase: Share of the vehicle length.
        top_speed: m/s.
    """

    friction: float = 0.85 * GRAVITY
    drive: float = 3.0
    jerk: float = 0.85 * GRAVITY / 0.6
    steering: float = 0.6
    steering_rate: float = 0.7
    wheelbase: float = 0.6
    top_speed: float = 45.0


class VehicleStates(NamedTuple):
    """States of N simulated vehicles, each [N].

    Attributes:
        x, y: Centre of the box, m.
        heading: rad.
        speed: m/s, never negative.
        acceleration: m/s².
        curvature: Curvature of the path, 1/m, left positive.
    """

    x: Floats
    y: Floats
    heading: Floats
    speed: Floats
    acceleration: Floats
    curvature: Floats

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> VehicleStates:
        """Those vehicles."""
        return VehicleStates(*(column[index] for column in self))


def join(parts: list[VehicleStates]) -> VehicleStates:
    """All vehicles of several sets, in order."""
    return VehicleStates(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def poses(motion: VehicleStates) -> Floats:
    """Poses [N, 3] of the boxes (x, y, heading)."""
    return np.stack([motion.x, motion.y, motion.heading], -1)


def from_recording(states: Floats, length: float, dt: float, limits: EgoLimits) -> VehicleStates:
    """The bicycle that moves like a recorded vehicle, one per row of `states` [N, 5] (consecutive steps, dt in s).

    Accelerations and curvatures are backward differences, clipped to the limits; the first row repeats the second's.
    """
    heading = np.unwrap(states[:, 2])
    speed = np.maximum(states[:, 3] * np.cos(heading) + states[:, 4] * np.sin(heading), 0.0)
    acceleration, yaw_rate = np.zeros(len(states)), np.zeros(len(states))
    if len(states) > 1:
        acceleration[1:], yaw_rate[1:] = np.diff(speed) / dt, np.diff(heading) / dt
        acceleration[0], yaw_rate[0] = acceleration[1], yaw_rate[1]
    curvature = np.where(speed > MIN_SPEED, yaw_rate / np.maximum(speed, MIN_SPEED), 0.0)
    acceleration = np.clip(acceleration, -limits.friction, limits.drive)
    bound = curvature_bound(speed, acceleration, limits.wheelbase * length, limits)
    return VehicleStates(states[:, 0], states[:, 1], heading, speed, acceleration, np.clip(curvature, -bound, bound))


def curvature_bound(speed: Floats, acceleration: Floats, base: float, limits: EgoLimits) -> Floats:
    """Largest curvature (1/m) that the steering and the friction left over by `acceleration` allow."""
    lateral = np.sqrt(np.maximum(limits.friction**2 - acceleration**2, 0.0))
    return np.minimum(np.tan(limits.steering) / base, lateral / np.maximum(speed, 1e-3) ** 2)


def advance(
    motion: VehicleStates,
    target_acceleration: Floats,
    target_curvature: Floats,
    base: float,
    dt: float,
    limits: EgoLimits,
) -> VehicleStates:
    """One step towards target accelerations [N] (m/s²) and curvatures [N] (1/m), within all limits.

    Braking has precedence over steering where friction does not suffice for both: give a smaller target to steer more.

    Args:
        motion: Now.
        target_acceleration, target_curvature: Reached as fast as jerk and steering rate allow.
        base: Wheelbase, m.
        dt: s.
        limits: Physical limits.
    """
    x, y, heading, speed, acceleration, curvature = motion
    small = dt / SUBSTEPS
    target = np.clip(target_acceleration, -limits.friction, limits.drive)
    for _ in range(SUBSTEPS):
        acceleration = acceleration + np.clip(target - acceleration, -limits.jerk * small, limits.jerk * small)
        # d(curvature)/dt = d(tan(steering))/dt / base = steering_rate (1 + (curvature base)²) / base
        turn = limits.steering_rate * (1.0 + (curvature * base) ** 2) / base * small
        curvature = curvature + np.clip(target_curvature - curvature, -turn, turn)
        bound = curvature_bound(speed, acceleration, base, limits)
        curvature = np.clip(curvature, -bound, bound)
        faster = np.clip(speed + acceleration * small, 0.0, limits.top_speed)
        travelled = (speed + faster) / 2 * small
        middle = heading + curvature * travelled / 2
        x, y = x + travelled * np.cos(middle), y + travelled * np.sin(middle)
        heading, speed = heading + curvature * travelled, faster
    return VehicleStates(x, y, heading, speed, acceleration, curvature)

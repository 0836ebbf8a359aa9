"""A kinematic bicycle in torch: differentiable, and batched over candidates and over time.

Origin: the motion model of KING (Hanselmann et al., ECCV 2022, section 3 and published code), whose constants were
fitted to CARLA by "World on Rails" (Chen et al., ICCV 2021) at 4 Hz. They are rates (m/s², rad), so at 10 Hz only the
time step changes. Departures, all for the sake of 10 Hz and of real traffic:

* speeds and headings are sums over time, so the whole horizon is one tensor operation instead of 80 in sequence;
* KING keeps speed positive by softplus(β = 7), which lets a standing car creep (0.1 m/s after one step, whatever its
  length); here v ← max(0, v + a dt) exactly, in closed form;
* positions advance with the mean speed and the middle heading of a step (KING: those of its beginning);
* full throttle is 3 m/s² (KING: 0.563 m/s², too little to follow recorded traffic away from a light);
* the two distances grow with the vehicle's length, so that a truck does not turn like a car.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

REAR: Final = 1.4178
"""Centre to rear axle, m (World on Rails)."""
FRONT: Final = -0.0908
"""Centre to front axle, m (World on Rails; a fitted number: the effective wheelbase is 1.327 m)."""
STEER_GAIN: Final = 0.3685
"""Wheel angle at full steering, rad (World on Rails); with the distances above the tightest radius is 3.7 m."""
BRAKE_GAIN: Final = 4.952
"""Deceleration at full braking, m/s² (World on Rails)."""
KING_THROTTLE_GAIN: Final = 0.5634
"""Acceleration at full throttle in KING, m/s² (World on Rails)."""
THROTTLE_GAIN: Final = 3.0
"""Acceleration at full throttle here, m/s²: the comfort limit that car-following models use, and what the logs need."""
CAR_LENGTH: Final = 4.9
"""Length of CARLA's Lincoln MKZ, the car that the distances were fitted to, m."""
CRAWL: Final = 0.5
"""Below this speed (m/s) headings say nothing about steering: controls are fitted with straight wheels."""
FULL: Final = 0.98
"""Largest fitted control: the inverse of tanh must stay finite."""


class Start(NamedTuple):
    """Where a drive begins; every field broadcasts against the batch [...]: m, m, rad, m/s."""

    x: float
    y: float
    heading: float
    speed: float


class Drive(NamedTuple):
    """Motion at the steps 1 … T after the start.

    Attributes:
        points: [..., T, 2] m.
        heading: [..., T] rad, not wrapped.
        speed: [..., T] m/s, ≥ 0.
        course: [..., T] direction of travel (heading plus slip), rad.
    """

    points: Tensor
    heading: Tensor
    speed: Tensor
    course: Tensor

    def states(self) -> Tensor:
        """[..., T, 5] x, y, heading, vx, vy (`harness.interfaces.STATE`)."""
        velocity = torch.stack([self.speed * self.course.cos(), self.speed * self.course.sin()], -1)
        return torch.cat([self.points, self.heading[..., None], velocity], -1)


def integrate_speed(speed: float, acceleration: Tensor, dt: float) -> Tensor:
    """Speeds [..., T] of v ← max(0, v + a dt), all steps at once: subtract the deepest excursion below zero so far."""
    free = speed + torch.cumsum(acceleration, -1) * dt
    return free - torch.cummin(free.clamp_max(0.0), -1).values


def drive(start: Start, acceleration: Tensor, curvature: Tensor, dt: float, slip: Tensor | None = None) -> Drive:
    """Integrate accelerations and path curvatures.

    Args:
        start: The state before the first step.
        acceleration: [..., T] m/s².
        curvature: [..., T] yaw rate over speed, 1/m.
        dt: s.
        slip: [..., T] direction of travel minus heading, rad; None for zero.
    """
    after = integrate_speed(start.speed, acceleration, dt)
    before = torch.cat([torch.full_like(after[..., :1], start.speed), after[..., :-1]], -1)
    step = 0.5 * (before + after) * dt
    turn = step * curvature
    heading = start.heading + torch.cumsum(turn, -1)
    middle = heading - 0.5 * turn
    course = heading if slip is None else heading + slip
    middle = middle if slip is None else middle + slip
    points = torch.stack(
        [start.x + torch.cumsum(step * middle.cos(), -1), start.y + torch.cumsum(step * middle.sin(), -1)], -1
    )
    return Drive(points, heading, after, course)


@dataclass(frozen=True, slots=True)
class Bicycle:
    """Steering and throttle to motion.

    Attributes:
        rear: Centre to rear axle, m.
        wheelbase: Axle to axle, m.
        throttle_gain, brake_gain: Acceleration and deceleration at full control, m/s².
        steer_gain: Wheel angle at full control, rad.
        dt: s.
    """

    rear: float = REAR
    wheelbase: float = FRONT + REAR
    throttle_gain: float = THROTTLE_GAIN
    brake_gain: float = BRAKE_GAIN
    steer_gain: float = STEER_GAIN
    dt: float = 0.1

    @classmethod
    def of_length(cls, length: float, dt: float, throttle_gain: float = THROTTLE_GAIN) -> Bicycle:
        """The model of a vehicle `length` m long."""
        scale = length / CAR_LENGTH
        return cls(rear=REAR * scale, wheelbase=(FRONT + REAR) * scale, throttle_gain=throttle_gain, dt=dt)

    def slip(self, steer: Tensor) -> Tensor:
        """Direction of travel minus heading (rad) at `steer` in [-1, 1], left positive."""
        return torch.atan(self.rear / self.wheelbase * torch.tan(self.steer_gain * steer))

    def roll_out(self, start: Start, steer: Tensor, throttle: Tensor) -> Drive:
        """Drive with controls [..., T] in [-1, 1]; negative throttle brakes."""
        slip = self.slip(steer)
        return drive(start, self._gain(throttle) * throttle, torch.sin(slip) / self.rear, self.dt, slip)

    def _gain(self, signed: Tensor) -> Tensor:
        """Acceleration per control [...] where `signed` pushes or brakes, m/s²."""
        # Scalars alone would make a float32 tensor, whatever the precision of the drive.
        brake, throttle = signed.new_tensor(self.brake_gain), signed.new_tensor(self.throttle_gain)
        return torch.where(signed < 0, brake, throttle)

    def controls(self, start: Start, speed: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
        """Steering and throttle [..., T] that follow speeds and headings, as far as the controls reach.

        Args:
            start: The state before the first step.
            speed: [..., T] m/s after each step.
            heading: [..., T] rad, not wrapped, after each step.
        """
        acceleration = accelerations(start, speed, self.dt)
        throttle = acceleration / self._gain(acceleration)
        curvature = path_curvature(start, speed, heading, self.dt)
        slip = torch.asin((curvature * self.rear).clamp(-0.99, 0.99))
        steer = torch.atan(torch.tan(slip) * self.wheelbase / self.rear) / self.steer_gain
        return steer.clamp(-FULL, FULL), throttle.clamp(-FULL, FULL)


def accelerations(start: Start, speed: Tensor, dt: float) -> Tensor:
    """Accelerations [..., T] (m/s²) that lead from the start to `speed` [..., T] (m/s) after each step."""
    return torch.diff(speed, dim=-1, prepend=torch.full_like(speed[..., :1], start.speed)) / dt


def path_curvature(start: Start, speed: Tensor, heading: Tensor, dt: float) -> Tensor:
    """Curvatures [..., T] (1/m) that `drive` needs to follow headings at given speeds; 0 at a crawl."""
    before = torch.cat([torch.full_like(speed[..., :1], start.speed), speed[..., :-1]], -1)
    mean = 0.5 * (before + speed)
    turn = torch.diff(heading, dim=-1, prepend=torch.full_like(heading[..., :1], start.heading))
    return torch.where(mean > CRAWL, turn / (mean.clamp_min(CRAWL) * dt), torch.zeros_like(turn))

"""Follows a timed path with steering and pedals: pure pursuit across it, speed feedback along it.

Attackers that are driven by physics and systems under test that answer trajectories share this tracker.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.geometry import to_frame
from harness.interfaces import HEADING, VX, VY, VehicleModel

Floats = NDArray[np.float64]

LOOK_AHEAD: Final = 0.4
"""Pure pursuit aims at the point of the path that is so far ahead, s."""
NEAREST: Final = 2.5
"""But never nearer than this, m: at a crawl the way of half a second is shorter than a car's steering can follow."""
CATCH_UP: Final = 1.0
"""Speed that is added for each metre that the car is behind its path, 1/s."""

GRIP_SHARE: Final = 0.9
"""Share of the tyres' grip that is used."""


class PathTracker:
    """Drives a car along states by absolute step; plain data.

    Pure pursuit for the rear axle: an arc from it through a point of the path ahead. The pedals ask for the path's next
    speed, plus what makes up for the distance by which the car is behind or ahead of its time.

    Args:
        path: [T, STATE] by absolute step.
        last: Last row of the path that counts. After it the car goes straight on at that row's speed.
        vehicle: The car.
        dt: s.
    """

    def __init__(self, path: Floats, last: int, vehicle: VehicleModel, dt: float) -> None:
        self.path, self.last, self._vehicle, self._dt = path, last, vehicle, dt
        self._axles = _rear_axle(path, vehicle)

    def act(self, step: int, own: Floats) -> Floats:
        """Steering and throttle/brake [2] in [-1, 1] from absolute step `step` to the next.

        Args:
            step: The present.
            own: [STATE], where the car is.
        """
        return actuate(self._push(step, own), self._curvature(step, own), own, self._vehicle)

    def _push(self, step: int, own: Floats) -> float:
        """Acceleration, m/s²."""
        now, after = self._row(step), self._row(step + 1)
        behind = float((now[:2] - own[:2]) @ np.array([math.cos(now[HEADING]), math.sin(now[HEADING])]))
        wanted = max(math.hypot(*after[VX:]) + CATCH_UP * behind, 0.0)
        return (wanted - math.hypot(*own[VX:])) / self._dt

    def _curvature(self, step: int, own: Floats) -> float:
        """Curvature of the arc, 1/m."""
        rear = np.array([*_rear_axle(own, self._vehicle), own[HEADING]])
        reach = max(LOOK_AHEAD * math.hypot(*own[VX:]), NEAREST)
        points = to_frame(self._axles[min(step + 1, self.last) : self.last + 1], rear)
        far = np.hypot(*points.T)
        fit = np.flatnonzero((far >= reach) & (points[:, 0] > 0))
        if len(fit):
            x, y = points[fit[0]]
        else:
            angle = self.path[self.last, HEADING] - own[HEADING]
            x, y = points[-1] + max(reach - float(points[-1, 0]), 0.0) * np.array([math.cos(angle), math.sin(angle)])
        return 2.0 * float(y) / max(float(x * x + y * y), 1e-6)

    def _row(self, step: int) -> Floats:
        """The path's state at a step, straight on beyond its end."""
        row = self.path[min(step, self.last)].copy()
        row[:2] += row[VX:] * self._dt * max(step - self.last, 0)
        return row


def _rear_axle(states: Floats, vehicle: VehicleModel) -> Floats:
    """[..., 2] where the rear axle of states [..., STATE] is."""
    heading = states[..., HEADING]
    return states[..., :2] - vehicle.rear_axle * np.stack([np.cos(heading), np.sin(heading)], -1)


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

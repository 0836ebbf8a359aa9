"""How people on foot and on bicycles move towards an aim: a direction and a speed, taken up at some moment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.geometry import wrap_angle
from harness.interfaces import HEADING, STATE, VX, VY
from harness.metrics.road_users import MotionLimits, RoadUserHabits

Floats = NDArray[np.float64]


class Whereabouts(NamedTuple):
    """Where somebody is, m, which way they go or face, rad, and how fast they go, m/s."""

    x: float
    y: float
    direction: float
    speed: float


class Aims(NamedTuple):
    """What K candidates are after; each field [K].

    Attributes:
        turn: Change of direction, rad, left positive, within (-π, π].
        speed: m/s.
        onset: When it is taken up, s from now; until then they go on as they are.
    """

    turn: Floats
    speed: Floats
    onset: Floats


def all_aims(turns: Floats, speeds: Floats, onsets: Floats) -> Aims:
    """Every combination of `turns` (rad), `speeds` (m/s) and `onsets` (s)."""
    turn, speed, onset = (grid.ravel() for grid in np.meshgrid(turns, speeds, onsets, indexing="ij"))
    return Aims(turn, speed, onset)


def futures(start: Whereabouts, aims: Aims, limits: MotionLimits, dt: float, count: int) -> Floats:
    """States [K, count, 5] after 1 … count steps of `dt` (s), world frame.

    Speed and direction go to the aim's as fast as `limits` allow, each for itself: the speed by acceleration or
    braking, the direction at the lowest of the yaw rate, lateral acceleration over speed, and speed over the tightest
    radius. Within a step both change evenly. A start or an aim that is faster than the top speed is not slowed down.
    """
    number = len(aims.turn)
    # From now on, [count + 1, K]: steps one after the other in memory, as they are made.
    direction, speed = np.empty((2, count + 1, number))
    direction[0], speed[0] = start.direction, start.speed
    onset = aims.onset - dt / 2  # Half a rounding error of the clock must not cost a step.
    for step in range(count):
        begun = onset <= step * dt
        change = np.where(begun, aims.speed, start.speed) - speed[step]
        speed[step + 1] = speed[step] + np.clip(change, -limits.braking * dt, limits.acceleration * dt)
        left = start.direction + np.where(begun, aims.turn, 0.0) - direction[step]
        most = turn_rate(speed[step : step + 2], limits) * dt
        direction[step + 1] = direction[step] + np.clip(left, -most, most)
    mean, way = (direction[1:] + direction[:-1]) / 2, (speed[1:] + speed[:-1]) / 2 * dt
    direction, speed = direction[1:], speed[1:]
    states = np.empty((number, count, STATE))
    states[..., 0] = start.x + np.cumsum(way * np.cos(mean), axis=0).T
    states[..., 1] = start.y + np.cumsum(way * np.sin(mean), axis=0).T
    states[..., HEADING] = wrap_angle(direction).T
    states[..., VX], states[..., VY] = (speed * np.cos(direction)).T, (speed * np.sin(direction)).T
    return states


def turn_rate(speeds: Floats, limits: MotionLimits) -> Floats:
    """Largest yaw rate [K], rad/s, of a step between two speeds, `speeds` [2, K], m/s."""
    rate = np.minimum(limits.yaw_rate, limits.lateral / np.maximum(speeds.max(0), 1e-9))
    return np.minimum(rate, speeds.min(0) / limits.radius) if limits.radius > 0 else rate


def log_density(aims: Aims, start: Whereabouts, moving: bool, habits: RoadUserHabits) -> Floats:
    """Logarithm of a closed-form prior over aims, [K], up to a constant.

    The change of direction of somebody on the move is normal about zero; who stands may set off in any direction. The
    speed is as likely one near the present speed as one near the usual speed of the kind, both normal with the spread
    of the kind. All onsets are equally likely.

    Args:
        aims: The aims.
        start: Where somebody is now.
        moving: Whether they are on the move.
        habits: Those of the kind.
    """

    def normal(mean: float) -> Floats:
        return -0.5 * ((aims.speed - mean) / habits.speed_spread) ** 2

    speed = np.logaddexp(normal(start.speed), normal(habits.speed)) - np.log(2.0)
    return speed - (0.5 * (aims.turn / habits.direction_spread) ** 2 if moving else 0.0)

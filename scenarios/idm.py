"""The intelligent driver model: how hard a driver accelerates, given its speed, its wish and whoever is ahead.

Sources: Treiber, Hennecke, Helbing, Phys. Rev. E 62 (2000) 1805, equations 2 and 3; for the improved model Treiber,
Kesting, Traffic Flow Dynamics (2013), chapter 11. Every argument is a number or an array, and arrays are broadcast.
Accelerations are not limited: each driver clips them to what its vehicle can do. `desired_gap` and `acceleration` are
compiled as well, and the compiler knows no arguments that have to be named.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Number = float | Floats


def desired_gap(
    speed: Number, leader: Number, headway: Number, standstill: float, top: Number, braking: Number
) -> Floats:
    """The gap that a driver wants to keep, m.

    Args:
        speed: Speed of the driver, m/s.
        leader: Speed of whoever is ahead, along the driver's way, m/s.
        headway: Time gap, s.
        standstill: Gap at rest, m.
        top: Strongest acceleration, m/s².
        braking: Comfortable deceleration, m/s², positive.
    """
    closing = speed * (speed - leader) / (2 * np.sqrt(top * braking))
    gap: Floats = standstill + np.maximum(headway * speed + closing, 0.0)
    return gap


def acceleration(
    speed: Number,
    gap: Number,
    wanted: Number,
    desired: Number,
    top: Number,
    exponent: float = 4.0,
) -> Floats:
    """The driver's acceleration, m/s².

    Args:
        speed: Speed of the driver, m/s.
        gap: Free way to whoever is ahead, bumper to bumper, m, positive; infinite where nobody is.
        wanted: The gap that the driver wants to keep, m (see `desired_gap`).
        desired: Speed on a free road, m/s, positive; infinite for a driver whose speed something else limits.
        top: Strongest acceleration, m/s².
        exponent: Exponent of the free-road term: how late the driver eases off on its way to the desired speed.
    """
    change: Floats = top * (1 - (speed / desired) ** exponent - (wanted / gap) ** 2)
    return change


def improved_acceleration(speed: Floats, ratio: Floats, desired: Floats, *, top: Floats, braking: Floats) -> Floats:
    """The acceleration of the improved model, m/s²: the wanted gap is kept exactly, and speed limits are met gently.

    Args:
        speed: Speed of the driver, m/s.
        ratio: The wanted gap over the present one, 0 where nobody is ahead.
        desired: Speed on a free road, m/s, positive.
        top: Strongest acceleration, m/s².
        braking: Comfortable deceleration, m/s², positive.
    """
    slower = speed <= desired
    free = np.where(
        slower,
        top * (1 - (speed / desired) ** 4),
        -braking * (1 - (desired / np.maximum(speed, 0.1)) ** (4 * top / braking)),
    )
    ratio = np.minimum(ratio, 50.0)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        relaxed = free * (1 - ratio ** (2 * top / np.maximum(np.abs(free), 1e-3)))
    pushed = np.where(slower, top, 0.0) * (1 - ratio**2) + np.where(slower, 0.0, free + top * (1 - ratio**2))
    return np.where(ratio >= 1.0, pushed, np.where(slower, relaxed, free))

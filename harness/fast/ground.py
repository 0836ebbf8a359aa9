"""The first ticks of an episode: the car starts with its box on the ground and rises onto its suspension.

Bullet keeps the points where two bodies touch from tick to tick (`btPersistentManifold`), starts from the impulses of
the last tick and iterates ten times (`btSequentialImpulseConstraintSolver`). Here the bodies are the corners of the
box's bottom and the plane z = 0. Leaving these ticks out costs metres after nine seconds, since they decide the grip.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from harness.fast.vehicle import (
    DT,
    LENGTH,
    MASS,
    OX,
    OY,
    OZ,
    VX,
    VY,
    VZ,
    WIDTH,
    X,
    Y,
    Z,
    cross,
    inverse_inertia,
    rotation_of,
    times,
)
from harness.kernels import Floats, Numbers, inner, kernel

TOUCHING_STEPS: Final = 3
"""Steps after which the box has left the ground."""
BREAKING: Final = 0.0621
"""Gap or drift at which a point of contact is given up, m (`m_contactBreakingThreshold` of this box)."""
WARM_START: Final = 0.85
ITERATIONS: Final = 10
PUSH_OUT: Final = 0.2
"""Share of the depth that a tick undoes (`m_erp`)."""
FRICTION: Final = 0.45
"""Friction of the box (.5) on the ground (.9)."""

ALIVE, FRICTION_1, FRICTION_2, MADE_X, MADE_Y, NORMAL = range(6)
POINT: Final = 6
"""Columns of a corner's memory: whether it touches, impulses (N s), where it was made (m)."""

_IM: Final = 1.0 / MASS


@inner
def _corner(index: int) -> Numbers:
    """Front right, front left, rear right, rear left, in the car's frame."""
    return (0.5 * WIDTH if index % 2 == 0 else -0.5 * WIDTH), (0.5 * LENGTH if index < 2 else -0.5 * LENGTH)


@inner
def _deepest(body: Floats, r: Numbers) -> tuple[int, float]:
    """The lowest corner (the first of several) and its height, m."""
    lowest, deepest = math.inf, 0
    for index in range(4):
        side, along = _corner(index)
        height = r[6] * side + r[7] * along + body[Z]
        if height < lowest - 1e-12:
            lowest, deepest = height, index
    return deepest, lowest


@inner
def _refresh(body: Floats, r: Numbers, corners: Floats) -> None:
    """Bullet finds one point a tick, the deepest; the others stay while they neither drift nor part."""
    deepest, lowest = _deepest(body, r)
    found = lowest < BREAKING
    for index in range(4):
        corner = corners[index]
        side, along = _corner(index)
        x = body[X] + r[0] * side + r[1] * along
        y = body[Y] + r[3] * side + r[4] * along
        gap = body[Z] + r[6] * side + r[7] * along
        drift = math.hypot(x - corner[MADE_X], y - corner[MADE_Y])
        if index == deepest and found:
            if corner[ALIVE] == 0 or drift > BREAKING:
                corner[FRICTION_1] = corner[FRICTION_2] = corner[NORMAL] = 0.0
            corner[ALIVE], corner[MADE_X], corner[MADE_Y] = 1.0, x, y
        elif corner[ALIVE] > 0 and (drift > BREAKING or gap > BREAKING):
            corner[ALIVE] = 0.0


@inner
def _along(
    body: Floats, inertia: Numbers, kx: float, ky: float, kz: float, dx: float, dy: float, dz: float, impulse: float
) -> None:
    """Apply an impulse (N s) along a unit direction at a point relative to the origin."""
    tx, ty, tz = cross(kx, ky, kz, dx, dy, dz)
    ax, ay, az = times(inertia, tx, ty, tz)
    body[VX] += dx * impulse * _IM
    body[VY] += dy * impulse * _IM
    body[VZ] += dz * impulse * _IM
    body[OX] += ax * impulse
    body[OY] += ay * impulse
    body[OZ] += az * impulse


@inner
def _closing(
    body: Floats, inertia: Numbers, kx: float, ky: float, kz: float, dx: float, dy: float, dz: float
) -> Numbers:
    """Speed of a point of the body along a direction, m/s, and its inverse mass there, 1/kg."""
    tx, ty, tz = cross(kx, ky, kz, dx, dy, dz)
    ax, ay, az = times(inertia, tx, ty, tz)
    speed = dx * body[VX] + dy * body[VY] + dz * body[VZ] + tx * body[OX] + ty * body[OY] + tz * body[OZ]
    return speed, _IM + tx * ax + ty * ay + tz * az


@kernel
def bear(body: Floats, corners: Floats) -> None:
    """Contacts of the box with the ground during one tick; only velocities change.

    Args:
        body: [STATE].
        corners: [4, POINT] memory of the last tick.
    """
    r = rotation_of(body[3], body[4], body[5], body[6])
    inertia = inverse_inertia(r)
    _refresh(body, r, corners)
    # Bullet's two directions of friction on a plane that faces up: -y and +x.
    for index in range(4):
        corner = corners[index]
        if corner[ALIVE] == 0:
            continue
        kx, ky, kz = _arm(r, index)
        corner[NORMAL] *= WARM_START
        corner[FRICTION_1] *= WARM_START
        corner[FRICTION_2] *= WARM_START
        _along(body, inertia, kx, ky, kz, 0.0, 0.0, 1.0, corner[NORMAL])
        _along(body, inertia, kx, ky, kz, 0.0, -1.0, 0.0, corner[FRICTION_1])
        _along(body, inertia, kx, ky, kz, 1.0, 0.0, 0.0, corner[FRICTION_2])
    for _ in range(ITERATIONS):
        for index in range(4):
            if corners[index, ALIVE] > 0:
                _hold(body, r, inertia, corners[index], index)
        for index in range(4):
            if corners[index, ALIVE] > 0 and corners[index, NORMAL] > 0:
                _rub(body, r, inertia, corners[index], index)


@inner
def _arm(r: Numbers, index: int) -> Numbers:
    """From the body's origin to a corner, in the world's frame, m."""
    side, along = _corner(index)
    return r[0] * side + r[1] * along, r[3] * side + r[4] * along, r[6] * side + r[7] * along


@inner
def _hold(body: Floats, r: Numbers, inertia: Numbers, corner: Floats, index: int) -> None:
    """The normal impulse of a corner: it may push, not pull."""
    kx, ky, kz = _arm(r, index)
    gap = kz + body[Z]
    wanted = (-PUSH_OUT * gap if gap < 0 else -gap) / DT
    speed, softness = _closing(body, inertia, kx, ky, kz, 0.0, 0.0, 1.0)
    change = max((wanted - speed) / softness, -corner[NORMAL])
    corner[NORMAL] += change
    _along(body, inertia, kx, ky, kz, 0.0, 0.0, 1.0, change)


@inner
def _rub(body: Floats, r: Numbers, inertia: Numbers, corner: Floats, index: int) -> None:
    """Friction of a corner in two fixed directions, each within its own limit."""
    kx, ky, kz = _arm(r, index)
    most = FRICTION * corner[NORMAL]
    for column, dx, dy in ((FRICTION_1, 0.0, -1.0), (FRICTION_2, 1.0, 0.0)):
        speed, softness = _closing(body, inertia, kx, ky, kz, dx, dy, 0.0)
        impulse = min(max(corner[column] - speed / softness, -most), most)
        _along(body, inertia, kx, ky, kz, dx, dy, 0.0, impulse - corner[column])
        corner[column] = impulse


def no_corners(environments: int) -> np.ndarray:
    """Memory [environments, 4, POINT] of cars that touch nothing yet."""
    return np.zeros((environments, 4, POINT))

"""MetaDrive's car on flat ground: Bullet's ray-cast vehicle, one physics tick of 0.02 s at a time.

A tick has four parts, in this order: `fall` (gravity and gyroscopic torque), contacts at the old pose (elsewhere),
`move` (the pose follows the velocity), `push` (suspension and tyres at the new pose). Bullet's own order within each is
kept, because rounding aside it decides the result: all suspensions see the velocity from before any has pushed, all
tyres the one from after that and before any tyre has, and impulses are applied wheel by wheel: front right, front left,
rear right, rear left. What a tick's tyres do moves the car in the next one.

A body is a row of `STATE` numbers: position of the node's origin (m, z up, 0 on the ground), quaternion (w, x, y, z),
velocity (m/s) and angular velocity (rad/s), all in the world's frame. The car's own axes are x right, y forward, z up.

Sources: `btRigidBody`, `btTransformUtil` and `btRaycastVehicle` of Bullet 2.8x; the constants are those of
`DefaultVehicle` and `BaseVehicle._create_wheel` in MetaDrive 0.4.3, and of Panda3D where MetaDrive sets none.
"""

from __future__ import annotations

import math
from typing import Final

from numpy.typing import NDArray

from harness.kernels import Floats, Numbers, inner, kernel

STATE: Final = 13
X, Y, Z, QW, QX, QY, QZ, VX, VY, VZ, OX, OY, OZ = range(STATE)
"""Columns of a body."""

DT: Final = 0.02
"""Physics tick, s."""
TICKS: Final = 5
"""Physics ticks in a step of the environment."""
STEP: Final = DT * TICKS
"""Step of the environment, s."""
GRAVITY: Final = 9.81
"""Gravity, m/s² (`PhysicsWorld`)."""
LENGTH: Final = 4.515
WIDTH: Final = 1.852
HEIGHT: Final = 1.19
"""The chassis' box, m; its bottom is at the node's origin (`DEFAULT_LENGTH`, `DEFAULT_WIDTH`, `DEFAULT_HEIGHT`)."""
MASS: Final = 1100.0
"""Mass of the chassis, kg."""
INERTIA: Final = (
    MASS / 12 * (LENGTH**2 + HEIGHT**2),
    MASS / 12 * (WIDTH**2 + HEIGHT**2),
    MASS / 12 * (LENGTH**2 + WIDTH**2),
)
"""Moments of the box about its centre, kg m². Bullet keeps them although the centre of mass is the node's origin."""
MAX_STEERING: Final = math.radians(40)
"""Angle of the front wheels at action 1, rad."""
MAX_SPEED: Final = 80 / 3.6
"""The engine pulls no further above it, m/s."""
COASTING: Final = 2.0
"""Brake on every wheel while the driver does not brake, N s a tick."""
RADIUS: Final = 0.313
"""Radius of a wheel, m."""
LATERAL: Final = 0.815
FRONT: Final = 1.05234
REAR: Final = -1.4166
MOUNT: Final = RADIUS - 0.2
"""Where the wheels hang in the car's frame, m: to the sides, ahead, behind, above."""
REST_LENGTH: Final = 0.4
TRAVEL: Final = 0.15
"""Length of an unloaded suspension and how far it can move either way, m."""
STIFFNESS: Final = 40.0
COMPRESSION: Final = 1.2
RELAXATION: Final = 4.8
"""Spring and dampers of a suspension, per kg of the chassis: 1/s², 1/s, 1/s."""
MAX_SUSPENSION: Final = 6000.0
"""Most that a suspension pushes the chassis, N (Bullet's default)."""
GRIP: Final = 0.9
"""Friction of a tyre (`wheel_friction`)."""
ROLL_INFLUENCE: Final = 0.5
"""1: sideways forces act at the ground, 0: at the height of the centre of mass."""
SIDE_RATE: Final = 0.2
"""Share of the sideways motion that a tyre takes in a tick (`resolveSingleBilateral`'s contact damping)."""
FORWARD_SHARE: Final = 0.5
"""Weight of the forward impulse in the test for sliding (`btRaycastVehicle`'s `fwdFactor`)."""
LEAST_COSINE: Final = 0.1
"""Suspensions that lean further push as if they leaned this far."""

_IM: Final = 1.0 / MASS
_JX, _JY, _JZ = (1.0 / item for item in INERTIA)
_IX, _IY, _IZ = INERTIA
_SLOW_TURN: Final = 0.001
"""Turn rate (rad/s) below which Bullet takes the sine's series."""

GROUNDED, KX, KY, KZ, LOAD, AXLE_X, AXLE_Y, SIDE, ROLL = range(9)
"""Columns of a wheel's scratch row: contact relative to the origin (m), suspension force (N), axle, impulses (N s)."""
WHEEL: Final = 9


@kernel
def rotation_of(w: float, x: float, y: float, z: float) -> Numbers:
    """Rotation matrix, row by row, of a unit quaternion: from the body's frame to the world's."""
    return (
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    )


@kernel
def inverse_inertia(r: Numbers) -> Numbers:
    """Inverse inertia in the world's frame, symmetric: xx, xy, xz, yy, yz, zz."""
    return (
        r[0] * r[0] * _JX + r[1] * r[1] * _JY + r[2] * r[2] * _JZ,
        r[0] * r[3] * _JX + r[1] * r[4] * _JY + r[2] * r[5] * _JZ,
        r[0] * r[6] * _JX + r[1] * r[7] * _JY + r[2] * r[8] * _JZ,
        r[3] * r[3] * _JX + r[4] * r[4] * _JY + r[5] * r[5] * _JZ,
        r[3] * r[6] * _JX + r[4] * r[7] * _JY + r[5] * r[8] * _JZ,
        r[6] * r[6] * _JX + r[7] * r[7] * _JY + r[8] * r[8] * _JZ,
    )


@kernel
def times(m: Numbers, x: float, y: float, z: float) -> Numbers:
    """A symmetric matrix (xx, xy, xz, yy, yz, zz) times a vector."""
    return m[0] * x + m[1] * y + m[2] * z, m[1] * x + m[3] * y + m[4] * z, m[2] * x + m[4] * y + m[5] * z


@kernel
def cross(ax: float, ay: float, az: float, bx: float, by: float, bz: float) -> Numbers:
    """Cross product."""
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@kernel
def fall(body: Floats) -> None:
    """Gravity, and the torque of a body that turns about none of its own axes; only velocities change."""
    r = rotation_of(body[QW], body[QX], body[QY], body[QZ])
    ox, oy, oz = body[OX], body[OY], body[OZ]
    bx = r[0] * ox + r[3] * oy + r[6] * oz
    by = r[1] * ox + r[4] * oy + r[7] * oz
    bz = r[2] * ox + r[5] * oy + r[8] * oz
    cx, cy, cz = cross(bx, by, bz, _IX * bx, _IY * by, _IZ * bz)
    bx -= DT * cx * _JX
    by -= DT * cy * _JY
    bz -= DT * cz * _JZ
    body[VZ] -= GRAVITY * DT
    body[OX] = r[0] * bx + r[1] * by + r[2] * bz
    body[OY] = r[3] * bx + r[4] * by + r[5] * bz
    body[OZ] = r[6] * bx + r[7] * by + r[8] * bz


@kernel
def move(body: Floats) -> None:
    """The pose follows the velocity for a tick, the rotation by the exponential map."""
    body[X] += body[VX] * DT
    body[Y] += body[VY] * DT
    body[Z] += body[VZ] * DT
    ox, oy, oz = body[OX], body[OY], body[OZ]
    rate = math.sqrt(ox * ox + oy * oy + oz * oz)
    if rate < _SLOW_TURN:
        scale = 0.5 * DT - DT * DT * DT * 0.020833333333 * rate * rate
    else:
        scale = math.sin(0.5 * rate * DT) / rate
    dx, dy, dz, dw = ox * scale, oy * scale, oz * scale, math.cos(0.5 * rate * DT)
    w, x, y, z = body[QW], body[QX], body[QY], body[QZ]
    nw = dw * w - dx * x - dy * y - dz * z
    nx = dw * x + dx * w + dy * z - dz * y
    ny = dw * y + dy * w + dz * x - dx * z
    nz = dw * z + dz * w + dx * y - dy * x
    size = 1 / math.sqrt(nw * nw + nx * nx + ny * ny + nz * nz)
    body[QW], body[QX], body[QY], body[QZ] = nw * size, nx * size, ny * size, nz * size


@kernel
def push(body: Floats, steering: float, force: float, brake: float, wheels: Floats) -> None:
    """Suspensions, then tyres.

    Args:
        body: [STATE], changed.
        steering: Angle of the front wheels, rad, left positive.
        force: The engine's, N per wheel.
        brake: N s per wheel and tick.
        wheels: [4, WHEEL] scratch.
    """
    r = rotation_of(body[QW], body[QX], body[QY], body[QZ])
    inertia = inverse_inertia(r)
    if _carry(body, r, inertia, wheels):
        _grip(body, r, inertia, steering, force, brake, wheels)


@inner
def _carry(body: Floats, r: Numbers, inertia: Numbers, wheels: Floats) -> bool:
    """Suspension of the four wheels (front right, front left, rear right, rear left); whether any is on the ground."""
    up = r[8]
    lift = turn_x = turn_y = turn_z = 0.0
    grounded = False
    for index in range(4):
        side = LATERAL if index % 2 == 0 else -LATERAL
        along = FRONT if index < 2 else REAR
        hx = r[0] * side + r[1] * along + r[2] * MOUNT
        hy = r[3] * side + r[4] * along + r[5] * MOUNT
        hz = r[6] * side + r[7] * along + r[8] * MOUNT
        # A ray from the mount along the car's own "down" to the ground.
        ray = (body[Z] + hz) / up if up > 1e-6 else math.inf
        wheels[index, GROUNDED] = 0.0
        if ray < 0 or ray > REST_LENGTH + RADIUS:
            continue
        grounded = True
        wheels[index, GROUNDED] = 1.0
        kx, ky = hx - r[2] * ray, hy - r[5] * ray
        wheels[index, KX], wheels[index, KY], wheels[index, KZ] = kx, ky, -body[Z]
        length = min(max(ray - RADIUS, REST_LENGTH - TRAVEL), REST_LENGTH + TRAVEL)
        if up <= LEAST_COSINE:
            rate, lean = 0.0, 1 / LEAST_COSINE
        else:
            lean = 1 / up
            rate = (body[VZ] + body[OX] * ky - body[OY] * kx) * lean
        damping = COMPRESSION if rate < 0 else RELAXATION
        load = max(MASS * (STIFFNESS * (REST_LENGTH - length) * lean - damping * rate), 0.0)
        wheels[index, LOAD] = load
        impulse = min(load, MAX_SUSPENSION) * DT
        lift += impulse
        ax, ay, az = times(inertia, ky * impulse, -kx * impulse, 0.0)
        turn_x += ax
        turn_y += ay
        turn_z += az
    body[VZ] += lift * _IM
    body[OX] += turn_x
    body[OY] += turn_y
    body[OZ] += turn_z
    return grounded


@inner
def _effective(inertia: Numbers, kx: float, ky: float, kz: float, dx: float, dy: float) -> float:
    """Inverse mass of a point of the body against an impulse along a horizontal direction, 1/kg."""
    tx, ty, tz = cross(kx, ky, kz, dx, dy, 0.0)
    ax, ay, az = times(inertia, tx, ty, tz)
    return _IM + tx * ax + ty * ay + tz * az


@inner
def _impulse(body: Floats, inertia: Numbers, kx: float, ky: float, kz: float, jx: float, jy: float) -> None:
    """Apply a horizontal impulse (N s) at a point relative to the origin."""
    ax, ay, az = cross(kx, ky, kz, jx, jy, 0.0)
    ax, ay, az = times(inertia, ax, ay, az)
    body[VX] += jx * _IM
    body[VY] += jy * _IM
    body[OX] += ax
    body[OY] += ay
    body[OZ] += az


@inner
def _grip(
    body: Floats, r: Numbers, inertia: Numbers, steering: float, force: float, brake: float, wheels: Floats
) -> None:
    """Tyres: sideways against all motion, forward by engine or brake, both within the grip of the load."""
    cosine, sine = math.cos(steering), math.sin(steering)
    for index in range(4):
        if wheels[index, GROUNDED] == 0:
            continue
        ax, ay = (r[0] * cosine + r[1] * sine, r[3] * cosine + r[4] * sine) if index < 2 else (r[0], r[3])
        size = 1 / math.sqrt(ax * ax + ay * ay)
        ax *= size
        ay *= size
        kx, ky, kz = wheels[index, KX], wheels[index, KY], wheels[index, KZ]
        ux = body[VX] + body[OY] * kz - body[OZ] * ky
        uy = body[VY] + body[OZ] * kx - body[OX] * kz
        side = -SIDE_RATE * (ax * ux + ay * uy) / _effective(inertia, kx, ky, kz, ax, ay)
        if force != 0:
            roll = force * DT
        else:
            roll = (ay * ux - ax * uy) / _effective(inertia, kx, ky, kz, -ay, ax)
            roll = min(max(roll, -brake), brake)
        most = wheels[index, LOAD] * DT * GRIP
        square = (FORWARD_SHARE * roll) ** 2 + side * side
        if square > most * most and side != 0:
            share = most / math.sqrt(square)
            roll *= share
            side *= share
        wheels[index, AXLE_X], wheels[index, AXLE_Y], wheels[index, SIDE], wheels[index, ROLL] = ax, ay, side, roll
    for index in range(4):
        if wheels[index, GROUNDED] == 0:
            continue
        ax, ay = wheels[index, AXLE_X], wheels[index, AXLE_Y]
        kx, ky, kz = wheels[index, KX], wheels[index, KY], wheels[index, KZ]
        _impulse(body, inertia, kx, ky, kz, -ay * wheels[index, ROLL], ax * wheels[index, ROLL])
        height = (r[2] * kx + r[5] * ky + r[8] * kz) * (1 - ROLL_INFLUENCE)
        kx, ky, kz = kx - r[2] * height, ky - r[5] * height, kz - r[8] * height
        _impulse(body, inertia, kx, ky, kz, ax * wheels[index, SIDE], ay * wheels[index, SIDE])


@kernel
def controls(body: Floats, steering: float, throttle: float, engine: float, brake: float) -> Numbers:
    """What an action does to the wheels during one step.

    Args:
        body: [STATE] at the step's start.
        steering, throttle: The action, each in [-1, 1].
        engine: Force at throttle 1, N per wheel.
        brake: Brake at throttle -1, N s per wheel and tick.

    Returns:
        Angle of the front wheels (rad), force (N per wheel), brake (N s per wheel and tick).
    """
    angle = steering * MAX_STEERING
    if throttle < 0:
        return angle, 0.0, -throttle * brake
    pulls = math.sqrt(body[VX] ** 2 + body[VY] ** 2) <= MAX_SPEED
    return angle, engine * throttle if pulls else 0.0, COASTING


@kernel
def place(body: Floats, x: float, y: float, heading: float, vx: float, vy: float) -> None:
    """Put the car on the ground at rest suspension.

    Args:
        body: [STATE], overwritten.
        x, y: m.
        heading: The car's, rad.
        vx, vy: m/s.
    """
    body[:] = 0.0
    half = 0.5 * (heading - 0.5 * math.pi)
    body[X], body[Y], body[QW], body[QZ] = x, y, math.cos(half), math.sin(half)
    body[VX], body[VY] = vx, vy


@kernel
def stand(body: NDArray) -> bool:
    """Whether every number of the body is finite."""
    for value in body:
        if not math.isfinite(value):
            return False
    return True

"""Contacts of the ego with other bodies, as Bullet resolves them between boxes.

Where two boxes overlap (`overlap`), each point seen from above stands for two: at the lowest and at the highest height
that both bodies share. Points live on from tick to tick (`btPersistentManifold`) with their impulses; ten rounds of
sequential impulses follow (`btSequentialImpulseConstraintSolver`), then the other bodies move too.

The order in a tick: all neighbours are looked at, in the order in which traffic lists them; remembered points that have
parted or drifted are dropped, by the bodies' present poses; this tick's points take the places of the nearest ones
remembered of the same neighbour, or free ones; impulses of the last tick are applied, times `WARM_START`; then in each
round all normals, and after them all frictions, in the order of the memory. Others' velocities last until the step's
end, when traffic puts them back on their rows; the memory lasts until a point is dropped or the episode ends.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from harness.fast.ground import BREAKING, ITERATIONS, PUSH_OUT, WARM_START
from harness.fast.overlap import (
    AGENT,
    COUNT,
    HEADING,
    HIGHEST,
    INV_M,
    INV_P,
    INV_R,
    INV_Y,
    LOWEST,
    MIDDLE,
    ON_OTHER,
    PX,
    PY,
    SX,
    SY,
    SZ,
    TOUCHED,
    WX,
    WY,
    WZ,
    find_points,
    outline,
    touches,
)
from harness.fast.vehicle import (
    DT,
    HEIGHT,
    MASS,
    OX,
    OY,
    OZ,
    VX,
    VY,
    VZ,
    X,
    Y,
    Z,
    cross,
    inverse_inertia,
    times,
)
from harness.kernels import Floats, Numbers, inner, kernel

FRICTION: Final = 0.25
"""Friction of the ego's box (.5) on another (.5)."""
POINTS: Final = 16
"""Points of contact remembered per ego."""

(USED, AX, AY, AZ, BX, BY, BZ, NX, NY, PUSHED, RUBBED_1, RUBBED_2, DEPTH, FRESH) = range(14)
"""Columns of a point: agent + 1 (0: free), place in the ego's and in the other's frame (m), normal towards the other,
impulses (N s), depth (m), whether it was found in this tick."""
POINT: Final = 14
_IM: Final = 1.0 / MASS


@inner
def _place(body: Floats, r: Numbers, other: Floats, point: Floats) -> Numbers:
    """A remembered point on the ego and on the other: arms from either origin (m), depth and drift (m)."""
    ax = r[0] * point[AX] + r[1] * point[AY] + r[2] * point[AZ]
    ay = r[3] * point[AX] + r[4] * point[AY] + r[5] * point[AZ]
    az = r[6] * point[AX] + r[7] * point[AY] + r[8] * point[AZ]
    c, s = math.cos(other[HEADING]), math.sin(other[HEADING])
    bx, by, bz = point[BX] * c - point[BY] * s, point[BX] * s + point[BY] * c, point[BZ]
    gx, gy, gz = body[X] + ax - other[PX] - bx, body[Y] + ay - other[PY] - by, body[Z] + az - other[MIDDLE] - bz
    depth = gx * point[NX] + gy * point[NY]
    gx -= depth * point[NX]
    gy -= depth * point[NY]
    return ax, ay, az, bx, by, bz, depth, math.sqrt(gx * gx + gy * gy + gz * gz)


@inner
def _whose(others: Floats, count: int, agent: int) -> int:
    """Row of an agent among the neighbours, or -1."""
    for row in range(count):
        if others[row, AGENT] == agent:
            return row
    return -1


@inner
def _forget(body: Floats, r: Numbers, others: Floats, count: int, memory: Floats) -> None:
    """Drop the points that have parted or drifted, and those of agents that are gone."""
    for index in range(POINTS):
        point = memory[index]
        point[FRESH] = 0.0
        if point[USED] == 0:
            continue
        row = _whose(others, count, point[USED] - 1)
        if row < 0:
            point[USED] = 0.0
            continue
        where = _place(body, r, others[row], point)
        if -where[6] > BREAKING or where[7] > BREAKING:
            point[USED] = 0.0


@inner
def _match(memory: Floats, other: Floats, x: float, y: float, z: float) -> int:
    """The remembered point of this agent that is nearest in the ego's frame, else a free one (emptied), else -1."""
    best, found, free = BREAKING * BREAKING, -1, -1
    for index in range(POINTS):
        point = memory[index]
        if point[USED] == 0:
            if free < 0:
                free = index
            continue
        if point[USED] != other[AGENT] + 1 or point[FRESH] > 0:
            continue
        square = (point[AX] - x) ** 2 + (point[AY] - y) ** 2 + (point[AZ] - z) ** 2
        if square < best:
            best, found = square, index
    if found < 0 and free >= 0:
        found = free
        memory[found, PUSHED] = memory[found, RUBBED_1] = memory[found, RUBBED_2] = 0.0
    return found


@inner
def _remember(body: Floats, r: Numbers, other: Floats, points: Floats, memory: Floats) -> None:
    """Take this tick's points of one neighbour into the memory."""
    low, high = max(other[LOWEST], body[Z]), min(other[HIGHEST], body[Z] + HEIGHT)
    c, s = math.cos(other[HEADING]), math.sin(other[HEADING])
    for index in range(int(other[COUNT])):
        nx, ny = points[index, 3], points[index, 4]
        for z in (high, low):
            depth = points[index, 2] + (r[2] * nx + r[5] * ny) / r[8] * (z - body[Z])
            if depth < 0:
                continue
            ax, ay = points[index, 0], points[index, 1]
            bx, by = ax, ay
            if other[ON_OTHER] > 0:
                bx, by = ax - nx * depth, ay - ny * depth
            else:
                ax, ay = bx + nx * depth, by + ny * depth
            ex, ey, ez = ax - body[X], ay - body[Y], z - body[Z]
            mx, my = r[0] * ex + r[3] * ey + r[6] * ez, r[1] * ex + r[4] * ey + r[7] * ez
            mz = r[2] * ex + r[5] * ey + r[8] * ez
            place = _match(memory, other, mx, my, mz)
            if place < 0:
                continue
            gx, gy = bx - other[PX], by - other[PY]
            point = memory[place]
            point[USED], point[AX], point[AY], point[AZ] = other[AGENT] + 1, mx, my, mz
            point[BX], point[BY], point[BZ] = gx * c + gy * s, gy * c - gx * s, z - other[MIDDLE]
            point[NX], point[NY], point[DEPTH], point[FRESH] = nx, ny, depth, 1.0


(DX, DY, DZ, MX, MY, MZ, TX, TY, TZ, EX, EY, EZ, FX, FY, FZ, GIVES, WANTED) = range(17)
"""Columns of a row of the solver: direction, moment arms about either origin, the turn rates that an impulse gives the
ego and the other, inverse of the inverse masses (kg), and speed wanted (m/s)."""


@inner
def _prepare(body: Floats, r: Numbers, inertia: Numbers, other: Floats, point: Floats, rows: Floats) -> bool:
    """The three rows (normal, two frictions) of a point, with the impulses of the last tick applied."""
    ax, ay, az, bx, by, bz, depth, drift = _place(body, r, other, point)
    if point[FRESH] == 0:
        if -depth > BREAKING or drift > BREAKING:
            point[USED] = 0.0
            return False
        point[DEPTH] = depth
    c, s = math.cos(other[HEADING]), math.sin(other[HEADING])
    spread = c * s * (other[INV_R] - other[INV_P])
    theirs = (
        c * c * other[INV_R] + s * s * other[INV_P],
        spread,
        0.0,
        s * s * other[INV_R] + c * c * other[INV_P],
        0.0,
        other[INV_Y],
    )
    for index in range(3):
        row = rows[index]
        if index == 0:
            dx, dy, dz = point[NX], point[NY], 0.0
        elif index == 1:
            dx, dy, dz = -point[NY], point[NX], 0.0
        else:
            dx, dy, dz = 0.0, 0.0, 1.0
        row[DX], row[DY], row[DZ] = dx, dy, dz
        row[MX], row[MY], row[MZ] = cross(ax, ay, az, dx, dy, dz)
        row[TX], row[TY], row[TZ] = cross(bx, by, bz, dx, dy, dz)
        row[EX], row[EY], row[EZ] = times(inertia, row[MX], row[MY], row[MZ])
        row[FX], row[FY], row[FZ] = times(theirs, row[TX], row[TY], row[TZ])
        give = _IM + other[INV_M] + row[MX] * row[EX] + row[MY] * row[EY] + row[MZ] * row[EZ]
        row[GIVES] = 1 / (give + row[TX] * row[FX] + row[TY] * row[FY] + row[TZ] * row[FZ])
        point[PUSHED + index] *= WARM_START
        _strike(body, other, row, point[PUSHED + index])
    depth = point[DEPTH]
    rows[0, WANTED] = (PUSH_OUT * depth if depth > 0 else depth) / DT
    return True


@inner
def _strike(body: Floats, other: Floats, row: Floats, impulse: float) -> None:
    """Apply an impulse (N s) along a row: against the ego, with the other."""
    body[VX] -= row[DX] * impulse * _IM
    body[VY] -= row[DY] * impulse * _IM
    body[VZ] -= row[DZ] * impulse * _IM
    body[OX] -= row[EX] * impulse
    body[OY] -= row[EY] * impulse
    body[OZ] -= row[EZ] * impulse
    theirs = impulse * other[INV_M]
    other[SX] += row[DX] * theirs
    other[SY] += row[DY] * theirs
    other[SZ] += row[DZ] * theirs
    other[WX] += row[FX] * impulse
    other[WY] += row[FY] * impulse
    other[WZ] += row[FZ] * impulse


@inner
def _parting(body: Floats, other: Floats, row: Floats) -> float:
    """Speed at which the two places part along a row, m/s."""
    return (
        row[DX] * (other[SX] - body[VX])
        + row[DY] * (other[SY] - body[VY])
        + row[DZ] * (other[SZ] - body[VZ])
        + row[TX] * other[WX]
        + row[TY] * other[WY]
        + row[TZ] * other[WZ]
        - row[MX] * body[OX]
        - row[MY] * body[OY]
        - row[MZ] * body[OZ]
    )


@inner
def _solve(body: Floats, r: Numbers, others: Floats, count: int, memory: Floats) -> None:
    """Ten rounds of sequential impulses over all points: first all normals, then all frictions."""
    inertia = inverse_inertia(r)
    rows, whose = np.empty((POINTS, 3, 17)), np.full(POINTS, -1)
    for index in range(POINTS):
        if memory[index, USED] == 0:
            continue
        row = _whose(others, count, memory[index, USED] - 1)
        if row >= 0 and _prepare(body, r, inertia, others[row], memory[index], rows[index]):
            whose[index] = row
    for _ in range(ITERATIONS):
        for index in range(POINTS):
            if whose[index] < 0:
                continue
            other, point, row = others[whose[index]], memory[index], rows[index, 0]
            change = max((row[WANTED] - _parting(body, other, row)) * row[GIVES], -point[PUSHED])
            point[PUSHED] += change
            _strike(body, other, row, change)
        for index in range(POINTS):
            # Without pressure the friction of earlier ticks stays as it is: Bullet skips the row.
            if whose[index] < 0 or memory[index, PUSHED] <= 0:
                continue
            other, point = others[whose[index]], memory[index]
            most = FRICTION * point[PUSHED]
            for column in (1, 2):
                row = rows[index, column]
                wanted = point[PUSHED + column] - _parting(body, other, row) * row[GIVES]
                impulse = min(max(wanted, -most), most)
                _strike(body, other, row, impulse - point[PUSHED + column])
                point[PUSHED + column] = impulse


@kernel
def meet(body: Floats, r: Numbers, others: Floats, count: int, points: Floats, memory: Floats) -> None:
    """One tick of contacts at the pose before it moves: flags, impulses, and the others' own motion.

    Args:
        body: [STATE], its velocity changes.
        r: Its rotation.
        others: [count, OTHER]; velocities and, by the tick's motion, poses change.
        count: Number of neighbours.
        points: [>= count, 2, 5] scratch.
        memory: [POINTS, POINT] points of the last tick.
    """
    box = outline(body, r)
    active = False
    for row in range(count):
        find_points(box, others[row], points[row])
        active = active or others[row, COUNT] > 0
    for index in range(POINTS):
        active = active or memory[index, USED] > 0
    if active:
        _forget(body, r, others, count, memory)
        for row in range(count):
            _remember(body, r, others[row], points[row], memory)
        _solve(body, r, others, count, memory)
    for row in range(count):
        other = others[row]
        other[PX] += other[SX] * DT
        other[PY] += other[SY] * DT
        other[HEADING] += other[WZ] * DT


@kernel
def still_touching(body: Floats, r: Numbers, others: Floats, count: int) -> None:
    """Flag the neighbours that meet the ego's box at its present pose; nothing moves."""
    box = outline(body, r)
    for row in range(count):
        if touches(box, others[row]):
            others[row, TOUCHED] = 1.0

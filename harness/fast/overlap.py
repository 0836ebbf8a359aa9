"""Where the ego's box and another body overlap, seen from above.

The ego is a box that may lean; the others stand upright. The axis of least overlap gives the face (`btBoxBoxDetector`),
the other box's edge is clipped to it, and each end that lies inside gives a point. The ego's lean corrects depths; the
exact manifold of two leaning boxes is not built, so that what happens after a contact is close to Bullet's, not equal.
"""

from __future__ import annotations

import math
from typing import Final

from harness.fast.vehicle import HEIGHT, LENGTH, WIDTH, X, Y
from harness.kernels import Floats, Numbers, inner, kernel

SLACK: Final = 1e-5
"""An axis must be this much shallower than an earlier one to be preferred, m."""
CYLINDER_MARGIN: Final = 0.02
"""Gap at which Bullet reports a contact with a cylinder, m."""

(
    PX,
    PY,
    HEADING,
    SX,
    SY,
    SZ,
    WX,
    WY,
    WZ,
    HALF_L,
    HALF_W,
    INV_M,
    INV_R,
    INV_P,
    INV_Y,
    LOWEST,
    HIGHEST,
    MIDDLE,
    ROUND,
    KIND,
    AGENT,
    TOUCHED,
    COUNT,
    ON_OTHER,
) = range(24)
"""Columns of a neighbour: pose (m, rad), velocity (m/s), turn rates (rad/s), the body's `bodies` columns, agent,
whether it has touched the ego during this step, points found in this tick, and whether they lie on its own face."""
OTHER: Final = 24
_HL: Final = LENGTH / 2
_HW: Final = WIDTH / 2
_SPAN: Final = math.hypot(_HL, _HW)


@kernel
def outline(body: Floats, r: Numbers) -> Numbers:
    """The ego's box seen from above: x, y, forward axis, and how far its top is displaced by its lean, m."""
    size = 1 / math.sqrt(r[1] * r[1] + r[4] * r[4])
    return body[X], body[Y], r[1] * size, r[4] * size, HEIGHT * r[2] / r[8], HEIGHT * r[5] / r[8]


@inner
def _overlaps(box: Numbers, other: Floats) -> Numbers:
    """Overlap along the ego's long and wide axis and the other's, m, and the signed distances along these."""
    dx, dy = other[PX] - box[0], other[PY] - box[1]
    fx, fy, lx, ly = box[2], box[3], box[4], box[5]
    rx, ry = fy, -fx
    c, s = math.cos(other[HEADING]), math.sin(other[HEADING])
    hl, hw = other[HALF_L], other[HALF_W]
    cf, cr, sf, sr = abs(fx * c + fy * s), abs(rx * c + ry * s), abs(fy * c - fx * s), abs(ry * c - rx * s)
    p, q, u, v = dx * fx + dy * fy, dx * rx + dy * ry, dx * c + dy * s, dy * c - dx * s
    return (
        _HL + hl * cf + hw * sf - abs(p) + _lean(lx * fx + ly * fy, p),
        _HW + hl * cr + hw * sr - abs(q) + _lean(lx * rx + ly * ry, q),
        hl + _HL * cf + _HW * cr - abs(u) + _lean(lx * c + ly * s, u),
        hw + _HL * sf + _HW * sr - abs(v) + _lean(ly * c - lx * s, v),
        p,
        q,
        u,
        v,
    )


@inner
def _lean(displaced: float, distance: float) -> float:
    """How much further the ego's leaning top reaches towards the other, m."""
    return max(displaced if distance > 0 else -displaced, 0.0)


@kernel
def touches(box: Numbers, other: Floats) -> bool:
    """Whether the ego's box meets the other body."""
    dx, dy = other[PX] - box[0], other[PY] - box[1]
    reach = _SPAN + math.hypot(other[HALF_L], other[HALF_W]) + 0.05
    if dx * dx + dy * dy > reach * reach:
        return False
    if other[ROUND] > 0:
        return _nearest(box, other)[0] <= other[HALF_L] + CYLINDER_MARGIN
    o = _overlaps(box, other)
    return o[0] >= 0 and o[1] >= 0 and o[2] >= 0 and o[3] >= 0


@inner
def _nearest(box: Numbers, other: Floats) -> Numbers:
    """Distance (m) from the ego's box to a cylinder's axis, the nearest point of the box, and the way to the axis."""
    dx, dy, fx, fy = other[PX] - box[0], other[PY] - box[1], box[2], box[3]
    along, aside = dx * fx + dy * fy, dx * fy - dy * fx
    near, beside = min(max(along, -_HL), _HL), min(max(aside, -_HW), _HW)
    da, db = along - near, aside - beside
    return math.hypot(da, db), near * fx + beside * fy, near * fy - beside * fx, da * fx + db * fy, da * fy - db * fx


@kernel
def find_points(box: Numbers, other: Floats, points: Floats) -> None:
    """Points of contact seen from above, into `points` [2, 5]: x, y (m), depth (m), normal towards the other."""
    other[COUNT] = 0
    if not touches(box, other):
        return
    other[TOUCHED] = 1.0
    if other[ROUND] > 0:
        distance, kx, ky, wx, wy = _nearest(box, other)
        other[COUNT], other[ON_OTHER] = 1, 0.0
        points[0, 0], points[0, 1], points[0, 2] = box[0] + kx, box[1] + ky, other[HALF_L] - distance
        if distance > 1e-9:
            points[0, 3], points[0, 4] = wx / distance, wy / distance
        else:
            points[0, 2], points[0, 3], points[0, 4] = other[HALF_L], box[2], box[3]
        return
    o = _overlaps(box, other)
    face, least = 0, o[0]
    for index in range(1, 4):
        if o[index] < least - SLACK:
            face, least = index, o[index]
    _clip(box, other, face, o, points)


@inner
def _axes(box: Numbers, other: Floats, face: int) -> Numbers:
    """Axis of a face and the one along it, half extents along both: faces 0, 1 are the ego's, 2, 3 the other's."""
    if face == 0:
        return box[2], box[3], box[3], -box[2], _HL, _HW
    if face == 1:
        return box[3], -box[2], box[2], box[3], _HW, _HL
    c, s = math.cos(other[HEADING]), math.sin(other[HEADING])
    if face == 2:
        return c, s, -s, c, other[HALF_L], other[HALF_W]
    return -s, c, c, s, other[HALF_W], other[HALF_L]


@inner
def _clip(box: Numbers, other: Floats, face: int, o: Numbers, points: Floats) -> None:
    """The incident edge, clipped to the reference face; each end that is inside gives a point."""
    nx, ny, tx, ty, deep, wide = _axes(box, other, face)
    mine = face < 2
    # The normal leaves the box whose face it is.
    sign = 1.0 if (o[4 + face] > 0) == mine else -1.0
    nx *= sign
    ny *= sign
    if mine:
        ax, ay, bx, by = box[0], box[1], other[PX], other[PY]
        lx, ly, _, _, ll, _ = _axes(box, other, 2)
        sx, sy, _, _, ss, _ = _axes(box, other, 3)
        facing = 1.0
    else:
        ax, ay, bx, by = other[PX], other[PY], box[0], box[1]
        lx, ly, _, _, ll, _ = _axes(box, other, 0)
        sx, sy, _, _, ss, _ = _axes(box, other, 1)
        facing = -1.0
    along, across = lx * nx + ly * ny, sx * nx + sy * ny
    if abs(along) > abs(across):
        flip = -1.0 if along > 0 else 1.0
        mx, my, ex, ey, half = bx + flip * lx * ll, by + flip * ly * ll, sx, sy, ss
    else:
        flip = -1.0 if across > 0 else 1.0
        mx, my, ex, ey, half = bx + flip * sx * ss, by + flip * sy * ss, lx, ly, ll
    middle, slope = (mx - ax) * tx + (my - ay) * ty, ex * tx + ey * ty
    low, high = -half, half
    if abs(slope) > 1e-9:
        first, second = (-wide - middle) / slope, (wide - middle) / slope
        low, high = max(low, min(first, second)), min(high, max(first, second))
    lean = max((box[4] * nx + box[5] * ny) * facing, 0.0)
    count = 0
    for end in (low, high):
        px, py = mx + ex * end, my + ey * end
        depth = deep - ((px - ax) * nx + (py - ay) * ny)
        if high >= low and depth + lean >= 0:
            points[count, 0], points[count, 1], points[count, 2] = px, py, depth
            points[count, 3], points[count, 4] = nx * facing, ny * facing
            count += 1
    other[COUNT], other[ON_OTHER] = count, 0.0 if mine else 1.0

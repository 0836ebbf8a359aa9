"""Where the ego is along its route: the arithmetic of `harness.engine.route` in compiled form."""

from __future__ import annotations

import math
from typing import Final

from harness.engine.route import SPACING
from harness.fast.fleet import (
    COMPLETION,
    LAST_LONGITUDE,
    LATERAL,
    LONGITUDE,
    POSE_X,
    POSE_Y,
    ROUTE_HEADING,
    ROUTE_RIGHT_X,
    ROUTE_RIGHT_Y,
)
from harness.fast.scenes import (
    BEARING,
    BEFORE,
    DIR_X,
    DIR_Y,
    ENDS,
    ENDS_SLACK,
    RIGHT_X,
    RIGHT_Y,
    SEG_END_X,
    SEG_END_Y,
    SEG_X,
    SEG_Y,
    UNIT_X,
    UNIT_Y,
)
from harness.kernels import Floats, inner, kernel

SHORTEST: Final = 2.0
"""A shorter route leads nowhere, m."""
_SPACING: Final = float(SPACING)


@kernel
def follow(route: Floats, length: float, drive: Floats) -> None:
    """Project the ego on its route.

    Args:
        route: [R, ROUTE] segments of the scene.
        length: The route's, m.
        drive: [DRIVE] with the pose; progress is written.
    """
    x, y = drive[POSE_X], drive[POSE_Y]
    nearest, least = 0, math.inf
    for index in range(len(route)):
        ux, uy = route[index, UNIT_X], route[index, UNIT_Y]
        dx, dy = x - route[index, SEG_X], y - route[index, SEG_Y]
        behind = (x - route[index, SEG_END_X]) * ux + (y - route[index, SEG_END_Y]) * uy
        along = max(max(-(dx * ux + dy * uy), behind), 0.0)
        across = dx * uy - dy * ux
        # Outside of a bend two segments are equally near but for rounding: there the engine may take the other one.
        square = along * along + across * across
        if square < least:
            nearest, least = index, square
    part = route[nearest]
    dx, dy = x - part[SEG_X], y - part[SEG_Y]
    longitude = part[BEFORE] + dx * part[DIR_X] + dy * part[DIR_Y]
    drive[LAST_LONGITUDE], drive[LONGITUDE] = drive[LONGITUDE], longitude
    drive[LATERAL] = dx * part[RIGHT_X] + dy * part[RIGHT_Y]
    drive[COMPLETION] = longitude / length if length >= SHORTEST else math.nan
    drive[ROUTE_HEADING] = route[_first_beyond(route, longitude, ENDS, True), BEARING]
    place = _first_beyond(route, longitude, ENDS_SLACK, False)
    drive[ROUTE_RIGHT_X], drive[ROUTE_RIGHT_Y] = route[place, RIGHT_X], route[place, RIGHT_Y]


@inner
def _first_beyond(route: Floats, longitude: float, column: int, strictly: bool) -> int:
    """First segment that ends beyond (or, not strictly, at) a longitude; the last one where none does."""
    low, high = 0, len(route) - 1
    while low < high:
        middle = (low + high) // 2
        end = route[middle, column]
        if end > longitude or (not strictly and end == longitude):
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def next_mark(longitude: float, last: float) -> int:
    """Row of the way point after the next one."""
    return min(max(int(longitude / _SPACING) + 1, 0), int(last)) + 1

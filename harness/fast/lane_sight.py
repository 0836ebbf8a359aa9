"""What drivers see ahead of them on their way, see `lane_traffic`: others, and lower speed limits."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from harness.fast.lanes import WAY_HEADING, WAY_LIMIT, WAY_X, WAY_Y
from harness.kernels import Floats, Numbers, inlined
from harness.traffic.lane_idm import LOOK, LOOKS_FOR_LIMITS
from harness.traffic.lane_paths import FREE, POINTS, SPACING

(SEEN_X, SEEN_Y, SEEN_COS, SEEN_SIN, SEEN_VX, SEEN_VY, SEEN_LENGTH, SEEN_WIDTH, SEEN_AGENT) = range(9)
"""Columns of somebody whom drivers see: place, cosine and sine of the heading, velocity in the scene's own frame, half
of its box, row among the scene's agents (the ego: -1)."""
SEEN: Final = 9
LOOKS: Final = len(LOOK)
"""At how many places on its way a driver looks."""
LAST: Final = POINTS - 1
"""The last point of a way."""
_LOOK: Final = float(LOOK[1])
_LIMITS: Final = int(LOOKS_FOR_LIMITS)
_BESIDE: Final = 4
"""So many places before and behind one of them are passed over at once where nobody is near."""
_SIGHT: Final = (float(LOOK[-1]) + 10.0) ** 2
_TURN: Final = 2 * math.pi


@inlined
def place_at(ways: Floats, way: int, along: float) -> Numbers:
    """Place and heading at a distance along a way; before its begin, or nowhere (NaN), those of its begin."""
    # Compared so that NaN is no index: nobody looks whether that lies within the way.
    place = min(along / SPACING, LAST - 1e-6) if along > 0.0 else 0.0
    low = int(place)
    ratio = place - low
    turn = ways[way, low + 1, WAY_HEADING] - ways[way, low, WAY_HEADING] + math.pi
    turn -= _TURN * math.floor(turn / _TURN) + math.pi
    return (
        ways[way, low, WAY_X] + ratio * (ways[way, low + 1, WAY_X] - ways[way, low, WAY_X]),
        ways[way, low, WAY_Y] + ratio * (ways[way, low + 1, WAY_Y] - ways[way, low, WAY_Y]),
        ways[way, low, WAY_HEADING] + ratio * turn,
    )


@inlined
def allowed_speed(ways: Floats, way: int, along: float, braking: float) -> float:
    """The speed (m/s) from which a driver can slow down in time for what is allowed further on."""
    least = math.inf
    for look in range(_LIMITS):
        ahead = along + look * _LOOK
        at = int(min(ahead / SPACING, float(LAST))) if ahead > 0.0 else 0
        limit = ways[way, at, WAY_LIMIT]
        least = min(least, limit * limit + 2 * braking * 0.5 * (look * _LOOK))
    return math.sqrt(least)


@inlined
def single(value: float) -> float:
    """A number as float32 holds it."""
    return float(np.float32(value))


@inlined
def look_ahead(
    ways: Floats,
    way: int,
    along: float,
    agent: int,
    half: float,
    wide: float,
    origin_x: float,
    origin_y: float,
    others: Floats,
    count: int,
    looks: Floats,
) -> tuple[float, float]:
    """Free way (m) to the first obstacle on a way, and that obstacle's speed along it.

    Args:
        ways, way, along: The way, and how far the driver has come on it, m.
        agent: The driver.
        half, wide: Half of its length, and of its width with the clearance, m.
        origin_x, origin_y: The scene's origin in its own frame, m.
        others, count: Whom it sees.
        looks: [L, 2] scratch: the places at which it looks.
    """
    stride = 0.0
    for look in range(LOOKS):
        x, y, _ = place_at(ways, way, along + look * _LOOK)
        looks[look, 0], looks[look, 1] = single(x + origin_x), single(y + origin_y)
        if look > 0:
            stride = max(stride, abs(looks[look, 0] - looks[look - 1, 0]) + abs(looks[look, 1] - looks[look - 1, 1]))
    theta = place_at(ways, way, along)[2]
    c, s = math.cos(theta), math.sin(theta)
    gap, leader = FREE, 0.0
    for index in range(count):
        dx, dy = others[index, SEEN_X] - looks[0, 0], others[index, SEEN_Y] - looks[0, 1]
        # Only who is ahead now: nobody brakes for the car that follows.
        if others[index, SEEN_AGENT] == agent or dx * dx + dy * dy >= _SIGHT or c * dx + s * dy <= 0:
            continue
        length, width = others[index, SEEN_LENGTH], others[index, SEEN_WIDTH]
        near = length + width + half + wide
        for first in range(0, LOOKS, 2 * _BESIDE):
            # Whoever is met from here on is no nearer than that.
            if first * _LOOK - 2 * near >= gap:
                break
            last = min(first + 2 * _BESIDE, LOOKS)
            middle, within = min(first + _BESIDE, last - 1), near + _BESIDE * stride
            dx, dy = others[index, SEEN_X] - looks[middle, 0], others[index, SEEN_Y] - looks[middle, 1]
            if dx * dx + dy * dy > within * within:
                continue
            for look in range(first, last):
                dx, dy = others[index, SEEN_X] - looks[look, 0], others[index, SEEN_Y] - looks[look, 1]
                if dx * dx + dy * dy <= near * near:
                    free, speed = _met(ways, way, along + look * _LOOK, others, index, dx, dy, half, wide)
                    if free + look * _LOOK < gap:
                        gap, leader = free + look * _LOOK, speed
    return gap, max(leader, 0.0)


@inlined
def _met(
    ways: Floats, way: int, along: float, others: Floats, index: int, dx: float, dy: float, half: float, wide: float
) -> tuple[float, float]:
    """Free way (m) from the place of a look to somebody's box, infinite if it is not met, and its speed along the way.

    dx and dy lead from that place to the box.
    """
    theta = place_at(ways, way, along)[2]
    c, s = math.cos(theta), math.sin(theta)
    ahead, across = c * dx + s * dy, abs(c * dy - s * dx)
    length, width = others[index, SEEN_LENGTH], others[index, SEEN_WIDTH]
    if across >= length + width + wide:
        return math.inf, 0.0
    cosine = abs(others[index, SEEN_COS] * c + others[index, SEEN_SIN] * s)
    sine = abs(others[index, SEEN_SIN] * c - others[index, SEEN_COS] * s)
    reach, aside = cosine * length + sine * width, sine * length + cosine * width
    if across < aside + wide and abs(ahead) < reach + half:
        return ahead - reach - half, c * others[index, SEEN_VX] + s * others[index, SEEN_VY]
    return math.inf, 0.0

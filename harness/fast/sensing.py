"""The observation, number for number as `harness.engine.sensing.Sensors` lays it out."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from harness.engine.route import POINTS, REACH
from harness.fast import bodies
from harness.fast.fleet import (
    FORWARD_X,
    FORWARD_Y,
    LAST_X,
    LAST_Y,
    LATERAL,
    LONGITUDE,
    NOW_X,
    NOW_Y,
    POSE_THETA,
    POSE_X,
    POSE_Y,
    RIGHT_X,
    RIGHT_Y,
    ROUTE_HEADING,
    ROUTE_RIGHT_X,
    ROUTE_RIGHT_Y,
    STEERING,
    THROTTLE,
    Fleet,
    Rules,
)
from harness.fast.progress import next_mark
from harness.fast.rays import cast, cast_fan
from harness.fast.scenes import ALL_LINES, BROKEN_LINES, CONTINUOUS, LAST_MARK, Scenes
from harness.fast.traffic import (
    BODY_TABLE,
    HERE_BODY,
    HERE_DISTANCE,
    HERE_THETA,
    HERE_VX,
    HERE_VY,
    HERE_X,
    HERE_Y,
)
from harness.fast.vehicle import MAX_SPEED, VX, VY
from harness.kernels import Cells, Floats, Numbers, Singles, inlined, inner, kernel

_TURN: Final = 2 * math.pi
_STEERING_SCALE: Final = 60.0
_LANE_WIDTH: Final = 4.5
_REACH: Final = float(REACH)
_AHEAD: Final = POINTS - 1
_TOP_KM_H: Final = MAX_SPEED * 3.6
_MARGIN: Final = 0.01
"""Share of the space between lidar rays by which a body is looked for too far."""
_SPANS: Final = np.hypot(BODY_TABLE[:, bodies.HALF_LENGTH], BODY_TABLE[:, bodies.HALF_WIDTH])
"""Distance of a body's corners from its middle, m."""


@inlined
def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)


@kernel
def observe(scenes: Scenes, fleet: Fleet, e: int, rules: Rules, here: Floats, count: int) -> None:
    """Write the observation of one environment.

    Args:
        scenes, fleet, rules: Everything.
        e: The environment.
        here, count: Who is present, see `traffic.advance`.
    """
    values = fleet.observation[e]
    scene, drive = fleet.scene[e], fleet.drive[e]
    grid = scenes.grid[scene]
    cells = scenes.cells[scenes.cell_of[scene] : scenes.cell_of[scene + 1]]
    lines = scenes.lines[scenes.line_of[scene] : scenes.line_of[scene + 1]]
    if rules.side > 0:
        x, y, dx, dy = drive[POSE_X], drive[POSE_Y], -drive[NOW_Y], drive[NOW_X]
        cast_fan(grid, cells, lines, x, y, dx, dy, rules.distance, CONTINUOUS, values, 0, rules.side)
        place = rules.side
    else:
        values[0] = values[1] = 0.0
        place = 2
    place = _driving(fleet, e, values, place)
    if rules.lane_line_rays > 0:
        _lane_rays(grid, cells, lines, drive, rules, values, place)
        place += rules.lane_line_rays
    else:
        values[place] = _unit((fleet.drive[e, LATERAL] * 2 / _LANE_WIDTH + 1) / 2)
        place += 1
    place = _navigation(scenes, fleet, e, rules.offset_scale, values, place)
    place = _neighbours(fleet, e, rules, here, count, values, place)
    cast_bodies(drive, here, count, rules.lidar, rules.distance, values, place)


@inner
def _lane_rays(
    grid: Floats, cells: Cells, lines: Floats, drive: Floats, rules: Rules, values: Singles, place: int
) -> None:
    """Rays against all lines, the first to the left; values[: rules.side] are those against continuous ones."""
    rays, side = rules.lane_line_rays, rules.side
    x, y, dx, dy = drive[POSE_X], drive[POSE_Y], -drive[NOW_Y], drive[NOW_X]
    c, s = math.cos(_TURN / rays), math.sin(_TURN / rays)
    for index in range(rays):
        if side > 0 and index * side % rays == 0:
            # The same ray has been cast already: only a broken line before its hit is left to be found.
            near = values[index * side // rays]
            values[place + index] = near * cast(grid, cells, lines, x, y, dx, dy, rules.distance * near, BROKEN_LINES)
        else:
            values[place + index] = cast(grid, cells, lines, x, y, dx, dy, rules.distance, ALL_LINES)
        dx, dy = dx * c - dy * s, dx * s + dy * c


@inner
def _driving(fleet: Fleet, e: int, values: Singles, place: int) -> int:
    """Heading error, speed, steering, last action, yaw rate."""
    drive, body = fleet.drive[e], fleet.body[e]
    rx, ry = drive[ROUTE_RIGHT_X], drive[ROUTE_RIGHT_Y]
    size = math.hypot(rx, ry)
    cosine = (drive[NOW_X] * rx + drive[NOW_Y] * ry) / size if size > 0 else -1.0
    speed = math.hypot(body[VX], body[VY]) * 3.6
    turned = drive[NOW_X] * drive[LAST_X] + drive[NOW_Y] * drive[LAST_Y]
    values[place] = min(max(cosine, -1.0), 1.0) / 2 + 0.5
    values[place + 1] = _unit((speed + 1) / (_TOP_KM_H + 1))
    values[place + 2] = _unit((drive[STEERING] / _STEERING_SCALE + 1) / 2)
    values[place + 3] = _unit((drive[STEERING] + 1) / 2)
    values[place + 4] = _unit((drive[THROTTLE] + 1) / 2)
    values[place + 5] = _unit(math.acos(min(max(turned, 0.0), 1.0)) / 0.1)
    return place + 6


@inner
def _navigation(scenes: Scenes, fleet: Fleet, e: int, scale: float, values: Singles, place: int) -> int:
    """Nine way points (ahead, twice: stock's own fault), offset, heading error, two zeros."""
    scene, drive = fleet.scene[e], fleet.drive[e]
    first = scenes.mark_of[scene] + next_mark(drive[LONGITUDE], scenes.facts[scene, LAST_MARK])
    for index in range(_AHEAD):
        dx, dy = scenes.marks[first + index, 0] - drive[POSE_X], scenes.marks[first + index, 1] - drive[POSE_Y]
        far = math.sqrt(dx * dx + dy * dy)
        shorter = _REACH / far if far > _REACH else 1.0
        ahead = (dx * drive[FORWARD_X] + dy * drive[FORWARD_Y]) * shorter
        values[place + 2 * index] = values[place + 2 * index + 1] = _unit((ahead / _REACH + 1) / 2)
    place += 2 * _AHEAD
    error = (drive[ROUTE_HEADING] - drive[POSE_THETA]) % _TURN
    if error > math.pi:
        error -= _TURN
    values[place] = _unit((drive[LATERAL] / scale + 1) / 2)
    values[place + 1] = _unit((error / math.pi + 1) / 2)
    values[place + 2] = values[place + 3] = 0.0
    return place + 4


@inner
def _gap(drive: Floats, here: Floats, index: int, kind: int) -> float:
    """Distance from the ego's origin to the nearest point of a box, m."""
    dx, dy = drive[POSE_X] - here[index, HERE_X], drive[POSE_Y] - here[index, HERE_Y]
    c, s = math.cos(here[index, HERE_THETA]), math.sin(here[index, HERE_THETA])
    along = abs(c * dx + s * dy) - BODY_TABLE[kind, bodies.HALF_LENGTH]
    across = abs(c * dy - s * dx) - BODY_TABLE[kind, bodies.HALF_WIDTH]
    return math.hypot(max(along, 0.0), max(across, 0.0))


@inner
def _neighbours(fleet: Fleet, e: int, rules: Rules, here: Floats, count: int, values: Singles, place: int) -> int:
    """The nearest vehicles: ahead, left, relative velocity ahead and left."""
    drive, own = fleet.drive[e], fleet.body[e]
    for index in range(4 * rules.others):
        values[place + index] = 0.0
    last = -1.0
    previous = -1
    for slot in range(rules.others):
        best, least = -1, math.inf
        for index in range(count):
            distance, kind = here[index, HERE_DISTANCE], int(here[index, HERE_BODY])
            if distance >= least or distance < last or (distance == last and index <= previous):
                continue
            if BODY_TABLE[kind, bodies.CLASS] != bodies.VEHICLE:
                continue
            if distance <= rules.distance or _gap(drive, here, index, kind) <= rules.distance:
                best, least = index, distance
        if best < 0:
            break
        last, previous = least, best
        at = place + 4 * slot
        dx, dy = here[best, HERE_X] - drive[POSE_X], here[best, HERE_Y] - drive[POSE_Y]
        vx, vy = (here[best, HERE_VX] - own[VX]) * 3.6, (here[best, HERE_VY] - own[VY]) * 3.6
        fx, fy, rx, ry = drive[FORWARD_X], drive[FORWARD_Y], drive[RIGHT_X], drive[RIGHT_Y]
        values[at] = _unit(((dx * fx + dy * fy) / rules.distance + 1) / 2)
        values[at + 1] = _unit((-(dx * rx + dy * ry) / rules.distance + 1) / 2)
        values[at + 2] = _unit(((vx * fx + vy * fy) / _TOP_KM_H + 1) / 2)
        values[at + 3] = _unit((-(vx * rx + vy * ry) / _TOP_KM_H + 1) / 2)
    return place + 4 * rules.others


@kernel
def cast_bodies(drive: Floats, here: Floats, count: int, rays: int, reach: float, values: Singles, place: int) -> None:
    """Rays against bodies, the first ahead; each body is tried against the rays that can meet it.

    Args:
        drive: [DRIVE] of the ego.
        here, count: Who is present.
        rays, reach: How many rays, and how long they are (m).
        values: values[place : place + rays] are written: distances as a share of the reach, 1 where nothing is met.
        place: See there.
    """
    if rays == 0:
        return
    values[place : place + rays] = 1.0
    spacing = _TURN / rays
    turn_c, turn_s = math.cos(spacing), math.sin(spacing)
    for number in range(count):
        kind, distance = int(here[number, HERE_BODY]), here[number, HERE_DISTANCE]
        span = _SPANS[kind]
        if distance > reach + span + 1:
            continue
        dx, dy = here[number, HERE_X] - drive[POSE_X], here[number, HERE_Y] - drive[POSE_Y]
        middle = math.atan2(dy, dx) - drive[POSE_THETA]
        half = math.pi if distance <= span else math.asin(span / distance)
        first = math.ceil((middle - half) / spacing - _MARGIN)
        last = min(math.floor((middle + half) / spacing + _MARGIN), first + rays - 1)
        theta = here[number, HERE_THETA] + (_TURN / 4 if BODY_TABLE[kind, bodies.TURNED] > 0 else 0.0)
        c, s = math.cos(theta), math.sin(theta)
        angle = first * spacing + drive[POSE_THETA]
        rx, ry = math.cos(angle), math.sin(angle)
        for index in range(first, last + 1):
            hit = _meets_body(kind, dx, dy, c, s, rx, ry) / reach
            ray = place + index % rays
            if hit < values[ray]:
                values[ray] = hit
            rx, ry = rx * turn_c - ry * turn_s, rx * turn_s + ry * turn_c


@inlined
def _meets_body(kind: int, dx: float, dy: float, c: float, s: float, rx: float, ry: float) -> float:
    """Distance (m) along a ray from the ego at which it enters a body at dx, dy; infinity where it does not.

    c and s are the cosine and sine of the body's heading, rx and ry the ray's direction.
    """
    # The ray's start and direction in the body's frame.
    x, y, ex, ey = -dx * c - dy * s, dx * s - dy * c, rx * c + ry * s, ry * c - rx * s
    half = BODY_TABLE[kind, bodies.HALF_LENGTH]
    if BODY_TABLE[kind, bodies.CYLINDER] > 0:
        towards, square = x * ex + y * ey, x * x + y * y - half * half
        inside = towards * towards - square
        if square < 0 or towards > 0 or inside < 0:
            return math.inf
        return -towards - math.sqrt(inside)
    enter, leave = _slab(x, ex, half)
    enter_across, leave_across = _slab(y, ey, BODY_TABLE[kind, bodies.HALF_WIDTH])
    enter, leave = max(enter, enter_across), min(leave, leave_across)
    return enter if 0 < enter <= leave else math.inf


@inlined
def _slab(place: float, rate: float, half: float) -> Numbers:
    """Where a ray enters and leaves the space between two planes."""
    if rate == 0:
        return (-math.inf, math.inf) if abs(place) <= half else (math.inf, -math.inf)
    first, second = (-half - place) / rate, (half - place) / rate
    return min(first, second), max(first, second)

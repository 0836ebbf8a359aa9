"""The observation `route`: what a driver needs to follow a route among others, in the ego's own frame.

Everything is scaled to about [-1, 1] and clipped there; "ahead" and "left" are the ego's axes. Both engines fill it
from the same kernel, so that it is the same function of the same state.

| numbers | what | scale |
|---|---|---|
| 0–2 | speed ahead, speed to the left, yaw rate | 25 m/s, 5 m/s, 1.5 rad/s |
| 3–5 | steering of this and of the step before, throttle | as given |
| 6–7 | offset from the route, left positive | 12 m, 3 m |
| 8–9 | sine and cosine of the heading error | |
| 10–11 | route left | 100 m, 20 m |
| 12 | time left | 9 s |
| 13–14 | speed needed to arrive in time, own speed less that | 25 m/s, 10 m/s |
| 15–16 | engine force, brake of the car, less their means | 50 N, 50 N s |
| 17 | completion of the route | |
| 18–39 | 11 way points, 2 to 40 m further along the route: ahead, left | 40 m |
| 40–87 | 24 rays to continuous yellow lines, 24 to white ones, from the left on anticlockwise: 1 - distance | 30 m |
| 88–123 | 36 rays to bodies, from ahead on anticlockwise: 1 - distance | 50 m |
| 124–235 | 8 vehicles, the one that will come closest first; 14 numbers each, see `_vehicle` | |
| 236–247 | room to the yellow line right and left of 6 way points, 2 to 30 m further along | 10 m |
| 248–251 | room to the yellow line beside the corners: front left, front right, rear left, rear right | 5 m |
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from harness.engine.config import ROUTE_VIEW_SIZE
from harness.fast import bodies
from harness.fast.fleet import (
    COMPLETION,
    LAST_STEERING,
    LATERAL,
    LONGITUDE,
    NOW_X,
    NOW_Y,
    POSE_THETA,
    POSE_X,
    POSE_Y,
    ROUTE_HEADING,
    STEERING,
    THROTTLE,
    Fleet,
)
from harness.fast.rays import cast, cast_fan
from harness.fast.scenes import (
    BEFORE,
    BRAKE,
    DIR_X,
    DIR_Y,
    ENGINE,
    LENGTH_M,
    SEG_X,
    SEG_Y,
    WHITE_LINES,
    YELLOW_LINES,
    Scenes,
)
from harness.fast.sensing import cast_bodies
from harness.fast.traffic import (
    BODY_TABLE,
    HERE_AGENT,
    HERE_BODY,
    HERE_NEARNESS,
    HERE_PULL,
    HERE_THETA,
    HERE_TURN,
    HERE_VX,
    HERE_VY,
    HERE_X,
    HERE_Y,
)
from harness.fast.vehicle import LENGTH, OZ, STEP, VX, VY, WIDTH
from harness.kernels import Cells, Floats, Numbers, Singles, inlined, inner, kernel

SIZE: Final = ROUTE_VIEW_SIZE
WAYS: Final = np.array([2.0, 4.0, 7.0, 10.0, 14.0, 18.0, 22.0, 26.0, 30.0, 35.0, 40.0])
CORRIDOR: Final = np.array([2.0, 6.0, 10.0, 16.0, 22.0, 30.0])
"""Distances along the route of the way points and of the places where the road's width is measured, m."""
LINE_RAYS: Final = 24
LINE_REACH: Final = 30.0
BODY_RAYS: Final = 36
BODY_REACH: Final = 50.0
VEHICLES: Final = 8
VEHICLE: Final = 14
LOOK_AHEAD: Final = 5.0
"""How far ahead the closest approach of two straight drives is looked for, s."""
ROOM: Final = 10.0
BESIDE: Final = 5.0
_OUT_OF_SIGHT: Final = 80.0


@inlined
def _clip(value: float) -> float:
    return min(max(value, -1.0), 1.0)


@kernel
def observe_route(scenes: Scenes, fleet: Fleet, e: int, here: Floats, count: int) -> None:
    """Write the observation of one environment; see the module for what each number is."""
    scene, drive, values = fleet.scene[e], fleet.drive[e], fleet.observation[e]
    route = scenes.route[scenes.route_of[scene] : scenes.route_of[scene + 1]]
    cells = scenes.cells[scenes.cell_of[scene] : scenes.cell_of[scene + 1]]
    lines, grid = scenes.lines[scenes.line_of[scene] : scenes.line_of[scene + 1]], scenes.grid[scene]
    _own(scenes.facts[scene], drive, fleet.body[e], (fleet.horizon[e] - fleet.step[e]) * STEP, values)
    rays = place = _ways(route, drive, values, 18)
    for kinds in (YELLOW_LINES, WHITE_LINES):
        x, y, dx, dy = drive[POSE_X], drive[POSE_Y], -drive[NOW_Y], drive[NOW_X]
        cast_fan(grid, cells, lines, x, y, dx, dy, LINE_REACH, kinds, values, place, LINE_RAYS)
        place += LINE_RAYS
    cast_bodies(drive, here, count, BODY_RAYS, BODY_REACH, values, place)
    place += BODY_RAYS
    for index in range(rays, place):
        values[index] = 1.0 - values[index]
    place = _vehicles(scenes, fleet, e, here, count, values, place)
    place = _corridor(route, drive, grid, cells, lines, values, place)
    _beside(drive, grid, cells, lines, values, place)


@inner
def _own(facts: Floats, drive: Floats, body: Floats, time: float, values: Singles) -> None:
    """The ego: motion, action, where it is on its route, what its car can do; `time` left, s."""
    fx, fy = drive[NOW_X], drive[NOW_Y]
    ahead, left = body[VX] * fx + body[VY] * fy, body[VY] * fx - body[VX] * fy
    error = drive[ROUTE_HEADING] - drive[POSE_THETA]
    remaining = max(facts[LENGTH_M] - drive[LONGITUDE], 0.0)
    needed = remaining / max(time, STEP)
    completion = drive[COMPLETION]
    values[0], values[1], values[2] = _clip(ahead / 25), _clip(left / 5), _clip(body[OZ] / 1.5)
    values[3], values[4], values[5] = drive[STEERING], drive[LAST_STEERING], drive[THROTTLE]
    # MetaDrive's lateral offset is positive to the right.
    values[6], values[7] = _clip(-drive[LATERAL] / 12), _clip(-drive[LATERAL] / 3)
    values[8], values[9] = math.sin(error), math.cos(error)
    values[10], values[11], values[12] = _clip(remaining / 100), _clip(remaining / 20), _clip(time / 9)
    values[13], values[14] = _clip(needed / 25), _clip((ahead - needed) / 10)
    values[15], values[16] = _clip((facts[ENGINE] - 800) / 50), _clip((facts[BRAKE] - 130) / 50)
    values[17] = _clip(completion) if completion == completion else 0.0


@inner
def _segment(route: Floats, longitude: float) -> int:
    """The segment of the route at a longitude (m)."""
    low, high = 0, len(route) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if route[middle, BEFORE] <= longitude:
            low = middle
        else:
            high = middle - 1
    return low


@inlined
def _along(route: Floats, longitude: float, part: int) -> tuple[int, float, float]:
    """Segment and place on the route at a longitude (m) not before segment `part`, beyond the ends straight on."""
    while part + 1 < len(route) and route[part + 1, BEFORE] <= longitude:
        part += 1
    rest = longitude - route[part, BEFORE]
    return part, route[part, SEG_X] + rest * route[part, DIR_X], route[part, SEG_Y] + rest * route[part, DIR_Y]


@inner
def _ways(route: Floats, drive: Floats, values: Singles, place: int) -> int:
    fx, fy = drive[NOW_X], drive[NOW_Y]
    part = _segment(route, drive[LONGITUDE])
    for index in range(len(WAYS)):
        part, x, y = _along(route, drive[LONGITUDE] + WAYS[index], part)
        dx, dy = x - drive[POSE_X], y - drive[POSE_Y]
        values[place + 2 * index] = _clip((dx * fx + dy * fy) / 40)
        values[place + 2 * index + 1] = _clip((dy * fx - dx * fy) / 40)
    return place + 2 * len(WAYS)


@inner
def _corridor(
    route: Floats, drive: Floats, grid: Floats, cells: Cells, lines: Floats, values: Singles, place: int
) -> int:
    """Room right and left of the route further on."""
    part = _segment(route, drive[LONGITUDE])
    for index in range(2 * len(CORRIDOR)):
        part, x, y = _along(route, drive[LONGITUDE] + CORRIDOR[index // 2], part)
        side = 1.0 if index % 2 == 0 else -1.0
        dx, dy = side * route[part, DIR_Y], -side * route[part, DIR_X]
        values[place + index] = cast(grid, cells, lines, x, y, dx, dy, ROOM, YELLOW_LINES)
    return place + 2 * len(CORRIDOR)


@inner
def _beside(drive: Floats, grid: Floats, cells: Cells, lines: Floats, values: Singles, place: int) -> None:
    """Room beside the corners of the car."""
    fx, fy = drive[NOW_X], drive[NOW_Y]
    for index in range(4):
        along = 0.5 * LENGTH if index < 2 else -0.5 * LENGTH
        side = 1.0 if index % 2 == 0 else -1.0
        aside = 0.5 * WIDTH * side
        x, y = drive[POSE_X] + along * fx - aside * fy, drive[POSE_Y] + along * fy + aside * fx
        values[place + index] = cast(grid, cells, lines, x, y, -side * fy, side * fx, BESIDE, YELLOW_LINES)


@inner
def _approach(drive: Floats, own: Floats, here: Floats, index: int) -> Numbers:
    """When (s, from now on) and how near (m) somebody comes if both drive straight on, within the time looked ahead."""
    dx, dy = here[index, HERE_X] - drive[POSE_X], here[index, HERE_Y] - drive[POSE_Y]
    vx, vy = here[index, HERE_VX] - own[VX], here[index, HERE_VY] - own[VY]
    square = vx * vx + vy * vy
    time = min(max(-(dx * vx + dy * vy) / square, 0.0), LOOK_AHEAD) if square > 1e-6 else 0.0
    dx, dy = dx + time * vx, dy + time * vy
    return time, math.sqrt(dx * dx + dy * dy)


@inner
def _vehicles(scenes: Scenes, fleet: Fleet, e: int, here: Floats, count: int, values: Singles, place: int) -> int:
    """The vehicles that will come closest; zeros where there are fewer."""
    drive, own, first = fleet.drive[e], fleet.body[e], scenes.agent_of[fleet.scene[e]]
    for index in range(VEHICLES * VEHICLE):
        values[place + index] = 0.0
    for index in range(count):
        here[index, HERE_NEARNESS] = math.inf
        dx, dy = here[index, HERE_X] - drive[POSE_X], here[index, HERE_Y] - drive[POSE_Y]
        square = dx * dx + dy * dy
        vehicle = BODY_TABLE[int(here[index, HERE_BODY]), bodies.CLASS] == bodies.VEHICLE
        if vehicle and square <= _OUT_OF_SIGHT * _OUT_OF_SIGHT:
            # The nearer now, the better, among those that come equally close.
            here[index, HERE_NEARNESS] = _approach(drive, own, here, index)[1] + 0.1 * math.sqrt(square)
    for slot in range(VEHICLES):
        best, least = -1, math.inf
        for index in range(count):
            if here[index, HERE_NEARNESS] < least:
                best, least = index, here[index, HERE_NEARNESS]
        if best < 0:
            break
        here[best, HERE_NEARNESS] = math.inf
        agent = first + int(here[best, HERE_AGENT])
        _vehicle(drive, own, here, best, scenes.sizes[agent, 0], scenes.sizes[agent, 1], values, place + slot * VEHICLE)
    return place + VEHICLES * VEHICLE


@inner
def _vehicle(
    drive: Floats, own: Floats, here: Floats, index: int, length: float, width: float, values: Singles, place: int
) -> None:
    """One vehicle: 1; place ahead and left (50 m); sine and cosine of its heading; velocity relative to the ego ahead
    and left (20 m/s); length (10 m), width (4 m); turn rate (1 rad/s), change of speed (5 m/s²); time (5 s) and
    distance (20 m) of the closest approach; distance now (50 m).
    """
    fx, fy = drive[NOW_X], drive[NOW_Y]
    dx, dy = here[index, HERE_X] - drive[POSE_X], here[index, HERE_Y] - drive[POSE_Y]
    vx, vy = here[index, HERE_VX] - own[VX], here[index, HERE_VY] - own[VY]
    turned = here[index, HERE_THETA] - drive[POSE_THETA]
    time, distance = _approach(drive, own, here, index)
    values[place] = 1.0
    values[place + 1], values[place + 2] = _clip((dx * fx + dy * fy) / 50), _clip((dy * fx - dx * fy) / 50)
    values[place + 3], values[place + 4] = math.sin(turned), math.cos(turned)
    values[place + 5], values[place + 6] = _clip((vx * fx + vy * fy) / 20), _clip((vy * fx - vx * fy) / 20)
    values[place + 7], values[place + 8] = _clip(length / 10), _clip(width / 4)
    values[place + 9], values[place + 10] = _clip(here[index, HERE_TURN]), _clip(here[index, HERE_PULL] / 5)
    values[place + 11], values[place + 12] = time / LOOK_AHEAD, _clip(distance / 20)
    values[place + 13] = _clip(math.sqrt(dx * dx + dy * dy) / 50)

"""One step of many environments, and their beginnings: the order in which everything happens.

What makes this a copy of `GauntletEnv`, and not only like it:

1. Nothing is drawn in here, but by vehicles that drive by themselves (`lane_traffic`). The ego's engine and brakes
   follow from the scene's id (`harness.engine.ego.forces_of`, in `Scenes.facts`); scene, start and plan are chosen by
   whoever gives `Play`s.
2. A step begins with the action: it is clipped, and sets steering, force and brake for all five ticks by the velocity
   at that moment (`controls`), so that the engine's speed limit is looked at once a step.
3. A tick is gravity, the ground under the box (in an episode's first `TOUCHING_STEPS` steps only), contacts with others
   at the pose from before the tick, the others' own motion, the ego's motion, then suspension and tyres at the pose
   from after it. Bullet solves the ground and the others together; here the ground comes first, which only a car that
   begins in contact could tell.
4. What Panda3D shows is the pose before the last tick's motion, and the velocity after it. Route, presence, distances,
   boxes, observation and record go by that late pose; contacts and lines under the car by the true one.
5. A contact counts if it is there in one of six looks: at the pose before each tick and at the last true pose.
6. Others stand on row k of log or plan after step k. Those who are then within `TOUCH_RANGE` get bodies, which slide
   from there during step k + 1 (`Scene.motion` on the log, their own velocity on a plan) and are put on row k + 1 when
   its ticks are over: what pushed them is forgotten.
7. After the ticks: pose, route, lines, contacts, then traffic moves on (appearing and leaving by the ego's new pose),
   boxes are compared, the step is observed and judged. Flags are of this step alone.
8. An episode begins with the box on the ground, wheels straight, no memory of contacts, and the logged pose and
   velocity of its start. The route is looked up twice, nobody is near yet, and who is there appears as at any step:
   those too close to the ego wait. Only at the log's first step may the opponent stand where the ego is.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np

from harness.fast import bodies
from harness.fast.contacts import meet, still_touching
from harness.fast.fleet import (
    CRASH_HUMAN,
    CRASH_OBJECT,
    CRASH_VEHICLE,
    FORWARD_X,
    FORWARD_Y,
    GEOMETRY,
    GEOMETRY_OPPONENT,
    LAST_STEERING,
    LAST_THROTTLE,
    LAST_X,
    LAST_Y,
    NEAR,
    NOW_X,
    NOW_Y,
    ON_BROKEN,
    ON_WHITE,
    ON_YELLOW,
    PAST_STEP,
    POSE_THETA,
    POSE_X,
    POSE_Y,
    RIGHT_X,
    RIGHT_Y,
    STEERING,
    THROTTLE,
    TOUCHED_OPPONENT,
    UNSOUND,
    Fleet,
    Rules,
)
from harness.fast.ground import TOUCHING_STEPS, bear
from harness.fast.judging import judge
from harness.fast.lane_traffic import LaneTraffic, advance_lanes, begin_driving
from harness.fast.overlap import AGENT, KIND, TOUCHED
from harness.fast.progress import follow
from harness.fast.rays import lines_under
from harness.fast.route_view import observe_route
from harness.fast.scenes import (
    BRAKE,
    BROKEN,
    ENGINE,
    LENGTH_M,
    OPPONENT,
    START_HEADING,
    START_VX,
    START_VY,
    START_X,
    START_Y,
    WHITE,
    YELLOW,
    Scenes,
)
from harness.fast.sensing import observe
from harness.fast.traffic import HERE, HERE_AGENT, advance, approach, boxes_meet
from harness.fast.vehicle import (
    LENGTH,
    QW,
    QX,
    QY,
    QZ,
    TICKS,
    WHEEL,
    WIDTH,
    X,
    Y,
    controls,
    fall,
    move,
    place,
    push,
    rotation_of,
    stand,
)
from harness.kernels import Floats, Ints, inner, kernel

_SPAN: Final = 0.5 * math.hypot(LENGTH, WIDTH)


@kernel
def step_range(
    scenes: Scenes, fleet: Fleet, rules: Rules, lanes: LaneTraffic | None, actions: Floats, first: int, last: int
) -> None:
    """Advance the environments first … last - 1 by 0.1 s.

    Args:
        scenes, fleet, rules: Everything.
        lanes: Who leaves the log, or None.
        actions: [N, 2] steering and throttle in [-1, 1].
        first, last: Which environments.
    """
    points, wheels, pose = np.empty((NEAR, 2, 5)), np.zeros((4, WHEEL)), np.empty(6)
    here = np.empty((fleet.seen.shape[1], HERE))
    for e in range(first, last):
        steering, throttle = min(max(actions[e, 0], -1.0), 1.0), min(max(actions[e, 1], -1.0), 1.0)
        drive = fleet.drive[e]
        drive[LAST_X], drive[LAST_Y] = drive[NOW_X], drive[NOW_Y]
        drive[LAST_STEERING], drive[LAST_THROTTLE] = drive[STEERING], drive[THROTTLE]
        drive[STEERING], drive[THROTTLE] = steering, throttle
        fleet.flags[e] = False
        _simulate(scenes, fleet, e, steering, throttle, points, wheels, pose)
        fleet.step[e] += 1
        _finish(scenes, fleet, e, rules, lanes, pose, here)
        judge(fleet, e, rules, scenes.facts[fleet.scene[e], LENGTH_M])


@inner
def _simulate(
    scenes: Scenes, fleet: Fleet, e: int, steering: float, throttle: float, points: Floats, wheels: Floats, pose: Floats
) -> None:
    """Five ticks of physics; `pose` [6] is the pose before the last tick's motion."""
    body, facts = fleet.body[e], scenes.facts[fleet.scene[e]]
    angle, force, brake = controls(body, steering, throttle, facts[ENGINE], facts[BRAKE])
    others, count = fleet.near[e], fleet.near_count[e]
    for tick in range(TICKS):
        if tick == TICKS - 1:
            pose[0], pose[1] = body[X], body[Y]
            pose[2], pose[3], pose[4], pose[5] = body[QW], body[QX], body[QY], body[QZ]
        fall(body)
        if fleet.step[e] - fleet.start[e] < TOUCHING_STEPS:
            bear(body, fleet.corners[e])
        if count > 0:
            r = rotation_of(body[QW], body[QX], body[QY], body[QZ])
            meet(body, r, others, count, points, fleet.memory[e])
        move(body)
        push(body, angle, force, brake, wheels)
    if count > 0:
        still_touching(body, rotation_of(body[QW], body[QX], body[QY], body[QZ]), others, count)


@inner
def _read(drive: Floats, pose: Floats) -> None:
    """What Panda3D shows of a pose [6] (x, y, quaternion)."""
    r = rotation_of(pose[2], pose[3], pose[4], pose[5])
    size = math.hypot(r[1], r[4])
    drive[POSE_X], drive[POSE_Y], drive[POSE_THETA] = pose[0], pose[1], math.atan2(r[4], r[1])
    drive[FORWARD_X], drive[FORWARD_Y], drive[RIGHT_X], drive[RIGHT_Y] = r[1], r[4], r[0], r[3]
    drive[NOW_X], drive[NOW_Y] = r[1] / size, r[4] / size


@inner
def _finish(
    scenes: Scenes, fleet: Fleet, e: int, rules: Rules, lanes: LaneTraffic | None, pose: Floats, here: Floats
) -> None:
    """Everything after the physics, up to the observation."""
    scene, drive, flags = fleet.scene[e], fleet.drive[e], fleet.flags[e]
    _read(drive, pose)
    route = scenes.route[scenes.route_of[scene] : scenes.route_of[scene + 1]]
    follow(route, scenes.facts[scene, LENGTH_M], drive)
    _stand_on(scenes, fleet, e)
    opponent = int(scenes.facts[scene, OPPONENT])
    for index in range(fleet.near_count[e]):
        if fleet.near[e, index, TOUCHED] > 0:
            flags[TOUCHED_OPPONENT] |= int(fleet.near[e, index, AGENT]) == opponent
            kind = int(fleet.near[e, index, KIND])
            flags[CRASH_VEHICLE] |= kind == bodies.VEHICLE
            flags[CRASH_HUMAN] |= kind == bodies.HUMAN
            flags[CRASH_OBJECT] |= kind == bodies.OBJECT
    flags[UNSOUND] = not stand(fleet.body[e])
    count = _move_others(scenes, fleet, lanes, e, rules.filter_overlapping, here)
    approach(scenes, fleet, e, here, count)
    _compare_boxes(scenes, fleet, e, here, count)
    _sense(scenes, fleet, e, rules, here, count, rules.route)


@inner
def _move_others(scenes: Scenes, fleet: Fleet, lanes: LaneTraffic | None, e: int, filtered: bool, here: Floats) -> int:
    """Everybody else; returns how many are present. What an argument that is None rules out is not even compiled."""
    if lanes is None:
        return advance(scenes, fleet, e, filtered, here)
    return advance_lanes(scenes, fleet, lanes, e, filtered, here)


@inner
def _sense(
    scenes: Scenes, fleet: Fleet, e: int, rules: Rules, here: Floats, count: int, route: Literal[True] | None
) -> None:
    """The observation."""
    if route is None:
        observe(scenes, fleet, e, rules, here, count)
    else:
        observe_route(scenes, fleet, e, here, count)


@inner
def _stand_on(scenes: Scenes, fleet: Fleet, e: int) -> None:
    """Lines under the ego's true pose."""
    scene, body, flags = fleet.scene[e], fleet.body[e], fleet.flags[e]
    r = rotation_of(body[QW], body[QX], body[QY], body[QZ])
    size = math.hypot(r[1], r[4])
    found = lines_under(
        scenes.grid[scene],
        scenes.cells[scenes.cell_of[scene] : scenes.cell_of[scene + 1]],
        scenes.lines[scenes.line_of[scene] : scenes.line_of[scene + 1]],
        body[X],
        body[Y],
        r[1] / size,
        r[4] / size,
    )
    flags[ON_WHITE] = (found & 1 << WHITE) > 0
    flags[ON_YELLOW] = (found & 1 << YELLOW) > 0
    flags[ON_BROKEN] = (found & 1 << BROKEN) > 0


@inner
def _compare_boxes(scenes: Scenes, fleet: Fleet, e: int, here: Floats, count: int) -> None:
    """Whether the ego's box (late pose, simulated size) meets a vehicle's, or the opponent's, of its logged size."""
    scene, flags, drive = fleet.scene[e], fleet.flags[e], fleet.drive[e]
    first, opponent = scenes.agent_of[scene], int(scenes.facts[scene, OPPONENT])
    for index in range(count):
        agent = int(here[index, HERE_AGENT])
        length, width = scenes.sizes[first + agent, 0], scenes.sizes[first + agent, 1]
        counts = scenes.vehicle[first + agent] or agent == opponent
        if counts and boxes_meet(drive, LENGTH, WIDTH, here, index, length, width):
            flags[GEOMETRY] = True
            flags[GEOMETRY_OPPONENT] |= agent == opponent


@kernel
def begin(scenes: Scenes, fleet: Fleet, rules: Rules, lanes: LaneTraffic | None, which: Ints) -> None:
    """Begin episodes in the environments `which` [K].

    Their scene, start, horizon and plan are set beforehand, and what drivers draw from. See `step_range`.
    """
    here, pose = np.empty((fleet.seen.shape[1], HERE)), np.empty(6)
    for e in which:
        scene, body = fleet.scene[e], fleet.body[e]
        at = scenes.starts[scenes.start_of[scene] + fleet.start[e]]
        place(body, at[START_X], at[START_Y], at[START_HEADING], at[START_VX], at[START_VY])
        fleet.corners[e] = 0.0
        fleet.memory[e] = 0.0
        fleet.drive[e] = 0.0
        fleet.seen[e] = -1
        fleet.past[e, :, PAST_STEP] = -1.0
        fleet.flags[e] = False
        fleet.step[e] = fleet.start[e]
        fleet.blocked[e] = fleet.near_count[e] = 0
        pose[0], pose[1] = body[X], body[Y]
        pose[2], pose[3], pose[4], pose[5] = body[QW], body[QX], body[QY], body[QZ]
        _read(fleet.drive[e], pose)
        # The route is looked up twice, so that nothing has been driven yet.
        drive = fleet.drive[e]
        drive[LAST_X], drive[LAST_Y] = drive[NOW_X], drive[NOW_Y]
        route = scenes.route[scenes.route_of[scene] : scenes.route_of[scene + 1]]
        follow(route, scenes.facts[scene, LENGTH_M], drive)
        if lanes is not None:
            begin_driving(lanes.drivers, e)
        _finish(scenes, fleet, e, rules, lanes, pose, here)
        fleet.reward[e] = fleet.cost[e] = 0.0
        fleet.terminated[e] = fleet.truncated[e] = False

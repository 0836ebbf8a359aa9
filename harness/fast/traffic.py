"""Who else is there: logged traffic and the planned opponent, by the rules of `harness.engine.traffic`.

All of it is decided once a step, after the ego's ticks and by its late pose: whoever the log allows at this step stays
or, unless the ego is too close, appears, with the body that belongs to the step at which it does; then the opponent of
an attack, by its plan from the first valid row on and by its log before, whatever the ego does, except that it does not
appear inside of it. Agents come in the scene's order and the opponent last, so that bodies are met in this order.
Nothing here is drawn, and the ego changes nobody's motion, only when somebody appears. Past the log's end only objects
that were there stay.

What the engine does beyond this: a logged vehicle that had to wait before it appeared drops onto its suspension later
than it does here, and logged vehicles lean. Vehicles that drive by themselves are moved by `lane_traffic`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.engine.traffic import AHEAD, ASIDE, TOUCH_RANGE
from harness.fast import bodies
from harness.fast.bodies import body_table
from harness.fast.fleet import (
    FORWARD_X,
    FORWARD_Y,
    NEAR,
    NOW_X,
    NOW_Y,
    PAST_SPEED,
    PAST_STEP,
    PAST_THETA,
    POSE_X,
    POSE_Y,
    RIGHT_X,
    RIGHT_Y,
    Fleet,
)
from harness.fast.overlap import (
    AGENT,
    HALF_L,
    HALF_W,
    HEADING,
    HIGHEST,
    INV_M,
    INV_P,
    INV_R,
    INV_Y,
    KIND,
    LOWEST,
    MIDDLE,
    PX,
    PY,
    ROUND,
    SX,
    SY,
    WZ,
)
from harness.fast.scenes import (
    AT_BODY,
    AT_HEADING,
    AT_LOGGED,
    AT_VX,
    AT_VY,
    AT_X,
    AT_Y,
    OPPONENT,
    SLIDE_TURN,
    SLIDE_X,
    SLIDE_Y,
    STEPS,
    Scenes,
)
from harness.fast.vehicle import LENGTH, STEP, WIDTH
from harness.kernels import Floats, inlined, inner, kernel

(
    HERE_X,
    HERE_Y,
    HERE_THETA,
    HERE_VX,
    HERE_VY,
    HERE_AGENT,
    HERE_BODY,
    HERE_OFF_LOG,
    HERE_DISTANCE,
    HERE_TURN,
    HERE_PULL,
    HERE_NEARNESS,
) = range(12)
"""Columns of somebody present: state relative to the origin (m, rad, m/s), row among the scene's agents, body, whether
its body slides as it moves itself and not as its log says, distance from the ego (m), turn rate (rad/s) and change of
speed (m/s²) since the last step, and scratch of the observation `route`."""
HERE: Final = 12
BODY_TABLE: Final = body_table()
_QUARTER: Final = math.pi / 2


@kernel
def advance(scenes: Scenes, fleet: Fleet, e: int, filtered: bool, here: Floats) -> int:
    """Put everybody where they are at the environment's step; returns how many are present.

    Args:
        scenes, fleet: Everything.
        e: The environment.
        filtered: Whether nobody appears on top of the ego.
        here: [A, HERE] written.
    """
    scene, step = fleet.scene[e], fleet.step[e]
    steps = int(scenes.facts[scene, STEPS])
    opponent = int(scenes.facts[scene, OPPONENT]) if fleet.plan_first[e] >= 0 else -1
    first_agent = scenes.agent_of[scene]
    agents = scenes.agent_of[scene + 1] - first_agent
    tracks, listed, seen, born, drive = scenes.tracks, scenes.listed, fleet.seen[e], fleet.born[e], fleet.drive[e]
    row = scenes.track_of[scene] + min(step, steps - 1) * agents
    count = 0
    if step < steps:
        place, base = scenes.step_of[scene] + step, scenes.list_of[scene]
        for index in range(base + scenes.listed_of[place], base + scenes.listed_of[place + 1]):
            agent = listed[index]
            waits = filtered and scenes.vehicle[first_agent + agent]
            if agent != opponent and stays(seen, born, drive, step, agent, tracks, row + agent, waits):
                count = add_logged(born, agent, tracks, row + agent, here, count)
    else:
        # Past the end of the log only objects are left.
        for agent in range(agents):
            if agent != opponent and scenes.object[first_agent + agent] and seen[agent] == step:
                seen[agent] = step + 1
                count = add_logged(born, agent, tracks, row + agent, here, count)
    if opponent >= 0:
        count = attack(scenes, fleet, e, opponent, row + opponent, step < steps, here, count)
    measure(fleet, e, here, count)
    return count


@inlined
def measure(fleet: Fleet, e: int, here: Floats, count: int) -> None:
    """How far everybody present is from the ego, and how their motion has changed since the last step."""
    past, drive, step = fleet.past[e], fleet.drive[e], fleet.step[e]
    for index in range(count):
        dx, dy = here[index, HERE_X] - drive[POSE_X], here[index, HERE_Y] - drive[POSE_Y]
        here[index, HERE_DISTANCE] = math.sqrt(dx * dx + dy * dy)
        note_change(past, int(here[index, HERE_AGENT]), step, here, index)


@inlined
def note_change(past: Floats, agent: int, step: int, here: Floats, index: int) -> None:
    """How somebody's heading and speed have changed since the last step; nothing is known of who has just appeared.

    Args:
        past: [A, PAST] of one environment, brought up to date.
        agent: Row among the scene's agents.
        step: The present step.
        here: [A, HERE] whose row `index` is somebody present.
        index: Which.
    """
    theta, vx, vy = here[index, HERE_THETA], here[index, HERE_VX], here[index, HERE_VY]
    speed = math.sqrt(vx * vx + vy * vy)
    here[index, HERE_TURN] = here[index, HERE_PULL] = 0.0
    if past[agent, PAST_STEP] == step and step > 0:
        turn = theta - past[agent, PAST_THETA]
        if abs(turn) > math.pi:
            turn -= 2 * math.pi * math.floor(turn / (2 * math.pi) + 0.5)
        here[index, HERE_TURN] = turn / STEP
        here[index, HERE_PULL] = (speed - past[agent, PAST_SPEED]) / STEP
    past[agent, PAST_THETA], past[agent, PAST_SPEED], past[agent, PAST_STEP] = theta, speed, step + 1


@inlined
def stays(
    seen: NDArray[np.int32],
    born: NDArray[np.int8],
    drive: Floats,
    step: int,
    agent: int,
    tracks: Floats,
    row: int,
    filtered: bool,
) -> bool:
    """Whether an agent that its log allows is present: it was, or nothing keeps it from appearing now."""
    if seen[agent] != step:
        if filtered:
            dx, dy = tracks[row, AT_X] - drive[POSE_X], tracks[row, AT_Y] - drive[POSE_Y]
            ahead = dx * drive[FORWARD_X] + dy * drive[FORWARD_Y]
            aside = dx * drive[RIGHT_X] + dy * drive[RIGHT_Y]
            if abs(ahead) < AHEAD and abs(aside) < ASIDE:
                return False
        born[agent] = int(tracks[row, AT_BODY])
    seen[agent] = step + 1
    return True


@inlined
def add_logged(born: NDArray[np.int8], agent: int, tracks: Floats, row: int, here: Floats, count: int) -> int:
    """Somebody on its log; returns how many are present now."""
    here[count, HERE_X], here[count, HERE_Y] = tracks[row, AT_X], tracks[row, AT_Y]
    here[count, HERE_THETA] = tracks[row, AT_HEADING]
    here[count, HERE_VX], here[count, HERE_VY] = tracks[row, AT_VX], tracks[row, AT_VY]
    here[count, HERE_AGENT], here[count, HERE_BODY], here[count, HERE_OFF_LOG] = agent, born[agent], 0.0
    return count + 1


@inner
def attack(
    scenes: Scenes, fleet: Fleet, e: int, opponent: int, row: int, logged: bool, here: Floats, count: int
) -> int:
    """The opponent of an attack: there whenever its plan or log says so, except on top of the ego."""
    step, first = fleet.step[e], fleet.plan_first[e]
    planned = step < fleet.plan_valid.shape[1] and fleet.plan_valid[e, step]
    if not (planned if step >= first else (logged and scenes.tracks[row, AT_LOGGED] > 0)):
        return count
    add_logged(fleet.born[e], opponent, scenes.tracks, row, here, count)
    if planned:
        for column in range(5):
            here[count, column] = fleet.plan[e, step, column]
        here[count, HERE_OFF_LOG] = 1.0
    if fleet.seen[e, opponent] != step:
        agent = scenes.agent_of[fleet.scene[e]] + opponent
        length, width = scenes.sizes[agent, 0], scenes.sizes[agent, 1]
        if step > 0 and boxes_meet(fleet.drive[e], LENGTH, WIDTH, here, count, length, width):
            fleet.blocked[e] += 1
            return count
        fleet.born[e, opponent] = int(scenes.tracks[row, AT_BODY])
        here[count, HERE_BODY] = fleet.born[e, opponent]
    fleet.seen[e, opponent] = step + 1
    return count + 1


@kernel
def boxes_meet(
    drive: Floats, length: float, width: float, here: Floats, index: int, other_length: float, other_width: float
) -> bool:
    """Whether the ego's box (late pose; length and width in m) meets that of `here[index]`, by separating axes."""
    fx, fy = drive[NOW_X], drive[NOW_Y]
    dx, dy = here[index, HERE_X] - drive[POSE_X], here[index, HERE_Y] - drive[POSE_Y]
    a, b, p, q = length / 2, width / 2, other_length / 2, other_width / 2
    if dx * dx + dy * dy > (a + b + p + q) ** 2:
        return False
    c, s = math.cos(here[index, HERE_THETA]), math.sin(here[index, HERE_THETA])
    cosine, sine = abs(fx * c + fy * s), abs(fx * s - fy * c)
    return (
        abs(dx * fx + dy * fy) <= a + p * cosine + q * sine
        and abs(dx * fy - dy * fx) <= b + p * sine + q * cosine
        and abs(dx * c + dy * s) <= p + a * cosine + b * sine
        and abs(dy * c - dx * s) <= q + a * sine + b * cosine
    )


@kernel
def approach(scenes: Scenes, fleet: Fleet, e: int, here: Floats, count: int) -> None:
    """Note who can be touched within the next step, with the motion of their bodies in it."""
    scene, step = fleet.scene[e], fleet.step[e]
    agents = scenes.agent_of[scene + 1] - scenes.agent_of[scene]
    now = min(step, int(scenes.facts[scene, STEPS]) - 1)
    first = scenes.track_of[scene] + now * agents
    tracks, found = scenes.tracks, 0
    for index in range(count):
        if here[index, HERE_DISTANCE] >= TOUCH_RANGE or found == NEAR:
            continue
        other, agent = here[index], int(here[index, HERE_AGENT])
        near, body, row = fleet.near[e, found], BODY_TABLE[int(other[HERE_BODY])], first + agent
        near[:] = 0.0
        near[PX], near[PY] = other[HERE_X], other[HERE_Y]
        near[HEADING] = other[HERE_THETA] + (_QUARTER if body[bodies.TURNED] > 0 else 0.0)
        if other[HERE_OFF_LOG] > 0:
            near[SX], near[SY] = other[HERE_VX], other[HERE_VY]
        else:
            near[SX], near[SY], near[WZ] = tracks[row, SLIDE_X], tracks[row, SLIDE_Y], tracks[row, SLIDE_TURN]
        near[HALF_L], near[HALF_W] = body[bodies.HALF_LENGTH], body[bodies.HALF_WIDTH]
        near[INV_M], near[INV_R] = body[bodies.INV_MASS], body[bodies.INV_ROLL]
        near[INV_P], near[INV_Y] = body[bodies.INV_PITCH], body[bodies.INV_YAW]
        near[LOWEST], near[HIGHEST], near[MIDDLE] = body[bodies.LOW], body[bodies.HIGH], body[bodies.CENTRE]
        near[ROUND], near[KIND], near[AGENT] = body[bodies.CYLINDER], body[bodies.CLASS], agent
        found += 1
    fleet.near_count[e] = found

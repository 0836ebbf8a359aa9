"""Vehicles that leave their logs and drive along the lanes: `harness.traffic.lane_idm` in compiled form.

What makes it a copy of `idm-lane` in `GauntletEnv`, and not only like it:

1. At the episode's first step everybody is where the log allows, as in logged traffic. From then on nobody but its own
   log or driver says who is there: objects do not outlast their logs, and past the log's end only drivers are left.
2. At step 10, and at every later step, vehicles that are there and do not drive yet begin to, in the scene's order, but
   not ego and opponent. Whoever begins draws its branch, then all of them draw how much faster than allowed they like
   to go; nothing else is drawn (`chance`, from the episode's own seed, as `GauntletEnv.reset` passes it on).
3. Then drivers look ahead, at every other step, and go on. They see everybody as of the last step, the ego too: its
   late pose and its velocity. Coordinates that they see are rounded to float32 in the scene's own frame.
4. Who has come to the end of its way is gone at the next step.
5. Bodies slide with the velocity of whom they belong to, and do not turn within a step; those on a log as well.

Where the ego keeps a vehicle from appearing although it is far off its own way (`packing_lanes`), the vehicle follows
its log on when it appears, and never draws; in MetaDrive it drives.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.fast.chance import WORDS, uniform
from harness.fast.chance import normal as normal_number
from harness.fast.fleet import POSE_THETA, POSE_X, POSE_Y, Fleet
from harness.fast.lane_sight import (
    LAST,
    LOOKS,
    SEEN,
    SEEN_AGENT,
    SEEN_COS,
    SEEN_LENGTH,
    SEEN_SIN,
    SEEN_VX,
    SEEN_VY,
    SEEN_WIDTH,
    SEEN_X,
    SEEN_Y,
    allowed_speed,
    look_ahead,
    place_at,
    single,
)
from harness.fast.lanes import (
    EGO_HALF_LENGTH,
    EGO_HALF_WIDTH,
    ORIGIN_X,
    ORIGIN_Y,
    WAY_Y,
    Lanes,
)
from harness.fast.scenes import AT_HEADING, AT_LOGGED, AT_VX, AT_VY, AT_X, AT_Y, OPPONENT, STEPS, Scenes
from harness.fast.traffic import (
    HERE_AGENT,
    HERE_BODY,
    HERE_OFF_LOG,
    HERE_THETA,
    HERE_VX,
    HERE_VY,
    HERE_X,
    HERE_Y,
    add_logged,
    advance,
    attack,
    measure,
    stays,
)
from harness.fast.vehicle import STEP, VX, VY
from harness.kernels import Bools, Floats, inlined, inner, kernel
from harness.traffic.lane_idm import EVERY
from harness.traffic.lane_paths import SPACING, LaneIDMConfig
from scenarios.idm import acceleration, desired_gap
from scenarios.scenario import CURRENT_STEP

ALONG, SPEED, CHANGE, FACTOR = range(4)
"""Columns of `LaneDrivers.motion`: way driven (m), speed (m/s), acceleration (m/s²), desired over allowed speed."""
MOTION: Final = 4
_START: Final = int(CURRENT_STEP)
_EVERY: Final = int(EVERY)
_END: Final = LAST * SPACING
_UNDRAWN: Final = -1.0
"""Marks who has a way and has yet to draw how fast it likes to go."""
_acceleration: Final = inner(acceleration)
_desired_gap: Final = inner(desired_gap)


class Habits(NamedTuple):
    """How everybody drives, see `LaneIDMConfig`."""

    gap: float
    standstill: float
    acceleration: float
    braking: float
    hardest: float
    pace: float
    spread: float
    margin: float


class LaneDrivers(NamedTuple):
    """Who drives in N environments; A is the most agents that any scene has.

    Attributes:
        way: [N, A] row of `Lanes.ways` on which the agent drives, or -1.
        gone: [N, A] whether it has come to its end.
        motion: [N, A, MOTION].
        ego: [N, 5] where the ego was after the last step: x, y, heading, vx, vy, relative to the scene's origin.
        chance: [N, WORDS] the environment's generator.
    """

    way: NDArray[np.int64]
    gone: Bools
    motion: Floats
    ego: Floats
    chance: NDArray[np.uint64]


class LaneTraffic(NamedTuple):
    """Everything about vehicles that drive by themselves."""

    lanes: Lanes
    drivers: LaneDrivers
    habits: Habits


def make_lane_traffic(lanes: Lanes, config: LaneIDMConfig, environments: int, agents: int) -> LaneTraffic:
    """Nobody drives yet.

    Args:
        lanes: Where, made for the same `config`.
        config: The drivers.
        environments: How many.
        agents: Most agents of any scene.
    """
    drivers = LaneDrivers(
        way=np.full((environments, agents), -1, np.int64),
        gone=np.zeros((environments, agents), bool),
        motion=np.zeros((environments, agents, MOTION)),
        ego=np.zeros((environments, 5)),
        chance=np.zeros((environments, WORDS), np.uint64),
    )
    return LaneTraffic(lanes, drivers, Habits(*(float(getattr(config, name)) for name in Habits._fields)))


def places(traffic: LaneTraffic) -> Floats:
    """Where drivers are: [N, A, 2] relative to the scene's origin, NaN where nobody drives or is gone."""
    drivers = traffic.drivers
    if not len(traffic.lanes.ways):
        return np.full((*drivers.way.shape, 2), np.nan)
    at = np.clip(drivers.motion[..., ALONG] / SPACING, 0, LAST - 1e-6)
    low = at.astype(int)
    start, end = (traffic.lanes.ways[drivers.way, low + more, : WAY_Y + 1] for more in (0, 1))
    found: Floats = start + (at - low)[..., None] * (end - start)
    found[(drivers.way < 0) | drivers.gone] = np.nan
    return found


@inner
def begin_driving(drivers: LaneDrivers, e: int) -> None:
    """Nobody drives at an episode's beginning; the generator has been set."""
    drivers.way[e] = -1
    drivers.gone[e] = False


@kernel
def advance_lanes(scenes: Scenes, fleet: Fleet, traffic: LaneTraffic, e: int, filtered: bool, here: Floats) -> int:
    """Put everybody where they are at the environment's step; returns how many are present. See `traffic.advance`."""
    drivers, step = traffic.drivers, fleet.step[e]
    if step == fleet.start[e]:
        count = advance(scenes, fleet, e, filtered, here)
    else:
        if step > _START:
            _drive(scenes, fleet, traffic, e, step - 1)
        count = _present(scenes, fleet, traffic, e, filtered, here)
        measure(fleet, e, here, count)
    drive, body, ego = fleet.drive[e], fleet.body[e], drivers.ego[e]
    ego[0], ego[1], ego[2], ego[3], ego[4] = drive[POSE_X], drive[POSE_Y], drive[POSE_THETA], body[VX], body[VY]
    return count


@inlined
def _present(scenes: Scenes, fleet: Fleet, traffic: LaneTraffic, e: int, filtered: bool, here: Floats) -> int:
    """Everybody at the present step, see `advance_lanes`."""
    scene, step, drivers = fleet.scene[e], fleet.step[e], traffic.drivers
    steps = int(scenes.facts[scene, STEPS])
    opponent = int(scenes.facts[scene, OPPONENT]) if fleet.plan_first[e] >= 0 else -1
    first = scenes.agent_of[scene]
    agents = scenes.agent_of[scene + 1] - first
    tracks, seen, born, drive = scenes.tracks, fleet.seen[e], fleet.born[e], fleet.drive[e]
    ways, way, gone, motion = traffic.lanes.ways, drivers.way[e], drivers.gone[e], drivers.motion[e]
    row = scenes.track_of[scene] + min(step, steps - 1) * agents
    count = 0
    place, base = scenes.step_of[scene] + min(step, steps - 1), scenes.list_of[scene]
    next_listed, last_listed = base + scenes.listed_of[place], base + scenes.listed_of[place + 1]
    for agent in range(agents):
        # Of objects the log allows more than it has; an opponent that never moves it does not allow.
        listed = step < steps and next_listed < last_listed and scenes.listed[next_listed] == agent
        next_listed += 1 if listed else 0
        if agent == opponent:
            continue
        if way[agent] >= 0:
            if not gone[agent]:
                seen[agent] = step + 1
                _add_driver(ways, way[agent], motion, agent, born[agent], here, count)
                count += 1
        elif listed and tracks[row + agent, AT_LOGGED] > 0:
            if stays(seen, born, drive, step, agent, tracks, row + agent, filtered and scenes.vehicle[first + agent]):
                count = add_logged(born, agent, tracks, row + agent, here, count)
    if opponent >= 0:
        count = attack(scenes, fleet, e, opponent, row + opponent, step < steps, here, count)
    for index in range(count):
        here[index, HERE_OFF_LOG] = 1.0
    return count


@inlined
def _add_driver(ways: Floats, way: int, motion: Floats, agent: int, body: int, here: Floats, index: int) -> None:
    """Somebody who drives, by its `motion` [A, MOTION]."""
    x, y, theta = place_at(ways, way, motion[agent, ALONG])
    here[index, HERE_X], here[index, HERE_Y], here[index, HERE_THETA] = x, y, theta
    speed = motion[agent, SPEED]
    here[index, HERE_VX], here[index, HERE_VY] = speed * math.cos(theta), speed * math.sin(theta)
    here[index, HERE_AGENT], here[index, HERE_BODY] = agent, body


@inlined
def _drive(scenes: Scenes, fleet: Fleet, traffic: LaneTraffic, e: int, now: int) -> None:
    """From step `now` to the next: who is at the end goes, who is there joins, all look ahead and go on."""
    scene, drivers = fleet.scene[e], traffic.drivers
    agents = scenes.agent_of[scene + 1] - scenes.agent_of[scene]
    way, gone, motion = drivers.way[e], drivers.gone[e], drivers.motion[e]
    for agent in range(agents):
        gone[agent] |= way[agent] >= 0 and motion[agent, ALONG] >= _END
    if now < scenes.facts[scene, STEPS]:
        _join(scenes, fleet, traffic, e, now)
    if (now - _START) % _EVERY == 0:
        _decide(scenes, fleet, traffic, e, now)
    for agent in range(agents):
        if way[agent] < 0 or gone[agent]:
            continue
        speed = motion[agent, SPEED]
        # Whoever likes to go no faster than nought is parked.
        faster = max(speed + motion[agent, CHANGE] * STEP, 0.0) if motion[agent, FACTOR] > 0 else 0.0
        motion[agent, ALONG] += (speed + faster) / 2 * STEP
        motion[agent, SPEED] = faster


@inlined
def _join(scenes: Scenes, fleet: Fleet, traffic: LaneTraffic, e: int, now: int) -> None:
    """Those who are there at step `now` and follow their logs begin to drive, if they may."""
    scene, drivers, lanes, tracks = fleet.scene[e], traffic.drivers, traffic.lanes, scenes.tracks
    agents = scenes.agent_of[scene + 1] - scenes.agent_of[scene]
    row = scenes.track_of[scene] + now * agents
    way, motion, words, seen = drivers.way[e], drivers.motion[e], drivers.chance[e], fleet.seen[e]
    for agent in range(agents):
        place = lanes.joins[row + agent]
        if place >= 0 and way[agent] < 0 and seen[agent] == now + 1:
            branches = lanes.first_way[place + 1] - lanes.first_way[place]
            way[agent] = lanes.first_way[place] + int(uniform(words) * branches)
            motion[agent, FACTOR] = _UNDRAWN
    for agent in range(agents):
        if way[agent] >= 0 and motion[agent, FACTOR] == _UNDRAWN:
            at, place = row + agent, lanes.joins[row + agent]
            factor = min(max(1 + traffic.habits.spread * normal_number(words), 0.5), 1.5) * traffic.habits.pace
            theta = tracks[at, AT_HEADING]
            forward = math.cos(theta) * tracks[at, AT_VX] + math.sin(theta) * tracks[at, AT_VY]
            motion[agent, ALONG], motion[agent, CHANGE] = 0.0, 0.0
            motion[agent, SPEED] = max(forward, 0.0)
            motion[agent, FACTOR] = 0.0 if lanes.parked[place] else factor


@inner
def _decide(scenes: Scenes, fleet: Fleet, traffic: LaneTraffic, e: int, now: int) -> None:
    """New accelerations of all drivers, by what they see of step `now`."""
    scene, drivers, habits, lanes = fleet.scene[e], traffic.drivers, traffic.habits, traffic.lanes
    agents = scenes.agent_of[scene + 1] - scenes.agent_of[scene]
    others, looks = np.empty((agents + 1, SEEN)), np.empty((LOOKS, 2))
    count = _look_around(scenes, fleet, traffic, e, now, others)
    frame, sizes, first, top = lanes.frame[scene], scenes.sizes, scenes.agent_of[scene], habits.acceleration
    ways, taken, motion, gone = lanes.ways, drivers.way[e], drivers.motion[e], drivers.gone[e]
    for agent in range(agents):
        way, factor = taken[agent], motion[agent, FACTOR]
        if way < 0 or gone[agent] or factor <= 0:
            continue
        along, speed = motion[agent, ALONG], motion[agent, SPEED]
        half, wide = sizes[first + agent, 0] / 2, sizes[first + agent, 1] / 2 + habits.margin
        x, y = frame[ORIGIN_X], frame[ORIGIN_Y]
        gap, leader = look_ahead(ways, way, along, agent, half, wide, x, y, others, count, looks)
        stop = lanes.red[way] - along - half
        if -1.0 < stop < gap:
            gap, leader = stop, 0.0
        desired = max(allowed_speed(ways, way, along, habits.braking) * factor, 0.5)
        wanted = _desired_gap(speed, leader, habits.gap, habits.standstill, top, habits.braking)
        change = _acceleration(speed, max(gap, 0.1), wanted, desired, top)
        least = -habits.braking if wanted < gap else -habits.hardest
        motion[agent, CHANGE] = min(max(change, least), top)


@inlined
def _see(
    others: Floats,
    index: int,
    agent: int,
    x: float,
    y: float,
    theta: float,
    vx: float,
    vy: float,
    half: float,
    wide: float,
) -> None:
    """Write a row [SEEN] of whom drivers see."""
    others[index, SEEN_X], others[index, SEEN_Y], others[index, SEEN_AGENT] = x, y, agent
    others[index, SEEN_COS], others[index, SEEN_SIN] = math.cos(theta), math.sin(theta)
    others[index, SEEN_VX], others[index, SEEN_VY] = vx, vy
    others[index, SEEN_LENGTH], others[index, SEEN_WIDTH] = half, wide


@inner
def _look_around(scenes: Scenes, fleet: Fleet, traffic: LaneTraffic, e: int, now: int, others: Floats) -> int:
    """Everybody who was there at step `now`, the ego first; returns how many."""
    scene, drivers, ways, tracks = fleet.scene[e], traffic.drivers, traffic.lanes.ways, scenes.tracks
    frame, ego, first = traffic.lanes.frame[scene], traffic.drivers.ego[e], scenes.agent_of[scene]
    agents = scenes.agent_of[scene + 1] - first
    row = scenes.track_of[scene] + min(now, int(scenes.facts[scene, STEPS]) - 1) * agents
    planned = int(scenes.facts[scene, OPPONENT]) if fleet.plan_first[e] >= 0 else -1
    if planned >= 0 and not (now < fleet.plan_valid.shape[1] and fleet.plan_valid[e, now]):
        planned = -1
    _see(others, 0, -1, ego[0], ego[1], ego[2], ego[3], ego[4], frame[EGO_HALF_LENGTH], frame[EGO_HALF_WIDTH])
    count = 1
    for agent in range(agents):
        if fleet.seen[e, agent] != now + 1:
            continue
        way, speed, at = drivers.way[e, agent], drivers.motion[e, agent, SPEED], row + agent
        half, wide = scenes.sizes[first + agent, 0] / 2, scenes.sizes[first + agent, 1] / 2
        if way >= 0:
            x, y, theta = place_at(ways, way, drivers.motion[e, agent, ALONG])
            _see(others, count, agent, x, y, theta, 0.0, 0.0, half, wide)
            others[count, SEEN_VX] = speed * others[count, SEEN_COS]
            others[count, SEEN_VY] = speed * others[count, SEEN_SIN]
        elif agent == planned:
            plan = fleet.plan[e, now]
            _see(others, count, agent, plan[0], plan[1], plan[2], plan[3], plan[4], half, wide)
        else:
            x, y, theta = tracks[at, AT_X], tracks[at, AT_Y], tracks[at, AT_HEADING]
            _see(others, count, agent, x, y, theta, tracks[at, AT_VX], tracks[at, AT_VY], half, wide)
        count += 1
    for index in range(count):
        others[index, SEEN_X] = single(others[index, SEEN_X] + frame[ORIGIN_X])
        others[index, SEEN_Y] = single(others[index, SEEN_Y] + frame[ORIGIN_Y])
    return count


State = dict[str, NDArray[Any]]


def driver_arrays(traffic: LaneTraffic | None) -> State:
    """The state of whoever drives, by name; empty in logged traffic."""
    return {} if traffic is None else {f"drivers.{name}": array for name, array in traffic.drivers._asdict().items()}

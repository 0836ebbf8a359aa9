"""Rewards, costs and endings: `harness.engine.rewards` in compiled form."""

from __future__ import annotations

import math
from typing import Final

from harness.engine.drive_reward import Driven, drive_reward, needed_speed
from harness.engine.rewards import ARRIVED as ARRIVAL
from harness.engine.rewards import BACKWARDS
from harness.fast.fleet import (
    ARRIVED,
    COMPLETION,
    CRASH_HUMAN,
    CRASH_OBJECT,
    CRASH_VEHICLE,
    LAST_LONGITUDE,
    LAST_STEERING,
    LAST_THROTTLE,
    LATERAL,
    LONGITUDE,
    LOST,
    OFF_ROAD,
    ON_WHITE,
    ON_YELLOW,
    POSE_THETA,
    ROUTE_HEADING,
    STEERING,
    THROTTLE,
    UNSOUND,
    Fleet,
    Rules,
)
from harness.fast.progress import SHORTEST
from harness.fast.vehicle import STEP, VX, VY
from harness.kernels import inner, kernel

_drive_reward: Final = inner(drive_reward)
_needed_speed: Final = inner(needed_speed)


@inner
def _driven(fleet: Fleet, e: int, length: float) -> Driven:
    flags, drive, body = fleet.flags[e], fleet.drive[e], fleet.body[e]
    metres = drive[LONGITUDE] - drive[LAST_LONGITUDE]
    return Driven(
        metres,
        metres / length if length >= SHORTEST else 0.0,
        flags[ARRIVED],
        flags[OFF_ROAD],
        flags[CRASH_VEHICLE],
        flags[CRASH_OBJECT] or flags[CRASH_HUMAN],
        (drive[STEERING], drive[THROTTLE]),
        (drive[LAST_STEERING], drive[LAST_THROTTLE]),
        drive[LATERAL],
        math.hypot(body[VX], body[VY]),
        _needed_speed(length - drive[LONGITUDE], (fleet.horizon[e] - fleet.step[e]) * STEP, STEP),
    )


@kernel
def judge(fleet: Fleet, e: int, rules: Rules, length: float) -> None:
    """Reward, cost and ending of the step that has just been simulated on a route of `length` (m)."""
    flags, drive = fleet.flags[e], fleet.drive[e]
    completion = drive[COMPLETION]
    far = abs(drive[LATERAL]) > rules.max_lateral
    flags[ARRIVED] = completion > ARRIVAL
    flags[OFF_ROAD] = far or (rules.off_road_at_yellow_line and flags[ON_YELLOW])
    flags[LOST] = flags[OFF_ROAD] or completion < BACKWARDS
    reward = _reward(fleet, e, rules)
    if flags[ARRIVED]:
        reward = rules.success
    elif flags[OFF_ROAD]:
        reward = -rules.off_road
    if rules.summed:
        reward = _drive_reward(rules.drive, _driven(fleet, e, length))
    fleet.reward[e] = reward
    vehicle, thing, human, strayed = flags[CRASH_VEHICLE], flags[CRASH_OBJECT], flags[CRASH_HUMAN], flags[OFF_ROAD]
    if rules.exclusive:
        fleet.cost[e] = 1.0 if strayed or vehicle or thing else 0.0
    else:
        fleet.cost[e] = int(strayed) + int(vehicle) + int(thing) + int(human)
    ended = flags[ARRIVED] or flags[LOST] or flags[UNSOUND]
    fleet.terminated[e] = ended or (vehicle and rules.crash_vehicle_done)
    fleet.truncated[e] = fleet.step[e] >= fleet.horizon[e]


@inner
def _reward(fleet: Fleet, e: int, rules: Rules) -> float:
    """The step's own reward, before arrival and leaving the road."""
    flags, drive, body = fleet.flags[e], fleet.drive[e], fleet.body[e]
    error = abs(drive[POSE_THETA] - drive[ROUTE_HEADING]) % (2 * math.pi)
    if error > math.pi:
        error -= 2 * math.pi
    speed = math.hypot(body[VX], body[VY])
    reward = rules.driving * (drive[LONGITUDE] - drive[LAST_LONGITUDE])
    reward -= abs(drive[LATERAL]) / rules.max_lateral * rules.lateral
    reward -= error / math.pi * rules.heading
    reward += min(1 / max(speed, 1e-2) - abs(drive[STEERING]), 0.0) * rules.steering
    if rules.no_negative:
        reward = max(reward, 0.0)
    if rules.exclusive:
        if flags[CRASH_VEHICLE]:
            return -rules.crash_vehicle
        return -rules.crash_object if flags[CRASH_OBJECT] else reward
    if flags[CRASH_VEHICLE]:
        reward = -rules.crash_vehicle
    if flags[CRASH_OBJECT]:
        reward = -rules.crash_object
    if flags[CRASH_HUMAN]:
        reward = -rules.crash_human
    return -rules.lane_line if flags[ON_YELLOW] or flags[ON_WHITE] else reward

"""The state of many environments at once, and the rules that they play by, as the kernels see them."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.engine.config import REWARDS, SENSORS, EngineConfig
from harness.engine.drive_reward import DriveReward
from harness.fast import contacts, ground, overlap, vehicle
from harness.fast.scenes import Scenes
from harness.interfaces import STATE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

(
    POSE_X,
    POSE_Y,
    POSE_THETA,
    FORWARD_X,
    FORWARD_Y,
    RIGHT_X,
    RIGHT_Y,
    NOW_X,
    NOW_Y,
    LAST_X,
    LAST_Y,
    STEERING,
    THROTTLE,
    LONGITUDE,
    LAST_LONGITUDE,
    LATERAL,
    COMPLETION,
    ROUTE_HEADING,
    ROUTE_RIGHT_X,
    ROUTE_RIGHT_Y,
    LAST_STEERING,
    LAST_THROTTLE,
) = range(22)
"""Columns of `Fleet.drive`: what sensors and rules read of the ego. The pose is the one before the last tick's
motion, as Panda3D shows it; then the horizontal parts of the car's axes, its heading now and a step ago, the action,
progress along the route, the route's heading and right-hand side there, and the action before."""
DRIVE: Final = 22
(
    CRASH_VEHICLE,
    CRASH_HUMAN,
    CRASH_OBJECT,
    GEOMETRY,
    GEOMETRY_OPPONENT,
    ON_WHITE,
    ON_YELLOW,
    ON_BROKEN,
    ARRIVED,
    OFF_ROAD,
    LOST,
    UNSOUND,
    TOUCHED_OPPONENT,
) = range(13)
"""Columns of `Fleet.flags`; `UNSOUND`: the car's state is no longer finite, and the episode ends."""
FLAGS: Final = 13
PAST_THETA, PAST_SPEED, PAST_STEP = range(3)
PAST: Final = 3
"""Columns of `Fleet.past`: heading (rad), speed (m/s), and 1 + the step that they are of."""
NEAR: Final = 64
"""Most bodies that the ego can touch within one step; the engine knows no bound, and no scene comes near this one."""


class Fleet(NamedTuple):
    """N environments; A is the most agents that any scene has.

    Attributes:
        scene, start, step, horizon: [N] what is played, the logged step at which it has begun, the absolute step, and
            the step at which it is truncated.
        body, corners, memory: [N, ...] the ego's body and its contacts, see `vehicle`, `ground`, `contacts`.
        drive: [N, DRIVE].
        seen: [N, A] 1 + the last step at which the agent was present, or -1.
        born: [N, A] the body that it got when it appeared.
        past: [N, A, PAST] where everybody was one step ago.
        near, near_count: [N, NEAR, OTHER], [N] who can be touched within the next step, see `contacts`.
        plan, plan_valid: [N, P, STATE] rows of an attack plan relative to the scene's origin, [N, P] which are valid.
        plan_first: [N] first valid row, or -1 without a plan.
        observation, reward, cost: [N, D] float32, [N], [N].
        terminated, truncated: [N].
        flags: [N, FLAGS].
        blocked: [N] how often the opponent could not appear because the ego was there.
    """

    scene: NDArray[np.int64]
    start: NDArray[np.int64]
    step: NDArray[np.int64]
    horizon: NDArray[np.int64]
    body: Floats
    corners: Floats
    memory: Floats
    drive: Floats
    seen: NDArray[np.int32]
    born: NDArray[np.int8]
    past: Floats
    near: Floats
    near_count: NDArray[np.int64]
    plan: Floats
    plan_valid: Bools
    plan_first: NDArray[np.int64]
    observation: NDArray[np.float32]
    reward: Floats
    cost: Floats
    terminated: Bools
    truncated: Bools
    flags: Bools
    blocked: NDArray[np.int64]


def make_fleet(environments: int, scenes: Scenes, size: int, rows: int) -> Fleet:
    """Environments that have not begun.

    Args:
        environments: How many.
        scenes: What they can play.
        size: Length of an observation.
        rows: Most rows of a plan.
    """
    agents = int(np.diff(scenes.agent_of).max(initial=1))
    return Fleet(
        scene=np.zeros(environments, np.int64),
        start=np.zeros(environments, np.int64),
        step=np.zeros(environments, np.int64),
        horizon=np.zeros(environments, np.int64),
        body=np.zeros((environments, vehicle.STATE)),
        corners=np.zeros((environments, 4, ground.POINT)),
        memory=np.zeros((environments, contacts.POINTS, contacts.POINT)),
        drive=np.zeros((environments, DRIVE)),
        seen=np.zeros((environments, agents), np.int32),
        born=np.zeros((environments, agents), np.int8),
        past=np.zeros((environments, agents, PAST)),
        near=np.zeros((environments, NEAR, overlap.OTHER)),
        near_count=np.zeros(environments, np.int64),
        plan=np.zeros((environments, rows, STATE)),
        plan_valid=np.zeros((environments, rows), bool),
        plan_first=np.full(environments, -1, np.int64),
        observation=np.zeros((environments, size), np.float32),
        reward=np.zeros(environments),
        cost=np.zeros(environments),
        terminated=np.zeros(environments, bool),
        truncated=np.zeros(environments, bool),
        flags=np.zeros((environments, FLAGS), bool),
        blocked=np.zeros(environments, np.int64),
    )


class Rules(NamedTuple):
    """Numbers of the presets, see `RewardPreset` and `SensorPreset`."""

    success: float
    off_road: float
    crash_vehicle: float
    crash_object: float
    crash_human: float
    lane_line: float
    driving: float
    steering: float
    heading: float
    lateral: float
    max_lateral: float
    exclusive: bool
    off_road_at_yellow_line: bool
    no_negative: bool
    crash_vehicle_done: bool
    filter_overlapping: bool
    lidar: int
    others: int
    side: int
    lane_line_rays: int
    distance: float
    offset_scale: float
    route: Literal[True] | None
    summed: bool
    drive: DriveReward


def rules_of(config: EngineConfig) -> Rules:
    """The rules that a configuration of the engine means."""
    reward, sensors = REWARDS[config.reward], SENSORS[config.observation]
    shared = {name: getattr(reward, name) for name in reward.__slots__ if name != "drive"}
    return Rules(
        **shared,
        crash_vehicle_done=config.crash_vehicle_done or reward.drive is not None,
        filter_overlapping=config.filter_overlapping,
        lidar=sensors.lidar,
        others=sensors.others,
        side=sensors.side,
        lane_line_rays=sensors.lane_line,
        distance=sensors.distance,
        offset_scale=sensors.max_lateral,
        route=True if sensors.route else None,
        summed=reward.drive is not None,
        drive=reward.drive or DriveReward(),
    )

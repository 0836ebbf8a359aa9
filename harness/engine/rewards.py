"""Rewards, costs and endings: CAT's and MetaDrive 0.4.3's, from one description of what just happened."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from harness.engine.config import SUBSTEPS, TICK, EngineConfig, RewardPreset
from harness.engine.drive_reward import Driven, drive_reward, needed_speed
from harness.engine.ego import EgoVehicle

ARRIVED: Final = 0.95
"""Route completion that counts as arrival (`ScenarioEnv._is_arrive_destination`)."""
BACKWARDS: Final = -0.1
"""Route completion below which the ego has driven off backwards."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a step ended.

    Attributes:
        reward, cost: Reward and cost of this step.
        terminated: Whether the episode is over for a reason of its own (not the horizon).
        info: Stock's info keys, `end_of_map` (the route goes on beyond the log, and the map ends here), and the terms
            of the reward.
    """

    reward: float
    cost: float
    terminated: bool
    info: dict[str, object]


def arrived(ego: EgoVehicle) -> bool:
    """Whether the ego has driven its route; never where that goes on, or leads nowhere (its completion is NaN)."""
    progress = ego.navigation
    return progress.route_completion > ARRIVED and not progress.reference_trajectory.goes_on


def off_road(ego: EgoVehicle, preset: RewardPreset) -> bool:
    """Whether the ego has left the road, by the preset's rule."""
    far = abs(ego.navigation.current_lateral) > preset.max_lateral
    if preset.off_road_at_yellow_line:
        return bool(far or ego.on_yellow_continuous_line or ego.crash_sidewalk)
    return bool(far)


def judge(ego: EgoVehicle, config: EngineConfig, preset: RewardPreset, seconds_left: float = math.inf) -> Verdict:
    """Reward, cost and ending of the step that has just been simulated, `seconds_left` before the horizon."""
    success, strayed = arrived(ego), off_road(ego, preset)
    terms = _terms(ego, preset)
    step_reward = _step_reward(ego, preset, terms)
    reward = step_reward
    if success:
        reward = preset.success
    elif strayed:
        reward = -preset.off_road
    if preset.drive is not None:
        reward = drive_reward(preset.drive, _driven(ego, success, strayed, seconds_left))
    cost, cost_info = _cost(ego, preset, strayed)
    crashed = ego.crash_vehicle or ego.crash_object or ego.crash_building or ego.crash_sidewalk or ego.crash_human
    lost = strayed or ego.navigation.route_completion < BACKWARDS
    info = {
        "arrive_dest": success,
        "out_of_road": lost,
        "end_of_map": ego.navigation.reference_trajectory.ends_at(ego.navigation.current_longitude),
        "crash": bool(crashed),
        "crash_vehicle": ego.crash_vehicle,
        "crash_object": ego.crash_object,
        "crash_building": ego.crash_building,
        "crash_human": ego.crash_human,
        "crash_sidewalk": ego.crash_sidewalk,
        "route_completion": ego.navigation.route_completion,
        "track_length": ego.navigation.reference_trajectory.length,
        "lateral_dist": float(ego.navigation.current_lateral),
        "step_reward": step_reward,
        "velocity": ego.speed_m_s,
        "steering": float(ego.steering),
        "acceleration": float(ego.throttle_brake),
        "cost": cost,
        **cost_info,
        **terms,
    }
    contact_ends = config.crash_vehicle_done or preset.drive is not None
    terminated = success or lost or (ego.crash_vehicle and contact_ends)
    return Verdict(float(reward), cost, bool(terminated), info)


def _driven(ego: EgoVehicle, arrived: bool, strayed: bool, seconds_left: float) -> Driven:
    progress, route = ego.navigation, ego.navigation.reference_trajectory
    metres = progress.current_longitude - progress.last_longitude
    return Driven(
        metres=metres,
        share=metres / route.logged if route.leads_somewhere else 0.0,
        arrived=arrived,
        strayed=strayed,
        crashed=ego.crash_vehicle,
        touched=ego.crash_object or ego.crash_human,
        action=ego.action,
        before=ego.last_action_taken,
        offset=float(progress.current_lateral),
        speed=ego.speed_m_s,
        needed=needed_speed(route.left(progress.current_longitude, seconds_left), seconds_left, SUBSTEPS * TICK),
    )


def _terms(ego: EgoVehicle, preset: RewardPreset) -> dict[str, float]:
    """Penalties of MetaDrive 0.4.3's dense reward (zero in the CAT preset)."""
    progress = ego.navigation
    error = abs(ego.theta - progress.current_heading_theta_at_long) % (2 * math.pi)
    error -= 2 * math.pi * (error > math.pi)
    overflow = min(1 / max(ego.speed_m_s, 1e-2) - abs(ego.action[0]), 0.0)
    return {
        "step_reward_lateral": -abs(float(progress.current_lateral)) / preset.max_lateral * preset.lateral,
        "step_reward_heading": -error / math.pi * preset.heading,
        "step_reward_action_smooth": overflow * preset.steering,
    }


def _step_reward(ego: EgoVehicle, preset: RewardPreset, terms: dict[str, float]) -> float:
    progress = ego.navigation
    reward = preset.driving * float(progress.current_longitude - progress.last_longitude) + sum(terms.values())
    if preset.no_negative:
        reward = max(reward, 0.0)
    if preset.exclusive:
        if ego.crash_vehicle:
            return -preset.crash_vehicle
        return -preset.crash_object if ego.crash_object else reward
    # MetaDrive 0.4.3: whichever of these comes last wins.
    if ego.crash_vehicle:
        reward = -preset.crash_vehicle
    if ego.crash_object:
        reward = -preset.crash_object
    if ego.crash_human:
        reward = -preset.crash_human
    if ego.on_yellow_continuous_line or ego.crash_sidewalk or ego.on_white_continuous_line:
        reward = -preset.lane_line
    return reward


def _cost(ego: EgoVehicle, preset: RewardPreset, strayed: bool) -> tuple[float, dict[str, float]]:
    on_line = ego.on_yellow_continuous_line or ego.crash_sidewalk or ego.on_white_continuous_line
    counts: dict[str, float] = {
        "num_crash_vehicle": int(ego.crash_vehicle),
        "num_crash_object": int(ego.crash_object),
        "num_crash_human": int(ego.crash_human),
        "num_on_line": int(on_line),
    }
    if preset.exclusive:
        return float(strayed or ego.crash_vehicle or ego.crash_object), counts
    return float(strayed) + ego.crash_vehicle + ego.crash_object + ego.crash_human, counts

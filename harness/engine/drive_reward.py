"""The reward `drive`: get there in time, without contact, on the road, smoothly, and no faster than needed.

It is a sum, unlike the other presets, in which one event replaces the step's reward. Without a price on speeding, an
ego that nobody attacks races, and outruns attacks: then training against attacks seems to be of no use.
"""

from __future__ import annotations

from typing import NamedTuple


class DriveReward(NamedTuple):
    """Weights of the reward's parts.

    Attributes:
        metre: For a metre along the route.
        completion: For the whole route, paid as it is driven.
        success: For arriving.
        off_road, crash_vehicle: Against leaving the road and against a contact with a vehicle; both end the episode.
        touch: Against a contact with a person or an object.
        steering_change, throttle_change: Against the square of a change of the action.
        steering: Against the square of the steering.
        offset: Against a metre beside the route.
        speeding: Against a m/s beyond `factor` times the speed that is needed to arrive in time, and `slack` m/s.
    """

    metre: float = 0.03
    completion: float = 4.0
    success: float = 1.0
    off_road: float = 5.0
    crash_vehicle: float = 5.0
    touch: float = 0.3
    steering_change: float = 0.05
    throttle_change: float = 0.01
    steering: float = 0.01
    offset: float = 0.03
    speeding: float = 0.02
    factor: float = 1.25
    slack: float = 2.0


class Driven(NamedTuple):
    """What a step was like.

    Attributes:
        metres: Gained along the route.
        share: Gained of the route's length.
        arrived, strayed, crashed, touched: What happened.
        action, before: Steering and throttle of this step and of the one before.
        offset: From the route, m.
        speed: The ego's, m/s.
        needed: Speed that is needed to arrive in time, m/s.
    """

    metres: float
    share: float
    arrived: bool
    strayed: bool
    crashed: bool
    touched: bool
    action: tuple[float, float]
    before: tuple[float, float]
    offset: float
    speed: float
    needed: float


def needed_speed(left: float, seconds: float, step: float) -> float:
    """Speed (m/s) that is needed for what is `left` of the route (m) in the `seconds` left, at least one step (s)."""
    return max(left, 0.0) / max(seconds, step)


def drive_reward(weights: DriveReward, driven: Driven) -> float:
    """The reward of a step."""
    reward = weights.metre * driven.metres + weights.completion * driven.share
    if driven.arrived:
        reward += weights.success
    if driven.strayed:
        reward -= weights.off_road
    if driven.crashed:
        reward -= weights.crash_vehicle
    if driven.touched:
        reward -= weights.touch
    (steering, throttle), (steered, pressed) = driven.action, driven.before
    reward -= weights.steering_change * (steering - steered) ** 2 + weights.throttle_change * (throttle - pressed) ** 2
    reward -= weights.steering * steering**2 + weights.offset * abs(driven.offset)
    return reward - weights.speeding * max(driven.speed - weights.factor * driven.needed - weights.slack, 0.0)

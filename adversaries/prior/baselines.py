"""What the prior must beat: constant velocity, and lane following without learning."""

from __future__ import annotations

import torch
from torch import Tensor

from adversaries.prior.config import POSITION_SCALE, PriorConfig
from adversaries.prior.decode import choose
from adversaries.prior.kinematics import RollOut, drive_to, roll_out
from adversaries.prior.network import Batch, nominal_controls


def constant_velocity(batch: Batch, config: PriorConfig) -> RollOut:
    """Straight on at the current speed: one mode, [B, 1, FUTURE_STEPS]."""
    zeros = torch.zeros(*batch.speed.shape, 1, config.knots)
    return roll_out(zeros, zeros, batch.speed[:, None], config)


def lane_scores(batch: Batch) -> Tensor:
    """Unlearnt preference [B, G] among goals: lanes before the fan, constant speed, the lane one is on."""
    goals = batch.goals
    change = goals[..., 8].abs() * 5.0
    off_lane = 1.0 - goals[..., 6]
    lateral = goals[..., 7].abs() * 5.0
    turn = goals[..., 13].abs() * off_lane
    # Off the lane graph only straight arcs are worth a try; "stay" is one of them.
    score = -change - 0.3 * lateral - 3.0 * off_lane - 3.0 * turn
    return score.masked_fill(~batch.goal_mask, -1e9)


def lane_following(batch: Batch, config: PriorConfig, num: int = 1) -> RollOut:
    """Follow lanes at (nearly) constant acceleration: the prior's candidates and roll-out, with nothing learnt.

    Args:
        batch: B agents.
        config: Bounds.
        num: Modes; the first keeps the current speed on the present lane, the others vary lane and acceleration
            (spread by the same suppression as the prior's).

    Returns:
        [B, num, FUTURE_STEPS].
    """
    scores = lane_scores(batch).double().numpy()
    points, mask = batch.goal_points.numpy(), batch.goal_mask.numpy()
    speeds = batch.speed.numpy()
    index = torch.stack(
        [torch.as_tensor(choose(scores[b], points[b], mask[b], num, float(speeds[b]))) for b in range(len(scores))]
    )
    goals = batch.goals.gather(1, index[..., None].expand(-1, -1, batch.goals.shape[-1]))
    speed = batch.speed[:, None].expand(goals.shape[:2])
    gas, turn = nominal_controls(goals, speed, config)
    heading = torch.atan2(goals[..., 5], goals[..., 4])
    return drive_to(gas, turn, speed, goals[..., :2] * POSITION_SCALE, heading, goals[..., 6], config)

"""What the prior learns from: where a vehicle ended up (goal) and how it got there (completion)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from adversaries.prior.config import POSITION_SCALE, WAYPOINTS
from adversaries.prior.kinematics import RollOut
from adversaries.prior.network import Batch, Encoding, GoalNetwork
from scenarios.scenario import DT, FUTURE_STEPS

FAR: float = 6.0
"""A sample whose true end is farther than this from every candidate teaches no goal, m."""
TAUGHT: int = 2
"""Candidates near the truth that completion is taught from, per sample."""
SCORED: int = 144
"""Candidates per sample that enter the goal loss: all near the truth, the others drawn at random and weighted up."""
PRACTISED: int = 6
"""Random candidates that completion must reach, per sample."""


class Truth(NamedTuple):
    """Targets of B samples, agent frame: future [B, T, 3] (x, y, heading), valid [B, T] and end [B, 2]."""

    future: Tensor
    valid: Tensor
    end: Tensor


class GoalLoss(NamedTuple):
    """Total and parts, each a scalar tensor."""

    total: Tensor
    goal: Tensor
    position: Tensor
    heading: Tensor
    reach: Tensor


def soft_labels(batch: Batch, end: Tensor) -> tuple[Tensor, Tensor]:
    """Target distribution [B, G] over candidates near the true end, and whether [B] there is any.

    A Gaussian whose width grows with speed: at 15 m/s two metres matter less than at rest.
    """
    squared = (batch.goal_points - end[:, None]).square().sum(-1).masked_fill(~batch.goal_mask, float("inf"))
    nearest = squared.min(-1).values
    width = (0.8 + 0.04 * batch.speed)[:, None]
    # Relative to the nearest, so that the label survives where candidates are sparse.
    weights = torch.exp(-(squared - nearest[:, None]) / (2.0 * width**2))
    return weights / weights.sum(-1, keepdim=True), nearest < FAR**2


def retarget(goals: Tensor, points: Tensor, speed: Tensor) -> Tensor:
    """Move goals [B, K, GOAL_FEATURES] a little, to `points` [B, K, 2] (m), with the path that leads there."""
    delta = points - goals[..., :2] * POSITION_SCALE
    fraction = torch.arange(1, WAYPOINTS + 1) / (WAYPOINTS + 1)
    moved = goals.clone()
    moved[..., :2] = points / POSITION_SCALE
    moved[..., 2] = points.norm(dim=-1) / POSITION_SCALE
    length = goals[..., 3] * POSITION_SCALE + (delta * goals[..., 4:6]).sum(-1)
    length = torch.maximum(length, points.norm(dim=-1))
    duration = FUTURE_STEPS * DT
    moved[..., 3] = length / POSITION_SCALE
    moved[..., 8] = (2.0 * (length - speed * duration) / duration**2 / 5.0).clamp(-2.0, 2.0)
    moved[..., 9] = length / duration / 15.0
    shift = delta[..., None, :] * fraction[:, None] / POSITION_SCALE
    moved[..., 20:] = goals[..., 20:] + shift.flatten(-2)
    return moved


def completion_loss(paths: RollOut, truth: Truth) -> tuple[Tensor, Tensor]:
    """Huber loss of positions (m) and 1 - cos of headings, averaged over valid steps and K modes: [B] each."""
    valid = truth.valid[:, None].float()
    gap = F.smooth_l1_loss(paths.points, truth.future[:, None, :, :2].expand_as(paths.points), reduction="none")
    count = valid.sum(-1).clamp_min(1.0)
    position = (gap.sum(-1) * valid).sum(-1) / count
    turned = 1.0 - torch.cos(paths.heading - truth.future[:, None, :, 2])
    return position.mean(-1), ((turned * valid).sum(-1) / count).mean(-1)


def reach_loss(paths: RollOut, goals: Tensor) -> Tensor:
    """How far roll-outs [B, K] stay from their goals and from the paths that lead there: [B].

    Goals that no data supports still have to be reached, else the candidates of an attack would miss them.
    """
    points = goals[..., :2] * POSITION_SCALE
    end = F.smooth_l1_loss(paths.points[..., -1, :], points, reduction="none").sum(-1)
    ways = goals[..., 20:].unflatten(-1, (WAYPOINTS, 2)) * POSITION_SCALE
    passed = paths.points[..., 3::4, :]
    nearest = (ways[..., :, None, :] - passed[..., None, :, :]).square().sum(-1).min(-1).values
    return (end + 0.3 * torch.sqrt(nearest + 0.25).mean(-1)).mean(-1)


def goal_loss(network: GoalNetwork, encoding: Encoding, batch: Batch, labels: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy between `labels` [B, G] and the goal distribution, averaged over samples that are `known` [B].

    Candidates far from the truth matter only through the normaliser, which a random share of them estimates without
    bias (each counts for those that were left out): a third of the cost.
    """
    near = labels > 1e-3
    key = torch.rand_like(labels).masked_fill(near, 2.0).masked_fill(~batch.goal_mask, -1.0)
    index = key.topk(min(SCORED, key.shape[1]), dim=1).indices
    goals = batch.goals.gather(1, index[..., None].expand(-1, -1, batch.goals.shape[-1]))
    mask, close = batch.goal_mask.gather(1, index), near.gather(1, index)
    left = (batch.goal_mask.sum(1) - near.sum(1)).clamp_min(1)
    drawn = (mask & ~close).sum(1).clamp_min(1)
    logits = network.goal_logits(encoding, goals, mask)
    log_probs = F.log_softmax(logits + torch.log(left / drawn)[:, None] * ~close, -1)
    weights = labels.gather(1, index) * close
    loss = -(weights * log_probs.masked_fill(~mask, 0.0)).sum(1) / weights.sum(1)
    return (loss * known).sum() / known.sum().clamp_min(1)


def prior_loss(network: GoalNetwork, batch: Batch, truth: Truth) -> GoalLoss:
    """All losses of a batch."""
    encoding = network.encode(batch)
    labels, known = soft_labels(batch, truth.end)
    weight = known.float()
    goal = goal_loss(network, encoding, batch, labels, weight)

    width = batch.goals.shape[-1]
    taught = torch.multinomial(labels, TAUGHT, replacement=True)
    practised = torch.multinomial(batch.goal_mask.float(), PRACTISED, replacement=True)
    picked = batch.goals.gather(1, torch.cat([taught, practised], 1)[..., None].expand(-1, -1, width))
    ends = truth.end[:, None].expand(-1, TAUGHT, 2)
    own = retarget(picked[:, :TAUGHT], ends, batch.speed[:, None])
    picked = torch.cat([own, picked[:, TAUGHT:]], 1)
    paths = network.complete(encoding, picked)
    position, heading = completion_loss(RollOut(*(p[:, :TAUGHT] for p in paths)), truth)
    reach = reach_loss(RollOut(*(p[:, TAUGHT:] for p in paths)), picked[:, TAUGHT:]).mean()
    position = (position * weight).sum() / weight.sum().clamp_min(1)
    heading = (heading * weight).sum() / weight.sum().clamp_min(1)
    total = goal + position + 2.0 * heading + 0.1 * reach
    return GoalLoss(total, goal, position, heading, reach)

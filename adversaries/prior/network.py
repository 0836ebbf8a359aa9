"""The torch model: scene encoder, goal scores, goal-conditioned completion. Everything is differentiable."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adversaries.prior.config import AGENT_FEATURES, GOAL_FEATURES, MAP_FEATURES, POSITION_SCALE, WAYPOINTS, PriorConfig
from adversaries.prior.features import Features
from adversaries.prior.kinematics import RollOut, drive_to, roll_out
from scenarios.scenario import DT, FUTURE_STEPS

MASKED = -1e9
"""Logit of a padded goal: its log-probability is far below any real one, and finite."""


class Batch(NamedTuple):
    """`Features` of B agents as tensors (float32 and bool); see there for shapes, each with a leading B."""

    agents: Tensor
    agent_mask: Tensor
    map: Tensor
    map_mask: Tensor
    goals: Tensor
    goal_points: Tensor
    goal_mask: Tensor
    speed: Tensor


def to_batch(features: list[Features]) -> Batch:
    """Stack features of several agents. Padding common to all is cut off, which changes no result."""
    names = Batch._fields

    def stack(name: str) -> Tensor:
        return torch.stack([torch.as_tensor(getattr(f, name)) for f in features])

    batch = Batch(*(stack(name) for name in names))
    return trim(batch)


def trim(batch: Batch) -> Batch:
    """Cut token padding that no row uses (goals keep their places)."""
    agents = max(int(batch.agent_mask.sum(1).max()), 1)
    tokens = int(batch.map_mask.sum(1).max())
    return batch._replace(
        agents=batch.agents[:, :agents],
        agent_mask=batch.agent_mask[:, :agents],
        map=batch.map[:, :tokens],
        map_mask=batch.map_mask[:, :tokens],
    )


class Encoding(NamedTuple):
    """The scene as the decoder sees it.

    Attributes:
        keys, values: [B, heads, N, hidden / heads] for the goals' cross-attention.
        mask: [B, N] bool.
        target: [B, hidden].
        speed: [B] m/s.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor
    target: Tensor
    speed: Tensor


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class SceneLayer(nn.Module):
    """Pre-norm self-attention over agents and map vectors (VectorNet's global graph)."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        width = config.hidden
        self.heads = config.heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens [B, N, hidden] with `mask` [B, N] → the same shape."""
        batch, count, width = tokens.shape
        q, k, v = self.qkv(self.first(tokens)).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        tokens = tokens + self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, count, width)))
        return tokens + self.dropout(self.feed(self.second(tokens)))


class GoalNetwork(nn.Module):
    """Dense-goal motion model.

    Paper: DenseTNT (Gu et al., ICCV 2021) for dense goals scored by attention; VectorNet (Gao et al., CVPR 2020) for
    vectorised context.
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden
        self.agent_in = _mlp(AGENT_FEATURES, 2 * width, width)
        self.target_in = _mlp(AGENT_FEATURES, 2 * width, width)
        self.map_in = _mlp(MAP_FEATURES, width, width)
        self.layers = nn.ModuleList(SceneLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.goal_in = _mlp(GOAL_FEATURES, width, width)
        self.goal_query = nn.Linear(width, width)
        self.scene_keys = nn.Linear(width, 2 * width)
        self.goal_out = nn.Linear(width, width)
        self.score_goal = nn.Linear(2 * width, width)
        self.score_target = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1)
        self.drive_in = nn.Linear(2 * width, 2 * width)
        self.drive_target = nn.Linear(width, 2 * width, bias=False)
        self.drive_hidden = nn.Linear(2 * width, 2 * width)
        self.drive_out = nn.Linear(2 * width, 2 * config.knots)
        self.dropout = nn.Dropout(config.dropout)
        with torch.no_grad():
            self.drive_out.weight.mul_(0.1)
            self.drive_out.bias.zero_()

    def encode(self, batch: Batch) -> Encoding:
        """Embed the scene once; goals are scored and completed against it."""
        target = self.target_in(batch.agents[:, :1])
        tokens = torch.cat([target, self.agent_in(batch.agents[:, 1:]), self.map_in(batch.map)], 1)
        mask = torch.cat([batch.agent_mask, batch.map_mask], 1)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        tokens = self.norm(tokens)
        rows, count, _ = tokens.shape
        keys, values = self.scene_keys(tokens).view(rows, count, 2, self.config.heads, -1).permute(2, 0, 3, 1, 4)
        return Encoding(keys, values, mask, tokens[:, 0], batch.speed)

    def _look(self, encoding: Encoding, goals: Tensor) -> Tensor:
        """Goals [B, K, GOAL_FEATURES] and what they see in the scene: [B, K, 2 hidden]."""
        embedded = self.goal_in(goals)
        rows, count, width = embedded.shape
        query = self.goal_query(embedded).view(rows, count, self.config.heads, -1).transpose(1, 2)
        seen = F.scaled_dot_product_attention(
            query, encoding.keys, encoding.values, attn_mask=encoding.mask[:, None, None]
        )
        seen = self.goal_out(seen.transpose(1, 2).reshape(rows, count, width))
        return self.dropout(torch.cat([embedded, embedded + seen], -1))

    def goal_logits(self, encoding: Encoding, goals: Tensor, mask: Tensor) -> Tensor:
        """Unnormalised scores [B, G] of goals [B, G, GOAL_FEATURES]; `MASKED` where `mask` [B, G] is False."""
        look = self._look(encoding, goals)
        hidden = F.relu(self.score_goal(look) + self.score_target(encoding.target)[:, None])
        return self.score(hidden).squeeze(-1).masked_fill(~mask, MASKED)

    def goal_log_probs(self, encoding: Encoding, goals: Tensor, mask: Tensor) -> Tensor:
        """Log-probabilities [B, G] over all candidates: log π(goal | scene); gradients flow."""
        return F.log_softmax(self.goal_logits(encoding, goals, mask), -1)

    def controls(self, encoding: Encoding, goals: Tensor) -> tuple[Tensor, Tensor]:
        """Raw acceleration and turn [B, K, knots] towards the given goals [B, K, GOAL_FEATURES]; see `roll_out`."""
        look = self._look(encoding, goals)
        hidden = F.relu(self.drive_in(look) + self.drive_target(encoding.target)[:, None])
        hidden = F.relu(self.drive_hidden(hidden))
        speed = encoding.speed[:, None].expand(goals.shape[:2])
        gas, turn = self.drive_out(hidden).chunk(2, -1)
        nominal_gas, nominal_turn = nominal_controls(goals, speed, self.config)
        return gas + nominal_gas, turn + nominal_turn

    def complete(self, encoding: Encoding, goals: Tensor) -> RollOut:
        """Trajectories [B, K, FUTURE_STEPS] that drive to the given goals [B, K, GOAL_FEATURES], agent frame."""
        speed = encoding.speed[:, None].expand(goals.shape[:2])
        return roll_out(*self.controls(encoding, goals), speed, self.config)

    @torch.no_grad()
    def complete_exactly(self, encoding: Encoding, goals: Tensor) -> RollOut:
        """As `complete`, with the controls corrected until the roll-out ends at its goal, if it can; no gradients."""
        speed = encoding.speed[:, None].expand(goals.shape[:2])
        gas, turn = self.controls(encoding, goals)
        heading = torch.atan2(goals[..., 5], goals[..., 4])
        points = goals[..., :2] * POSITION_SCALE
        return drive_to(gas, turn, speed, points, heading, goals[..., 6], self.config)

    def forward(self, batch: Batch) -> tuple[Encoding, Tensor]:
        """Encoding and goal log-probabilities of a batch."""
        encoding = self.encode(batch)
        return encoding, self.goal_log_probs(encoding, batch.goals, batch.goal_mask)


def nominal_controls(goals: Tensor, speed: Tensor, config: PriorConfig) -> tuple[Tensor, Tensor]:
    """A first guess of raw controls [B, K, knots] from a goal's path: the network learns what is missing.

    Acceleration is constant over the horizon; the turn follows the curvature of the path at the place where that
    acceleration brings the vehicle.

    Args:
        goals: [B, K, GOAL_FEATURES].
        speed: [B, K] m/s.
        config: Bounds.
    """
    shape = goals.shape[:-1]
    duration = FUTURE_STEPS * DT
    length = goals[..., 3] * POSITION_SCALE
    gas = (2.0 * (length - speed * duration) / duration**2).clamp(
        -config.max_braking * 0.9, config.max_acceleration * 0.9
    )
    interior = goals[..., 20:].reshape(*shape, WAYPOINTS, 2)
    line = torch.cat([torch.zeros_like(interior[..., :1, :]), interior, goals[..., None, :2]], -2) * POSITION_SCALE
    step = line.diff(dim=-2)
    angle = torch.atan2(step[..., 1], step[..., 0] + 1e-6)
    angle = torch.cat([torch.zeros_like(angle[..., :1]), angle], -1)
    bend = torch.remainder(angle.diff(dim=-1) + math.pi, 2 * math.pi) - math.pi
    span = length.clamp_min(1.0) / (WAYPOINTS + 1)
    # A bend lies at the joint of two segments. The first joint is the vehicle itself: half a segment turns there.
    curvature = torch.cat([2.0 * bend[..., :1], bend[..., 1:]], -1) / span[..., None]
    time = torch.linspace(0.0, duration, config.knots)
    travelled = (speed[..., None] * time + 0.5 * gas[..., None] * time**2).clamp_min(0.0)
    place = (travelled / span[..., None]).clamp_max(WAYPOINTS)
    weights = (1.0 - (place[..., None] - torch.arange(WAYPOINTS + 1)).abs()).clamp_min(0.0)
    now = (weights * curvature[..., None, :]).sum(-1)
    pace = (speed[..., None] + gas[..., None] * time).clamp_min(0.1)
    limit = torch.minimum(
        torch.tensor(config.max_curvature), torch.minimum(config.max_lateral / pace**2, config.max_yaw_rate / pace)
    )
    turn = torch.atanh((now / limit).clamp(-0.9, 0.9))
    gas_raw = gas[..., None].expand(*shape, config.knots)
    bound = torch.where(gas_raw > 0, config.max_acceleration, config.max_braking)
    return bound * torch.atanh(gas_raw / bound), turn

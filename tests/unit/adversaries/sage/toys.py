"""A second, tiny backbone: a token model whose every step is one of a few speeds, sampled one token at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from adversaries.common.candidates import Drawn
from adversaries.prior.config import PriorConfig
from adversaries.prior.network import GoalNetwork
from adversaries.prior.prior import MotionPrior
from adversaries.sage.goal_scenes import GoalScene
from harness.interfaces import AttackContext
from scenarios.scenario import Scenario
from tests.unit.adversaries.fakes import line

SPEEDS = np.array([0.0, 4.0, 8.0, 12.0])
SIDES = np.array([-0.3, 0.0, 0.3])
LENGTH = 4
"""Tokens per future, each holding for two seconds."""


@dataclass
class ToyCase:
    key: int


class ToyDistribution:
    def __init__(self, logits: Tensor, cases: Sequence[ToyCase]) -> None:
        self.log_probs, self.cases = torch.log_softmax(logits, -1), cases

    def sample(self, num: int, rng: np.random.Generator) -> list[np.ndarray]:
        probability = self.log_probs.detach().exp().double().numpy()
        probability /= probability.sum(-1, keepdims=True)
        drawn = [[rng.choice(probability.shape[-1], num, p=row) for row in probability] for _ in self.cases]
        return [np.stack(rows, -1).astype(np.int64) for rows in drawn]

    def log_prob(self, tokens: Sequence[np.ndarray]) -> list[Tensor]:
        steps = torch.arange(LENGTH)
        return [self.log_probs[steps, torch.as_tensor(rows)].sum(-1) for rows in tokens]


class ToyBackbone:
    """Ignores the scene: one categorical distribution per token position. Futures cannot be listed."""

    def __init__(self) -> None:
        self.module: nn.Module = nn.ParameterDict({"logits": nn.Parameter(torch.zeros(LENGTH, 12))})
        self.asked = 0

    def prepare(self, scenario: Scenario, agent: int, step: int) -> ToyCase:
        return ToyCase(agent)

    def distribution(self, cases: Sequence[ToyCase]) -> ToyDistribution:
        return ToyDistribution(self.module["logits"], cases)

    def vocabulary(self, case: ToyCase) -> None:
        return None

    def futures(self, scenario: Scenario, agent: int, step: int, case: ToyCase, tokens: np.ndarray):
        self.asked += len(tokens)
        states = np.repeat(scenario.states(agent)[None], len(tokens), 0)
        speed = np.repeat(SPEEDS[tokens % 4], 20, axis=1)
        turn = np.repeat(SIDES[tokens // 4], 20, axis=1)
        heading = states[:, step, 2, None] + turn
        velocity = speed[..., None] * np.stack([np.cos(heading), np.sin(heading)], -1)
        states[:, step + 1 :, :2] = states[:, step, None, :2] + np.cumsum(velocity, 1) * scenario.dt
        states[:, step + 1 :, 2], states[:, step + 1 :, 3:] = heading, velocity
        return states, np.ones(scenario.num_steps, dtype=bool)

    def clone(self) -> ToyBackbone:
        other = ToyBackbone()
        other.module.load_state_dict(self.module.state_dict())
        return other


SMALL = PriorConfig(hidden=16, heads=2, layers=1, lane_goals=48, fan_goals=23, max_agents=4, max_lanes=24, max_edges=16)


def small_network(seed: int = 0) -> GoalNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GoalNetwork(SMALL).eval()


def small_prior(seed: int = 0) -> MotionPrior:
    """An untrained prior of the shipped kind."""
    return MotionPrior(small_network(seed))


def four_ways(adversary: object, context: AttackContext, intensity: float) -> Drawn:
    """In place of `SageAdversary._draw`: four candidates that meet the ego of a straight road, and one beside it."""
    ways = [(20, 0, 0, 2), (40, -40, np.pi / 2, 10), (50, 50, -np.pi / 2, 10), (130, 0, np.pi, 8), (20, 20, 0, 10)]
    states = np.stack([line(*way) for way in ways])
    states[:, :11] = context.scenario.states(1)[:11]
    return Drawn(states=states, valid=np.arange(91) > 10, log_prob=np.zeros(5), size=(4.5, 2.0))


def five_speeds(prior: object, scene: GoalScene, scores: object, context: AttackContext, *options: object) -> Drawn:
    """In place of `goal_scenes.drawn_goals`: straight on from now, at five speeds that are reached by 2 m/s²."""
    now, steps = context.scenario.states(context.opponent)[context.step], np.arange(91)
    time, pace = np.maximum(steps - context.step, 0)[None] * 0.1, np.hypot(*now[3:])
    change = np.array([[4.0], [6.0], [8.0], [10.0], [12.0]]) - pace
    paces = pace + np.sign(change) * np.minimum(2.0 * time, np.abs(change))
    covered = np.cumsum(paces * np.diff(time, prepend=0.0), 1)
    direction = np.array([np.cos(now[2]), np.sin(now[2])])
    states = np.zeros((5, 91, 5))
    states[..., :2] = now[:2] + covered[..., None] * direction
    states[..., 2], states[..., 3:] = now[2], paces[..., None] * direction
    return Drawn(states=states, valid=steps > context.step, log_prob=np.zeros(5), size=(4.5, 2.0))

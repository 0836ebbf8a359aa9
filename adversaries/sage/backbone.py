"""What HGPO needs of a motion model, and the shipped one: the goal-conditioned prior.

A future is named by a *token row* (integers): the same row in the same scene always means the same trajectory, so
its objectives are computed once, and policy and reference are always asked about the same trajectories. For the
goal-conditioned prior a row is the index of a goal; for a token model (`adversaries.sage.smart_backbone`) it is the
sampled sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adversaries.prior.features import Features
from adversaries.prior.network import GoalNetwork, to_batch
from adversaries.prior.prior import MotionPrior, world_states
from adversaries.sage.groups import Draw, draw_goals
from harness.files import JsonDict
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Case = Any
"""What a backbone prepares from one agent of one scene; opaque to everyone else, and without the scene's map."""


class Distribution(Protocol):
    """Futures of B cases under the weights at the time it was made."""

    def sample(self, num: int, rng: np.random.Generator) -> list[Ints]:
        """A group per case: token rows [K, L], K ≤ num, the likeliest first where there is an order."""
        ...

    def log_prob(self, tokens: Sequence[Ints]) -> list[Tensor]:
        """Log π of given token rows, [K] per case; gradients flow to the weights."""
        ...


class Backbone(Protocol):
    """A probabilistic motion model that can be aligned."""

    @property
    def module(self) -> nn.Module:
        """The module whose weights are trained."""
        ...

    def prepare(self, scenario: Scenario, agent: int, step: int) -> Case:
        """Everything that `distribution` needs to know of one agent."""
        ...

    def distribution(self, cases: Sequence[Case]) -> Distribution:
        """The futures of several agents under the present weights."""
        ...

    def futures(self, scenario: Scenario, agent: int, step: int, case: Case, tokens: Ints) -> tuple[Floats, Bools]:
        """Trajectories [K, T, 5] (world, by absolute step, log rows up to `step`) and validity [T] of token rows."""
        ...

    def vocabulary(self, case: Case) -> Ints | None:
        """Every token row [V, L] that can occur (row v of it is `[v]`), or None where they are too many to list."""
        ...

    def clone(self) -> Backbone:
        """A copy with weights of its own."""
        ...

    @property
    def info(self) -> JsonDict:
        """What the weights file says of its making."""
        ...

    def save(self, path: Path, info: JsonDict | None = None) -> None:
        """Write the weights and JSON-able `info` (its own if None) to a file, all or nothing."""
        ...


class GoalDistribution:
    """Goal log-probabilities [B, G] of B agents, and how groups are drawn from them (see `groups`)."""

    def __init__(self, log_probs: Tensor, cases: Sequence[Features], draw: Draw) -> None:
        self.log_probs, self._cases, self._draw = log_probs, cases, draw

    def sample(self, num: int, rng: np.random.Generator) -> list[Ints]:
        """A group of goals [K, 1] per agent, the likeliest first."""
        scores = self.log_probs.detach().double().numpy()
        return [
            draw_goals(row, case.goal_points, case.goal_mask, num, self._draw, rng)[:, None].astype(np.int64)
            for row, case in zip(scores, self._cases, strict=True)
        ]

    def log_prob(self, tokens: Sequence[Ints]) -> list[Tensor]:
        """Log π [K] of goals [K, 1]."""
        return [row[torch.as_tensor(rows[:, 0])] for row, rows in zip(self.log_probs, tokens, strict=True)]


class GoalBackbone:
    """The motion prior as a policy over goals.

    The log-probability of a trajectory is that of its goal: completion is deterministic given the goal. Completion is
    always the *pretrained* one (a frozen copy of the reference), while alignment moves everything that the goal
    distribution depends on. A goal therefore means the same trajectory to every expert, to every mixture of them and to
    the reference, and alignment cannot spoil the drivability that pretraining taught.

    Args:
        prior: Pretrained prior; it is not changed.
        draw: How groups are drawn.
        module: Policy weights; a copy of the prior's if None.
    """

    def __init__(self, prior: MotionPrior, draw: Draw | None = None, module: GoalNetwork | None = None) -> None:
        self.prior, self.draw = prior, draw or Draw()
        if module is None:
            module = GoalNetwork(prior.config)
            module.load_state_dict(prior.network.state_dict())
        # Always in evaluation mode: dropout would put noise on the log-ratios.
        self.module: GoalNetwork = module.eval()

    def prepare(self, scenario: Scenario, agent: int, step: int) -> Features:
        """Features of the agent.

        Raises:
            AdversaryError: The agent is absent at `step`.
        """
        return self.prior.features(scenario, agent, step)

    def distribution(self, cases: Sequence[Features]) -> GoalDistribution:
        """Goal distribution of several agents in one forward pass."""
        _, log_probs = self.module(to_batch(list(cases)))
        return GoalDistribution(log_probs, cases, self.draw)

    @torch.no_grad()
    def futures(self, scenario: Scenario, agent: int, step: int, case: Features, tokens: Ints) -> tuple[Floats, Bools]:
        """The pretrained completion of goals [K, 1]."""
        encoding = self.prior.network.encode(to_batch([case]))
        return complete(self.prior, encoding, scenario, agent, step, case, tokens[:, 0])

    def vocabulary(self, case: Features) -> Ints:
        """Every goal, padding included (nobody draws it: its probability is zero)."""
        return np.arange(len(case.goal_mask), dtype=np.int64)[:, None]

    def clone(self) -> GoalBackbone:
        """A copy with policy weights of its own."""
        module = GoalNetwork(self.prior.config)
        module.load_state_dict(self.module.state_dict())
        return GoalBackbone(self.prior, self.draw, module)

    @property
    def info(self) -> JsonDict:
        """What the prior's file says of its making."""
        return self.prior.info

    def save(self, path: Path, info: JsonDict | None = None) -> None:
        """Write the policy's weights as those of a prior."""
        MotionPrior(self.clone().module).save(path, self.info if info is None else info)


@torch.no_grad()
def complete(
    prior: MotionPrior, encoding: Any, scenario: Scenario, agent: int, step: int, case: Features, goals: NDArray
) -> tuple[Floats, Bools]:
    """Trajectories [K, T, 5] with validity [T] to goal indices [K], given the prior's encoding of the agent."""
    paths = prior.network.complete_exactly(encoding, torch.as_tensor(case.goals[goals])[None])
    return world_states(scenario, agent, step, case.pose, paths)

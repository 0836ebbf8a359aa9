"""Rewards of sampled roll-outs: the realism metric and the cost of harm, of a scene or of each agent."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.caching import Lru
from harness.errors import RunError
from harness.executors import JobStream, WorkerSetup, open_stream
from harness.metrics.wosac import Scorer
from harness.traffic.model.batch import AgentBatch
from harness.traffic.model.network import SmartNetwork
from harness.traffic.rollouts import simulated_agents
from harness.traffic.tokens.scene import CURRENT_TOKEN, SceneTokens
from harness.traffic.tokens.shapes import compose
from harness.traffic.tokens.tokeniser import apply
from harness.traffic.training.config import ReinforcementOptions
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS, Scenario

_SCORERS: Final = 48
"""Prepared scenes that are kept (map tables and log features, a few MB each)."""


def dense_poses(network: SmartNetwork, agents: AgentBatch) -> Tensor:
    """Poses [W, A, 5·S, 3] every 0.1 s after the current step, of agents [W, A, N] with S tokens after it."""
    token = agents.token[:, :, CURRENT_TOKEN:]
    start = agents.pose[:, :, CURRENT_TOKEN - 1 : -1]
    motions = network.motions[agents.kinds[..., None].expand_as(token), token, 1:]
    return compose(start[..., None, :], motions).flatten(2, 3)


class SimulatedStates(NamedTuple):
    """What a `Scorer` takes: states [R, A, 80, 4] and scenario indices [A]."""

    states: Tensor
    agents: np.ndarray


class RolloutRewards(NamedTuple):
    """What is said of R roll-outs of one scene.

    Attributes:
        meta: [groups] realism meta metric.
        meta_of_agents: [groups, E] the same of each evaluated agent alone.
        collided, off_road: [R, E] per evaluated agent.
        evaluated: [E] row of each evaluated agent among the agents of the tokens.
    """

    meta: Tensor
    meta_of_agents: Tensor
    collided: Tensor
    off_road: Tensor
    evaluated: Tensor

    def reward(self, options: ReinforcementOptions, agents: int | None) -> Tensor:
        """Reward of every group: realism less the cost of harm, by the weights of the options.

        Args:
            options: Weights.
            agents: Number of agents of the tokens, for one reward each; None for one of the scene.

        Returns:
            [groups, agents], NaN for agents that are not judged; or [groups, 1].
        """
        harm = options.collision * self.collided.double() + options.offroad * self.off_road.double()
        harm = harm.view(len(self.meta), -1, harm.shape[1]).mean(1)
        if agents is None:
            return (_weighted(options.realism, self.meta) - harm.mean(1))[:, None]
        reward = torch.full((len(self.meta), agents), torch.nan, dtype=torch.float64)
        reward[:, self.evaluated] = (_weighted(options.realism, self.meta_of_agents) - harm).cpu()
        return reward


def _weighted(weight: float, realism: Tensor) -> Tensor:
    """Weighted realism; 0 without a weight, also where realism is not known."""
    return weight * realism if weight else torch.zeros_like(realism)


class Judging(NamedTuple):
    """What is to be judged: roll-outs of a scene; see `Judge.__call__`."""

    scenario: Scenario
    scene: SceneTokens
    poses: Tensor
    groups: int


class Judge:
    """Scores roll-outs of scenes; keeps what depends on the scene alone.

    Args:
        everyone: Evaluate all trained agents, not only the ones that the official metric looks at.
    """

    def __init__(self, everyone: bool) -> None:
        self._everyone = everyone
        self._scorers: Lru[tuple[str, bytes], Scorer] = Lru(_SCORERS)

    def _scorer(self, scenario: Scenario, scene: SceneTokens) -> Scorer:
        agents = scene.agents[scene.trained].tolist() if self._everyone else None
        # The frame tells scenes of the same name apart.
        key = scenario.id, scene.frame.tobytes()
        return self._scorers.get(key, lambda: Scorer(scenario, agents=agents))

    def __call__(self, scenario: Scenario, scene: SceneTokens, poses: Tensor, groups: int) -> RolloutRewards:
        """Score roll-outs.

        Args:
            scenario, scene: The recorded scene and its tokens.
            poses: [R, A, 80, 3] in the frame of the scene, agents as in `scene.agents`.
            groups: Equal runs of consecutive roll-outs that are scored together.
        """
        scorer = self._scorer(scenario, scene)
        every = simulated_agents(scenario)
        # Agents that training leaves out are far from all trained ones: they stand where they were.
        states = np.empty((len(poses), len(every), FUTURE_STEPS, 4))
        states[..., :3] = scenario.position[every, CURRENT_STEP][None, :, None]
        states[..., 3] = scenario.heading[every, CURRENT_STEP][None, :, None]
        world = apply(scene.frame, poses.double().cpu().numpy())
        rows = np.searchsorted(every, scene.agents)
        states[:, rows] = np.concatenate([world[..., :2], states[:, rows, :, 2:3], world[..., 2:]], -1)
        scores = scorer.score_groups(SimulatedStates(torch.as_tensor(states), every), groups)
        row_of = {int(agent): row for row, agent in enumerate(scene.agents)}
        rows_evaluated = torch.tensor([row_of.get(int(agent), -1) for agent in scorer.evaluated])
        known = rows_evaluated >= 0
        return RolloutRewards(
            scores.meta,
            scores.meta_of_agents[:, known],
            scores.collided[:, known],
            scores.off_road[:, known],
            rows_evaluated[known],
        )

    def every(self, judgings: Sequence[Judging]) -> list[RolloutRewards]:
        """What is said of each."""
        return [self(*judging) for judging in judgings]


class _Sent(NamedTuple):
    """A judging on its way to a worker, its poses as an array, and its place among the others."""

    place: int
    judging: Judging
    poses: NDArray[np.float32]


class JudgeAtWork:
    """What a worker does: see `Judge`."""

    def __init__(self, everyone: bool) -> None:
        torch.set_num_threads(1)
        self._judge = Judge(everyone)

    def __call__(self, sent: _Sent) -> tuple[NDArray[np.generic], ...]:
        """The rewards as arrays."""
        found = self._judge(*sent.judging._replace(poses=torch.as_tensor(sent.poses)))
        return tuple(value.cpu().numpy() for value in found)


class Judges(Judge):
    """Judges in processes: the same rewards, made side by side. Use it as a context manager.

    Args:
        everyone: As for `Judge`.
        count: How many.
    """

    def __init__(self, everyone: bool, count: int) -> None:
        super().__init__(everyone)
        setup = WorkerSetup(f"{__name__}:{JudgeAtWork.__name__}", {"everyone": everyone})
        self._stream: JobStream[_Sent] = open_stream(setup, workers=count)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def every(self, judgings: Sequence[Judging]) -> list[RolloutRewards]:
        """What is said of each.

        Raises:
            RunError: A judge failed, also when it was asked again.
        """
        for place, judging in enumerate(judgings):
            # Tables and tensors would only be carried back and forth.
            light = judging._replace(scene=judging.scene.without_table(), poses=torch.zeros(0))
            self._stream.give(_Sent(place, light, judging.poses.cpu().numpy()))
        found: dict[int, RolloutRewards] = {}
        while self._stream.unfinished:
            for result in self._stream.results():
                if result.error or not isinstance(result.value, tuple):
                    raise RunError(f"roll-outs of {result.job.judging.scenario.id} cannot be judged: {result.error}")
                found[result.job.place] = RolloutRewards(*map(torch.as_tensor, result.value))
        return [found[place] for place in range(len(judgings))]

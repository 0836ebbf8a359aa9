"""Realism scores of simulated scenes: the WOSAC meta metric, its features, and displacement errors.

Everything that depends on the scene alone (log features, map tables) is computed once per `Scorer`, so that scoring
many sets of roll-outs, as a reward in training does, costs only the simulated side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import ConfigError, ScenarioError
from harness.metrics.wosac.config import (
    BUCKETS,
    CORRECTED,
    ESTIMATORS,
    FEATURES,
    OF_ROAD_EDGES,
    OFFICIAL,
    Quirks,
    weights,
)
from harness.metrics.wosac.estimators import (
    bernoulli_log_likelihood,
    histogram_bins,
    histogram_log_likelihood,
    masked_mean,
)
from harness.metrics.wosac.features import RealismFeatures, SceneFeatures
from scenarios.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class RolloutScores:
    """Scores of G groups of roll-outs; every tensor is [G] float64 unless stated.

    Attributes:
        likelihoods: Per feature, 0 … 1.
        kinematic, interactive, map: Weighted means of their features.
        meta: Weighted sum of all features: the realism meta metric.
        ade, min_ade: Displacement error: mean and smallest over the roll-outs of a group, m.
        collision_rate, offroad_rate, red_light_rate: Share of agents and roll-outs.
        collided, off_road, ran_red_light: [R, E] bool, per roll-out and evaluated agent.
        displacement: [R, E] mean displacement per roll-out and evaluated agent, m.
        meta_of_agents: [G, E] the meta metric of each evaluated agent alone: its own likelihood of every feature, and
            that of the scene where the feature does not exist for it (a pedestrian's time to collision).
    """

    likelihoods: Mapping[str, Tensor]
    kinematic: Tensor
    interactive: Tensor
    map: Tensor
    meta: Tensor
    ade: Tensor
    min_ade: Tensor
    collision_rate: Tensor
    offroad_rate: Tensor
    red_light_rate: Tensor
    collided: Tensor
    off_road: Tensor
    ran_red_light: Tensor
    displacement: Tensor
    meta_of_agents: Tensor


@dataclass(frozen=True, slots=True)
class RealismScores:
    """Scores of one scene, roll-outs pooled; NaN where nothing is there to score.

    Attributes as in `RolloutScores`, as numbers.
    """

    meta: float
    kinematic: float
    interactive: float
    map: float
    likelihoods: Mapping[str, float]
    ade: float
    min_ade: float
    collision_rate: float
    offroad_rate: float
    red_light_rate: float

    def as_dict(self) -> dict[str, float]:
        """Flat: `meta`, buckets, one key per feature, `min_ade`, `ade`, and the simulated rates."""
        return {
            "meta": self.meta,
            "kinematic": self.kinematic,
            "interactive": self.interactive,
            "map": self.map,
            **self.likelihoods,
            "min_ade": self.min_ade,
            "ade": self.ade,
            "simulated_collision_rate": self.collision_rate,
            "simulated_offroad_rate": self.offroad_rate,
            "simulated_traffic_light_violation_rate": self.red_light_rate,
        }


class Simulated(Protocol):
    """Roll-outs that can be scored: arrays or tensors, on any device."""

    @property
    def states(self) -> NDArray[np.floating] | Tensor:
        """X, y, z (m) and heading (rad), [R, A, S, 4]."""
        ...

    @property
    def agents(self) -> NDArray[np.integer] | Tensor:
        """Scenario index of each agent, [A]."""
        ...


class Scorer:
    """Scores roll-outs of one scene.

    Attributes:
        agents: [A] scenario indices of the simulated agents, ascending.
        evaluated: [E] scenario indices of the evaluated agents, in the order of per-agent results.
    """

    def __init__(
        self,
        scenario: Scenario,
        config: str = "2025",
        parity: bool = False,
        *,
        quirks: Quirks | None = None,
        agents: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
        partial: bool = False,
    ) -> None:
        """Prepare the log side.

        Args:
            scenario: At 10 Hz, with road edges; 91 steps for the official protocol. Of longer ones the first 91
                count, shorter ones are judged over their own length.
            config: Weights of `2025` or `2024`.
            parity: Reproduce the official code with its quirks, instead of what it evidently means.
            quirks: Single quirks, instead of all or none.
            agents: Scenario indices to evaluate instead of `evaluated_agents(scenario)`.
            device: Where to compute.
            partial: Score what can be scored where the map has no road edges: what rests on them (`meta` and `map`
                as well) is NaN.

        Raises:
            ScenarioError: The scene cannot be scored (no road edges, another time step, too short).
            ConfigError: Unknown config, or an evaluated agent is absent.
        """
        self._weights = weights(config)
        self.quirks = quirks if quirks is not None else OFFICIAL if parity else CORRECTED
        self._scene = SceneFeatures(scenario, self.quirks, agents, device, partial=partial)
        log = self._scene.logged
        self.agents = log.agents.cpu().numpy()
        self.evaluated = self.agents[log.evaluated.cpu().numpy()]
        self._log = self._scene.of_log()
        self._bins = {
            name: histogram_bins(self._log.values[name][0], estimator)
            for name, estimator in ESTIMATORS.items()
            if estimator is not None
        }

    def score(self, simulated: Simulated) -> RealismScores:
        """Official score: the distribution of all roll-outs together.

        Args:
            simulated: A `SimulatedScene`, or anything with `states` [R, A, S, 4] (array or tensor) and `agents`.

        Raises:
            ConfigError: Its agents are not those of the scene, it is shorter than what is judged of the scene, or
                numbers are not finite.
        """
        scores = self.score_groups(simulated, 1)
        return RealismScores(
            meta=float(scores.meta),
            kinematic=float(scores.kinematic),
            interactive=float(scores.interactive),
            map=float(scores.map),
            likelihoods={name: float(value) for name, value in scores.likelihoods.items()},
            ade=float(scores.ade),
            min_ade=float(scores.min_ade),
            collision_rate=float(scores.collision_rate),
            offroad_rate=float(scores.offroad_rate),
            red_light_rate=float(scores.red_light_rate),
        )

    @torch.no_grad()
    def score_groups(self, simulated: Simulated, groups: int) -> RolloutScores:
        """Scores of `groups` equal runs of consecutive roll-outs, each pooled. Arguments and errors as `score`."""
        states = self._aligned(simulated)
        if groups < 1 or len(states) % groups:
            raise ConfigError(f"realism: {len(states)} roll-outs cannot be divided into {groups} equal groups.")
        features = self._scene.of_simulation(states)
        likelihoods, of_agents = self._likelihoods(features, groups)
        split = lambda values: values.reshape(groups, len(states) // groups, -1)  # noqa: E731
        off_road = split(features.happened["offroad_indication"]).double().mean((-1, -2))
        displacement = split(features.displacement).mean(-1)
        red = features.happened["traffic_light_violation"]
        counted = red if self.quirks.red_light_rate_of_all else red[:, self._scene.logged.vehicle]
        return RolloutScores(
            likelihoods=likelihoods,
            **{name: self._weighted(likelihoods, members) for name, members in BUCKETS.items()},
            meta=sum((self._weights[name] * likelihoods[name] for name in FEATURES), torch.zeros(())),
            ade=displacement.mean(-1),
            min_ade=displacement.amin(-1),
            collision_rate=split(features.happened["collision_indication"]).double().mean((-1, -2)),
            offroad_rate=off_road if self._scene.has_edges else torch.full_like(off_road, torch.nan),
            red_light_rate=split(counted).double().mean((-1, -2)),
            collided=features.happened["collision_indication"],
            off_road=features.happened["offroad_indication"],
            ran_red_light=red,
            displacement=features.displacement,
            meta_of_agents=sum((self._weights[name] * of_agents[name] for name in FEATURES), torch.zeros(())),
        )

    def _likelihoods(self, features: RealismFeatures, groups: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Likelihood of every feature: of the scene [G], and of each evaluated agent [G, E]."""
        result, of_agents = {}, {}
        vehicle = self._scene.logged.vehicle
        for name, estimator in ESTIMATORS.items():
            if estimator is not None:
                value = histogram_log_likelihood(
                    self._bins[name], features.values[name], features.use.get(name), estimator, groups
                )
                use = self._log.use[name][0]
                score, own = masked_mean(value, use), masked_mean(value[..., None, :], use[..., None, :])
            else:
                logged, simulated = self._log.happened[name][0], features.happened[name]
                if name == "traffic_light_violation":
                    logged, simulated = logged & vehicle, simulated & vehicle
                own = bernoulli_log_likelihood(logged, simulated, groups)
                score = own.mean(-1)
            judged = self._scene.has_edges or name not in OF_ROAD_EDGES
            result[name] = score.exp() if judged else torch.full_like(score, torch.nan)
            scene = result[name][:, None]
            of_agents[name] = torch.where(own.isnan(), scene, own.exp()) if judged else scene.expand_as(own)
        return result, of_agents

    def _weighted(self, likelihoods: Mapping[str, Tensor], members: Sequence[str]) -> Tensor:
        total = sum(self._weights[name] for name in members)
        return sum((self._weights[name] * likelihoods[name] for name in members), torch.zeros(())) / total

    def _aligned(self, simulated: Simulated) -> Tensor:
        """[R, A, S, 4] float64 in the local frame, agents in our order."""
        agents, states = simulated.agents, simulated.states
        given = agents.cpu().numpy() if isinstance(agents, Tensor) else np.asarray(agents)
        states = states if isinstance(states, Tensor) else torch.as_tensor(np.ascontiguousarray(states))
        if set(given.tolist()) != set(self.agents.tolist()) or len(given) != len(self.agents):
            raise ConfigError(
                f"realism: roll-outs of {len(given)} agents, but the scene has {len(self.agents)} agents at step 10. "
                "Simulate every agent that is valid at step 10 (`harness.traffic.rollouts.simulated_agents`)."
            )
        order = np.argsort(given)
        local = self._scene.to_local(states)
        local = local if (order == np.arange(len(order))).all() else local[:, torch.as_tensor(order)]
        if local.shape[2] < self._scene.future:
            raise ConfigError(
                f"realism: roll-outs of {local.shape[2]} steps, but {self._scene.future} are judged after step 10."
            )
        local = local[:, :, : self._scene.future]
        if not torch.isfinite(local).all():
            raise ConfigError("realism: a simulated pose is NaN or infinite. Every agent must be present throughout.")
        return local


def score(scenario: Scenario, simulated: Simulated, config: str = "2025", parity: bool = False) -> RealismScores:
    """Realism of roll-outs of one scene; arguments and errors as `Scorer` and `Scorer.score`.

    Use a `Scorer` to score more than one set of roll-outs of the same scene.
    """
    return Scorer(scenario, config, parity).score(simulated)


__all__ = ["RealismScores", "RolloutScores", "ScenarioError", "Scorer", "score"]

"""What an objective is: it prepares data (perhaps by rolling out), and says what the loss is on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from harness.fitting.task import Numbers
from harness.traffic.model.batch import AgentBatch, LogBatch, MapBatch
from harness.traffic.model.network import MapFeatures, Nodes, SmartNetwork
from harness.traffic.tokens.scene import SceneTokens
from harness.traffic.training.dataset import TokenisedScenes
from scenarios.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One batch of scenes.

    Attributes:
        maps, agents, log: Their tensors.
        scenes: Their tokens.
        scenario: Loads the recorded scene of position b, for rewards.
        generator: The only source of randomness besides dropout, and a share's own where workers share the batch.
        batch: Seed, epoch and number of the whole batch: the same in all shares of it.
    """

    maps: MapBatch
    agents: AgentBatch
    log: LogBatch
    scenes: list[SceneTokens]
    scenario: Callable[[int], Scenario]
    generator: torch.Generator
    batch: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """A batch to learn from: teacher-forced tokens, and what should (or did) come next.

    Attributes:
        agents: [W, A, N] tokens that are read.
        token: [W, A, N] the token that follows each.
        mask: [W, A, N] where there is a loss.
        extra: What an objective needs besides, such as advantages [W, A, N] and earlier log-probabilities.
    """

    agents: AgentBatch
    token: Tensor
    mask: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)


class StageLoss(NamedTuple):
    """A loss to minimise, and numbers to show."""

    total: Tensor
    numbers: Numbers


class Objective(Protocol):
    """A training stage.

    Attributes:
        name: Name of the stage.
        updates: Optimiser steps per prepared batch.
        frozen: Whether map encoder and all embeddings keep their weights (CAT-K's fine-tuning).
        module: Parameters of its own (a critic), or None.
    """

    name: str
    updates: int
    frozen: bool
    module: nn.Module | None

    def begin(self, network: SmartNetwork) -> None:
        """Called once, with the weights that the stage starts from."""
        ...

    def prepare(self, network: SmartNetwork, step: Step) -> Any:
        """Data for `loss`; no gradients."""
        ...

    def loss(self, network: SmartNetwork, step: Step, data: Any) -> StageLoss:
        """The loss of the current weights on prepared data."""
        ...

    def validate(self, network: SmartNetwork, step: Step) -> float:
        """A number per batch of held-out scenes; lower is better."""
        ...


@runtime_checkable
class KnowsScenes(Protocol):
    """An objective that looks at all scenes before it begins."""

    def read(self, scenes: TokenisedScenes) -> None:
        """Called once, with the scenes to train on."""
        ...


class ScoredNodes(NamedTuple):
    """Scores of the nodes at which there is a loss: [n, …] rows, and where in [W, T, A] they are."""

    features: Tensor
    logits: Tensor
    nodes: Nodes
    rows: Tensor


def encode(network: SmartNetwork, maps: MapBatch, frozen: bool, agents: AgentBatch | None = None) -> MapFeatures:
    """The encoded map, or what some agents see of it, which is enough where nobody else looks at it.

    Without gradients where the map encoder is frozen (its keys in agent layers do learn).
    """
    return network.encode_map(maps, frozen=frozen, agents=agents)


def score(network: SmartNetwork, maps: MapFeatures, targets: Targets) -> ScoredNodes:
    """Teacher-forced logits where `targets.mask` holds."""
    features, nodes = network(maps, targets.agents)
    rows = nodes.take(targets.mask).nonzero()[:, 0]
    kinds = targets.agents.kinds.flatten()[nodes.agent]
    kept = features.index_select(0, rows)
    motion = nodes.take(targets.agents.motion)[rows]
    return ScoredNodes(kept, network.logits(kept, kinds[rows], motion, maps.table), nodes, rows)


def taken(scored: ScoredNodes, values: Tensor) -> Tensor:
    """Rows [n, …] of `values` [W, A, N, …] at the scored nodes."""
    return scored.nodes.take(values)[scored.rows]

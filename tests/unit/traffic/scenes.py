"""Scenes and small models for the tests of learned traffic."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from harness.traffic.infgen.config import InfGenConfig
from harness.traffic.infgen.model import InfGenModel, infgen_around
from harness.traffic.model.config import SmartConfig
from harness.traffic.model.network import SmartNetwork
from harness.traffic.model.smart import SmartModel
from harness.traffic.rosetta.config import RosettaConfig
from harness.traffic.rosetta.model import RosettaModel, around_encoder
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.vocabulary import Vocabulary, shipped
from scenarios.scenario import Kind, Scenario
from tests.scenes import Agent, straight_road

SMALL = SmartConfig(hidden=16, heads=2, agent_layers=2, map_layers=1, neighbours=4)
OPTIONS = SceneOptions(agents=8, trained=8)


def traffic(origin: tuple[float, float] = (0.0, 0.0), rotation: float = 0.0) -> Scenario:
    """A road with five agents of all kinds, one of which appears at step 8."""
    extra = (
        Agent("walker", 12.0, -6.0, 0.3, 1.2, Kind.PEDESTRIAN, (0.8, 0.8, 1.8)),
        Agent("cyclist", -12.0, 0.5, 0.02, 4.0, Kind.CYCLIST, (1.8, 0.6, 1.7)),
        Agent("late", -20.0, 3.5, 0.0, 8.0, first=8),
    )
    return straight_road(extra=extra, origin=origin, rotation=rotation)


def tiny_vocabulary() -> Vocabulary:
    """Few tokens: standing, straight on at five speeds, and two gentle turns; equal for all kinds."""
    share = np.linspace(0.0, 1.0, 6)
    motions = [np.zeros((6, 3))]
    for length in (1.0, 2.0, 4.0, 5.0, 6.0):
        motions.append(np.stack([length * share, 0 * share, 0 * share], -1))
    for turn in (0.1, -0.1):
        motions.append(np.stack([4.0 * share, 2.0 * turn * share**2, turn * share], -1))
    pieces = shipped().pieces[:64]
    table = np.stack([np.stack(motions)] * 3).astype(np.float32)
    return Vocabulary(table, pieces.copy())


def small_model(seed: int = 0, vocabulary: Vocabulary | None = None, **changes: object) -> SmartModel:
    """An untrained model whose outputs are not nearly uniform."""
    torch.manual_seed(seed)
    network = SmartNetwork(dataclasses.replace(SMALL, **changes), vocabulary or shipped())
    with torch.no_grad():
        network.token_head.query[-1].weight.mul_(8.0)
        network.token_head.bias.normal_(0.0, 1.0)
        # Wide kernels, so that many tokens are possible.
        network.token_head.kernel[-1].bias.view(-1, 7)[:, 4:] = 2.0
    return SmartModel(network, OPTIONS)


def small_rosetta(seed: int = 0, vocabulary: Vocabulary | None = None, **changes: object) -> RosettaModel:
    """An untrained RosettaSim that likes to let vehicles enter: they are as likely as the end."""
    sizes = RosettaConfig(**{"width": 16, "layers": 2, "heads": 2, "pieces": 12, **changes})
    model = around_encoder(small_model(seed, vocabulary), sizes, seed)
    with torch.no_grad():
        model.network.type_head[-1].weight.zero_()
        model.network.type_head[-1].bias.copy_(torch.tensor([1.0, -9.0, -9.0, 1.0]))
    return model


def small_infgen(seed: int = 0, vocabulary: Vocabulary | None = None, **changes: object) -> InfGenModel:
    """An untrained InfGen-like model that lets vehicles enter wherever a place is free, and nobody leave."""
    sizes = InfGenConfig(**{"width": 16, "layers": 1, "heads": 2, "pieces": 12, **changes})
    model = infgen_around(small_model(seed, vocabulary), sizes, seed)
    with torch.no_grad():
        for head, bias in ((model.network.state_head, [0.0, 0.1]), (model.network.type_head, [9.0, 0.0, 0.0])):
            head[-1].weight.zero_()
            head[-1].bias.copy_(torch.tensor(bias))
        model.network.leave_head[-1].weight.zero_()
        model.network.leave_head[-1].bias.copy_(torch.tensor([1.0, 0.0]))
    return model

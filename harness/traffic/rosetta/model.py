"""`RosettaModel`: weights on disk, and a new model around a scene encoder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final, cast

import torch
from torch import Tensor

from harness.errors import WeightsError
from harness.fitting.weights import check_layers, fill
from harness.traffic.model.batch import AgentBatch
from harness.traffic.model.config import SmartConfig
from harness.traffic.model.drivers import DriverPool
from harness.traffic.model.network import MapFeatures
from harness.traffic.model.smart import SmartModel
from harness.traffic.open.network import NewcomerNetwork
from harness.traffic.open.weights import OpenModel, read_model, vocabulary_of
from harness.traffic.rosetta.config import ARCHITECTURE, RosettaConfig
from harness.traffic.rosetta.network import RosettaNetwork
from harness.traffic.rosetta.sequence_rollout import SequenceRollout
from harness.traffic.sampling import Sampling
from harness.traffic.tokens.scene import CURRENT_TOKEN, SceneTokens

SHIPPED: Final = Path(__file__).parent / "weights" / "rosetta_small.safetensors"
"""Weights with a small sequence model, trained on procedural scenes, part of the package."""


class RosettaModel(OpenModel):
    """A trained RosettaSim: SMART's scene encoder, a sequence model behind it, and how scenes are tokenised.

    Paper: RosettaSim, section 4.
    """

    name = "rosetta"
    network: RosettaNetwork

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        sampling: Sampling | None = None,
        device: str = "cpu",
        base: str | os.PathLike[str] | None = None,
    ) -> RosettaModel:
        """Read weights.

        Args:
            path: Their file; None for those that come with the package.
            sampling: As of `SmartModel`.
            device: Where it computes.
            base: Folder of the sequence model `language`, if that is what they were trained with.

        Raises:
            WeightsError: The file is missing, not safetensors, of another architecture, or has tensors
                that do not fit.
            ConfigError: A pretrained sequence model is missing whose frozen layers are no part of the file.
        """
        stored = read_model(path, cls.name, ARCHITECTURE, SHIPPED)
        own = RosettaConfig.from_dict(stored.own, stored.where, None if base is None else Path(base))
        network = build_rosetta(stored.config, own, stored.tensors, stored.where)
        model = cls(network.to(device), stored.scene, stored.info, sampling)
        model.observer = stored.observer
        return model

    def _begun(
        self, scene: SceneTokens, maps: MapFeatures, batch: AgentBatch, worlds: int, pool: DriverPool | None = None
    ) -> SequenceRollout:
        """Roll-outs of one scene in which everybody stays; see `SmartModel`."""
        first = batch.first(CURRENT_TOKEN).repeat(worlds)
        drivers = pool.drivers(worlds, len(scene.agents), self.device) if pool is not None else None
        return SequenceRollout(self.network, maps, first, scene, drivers)

    def _header(self) -> dict[str, str]:
        """What a weights file says of the model, besides its making."""
        own = {"architecture": ARCHITECTURE, self.name: json.dumps(self.network.rosetta.to_dict())}
        return {**super()._header(), **own}


def build_rosetta(
    config: SmartConfig, rosetta: RosettaConfig, tensors: dict[str, Tensor], where: str
) -> RosettaNetwork:
    """A network with these weights; its vocabulary is among them.

    Raises:
        WeightsError: They do not fit.
        ConfigError: A pretrained sequence model is missing whose frozen layers are no part of them.
    """
    vocabulary = vocabulary_of(tensors, where)
    check_layers(where, tensors, map_layers=config.map_layers, agent_layers=config.agent_layers, layers=rosetta.layers)
    network = cast(RosettaNetwork, fill(lambda: RosettaNetwork(config, vocabulary, rosetta), tensors, where))
    if not bool((network.newcomer_sizes > 0).all()):
        raise WeightsError(f"{where}: newcomer_sizes are not all positive.")
    network.sequence.restore()
    return network


def around_encoder(encoder: SmartModel, rosetta: RosettaConfig, seed: int) -> RosettaModel:
    """An untrained model whose scene encoder and motion head are those of a traffic model, or of another RosettaSim.

    Args:
        encoder: Gives the weights, the vocabulary and what is seen of scenes.
        rosetta: Sizes of the rest.
        seed: Seed of the new weights.

    Raises:
        GauntletError: A pretrained sequence model is not there, or cannot be used.
    """
    torch.manual_seed(seed)
    network = RosettaNetwork(encoder.network.config, encoder.vocabulary, rosetta)
    with torch.device("meta"):
        shared = NewcomerNetwork(network.config, encoder.vocabulary).state_dict().keys()
    given = {name: value for name, value in encoder.network.state_dict().items() if name in shared}
    network.load_state_dict({**network.state_dict(), **given})
    network.sequence.begin()
    return RosettaModel(network, encoder.options, {"encoder": encoder.info})

"""`InfGenModel`: weights on disk, and a new model around a scene encoder."""

from __future__ import annotations

import json
import os
from typing import cast

import torch
from torch import Tensor

from harness.errors import WeightsError
from harness.fitting.weights import check_layers, fill
from harness.traffic.infgen.config import ARCHITECTURE, InfGenConfig
from harness.traffic.infgen.network import InfGenNetwork
from harness.traffic.model.config import SmartConfig
from harness.traffic.model.smart import SmartModel
from harness.traffic.open.weights import OpenModel, read_model, vocabulary_of
from harness.traffic.sampling import Sampling


class InfGenModel(OpenModel):
    """A trained InfGen-like model: SMART's scene encoder, queries and heads behind it, and how scenes are tokenised.

    Paper: InfGen (Peng et al. 2025); `harness.traffic.infgen.network` says what of it is not followed.
    """

    name = "infgen"
    network: InfGenNetwork

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        sampling: Sampling | None = None,
        device: str = "cpu",
    ) -> InfGenModel:
        """Read weights.

        Raises:
            WeightsError: No file is named, or it is missing, not safetensors, of another architecture, or has tensors
                that do not fit.
        """
        stored = read_model(path, cls.name, ARCHITECTURE)
        own = InfGenConfig.from_dict(stored.own, stored.where)
        network = build_infgen(stored.config, own, stored.tensors, stored.where)
        model = cls(network.to(device), stored.scene, stored.info, sampling)
        model.observer = stored.observer
        return model

    def _header(self) -> dict[str, str]:
        """What a weights file says of the model, besides its making."""
        own = {"architecture": ARCHITECTURE, self.name: json.dumps(self.network.infgen.to_dict())}
        return {**super()._header(), **own}


def build_infgen(config: SmartConfig, infgen: InfGenConfig, tensors: dict[str, Tensor], where: str) -> InfGenNetwork:
    """A network with these weights; its vocabulary is among them.

    Raises:
        WeightsError: They do not fit.
    """
    vocabulary = vocabulary_of(tensors, where)
    check_layers(where, tensors, map_layers=config.map_layers, agent_layers=config.agent_layers, layers=infgen.layers)
    network = cast(InfGenNetwork, fill(lambda: InfGenNetwork(config, vocabulary, infgen), tensors, where))
    if not bool((network.newcomer_sizes > 0).all()):
        raise WeightsError(f"{where}: newcomer_sizes are not all positive.")
    return network


def infgen_around(encoder: SmartModel, infgen: InfGenConfig, seed: int) -> InfGenModel:
    """An untrained model whose scene encoder and motion head are those of a traffic model.

    Args:
        encoder: Gives the weights, the vocabulary and what is seen of scenes.
        infgen: Sizes of the rest.
        seed: Seed of the new weights.
    """
    torch.manual_seed(seed)
    network = InfGenNetwork(encoder.network.config, encoder.vocabulary, infgen)
    network.load_state_dict({**network.state_dict(), **encoder.network.state_dict()})
    return InfGenModel(network, encoder.options, {"encoder": encoder.info})

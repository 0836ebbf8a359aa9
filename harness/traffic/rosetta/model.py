"""`RosettaModel`: weights on disk, and a new model around a scene encoder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from harness.errors import WeightsError
from harness.fitting.stored import settings_from_json
from harness.fitting.weights import check_layers, fill, read_tensors
from harness.traffic.model.batch import AgentBatch
from harness.traffic.model.config import SmartConfig
from harness.traffic.model.drivers import DriverPool
from harness.traffic.model.network import MapFeatures
from harness.traffic.model.smart import SCENE_LIMITS, SmartModel
from harness.traffic.rosetta.config import ARCHITECTURE, RosettaConfig
from harness.traffic.rosetta.network import RosettaNetwork
from harness.traffic.rosetta.sequence_rollout import SequenceRollout
from harness.traffic.sampling import Sampling
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.scene import CURRENT_TOKEN, SceneTokens
from harness.traffic.tokens.vocabulary import Vocabulary

MISSING = (
    "no RosettaSim model at {file}. Train one with `python -m harness.train_traffic --stage rosetta --data DIR`, and "
    "give its RUN/rosetta.safetensors."
)
NO_FILE = (
    "traffic 'rosetta': no weights come with the package. Train them with `python -m harness.train_traffic --stage "
    "rosetta --data DIR`, and write rosetta:RUN/rosetta.safetensors."
)


class RosettaModel(SmartModel):
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
    ) -> RosettaModel:
        """Read weights.

        Raises:
            WeightsError: No file is named, or it is missing, not safetensors, of another architecture, or has tensors
                that do not fit.
        """
        if path is None:
            raise WeightsError(NO_FILE)
        where = str(path)
        tensors, header = read_tensors(Path(path), ("architecture", ARCHITECTURE), MISSING)
        if not isinstance(sequence := header.get("rosetta"), dict):
            raise WeightsError(f"{where}: rosetta in its header is no JSON object.")
        config = SmartConfig.from_dict(header.get("config", {}), where)
        options = settings_from_json(SceneOptions, header.get("scene", {}), where, SCENE_LIMITS)
        network = build_rosetta(config, RosettaConfig.from_dict(sequence, where), tensors, where)
        return cls(network.to(device), options, header.get("info"), sampling)

    def _begun(
        self, scene: SceneTokens, maps: MapFeatures, batch: AgentBatch, worlds: int, pool: DriverPool | None = None
    ) -> SequenceRollout:
        """Roll-outs of one scene in which everybody stays; see `SmartModel`."""
        first = batch.first(CURRENT_TOKEN).repeat(worlds)
        drivers = pool.drivers(worlds, len(scene.agents), self.device) if pool is not None else None
        return SequenceRollout(self.network, maps, first, scene, drivers)

    def _header(self) -> dict[str, str]:
        """What a weights file says of the model, besides its making."""
        own = {"architecture": ARCHITECTURE, "rosetta": json.dumps(self.network.rosetta.to_dict())}
        return {**super()._header(), **own}


def build_rosetta(
    config: SmartConfig, rosetta: RosettaConfig, tensors: dict[str, Tensor], where: str
) -> RosettaNetwork:
    """A network with these weights; its vocabulary is among them.

    Raises:
        WeightsError: They do not fit.
    """
    if not {"motions", "pieces"} <= tensors.keys():
        raise WeightsError(f"{where}: no vocabulary among the tensors.")
    vocabulary = Vocabulary(tensors["motions"].numpy().copy(), tensors["pieces"].numpy().copy())
    check_layers(where, tensors, map_layers=config.map_layers, agent_layers=config.agent_layers, layers=rosetta.layers)
    network = cast(RosettaNetwork, fill(lambda: RosettaNetwork(config, vocabulary, rosetta), tensors, where))
    if not bool((network.newcomer_sizes > 0).all()):
        raise WeightsError(f"{where}: newcomer_sizes are not all positive.")
    return network


def around_encoder(encoder: SmartModel, rosetta: RosettaConfig, seed: int) -> RosettaModel:
    """An untrained model whose scene encoder and motion head are those of a traffic model.

    Args:
        encoder: Gives the weights, the vocabulary and what is seen of scenes.
        rosetta: Sizes of the rest.
        seed: Seed of the new weights.
    """
    torch.manual_seed(seed)
    network = RosettaNetwork(encoder.network.config, encoder.vocabulary, rosetta)
    network.load_state_dict({**network.state_dict(), **encoder.network.state_dict()})
    return RosettaModel(network, encoder.options, {"encoder": encoder.info})

"""Weights files of models of traffic that comes and goes: a scene encoder's configuration and the model's own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple, get_args

from torch import Tensor

from harness.errors import WeightsError
from harness.files import JsonDict
from harness.fitting.stored import settings_from_json
from harness.fitting.weights import read_tensors
from harness.traffic.model.config import SmartConfig
from harness.traffic.model.smart import SCENE_LIMITS, SmartModel
from harness.traffic.observers import Observer
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.vocabulary import Vocabulary
from scenarios.values import brief


class StoredModel(NamedTuple):
    """What a file holds.

    Attributes:
        where: The file, for messages.
        tensors: Weights and vocabulary by name.
        config: Sizes of the scene encoder.
        scene: How scenes are tokenised.
        own: The model's own configuration, not yet checked.
        info: What it says of its making.
        observer: Around whom the model was trained; None where it does not say.
    """

    where: str
    tensors: dict[str, Tensor]
    config: SmartConfig
    scene: SceneOptions
    own: JsonDict
    info: JsonDict | None
    observer: Observer | None


class OpenModel(SmartModel):
    """A model of traffic that comes and goes; arguments as of `SmartModel`.

    Attributes:
        observer: Around whom it was trained; None where that is not known.
    """

    observer: Observer | None = None

    def _header(self) -> dict[str, str]:
        """What a weights file says of the model, besides its making."""
        told = {} if self.observer is None else {"observer": json.dumps(self.observer)}
        return {**super()._header(), **told}


def read_model(
    path: str | os.PathLike[str] | None, stage: str, architecture: str, shipped: Path | None = None
) -> StoredModel:
    """Read a weights file.

    Args:
        path: The file; None for `shipped`.
        stage: Stage of `train_traffic` that makes such files, under whose name the model's own configuration stands.
        architecture: What the file must say that it is.
        shipped: Weights that come with the package, if any do.

    Raises:
        WeightsError: No file is named, or it is missing, not safetensors, of another architecture, or its header is not
            understood.
    """
    train = f"rain one with `python -m harness.train_traffic --stage {stage} --data DIR`, and give"
    path = shipped if path is None else path
    if path is None:
        raise WeightsError(
            f"traffic {stage!r}: no weights come with the package. T{train} its file: {stage}:RUN/{stage}.safetensors."
        )
    missing = f"no {stage} model at {{file}}. T{train} its RUN/{stage}.safetensors."
    where = str(path)
    tensors, header = read_tensors(Path(path), ("architecture", architecture), missing)
    if not isinstance(own := header.get(stage), dict):
        raise WeightsError(f"{where}: {stage} in its header is no JSON object.")
    config = SmartConfig.from_dict(header.get("config", {}), where)
    scene = settings_from_json(SceneOptions, header.get("scene", {}), where, SCENE_LIMITS)
    observer: Observer | None = header.get("observer")
    if observer not in (None, *get_args(Observer)):
        raise WeightsError(
            f"{where}: observer in its header is {brief(observer)}, expected one of {', '.join(get_args(Observer))}."
        )
    return StoredModel(where, tensors, config, scene, own, header.get("info"), observer)


def vocabulary_of(tensors: dict[str, Tensor], where: str) -> Vocabulary:
    """The vocabulary among the tensors of a file.

    Raises:
        WeightsError: There is none.
    """
    if not {"motions", "pieces"} <= tensors.keys():
        raise WeightsError(f"{where}: no vocabulary among the tensors.")
    return Vocabulary(tensors["motions"].numpy().copy(), tensors["pieces"].numpy().copy())

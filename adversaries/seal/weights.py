"""SEAL's learned parts in one safetensors file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save
from torch import nn

from adversaries.seal.networks import SkillModel, SkillPrior, TrackScorer
from harness.files import write_bytes
from harness.fitting.weights import check_fit, read_tensors

ARCHITECTURE: Final = "gauntlet-seal-1"
FILE: Final = "seal.safetensors"
"""What the file is called beside a motion prior."""
SHIPPED: Final = Path(__file__).parent / "weights" / "procedural.safetensors"
"""Learnt on procedural scenes, part of the package."""


@dataclass(frozen=True)
class SealModel:
    """Everything that is learnt.

    Attributes:
        scorer: Scorer of whole candidates.
        reactive: Scorer of the next two seconds; chooses among skills.
        skills: The skill autoencoder.
        prior: Adversarial prior over skills.
        info: What the file says of its making.
    """

    scorer: TrackScorer = field(default_factory=TrackScorer)
    reactive: TrackScorer = field(default_factory=TrackScorer)
    skills: SkillModel = field(default_factory=SkillModel)
    prior: SkillPrior = field(default_factory=SkillPrior)
    info: dict[str, object] = field(default_factory=dict)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The networks by name."""
        return {"scorer": self.scorer, "reactive": self.reactive, "skills": self.skills, "prior": self.prior}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every weight, by `network.name`."""
        return {
            f"{name}.{key}": value.detach().contiguous()
            for name, module in self.modules.items()
            for key, value in module.state_dict().items()
        }

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> SealModel:
        """Take over weights as `tensors` gives them; returns itself, in evaluation mode.

        Raises:
            RuntimeError: They do not fit.
        """
        for name, module in self.modules.items():
            start = f"{name}."
            own = {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}
            module.load_state_dict(own, assign=True)
            module.eval().requires_grad_(False)
        return self

    def save(self, file: Path) -> None:
        """Write all or nothing."""
        header = {"architecture": ARCHITECTURE, "info": json.dumps(self.info)}
        write_bytes(file, save(self.tensors(), metadata=header))

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> SealModel:
        """Read weights; None: the shipped ones.

        Raises:
            WeightsError: Missing, unreadable, or of another architecture.
        """
        file = SHIPPED if path is None else Path(path)
        missing = "no SEAL weights at {file}. Make them with `python -m harness.train_seal`."
        tensors, header = read_tensors(file, ("architecture", ARCHITECTURE), missing)
        # Built without numbers: drawing initial weights would use up randomness that belongs to somebody else.
        with torch.device("meta"):
            model = cls(info=header.get("info", {}))
        check_fit(model.tensors(), tensors, str(file))
        return model.load_tensors({name: tensor.to(torch.get_default_dtype()) for name, tensor in tensors.items()})


def weights_beside(prior: object) -> Path | None:
    """The weights that lie beside a prior's file, where they do."""
    if isinstance(prior, (str, os.PathLike)):
        file = Path(prior).parent / FILE
        return file if file.is_file() else None
    return None

"""Sizes of RosettaSim's sequence part; those of the scene encoder are SMART's."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from harness import registry
from harness.errors import ConfigError, WeightsError
from harness.fitting.stored import settings_from_json
from harness.traffic.open.config import DecisionLimits
from scenarios.values import brief

ARCHITECTURE: Final = "gauntlet-rosetta-1"
_MOST: Final = {"layers": 200, "heads": 256, "width": 8_192}
"""Largest sizes of a stranger's file."""


Tunable = Literal["none", "last1", "last5", "all"]
"""Which of its layers a pretrained sequence model tunes."""
Initial = Literal["pretrained", "random"]
"""What such a model begins with."""
Precision = Literal["float32", "bfloat16"]
"""What its layers compute in."""


@dataclass(frozen=True)
class LanguageOptions:
    """What a pretrained sequence model begins with, and what of it learns; see the fields of `RosettaConfig`."""

    tunable: Tunable = "last1"
    initial: Initial = "pretrained"
    precision: Precision = "float32"
    base: Path | None = None


@dataclass(frozen=True)
class RosettaConfig:
    """What goes on with the sequence, and how long the sequence may be."""

    sequence_model: str = "transformer"
    """Registered name of the sequence model."""
    width: int = 128
    """Width of the sequence model."""
    layers: int = 6
    """Layers of the sequence model; of a pretrained one the first so many (`smollm2` has 30)."""
    heads: int = 8
    """Attention heads of the sequence model; a pretrained one has its own."""
    dropout: float = 0.0
    """Dropout share in the sequence model, in training only."""
    tunable: Tunable = "last1"
    """Which layers of a pretrained sequence model learn: none, the last one, the last five, or all. What leads into it
    and out of it, its first token and its final norm always do. Frozen layers are not part of a weights file."""
    initial: Initial = "pretrained"
    """Whether a pretrained sequence model begins with its weights, or as the same network with random ones."""
    precision: Precision = "float32"
    """What the layers of a pretrained sequence model compute in. bfloat16 halves the memory of frozen layers. It is
    several times slower on a processor that does not multiply such numbers itself, and need not be faster on another.
    """
    base: Path | None = None
    """Folder of the sequence model `language`: config.json and safetensors files of a Llama or Qwen2.5 model. Weights
    files do not name it; give it again where they are used."""
    skip: bool = True
    """Whether an agent's own features reach the motion head beside its motion token: a new model then begins with what
    its scene encoder knows. The paper has the motion token alone."""
    agents: int = 128
    """Largest number of agents of a sequence in training; those nearest to the ego are kept."""
    pieces: int = 128
    """Largest number of map pieces of a sequence, lanes first."""
    newcomers: int = 32
    """Largest number of newcomers that are learnt from in one decision."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range, or an odd width.
        """
        sizes = (self.width, self.layers, self.heads, self.agents)
        if min(sizes) < 1 or min(self.pieces, self.newcomers) < 0 or self.width % 2 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"rosetta: {self}: expected an even width, at least one layer, head and agent, and dropout in [0, 1)."
            )

    @property
    def limits(self) -> DecisionLimits:
        """How much of a decision is looked at."""
        return DecisionLimits(self.agents, self.pieces, self.newcomers)

    @property
    def language(self) -> LanguageOptions:
        """Options of pretrained sequence models."""
        return LanguageOptions(self.tunable, self.initial, self.precision, self.base)

    def to_dict(self) -> dict[str, object]:
        """JSON-able, without the folder `base`, which means nothing elsewhere."""
        return {name: value for name, value in asdict(self).items() if name != "base"}

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str, base: Path | None = None) -> RosettaConfig:
        """Back from `to_dict`, with a folder for the sequence model `language`.

        Raises:
            WeightsError: A field is unknown, of the wrong type or out of bounds, or names no registered sequence model.
        """
        if "base" in values:
            raise WeightsError(f"{where}: configuration field 'base' is unknown: no file names a folder.")
        sizes = dict(values)
        name = sizes.pop("sequence_model", None)
        if not isinstance(name, str) or name not in registry.targets("sequence_model"):
            raise WeightsError(
                f"{where}: its sequence model is {brief(name)}, expected a registered one "
                f"({', '.join(registry.names('sequence_model'))})."
            )
        return replace(settings_from_json(cls, sizes, where, _MOST), sequence_model=name, base=base)

"""Sizes of RosettaSim's sequence part; those of the scene encoder are SMART's."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from harness import registry
from harness.errors import ConfigError, WeightsError
from harness.fitting.stored import settings_from_json
from harness.traffic.open.config import DecisionLimits
from scenarios.values import brief

ARCHITECTURE: Final = "gauntlet-rosetta-1"
_MOST: Final = {"layers": 200, "heads": 256, "width": 8_192}
"""Largest sizes of a stranger's file."""


@dataclass(frozen=True)
class RosettaConfig:
    """What goes on with the sequence, and how long the sequence may be."""

    sequence_model: str = "transformer"
    """Registered name of the sequence model."""
    width: int = 128
    """Width of the sequence model."""
    layers: int = 6
    """Layers of the sequence model."""
    heads: int = 8
    """Attention heads of the sequence model."""
    dropout: float = 0.0
    """Dropout share in the sequence model, in training only."""
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

    def to_dict(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str) -> RosettaConfig:
        """Back from `to_dict`.

        Raises:
            WeightsError: A field is unknown, of the wrong type or out of bounds, or names no registered sequence model.
        """
        sizes = dict(values)
        name = sizes.pop("sequence_model", None)
        if not isinstance(name, str) or name not in registry.targets("sequence_model"):
            raise WeightsError(
                f"{where}: its sequence model is {brief(name)}, expected a registered one "
                f"({', '.join(registry.names('sequence_model'))})."
            )
        return replace(settings_from_json(cls, sizes, where, _MOST), sequence_model=name)

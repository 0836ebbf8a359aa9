"""Sizes of what the InfGen-like model has behind SMART's scene encoder, and the weights of its losses."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from harness.errors import ConfigError
from harness.fitting.stored import settings_from_json
from harness.traffic.open.config import DecisionLimits

ARCHITECTURE: Final = "gauntlet-infgen-1"
_MOST: Final = {"layers": 200, "heads": 256, "width": 8_192}
"""Largest sizes of a stranger's file."""


@dataclass(frozen=True)
class InfGenConfig:
    """What queries for newcomers are answered by.

    The defaults have as many parameters as RosettaSim's (`RosettaConfig`), to 5 %; a test keeps them so.
    """

    width: int = 128
    """Width of queries."""
    layers: int = 2
    """Layers of queries: each looks at the map, then at everybody who is there. InfGen has three."""
    heads: int = 8
    """Attention heads of queries."""
    dropout: float = 0.0
    """Dropout share in the layers of queries, in training only."""
    agents: int = 128
    """Largest number of agents that are looked at in training; those nearest to the ego are kept."""
    pieces: int = 128
    """Largest number of map pieces that queries look at, lanes first."""
    queries: int = 10
    """Queries of one decision in training: who enters after so many others is not learnt from (InfGen: 10)."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range, or a width that is no multiple of the heads.
        """
        sizes = (self.width, self.layers, self.heads, self.agents, self.queries)
        if min(sizes) < 1 or self.pieces < 0 or self.width % self.heads or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"infgen: {self}: expected a width that is a multiple of the heads, at least one layer, agent and "
                "query, and dropout in [0, 1)."
            )

    @property
    def limits(self) -> DecisionLimits:
        """How much of a decision is looked at."""
        return DecisionLimits(self.agents, self.pieces, self.queries)

    def to_dict(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str) -> InfGenConfig:
        """Back from `to_dict`.

        Raises:
            WeightsError: A field is unknown, of the wrong type or out of bounds.
        """
        return settings_from_json(cls, values, where, _MOST)


@dataclass(frozen=True)
class InfGenLossOptions:
    """Weights of the parts of the stage infgen's loss, and shares of classes in them; by default InfGen's."""

    motion: float = 1.0
    """Weight of the next motion token."""
    state: float = 10.0
    """Weight of states: who leaves, and, of a query, whether anybody enters."""
    kind: float = 5.0
    """Weight of the types of newcomers."""
    place: float = 1.0
    """Weight of their cells."""
    heading: float = 1.0
    """Weight of their headings."""
    offset: float = 5.0
    """Weight of their offsets from the middle of the cell, per m²."""
    shape: float = 0.2
    """Weight of their shapes, per m²."""
    occupancy: float = 10.0
    """Weight of which cells are taken by agents, and of which lie on the map: each of the two."""
    leaves: float = 0.8
    """Share of those who leave in the loss of who leaves; those who stay have .1."""
    enters: float = 0.9
    """Share of queries that somebody enters by in the loss of states; the others have the rest."""
    vehicles: float = 0.8
    """Share of vehicles in the loss of types; pedestrians and cyclists have half of the rest each."""
    taken: float = 100.0
    """How much more a cell counts that is taken by an agent than an empty one."""
    mapped: float = 5.0
    """How much more a cell counts that lies on the map than another one."""
    spread: float = 0.1
    """Share of a cell's label that is spread over all cells."""
    companions: int = 10
    """Number of agents of each decision, drawn at random, that headings and offsets are learnt from besides newcomers.
    """

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range.
        """
        shares = (self.leaves, self.enters, self.vehicles)
        if min(vars(self).values()) < 0 or not all(0 < share < 1 for share in shares) or self.spread >= 1:
            raise ConfigError(
                f"--options.infgen: {self}: expected weights and counts >= 0, leaves, enters and vehicles in (0, 1), "
                "spread below 1."
            )

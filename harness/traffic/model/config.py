"""Sizes of the traffic model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

from harness.errors import ConfigError, WeightsError
from harness.fitting.stored import settings_from_json

ARCHITECTURE: Final = "gauntlet-smart-1"
_ABSENT: Final = {"moving_first": False}
"""What models are whose files say nothing of it: those of before there was the choice."""


@dataclass(frozen=True)
class SmartConfig:
    """Architecture of SMART; the defaults are the nano size."""

    hidden: int = 64
    """Width of all features."""
    heads: int = 4
    """Attention heads."""
    map_layers: int = 1
    """Layers of attention among map pieces."""
    agent_layers: int = 2
    """Layers of temporal, map-to-agent and agent-to-agent attention, in this order."""
    bands: int = 6
    """Frequencies per relative coordinate (wavelengths from 1 m up, doubling)."""
    past: int = 6
    """Earlier tokens that temporal attention sees (SMART: 30 steps)."""
    neighbours: int = 32
    """Other agents that an agent sees."""
    moving_first: bool = True
    """Which ones: moving ones, the nearest first, then standing ones; otherwise the nearest, whatever they do."""
    agent_radius: float = 60.0
    """Agents farther than this are not seen, m (SMART: 60)."""
    lanes: int = 8
    """Lane pieces seen around the place that the agent reaches soon; around itself it sees all that the grid lists."""
    edges: int = 4
    """Road-edge pieces seen around the place that the agent reaches soon."""
    lookahead: float = 1.5
    """The map is also seen around the place that the agent reaches in this time at its speed, s."""
    map_radius: float = 45.0
    """Map pieces farther than this are not seen, m."""
    dropout: float = 0.1
    """Dropout of attention outputs and feed-forward layers, in training only."""
    past_dropout: float = 0.1
    """Share of earlier tokens hidden from temporal attention in training (SMART: 0.1)."""
    head: Literal["tokens", "gmm"] = "tokens"
    """Next-token logits, or a Gaussian mixture over the next pose (CAT-K §10.3)."""
    components: int = 3
    """Gaussian kernels of the token head (see `TokenHead`)."""
    modes: int = 16
    """Components of the mixture."""

    def __post_init__(self) -> None:
        """Check what belongs together.

        Raises:
            ConfigError: It does not.
        """
        if self.hidden % self.heads or min(self.hidden, self.heads, self.map_layers, self.agent_layers) < 1:
            raise ConfigError(
                f"model: hidden {self.hidden} must be a multiple of heads {self.heads}, layers at least 1."
            )
        if not (0 <= self.dropout < 1 and 0 <= self.past_dropout < 1):
            raise ConfigError("model: dropout shares must be in [0, 1).")

    def to_dict(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str) -> SmartConfig:
        """Back from `to_dict`.

        Raises:
            WeightsError: A field is unknown, missing, of the wrong type or out of bounds.
        """
        values = {**_ABSENT, **values}
        names = {item.name for item in fields(cls)}
        if set(values) != names:
            differing = sorted(set(values) ^ names)[:5]
            raise WeightsError(f"{where}: model fields {differing} are unknown or missing.")
        return settings_from_json(cls, values, where, {"bands": 64, "past": 200, "neighbours": 1024, "lanes": 1024})


SIZES: Final[dict[str, SmartConfig]] = {
    "nano": SmartConfig(),
    "mini": SmartConfig(hidden=96, heads=6, map_layers=2, agent_layers=3),
    "tiny": SmartConfig(hidden=128, heads=8, map_layers=3, agent_layers=6),
}
"""Architectures by name. Depth and width of tiny follow SMART's 7M model; nano and mini are sized for one CPU core."""

"""What of a scene becomes tokens, and how vocabularies are built."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import ConfigError


@dataclass(frozen=True)
class SceneOptions:
    """What of a scene is kept."""

    lanes: int = 12
    """Number of lane pieces (crosswalks included) listed per grid cell."""
    edges: int = 6
    """Number of road-edge pieces listed per grid cell."""
    around: int = 8
    """Number of neighbours of a map piece in the map encoder."""
    radius: float = 10.0
    """Largest distance of such a neighbour, m (SMART: 10)."""
    lines: bool = False
    """Take lane markings as map pieces too."""
    agents: int = 48
    """Largest number of agents in a training scene: those that are trained, then the ones nearest to them."""
    trained: int = 32
    """Largest number of agents with a loss (CAT-K: 32)."""
    train_radius: float = 100.0
    """Largest distance from the ego of an agent with a loss, m (CAT-K)."""
    context: float = 60.0
    """Distance from all agents with a loss beyond which others are left out of training, m (SMART's radius)."""
    map_margin: float = 60.0
    """Distance from every logged position beyond which map pieces are left out of training, m. Traffic that enters and
    leaves is decided about as far as 75 m from an observer: the stages rosetta and infgen take at least 85 m."""
    map_reach: float = 220.0
    """Distance from every agent beyond which map pieces are left out of simulation, m (8 s at 27 m/s)."""
    map_limit: int = 6000
    """Largest number of map pieces; the nearest to agents are kept."""


@dataclass(frozen=True)
class VocabularyConfig:
    """How a vocabulary is built."""

    tokens: int = 1024
    """Number of motion tokens per kind of agent."""
    pieces: int = 1024
    """Number of map tokens."""
    samples: int = 40_000
    """Largest number of recorded half seconds per kind of agent, and of map pieces."""
    analytic: int = 24_000
    """Number of analytic half seconds per kind of agent, and of map pieces; 0 for recorded motion only."""
    doubling: float = 4.0
    """Displacement in 0.5 s (m) at which disks are twice as large as around standing agents: slow motion is finer."""
    cover: float = 0.998
    """Share of the samples, 0 to 1, that the disks cover; their radius follows from it and the number of tokens."""
    seed: int = 2
    """Seed of sampling and disks (CAT-K: 2)."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range.
        """
        if min(self.tokens, self.pieces) < 2 or min(self.samples, self.analytic) < 0 or not 0 < self.cover <= 1:
            raise ConfigError("vocabulary: tokens and pieces must be >= 2, samples >= 0, cover in (0, 1].")

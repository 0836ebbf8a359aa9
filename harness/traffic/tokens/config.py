"""What of a scene becomes tokens, and how vocabularies are built."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import ConfigError


@dataclass(frozen=True)
class SceneOptions:
    """What of a scene is kept."""

    lanes: int = 12
    """Lane pieces (crosswalks included) listed per grid cell."""
    edges: int = 6
    """Road-edge pieces listed per grid cell."""
    around: int = 8
    """Neighbours of a map piece in the map encoder."""
    radius: float = 10.0
    """Their distance at most, m (SMART: 10)."""
    lines: bool = False
    """Whether lane markings are map pieces too."""
    agents: int = 48
    """Agents kept in a training scene: those that are trained, then the ones nearest to them."""
    trained: int = 32
    """Agents with a loss (CAT-K: 32)."""
    train_radius: float = 100.0
    """Agents farther from the ego than this are not trained, m (CAT-K)."""
    context: float = 60.0
    """Agents farther than this from all trained ones are left out of training, m (SMART's radius)."""
    map_margin: float = 60.0
    """Map pieces farther than this from every logged position are left out of training, m."""
    map_reach: float = 220.0
    """Map pieces farther than this from every agent are left out of simulation, m (8 s at 27 m/s)."""
    map_limit: int = 6000
    """Map pieces at most: the nearest to agents."""


@dataclass(frozen=True)
class VocabularyConfig:
    """How a vocabulary is built."""

    tokens: int = 1024
    """Motion tokens per agent kind."""
    pieces: int = 1024
    """Map tokens."""
    samples: int = 40_000
    """Recorded segments per kind at most, and as many map pieces."""
    analytic: int = 24_000
    """Analytic half seconds per kind, and as many map pieces; 0 for recorded motion only."""
    doubling: float = 4.0
    """Displacement in 0.5 s (m) at which disks are twice as large as around standing agents: slow motion is finer."""
    cover: float = 0.998
    """Share of the samples that the disks have to cover; the radius follows from it and the number of tokens."""
    seed: int = 2
    """Of sampling and disks (2 is CAT-K's)."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range.
        """
        if min(self.tokens, self.pieces) < 2 or min(self.samples, self.analytic) < 0 or not 0 < self.cover <= 1:
            raise ConfigError("vocabulary: tokens and pieces must be >= 2, samples >= 0, cover in (0, 1].")

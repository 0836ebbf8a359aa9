"""What to generate: counts per split and every number that shapes the scenes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Final

from harness.errors import ConfigError

VERSION: Final = 1
"""Raised whenever the generator's code changes what a seed gives: old caches are then left alone, not reused."""

SPLITS: Final = ("train", "val", "test")
SEEDS_PER_SPLIT: Final = 1_000_000
"""Simulation `i` of split number `k` has seed `k · SEEDS_PER_SPLIT + i`: splits can never share a simulation."""

KINDS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "intersection": 0.34,
        "t_intersection": 0.22,
        "roundabout": 0.16,
        "merge": 0.08,
        "diverge": 0.03,
        "curve": 0.06,
        "straight": 0.03,
        "mixed": 0.08,
    }
)
"""Share of each kind of road map among the simulations."""


@dataclass(frozen=True, slots=True)
class ProceduralConfig:
    """Options of the procedural generator. The first three count scenes; the rest decide what a seed gives."""

    train: int = 200
    """Scenes to train on (ids `pg-train-…`)."""
    val: int = 0
    """Scenes to validate on (ids `pg-val-…`)."""
    test: int = 50
    """Scenes to test on (ids `pg-test-…`)."""
    seed: int = 0
    """Base seed: another value gives another, equally distributed data set."""
    scenes_per_simulation: int = 2
    """Most windows that one simulation may give; they share a map, never an ego, and never straddle splits."""
    steps: int = 91
    """Steps recorded per scene, at 10 Hz (91 = 9.1 s: 11 of history and 80 of future)."""
    duration: float = 34.0
    """Simulated time per simulation, s, of which the first `warm_up` is never recorded."""
    warm_up: float = 6.0
    """Time for the traffic to settle before anything is recorded, s."""
    min_density: float = 6.0
    """Fewest vehicles per kilometre of lane at the start; each simulation draws its own density."""
    max_density: float = 24.0
    """Most vehicles per kilometre of lane at the start."""
    max_vehicles: int = 30
    """Most vehicles on the road at any time."""
    min_ego_path: float = 25.0
    """Shortest future path of an ego, m, from the last history step to the end of the scene."""
    kinds: Mapping[str, float] = field(default_factory=lambda: dict(KINDS))
    """Relative frequency of the road maps, by name."""

    def __post_init__(self) -> None:
        """Reject what cannot work.

        Raises:
            ConfigError: A count is negative, a kind is unknown, or the simulation is shorter than a scene.
        """
        for name in SPLITS:
            if not 0 <= self.count(name) <= SEEDS_PER_SPLIT:
                raise ConfigError(
                    f"procedural: {name}={self.count(name)}: expected 0 … {SEEDS_PER_SPLIT} scenes; give another count"
                )
        if unknown := set(self.kinds) - set(KINDS):
            raise ConfigError(f"procedural: unknown map kinds {sorted(unknown)}; known: {', '.join(KINDS)}")
        if not self.kinds or min(self.kinds.values()) < 0 or sum(self.kinds.values()) <= 0:
            raise ConfigError("procedural: `kinds` needs at least one kind with a positive weight")
        if self.scenes_per_simulation < 1:
            raise ConfigError("procedural: scenes_per_simulation must be at least 1")
        if self.duration - self.warm_up < self.steps * 0.1:
            raise ConfigError(
                f"procedural: duration {self.duration} s minus warm-up {self.warm_up} s is shorter than a scene "
                f"({self.steps * 0.1:.1f} s); raise `duration`"
            )

    def count(self, split: str) -> int:
        """Scenes wanted in a split."""
        return int(getattr(self, split))

    def identity(self) -> dict[str, object]:
        """Everything that decides what a seed gives (counts do not)."""
        values = {name: value for name, value in asdict(self).items() if name not in SPLITS}
        return {"version": VERSION, **values, "kinds": dict(sorted(self.kinds.items()))}

    @property
    def digest(self) -> str:
        """Twelve hex digits that name this generator: caches of different generators never mix."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

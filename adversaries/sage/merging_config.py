"""Which ways of merging `sage_analysis` measures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import ConfigError

DENSITY: Final = 0.2
"""Share of its weights that each task vector keeps in TIES (Yadav et al., section 4: the top 20 %)."""


@dataclass(frozen=True)
class MergingConfig:
    """Ways of merging that are measured, and the third expert."""

    only: bool = False
    """Measure ways of merging and the third expert alone, and leave all else out."""
    third: Path | None = None
    """A third expert (safetensors), such as `novel.safetensors` of `train_experts --make.experts novel`: the simplex of
    the three is swept."""
    densities: tuple[float, ...] = (DENSITY, 1.0)
    """Shares of the weights that TIES keeps, in (0, 1]."""
    parts: int = 4
    """Number of parts that each side of the simplex is divided into."""

    def __post_init__(self) -> None:
        """Reject what cannot work."""
        if self.parts < 1 or not all(0.0 < density <= 1.0 for density in self.densities):
            raise ConfigError(
                f"--merging: expected parts >= 1 and densities in (0, 1], got {self.parts} and {self.densities}."
            )

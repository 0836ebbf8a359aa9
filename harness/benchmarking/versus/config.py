"""Which runs are compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from harness.commands.configs import at_least
from harness.commands.options import OutOption
from harness.errors import ConfigError


@dataclass(frozen=True)
class CompareConfig(OutOption):
    """Benchmark runs of a system (first) and of what may replace it (second)."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders of `gauntlet benchmark`: the first system's and the second's; with --against, several of the first's,
    such as those of egos that were trained with other seeds."""
    against: tuple[Path, ...] = ()
    """Run folders of the second system, where there are several of either."""
    system: tuple[str, ...] = ()
    """Label of the systems in their runs: one for both, or the first's and the second's. Needed where runs have several
    systems; with two of them both sides may be the same run."""
    data: str | None = None
    """Where the scenes lie, if not where the first run found them; the page plays them back."""
    playback: int = 40
    """Scenes that the page plays back, those that changed first."""
    json: Path | None = None
    """File for the rows of the table."""

    def __post_init__(self) -> None:
        """Reject what cannot work.

        Raises:
            ConfigError: There are not two sides, a run is named twice, or too many labels are given.
        """
        at_least(1, playback=self.playback)
        if not self.runs or (not self.against and len(self.runs) != 2):
            raise ConfigError(
                "compare: name two run folders (compare RUN_A RUN_B), or several of each side "
                f"(compare A1 A2 --against B1 B2); found {len(self.runs)}."
            )
        if len(self.system) > 2:
            raise ConfigError(f"--system {' '.join(self.system)}: expected one label, or one for each side.")
        # One run may have both systems.
        apart = len(set(self.system)) == 2
        named = [(path.absolute(), side if apart else 0) for side, paths in enumerate(self.sides) for path in paths]
        if len(set(named)) < len(named):
            raise ConfigError("compare: a run folder is named twice for one system. Name two with --system.")

    @property
    def sides(self) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """Run folders of the first and of the second system."""
        return (self.runs, self.against) if self.against else ((self.runs[0],), (self.runs[1],))

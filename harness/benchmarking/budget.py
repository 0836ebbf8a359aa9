"""A run that ended with its budget: how much of it there is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness.benchmarking.jobs import Unit, units
from harness.benchmarking.lineup import Lineup
from harness.files import JsonDict


@dataclass(frozen=True, slots=True)
class Completeness:
    """How much of a run there is. Only scenes with every episode of every system count in tables.

    Attributes:
        scenes: Scenes that are complete.
        of_scenes: Scenes of the whole run.
        episodes: Episodes that are on disk, failed ones included.
        of_episodes: Episodes of the whole run.
    """

    scenes: int
    of_scenes: int
    episodes: int
    of_episodes: int

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.episodes == self.of_episodes

    @property
    def line(self) -> str:
        """What a reader must know of a run that is not complete; empty for a whole one."""
        if self.complete:
            return ""
        return (
            f"The budget ended this run: {self.episodes} of {self.of_episodes} episodes have been run. Tables are of "
            f"the {self.scenes} of {self.of_scenes} scenes that are complete; scenes are run in their order."
        )

    @property
    def title(self) -> str:
        """The same for titles of tables."""
        return "" if self.complete else f", {self.scenes} of {self.of_scenes} scenes"

    def as_object(self) -> JsonDict:
        """JSON-able."""
        return {**asdict(self), "complete": self.complete}


def work_of(lineup: Lineup, seeds: tuple[int, ...]) -> list[Unit]:
    """All units of a run."""
    return units(lineup.scenes, tuple(item.label for item in lineup.systems), lineup.adversaries, seeds)


def completed(lineup: Lineup, seeds: tuple[int, ...], folder: Path) -> tuple[Completeness, Lineup]:
    """How much of a run there is, and who took part in the scenes that are complete."""
    work = work_of(lineup, seeds)
    missing = {unit: len(unit.missing(folder)) for unit in work}
    partial = {unit.scenario_id for unit, count in missing.items() if count}
    whole = tuple(scene for scene in lineup.scenes if scene not in partial)
    planned = sum(len(unit.keys) for unit in work)
    found = Completeness(len(whole), len(lineup.scenes), planned - sum(missing.values()), planned)
    return found, replace(lineup, scenes=whole)

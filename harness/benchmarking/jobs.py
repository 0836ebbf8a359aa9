"""What there is to do: units of work, named and seeded by their names, so that neither order nor workers matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.episodes.records import UNDISTURBED, CellKey, EpisodeStore
from scenarios.scenario import name_seed

SEEDS: Final = "seeds"
"""Folder of the repeats with further seeds, in a run folder."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One system under test in one scene: stage 1 once, then every adversary.

    Attributes:
        scenario_id: Name of the scene.
        system: Label of the system under test.
        adversaries: Labels, in order; without `none`.
        seed: The user's.
        base: Whether it is the first of the user's seeds (whose records lie in the run folder itself).
    """

    scenario_id: str
    system: str
    adversaries: tuple[str, ...]
    seed: int
    base: bool = True

    def __str__(self) -> str:
        return f"{self.system} in scene {self.scenario_id} (seed {self.seed})"

    @property
    def keys(self) -> tuple[CellKey, ...]:
        """Every episode, stage 1 first."""
        return tuple(CellKey(self.scenario_id, self.system, name) for name in (UNDISTURBED, *self.adversaries))

    def store(self, folder: Path) -> EpisodeStore:
        """Where its records lie."""
        return seed_store(folder, self.seed, self.base)

    def missing(self, folder: Path) -> tuple[CellKey, ...]:
        """Episodes without a record, in order."""
        store = self.store(folder)
        return tuple(key for key in self.keys if key not in store)


def seed_store(folder: Path, seed: int, base: bool) -> EpisodeStore:
    """Records of one seed: in the run folder for the first one, under `seeds/` for the others."""
    return EpisodeStore(folder if base else folder / SEEDS / str(seed))


def units(
    scene_ids: Sequence[str], systems: Sequence[str], adversaries: Sequence[str], seeds: Sequence[int]
) -> list[Unit]:
    """All work. Scenes change slowest: what an adversary remembers of a scene serves every system."""
    return [
        Unit(name, system, tuple(adversaries), seed, seed == seeds[0])
        for name in scene_ids
        for seed in seeds
        for system in systems
    ]


def episode_seed(seed: int, scenario_id: str) -> int:
    """Seed of every episode in a scene.

    It depends on the scene's name and the user's seed only: a system that draws random numbers draws the same ones in
    stage 1 and under every attack, so that differences are the attack's; and all systems meet the same random traffic.
    """
    return name_seed(f"{seed}/{scenario_id}")

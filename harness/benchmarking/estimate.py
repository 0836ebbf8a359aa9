"""What a run will cost, measured on a few of its scenes before it begins."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from harness.benchmarking.budget import work_of
from harness.benchmarking.config import BenchmarkConfig
from harness.benchmarking.jobs import Unit
from harness.benchmarking.lineup import Lineup, assemble
from harness.benchmarking.runner import run_all
from harness.benchmarking.summary import TIMINGS
from harness.commands.configs import seconds_of
from harness.commands.scaffold import Session
from harness.episodes.records import UNDISTURBED
from harness.files import MEGABYTE
from scenarios.fresh_processes import processors

SAMPLE: Final = 3
"""Scenes that are run; the first one warms up, and counts only where there is no other."""
SPENT: Final = ("seconds_episode", "seconds_scoring")
"""Scores of an episode that say what it took."""
assert set(SPENT) <= set(TIMINGS), "they are kept apart from results"
CellLabels = tuple[str, str]
"""Labels of a system and an adversary."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run costs.

    Attributes:
        episodes: Episodes of the whole run.
        missing: Episodes that have no record yet.
        seconds: Time of the missing ones, with so many workers at once.
        size: Bytes of their records.
        workers: Workers at once.
        scenes: Scenes that it was measured on.
    """

    episodes: int
    missing: int
    seconds: float
    size: float
    workers: int
    scenes: int

    def lines(self, config: BenchmarkConfig, lineup: Lineup) -> list[str]:
        """What is said of it."""
        parts = ", ".join(
            [
                _counted(len(lineup.scenes), "scene"),
                _counted(len(lineup.systems), "system"),
                f"the undisturbed scene and {len(lineup.adversaries)} attacked",
                _counted(len(config.seed), "seed"),
            ]
        )
        found = [
            f"dry run: {self.episodes} episodes ({parts}), {self.missing} still to be run",
            f"about {_told(self.seconds)} with {_counted(self.workers, 'worker')}, and "
            f"{self.size / MEGABYTE:.1f} MB of records; tables and report come on top",
            f"measured on {_counted(self.scenes, 'scene')}, of which nothing is kept",
        ]
        budget = None if config.budget is None else seconds_of("budget", config.budget)
        if budget is not None and self.seconds > budget:
            share = budget / self.seconds
            found.append(f"the budget of {config.budget} ends it after about {share * self.missing:.0f} of them")
        if config.certify:
            found.append("--certify runs as many with each of two other kinds of traffic, which is not counted here")
        return found


def estimate(config: BenchmarkConfig, lineup: Lineup, session: Session) -> Cost:
    """Run a few scenes in a folder that is thrown away, and count what the others will take.

    Args:
        config: What is to be run; with `resume`, what that folder has is not counted.
        lineup: Who takes part.
        session: For progress.

    Raises:
        GauntletError: As of the run itself.
    """
    sample = replace(lineup, scenes=_spread(lineup.scenes))
    with TemporaryDirectory(prefix="gauntlet-dry-run-") as place, session.counter("measuring") as progress:
        began = time.monotonic()
        run_all(replace(config, workers=1, seed=config.seed[:1], out=None, resume=None), sample, Path(place), progress)
        whole = time.monotonic() - began
        seconds, sizes = measured(sample, config.seed[:1], Path(place))
    work = work_of(lineup, config.seed)
    done = config.resume
    missing = [key for unit in work for key in (unit.keys if done is None else unit.missing(done))]
    cells = [(key.policy, key.adversary) for key in missing]
    count = min(config.workers or processors(), len(work)) if config.executor != "serial" else 1
    start = max(whole - sum(seconds.values()) * len(sample.scenes), 0.0)
    return Cost(
        episodes=sum(len(unit.keys) for unit in work),
        missing=len(missing),
        seconds=start + sum(seconds[cell] for cell in cells) / count if missing else 0.0,
        size=sum(sizes[cell] for cell in cells),
        workers=count,
        scenes=len(sample.scenes),
    )


def say_cost(config: BenchmarkConfig, session: Session) -> None:
    """Print what a run will cost.

    Raises:
        GauntletError: As of the run itself.
    """
    lineup = assemble(config)
    for line in estimate(config, lineup, session).lines(config, lineup):
        session.say(line)


def measured(
    lineup: Lineup, seeds: tuple[int, ...], folder: Path
) -> tuple[Mapping[CellLabels, float], Mapping[CellLabels, float]]:
    """Mean seconds and bytes of an episode by cell, of records in a folder; the first scene counts only if alone.

    Failed episodes do not say what they took: they count as the mean of the others.
    """
    times: dict[CellLabels, list[float]] = {}
    sizes: dict[CellLabels, list[float]] = {}
    warm = set(lineup.scenes[1:] or lineup.scenes)
    for unit in work_of(lineup, seeds):
        if unit.scenario_id in warm:
            _note(unit, folder, times, sizes)
    every = [number for found in times.values() for number in found]
    usual = float(np.mean(every)) if every else 0.0
    cells = [(item.label, name) for item in lineup.systems for name in (UNDISTURBED, *lineup.adversaries)]
    return (
        {cell: float(np.mean(times[cell])) if cell in times else usual for cell in cells},
        {cell: float(np.mean(sizes[cell])) if cell in sizes else 0.0 for cell in cells},
    )


def _note(unit: Unit, folder: Path, times: dict[CellLabels, list[float]], sizes: dict[CellLabels, list[float]]) -> None:
    store = unit.store(folder)
    for key in unit.keys:
        if key not in store:
            continue
        cell = key.policy, key.adversary
        sizes.setdefault(cell, []).append(store.path(key).stat().st_size)
        found = store.read_scores(key)
        if not found.error:
            spent = [found.scores.get(name) for name in SPENT]
            times.setdefault(cell, []).append(sum(float(x) for x in spent if isinstance(x, int | float)))


def _spread(scenes: Sequence[str]) -> tuple[str, ...]:
    """A few scenes from beginning to end."""
    rows = np.unique(np.linspace(0, len(scenes) - 1, min(SAMPLE, len(scenes))).round().astype(int))
    return tuple(scenes[row] for row in rows)


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _told(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

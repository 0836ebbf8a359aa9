"""Which scenes the page plays back, where there are more than a page can hold: the most telling, and a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.benchmarking.summary import Cell
from harness.episodes.records import UNDISTURBED
from scenarios.scenario import name_seed

PAGE_SCENES: Final = 100
"""Scenes on one page, 20 kB to 100 kB each."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Scenes that are played back. Each is in one of the three; in the order of the run.

    Attributes:
        telling: The most telling scenes.
        sample: Scenes that chance chose, or every scene where there are few; what distributions are drawn of.
        others: Scenes on further pages.
    """

    telling: Sequence[str]
    sample: Sequence[str]
    others: Sequence[str] = ()


def choose(cells: Sequence[Cell], scenes: Sequence[str], count: int, on_page: int = PAGE_SCENES) -> Shown:
    """Which scenes are played back.

    Half of a page are the most telling scenes: those with the most avoidable hits of systems that react, then with the
    most hits, then with the hardest impact. The rest is a sample that depends on the names of the scenes alone.

    Args:
        cells: What came of every episode, of the first seed.
        scenes: Every scene, in the order of `Cell.outcomes`.
        count: How many are played back.
        on_page: How many of these the first page holds.
    """
    if len(scenes) <= min(count, on_page):
        return Shown((), tuple(scenes))
    page = min(count, on_page)
    ranks = _ranks(cells, len(scenes))
    hit = [row for row in range(len(scenes)) if ranks[row, 1] > 0]
    telling = set(sorted(hit, key=lambda row: (*-ranks[row], row))[: page // 2])
    rest = [row for row in range(len(scenes)) if row not in telling]
    drawn = sorted(rest, key=lambda row: (name_seed(scenes[row]), row))
    sample, others = drawn[: page - len(telling)], drawn[page - len(telling) : count - len(telling)]
    return Shown(*(tuple(scenes[row] for row in sorted(rows)) for rows in (telling, sample, others)))


def _ranks(cells: Sequence[Cell], scenes: int) -> NDArray[np.float64]:
    """Avoidable hits, hits, and the hardest impact (m/s) of each scene [S, 3]."""
    attacked = [cell for cell in cells if cell.adversary != UNDISTURBED and "success" in cell.outcomes]
    own = [cell for cell in attacked if cell.system.control != "replay"] or attacked
    ranks = np.zeros((scenes, 3))
    for cell in own:
        hit = np.nan_to_num(cell.outcomes["success"][:, 0]) > 0
        avoidable, impact = (
            np.nan_to_num(cell.outcomes[name][:, 0]) if name in cell.outcomes else np.zeros(scenes)
            for name in ("avoidable", "impact_speed")
        )
        ranks[:, 0] += hit & (avoidable > 0)
        ranks[:, 1] += hit
        ranks[:, 2] = np.maximum(ranks[:, 2], np.where(hit, impact, 0.0))
    return ranks

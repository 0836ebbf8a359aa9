"""Sketches of maps: small samples by which the maps of many scenes are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scenarios.scenario import Scenario

Sketch = NDArray[np.uint64]
"""Hashes [≤ 256], ascending."""
SKETCH_SIZE: Final = 256
SAME_MAP: Final = 0.2
"""Share of lane points in common from which two scenes lie on one map (WOMD: windows of one drive share all of
them, the next most similar pair of 400 scenes 1 %)."""
_NOTHING: Final = np.iinfo(np.uint64).max
_PAIRS: Final = 4096
"""Pairs that are compared at a time: 16 MB."""


def map_sketch(scenario: Scenario) -> Sketch:
    """The 256 smallest hashes of the scene's lane points (world frame, to 0.1 m): a sample for comparing maps."""
    lanes = [np.asarray(feature.points[:, :2], dtype=np.float64) for feature in scenario.features if feature.is_lane]
    if not lanes:
        return np.zeros(0, dtype=np.uint64)
    cells = np.round(np.concatenate(lanes) * 10.0).astype(np.int64).view(np.uint64)
    with np.errstate(over="ignore"):
        # Mixing constants of SplitMix64 (Steele, Lea & Flood 2014).
        value = cells[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ cells[:, 1]
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.unique(value ^ (value >> np.uint64(31)))[:SKETCH_SIZE]


def similarity(one: Sketch, two: Sketch) -> float:
    """Estimated share of points in common (Jaccard index from bottom-k sketches)."""
    return float(similarities([one, two], np.array([0]), np.array([1]))[0])


def similarities(
    sketches: Sequence[Sketch], first: NDArray[np.integer], second: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The similarity of each of P pairs of sketches, [P].

    Args:
        sketches: Those that the pairs are of.
        first, second: Their indices, [P] each.
    """
    result = np.zeros(len(first))
    for start in range(0, len(first), _PAIRS):
        part = slice(start, start + _PAIRS)
        pairs = zip(first[part].tolist(), second[part].tolist(), strict=True)
        rows = np.full((len(result[part]), 2 * SKETCH_SIZE), _NOTHING, dtype=np.uint64)
        for row, (one, two) in zip(rows, pairs, strict=True):
            row[: len(sketches[one])] = sketches[one]
            row[SKETCH_SIZE : SKETCH_SIZE + len(sketches[two])] = sketches[two]
        rows.sort(axis=1)
        there = rows != _NOTHING
        twice = np.zeros_like(there)
        twice[:, 1:] = (rows[:, 1:] == rows[:, :-1]) & there[:, 1:]
        # The sketch of the union: its smallest values, each counted once.
        place = np.cumsum(there & ~twice, axis=1)
        size = np.minimum(place[:, -1], SKETCH_SIZE)
        shared = (twice & (place <= SKETCH_SIZE)).sum(1)
        result[part] = np.divide(shared, size, out=np.zeros(len(size)), where=size > 0)
    return result


class SketchTable:
    """Sketches, to be asked which of them lie on the same map as another one."""

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        """Sort their values once."""
        self._sketches = list(sketches)
        self._sizes = np.array([len(sketch) for sketch in self._sketches], dtype=np.int64)
        values = np.concatenate([*self._sketches, np.zeros(0, dtype=np.uint64)])
        order = np.argsort(values, kind="stable")
        self._values = values[order]
        self._owners = np.repeat(np.arange(len(self._sketches)), self._sizes)[order]

    def nearest(self, sketch: Sketch) -> tuple[int, float] | None:
        """Index and similarity of the most similar sketch (the first of several); None where none is on this map."""
        low, high = (np.searchsorted(self._values, sketch, side) for side in ("left", "right"))
        hits = high > low
        if not hits.any():
            return None
        places = np.concatenate([np.arange(a, b) for a, b in zip(low[hits], high[hits], strict=True)])
        rivals, shared = np.unique(self._owners[places], return_counts=True)
        # The union of two is no smaller than either: who shares less cannot reach the threshold.
        rivals = rivals[shared >= SAME_MAP * np.maximum(self._sizes[rivals], len(sketch))]
        if len(rivals) == 0:
            return None
        found = similarities([*(self._sketches[rival] for rival in rivals), sketch], *_against_last(len(rivals)))
        best = int(found.argmax())
        return (int(rivals[best]), float(found[best])) if found[best] >= SAME_MAP else None


def _against_last(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.arange(count), np.full(count, count)

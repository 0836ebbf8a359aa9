"""Which scenes lie on the same map: windows of one drive must not be split between train and test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scenarios.indexing.facts import sketches_of
from scenarios.map_sketch import SAME_MAP, Sketch, similarities
from scenarios.scenario import ScenarioSource
from scenarios.store import ScenarioStore

_AT_ONCE: Final = 1_000_000
"""Pairs that are looked at together: 24 MB."""

Pairs = NDArray[np.int64]


def map_groups(source: ScenarioSource) -> list[int]:
    """Group number of every scene; scenes that share a map share a group.

    Of a folder the index is asked, and the groups are kept there until a map changes; of other sources every scene is
    read once. A scene that cannot be read is a group.
    """
    if isinstance(source, ScenarioStore):
        return source.remembered("map groups", lambda: group(sketches_of(source)))
    return group(sketches_of(source))


def group(sketches: Iterable[Sketch]) -> list[int]:
    """Group number of every sketch: those of similarity `SAME_MAP` are joined, and all that hang together thereby.

    Time and memory grow with the number of different sketches that have a value in common.
    """
    numbers: dict[bytes, int] = {}
    different: list[Sketch] = []
    members: list[int] = []
    for count, sketch in enumerate(sketches):
        # Maps without lanes have nothing in common.
        key = sketch.tobytes() or f"none {count}".encode()
        if key not in numbers:
            numbers[key] = len(different)
            different.append(sketch)
        members.append(numbers[key])
    forest = _Forest(len(different))
    runs = _Runs(different)
    # Neighbours in a run first: they join nearly all that belongs together, and leave few pairs to look at.
    for pairs in (runs.neighbours(), runs.others(forest)):
        for part in pairs:
            part = part[forest.differ(part)]
            alike = similarities(different, part[:, 0], part[:, 1]) >= SAME_MAP
            forest.join(part[alike])
    roots = forest.roots()
    return [int(roots[number]) for number in members]


class _Forest:
    """Union-find over n items."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, item: int) -> int:
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def roots(self) -> NDArray[np.int64]:
        """Root of every item."""
        return np.array([self.root(item) for item in range(len(self._parent))], dtype=np.int64)

    def differ(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which pairs [P, 2] are not joined yet."""
        roots = self.roots()
        return roots[pairs[:, 0]] != roots[pairs[:, 1]]

    def join(self, pairs: Pairs) -> None:
        for one, two in pairs.tolist():
            self._parent[self.root(two)] = self.root(one)


class _Runs:
    """Which sketches have a value in common, for every value that could tell.

    Two similar sketches share at least t values, t = 20 % of the larger one. So they also share one that is not among
    the t - 1 most frequent values of either, and those need not be looked at: they may be in every sketch.
    """

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        sizes = np.array([len(sketch) for sketch in sketches], dtype=np.int64)
        values = np.concatenate([*sketches, np.zeros(0, dtype=np.uint64)])
        owners = np.repeat(np.arange(len(sketches), dtype=np.int64), sizes)
        _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
        # Rare values first within each sketch, equally frequent ones in an order that is the same for all.
        order = np.lexsort((number, counts[number], owners))
        place = np.arange(len(values)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        keep = order[place <= np.repeat(sizes - np.ceil(SAME_MAP * sizes).astype(np.int64), sizes)]
        keep = keep[np.argsort(number[keep], kind="stable")]
        self._owners, number = owners[keep], number[keep]
        self._starts = np.flatnonzero(np.diff(number, prepend=-1) != 0)
        # Without any value (no scene has lanes, or none can be read) there is no run that could end.
        self._ends = np.append(self._starts[1:], len(number))[: len(self._starts)]

    def neighbours(self) -> Iterator[Pairs]:
        """Pairs that stand next to each other in a run, each once."""
        last = np.zeros(len(self._owners), dtype=bool)
        last[self._ends - 1] = True
        left = np.flatnonzero(~last)
        yield np.unique(np.stack([self._owners[left], self._owners[left + 1]], axis=1), axis=0)

    def others(self, forest: _Forest) -> Iterator[Pairs]:
        """All pairs of every run whose members are not joined by now, each once in about a million."""
        roots = forest.roots()[self._owners]
        lengths = self._ends - self._starts
        mixed = np.zeros(len(lengths), dtype=bool)
        if len(lengths):
            mixed = np.minimum.reduceat(roots, self._starts) != np.maximum.reduceat(roots, self._starts)
        waiting: list[Pairs] = []
        count = 0
        for length in np.unique(lengths[mixed]).tolist():
            starts = self._starts[mixed & (lengths == length)]
            for part in range(0, len(starts), max(1, _AT_ONCE // length)):
                places = starts[part : part + max(1, _AT_ONCE // length), None] + np.arange(length)
                for offset in range(1, length):
                    left, right = places[:, :-offset].ravel(), places[:, offset:].ravel()
                    apart = roots[left] != roots[right]
                    waiting.append(np.stack([self._owners[left[apart]], self._owners[right[apart]]], axis=1))
                    count += len(waiting[-1])
                    if count >= _AT_ONCE:
                        yield np.unique(np.concatenate(waiting), axis=0)
                        waiting, count = [], 0
        if waiting:
            yield np.unique(np.concatenate(waiting), axis=0)

"""Which combinations of tags a set of scenes covers along the four axes, which not, and which scenes would add them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scenarios.tagging.vocabulary import ALL_VALUES, AXES, Axis, SceneTags, axis_values, tag_pairs

Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]
TagValue = tuple[str, str]
"""A tag and a value of it."""

EXCLUDED: Final[frozenset[tuple[str, str]]] = frozenset(
    {
        ("straight", "left-turn"),
        ("straight", "right-turn"),
        ("straight", "u-turn"),
        ("curve", "left-turn"),
        ("curve", "right-turn"),
        ("straight", "right-of-way"),
    }
)
"""Pairs of values that no scene can have, by the rules of the tags."""
_PLACES: Final[Mapping[TagValue, int]] = {pair: place for place, pair in enumerate(ALL_VALUES)}


class ValuePair(NamedTuple):
    """Two values on two axes.

    Attributes:
        axes: The axes.
        first, second: Tag and value on each.
    """

    axes: tuple[Axis, Axis]
    first: TagValue
    second: TagValue

    def __str__(self) -> str:
        return " and ".join(f"{tag}={value}" for tag, value in (self.first, self.second))


class Addition(NamedTuple):
    """A scene that would cover pairs.

    Attributes:
        scene: Its place in the pool.
        pairs: What it would add.
    """

    scene: int
    pairs: tuple[ValuePair, ...]


PAIRS: Final[tuple[ValuePair, ...]] = tuple(
    ValuePair(axes, first, second)
    for axes in combinations(AXES, 2)
    for first in axis_values(axes[0])
    for second in axis_values(axes[1])
    if (first[1], second[1]) not in EXCLUDED
)
"""Every pair of values on two axes that a scene can have."""


def value_counts(tags: Sequence[SceneTags]) -> dict[TagValue, int]:
    """How many scenes have each value."""
    return dict(zip(ALL_VALUES, _present(tags).sum(0).tolist(), strict=True))


def pair_counts(tags: Sequence[SceneTags]) -> Ints:
    """How many scenes have each of `PAIRS`, [P]."""
    return np.asarray(pairs_present(tags).sum(0), dtype=np.intp)


def pairs_present(tags: Sequence[SceneTags]) -> Bools:
    """Which scene has which of `PAIRS`, [S, P]."""
    present = _present(tags)
    first, second = ([_PLACES[pair[side]] for pair in PAIRS] for side in (1, 2))
    return np.asarray(present[:, first] & present[:, second])


def additions(covered: Bools, pool: Sequence[SceneTags], most: int) -> Iterator[Addition]:
    """Scenes of a pool, one after the other, each of which adds more pairs than any other would then.

    Args:
        covered: [P] which of `PAIRS` are covered already.
        pool: Tags of the scenes to choose from; of equals, the first one is chosen.
        most: Largest number of scenes.
    """
    missing = pairs_present(pool) & ~covered
    for _ in range(most if len(pool) else 0):
        gains = missing.sum(1)
        best = int(gains.argmax())
        if gains[best] == 0:
            return
        added = missing[best].copy()
        yield Addition(best, tuple(PAIRS[place] for place in np.flatnonzero(added)))
        missing[:, added] = False


def _present(tags: Sequence[SceneTags]) -> Bools:
    """Which scene has which value, [S, V]."""
    present = np.zeros((len(tags), len(ALL_VALUES)), dtype=np.bool_)
    for row, own in enumerate(tags):
        # An index on disk may have been written by anybody.
        places = [_PLACES[pair] for pair in tag_pairs(own) if pair in _PLACES]
        present[row, places] = True
    return present

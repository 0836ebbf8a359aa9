"""Kinds of encounter: from where a vehicle comes, and which side of the ego it meets; and how evenly they occur."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.geometry import quarter_turn, to_frame
from harness.metrics.contact_faces import FACES
from harness.metrics.intervals import Interval, percentile_interval, resampled

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

WAYS: Final = ("same way", "from the right", "opposite way", "from the left")
"""Headings of the other relative to the ego's, 0°, 90°, 180° and 270° to the left, each ± 45°: who heads to the left
comes from the right."""
KINDS: Final[tuple[str, ...]] = tuple(f"{way}, {face}" for way in WAYS for face in FACES)
"""Every kind: whence the other comes, and the side of the ego that it meets."""
NO_ENCOUNTER: Final = -1
"""Stands for a pair that does not meet."""


def encounter_kinds(poses: Floats, size: ArrayLike, ego: Floats, ego_size: ArrayLike) -> Ints:
    """Indices into `KINDS` of encounters.

    The side is that along whose normal the boxes overlap least.

    Args:
        poses: [K, 3] x, y, heading (m, rad) of the others at the first step of contact.
        size: Length and width of the others' box, m.
        ego: [K, 3] of the ego at that step.
        ego_size: Length and width, m.

    Returns:
        [K].
    """
    turn = poses[:, 2] - ego[:, 2]
    way = quarter_turn(turn)
    own, other = np.asarray(ego_size, dtype=np.float64) / 2, np.asarray(size, dtype=np.float64) / 2
    cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    offset = to_frame(poses[:, :2], ego)
    along = np.abs(offset[:, 0]) - own[0] - other[0] * cos - other[1] * sin
    across = np.abs(offset[:, 1]) - own[1] - other[0] * sin - other[1] * cos
    ends = np.where(offset[:, 0] >= 0, FACES.index("front"), FACES.index("rear"))
    flanks = np.where(offset[:, 1] >= 0, FACES.index("left"), FACES.index("right"))
    return way * len(FACES) + np.where(along >= across, ends, flanks)


def coverage(kinds: ArrayLike, seed: int = 0) -> Interval:
    """Entropy, in bits, of the kinds [S] that occurred, with a bootstrap interval over scenes.

    0 where all encounters are of one kind, log2(16) = 4 where all kinds are equally frequent; scenes without an
    encounter do not count, and NaN stands for no encounter at all. It grows with the number of encounters, so that it
    is to be compared at equal success. Few encounters show fewer kinds than there are: the interval, whose resamples
    repeat scenes, lies rather below the value.
    """
    known = np.asarray(kinds, dtype=np.intp)
    known = known[known != NO_ENCOUNTER]
    if len(known) == 0:
        return Interval(np.nan, np.nan, np.nan)
    (value,) = _entropies(known[None])
    drawn = resampled(lambda picks: _entropies(known[picks]), (len(known),), seed)
    return percentile_interval(float(value), drawn)


def _entropies(kinds: Ints) -> Floats:
    """Entropies [R], bits, of rows of kinds [R, S]."""
    share = (kinds[:, :, None] == np.arange(len(KINDS))).mean(1)
    return -(share * np.log2(np.where(share > 0, share, 1.0))).sum(-1) + 0.0

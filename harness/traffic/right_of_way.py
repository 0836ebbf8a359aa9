"""Who goes first where ways cross or join.

Who can no longer stop goes first; else who is in a roundabout before who is not; else who is there first.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.geometry import coarse_origin, wrap_angle

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

AHEAD: Final = 4.0
"""Ways are looked at over what is driven in so many seconds, and `NEAREST`."""
NEAREST: Final = 8.0
"""So much of its way is looked at of who stands, m."""
SPARE: Final = 1.0
"""Who comes this much later than the other has gone need not wait, s."""
_CRAWL: Final = 1.0
"""Who is slower than this, or stands, is taken to come with this speed, m/s."""


class Movers(NamedTuple):
    """M agents with somewhere to go.

    Attributes:
        ways: [M, K, 3] x, y (m), heading (rad) of their centres along their ways.
        half: [M, 2] half of their lengths and widths, m.
        speed: [M] m/s.
        free: [M] how far they can go in any case, front bumper to what stands in their way, m.
        gives: [M] who gives way to others; the others do as they like.
        ahead: [M] who has the right of way over those who have not: who is in a roundabout.
    """

    ways: Floats
    half: Floats
    speed: Floats
    free: Floats
    gives: Bools
    ahead: Bools


class Waits(NamedTuple):
    """Who waits for whom. W of them.

    Attributes:
        who, other: [W] rows of the movers.
        gap: [W] free way to where the ways meet, m; not below 0.
        speed: [W] speed of the other along the way of who waits, m/s: 0 where the ways cross, its own where they join.
    """

    who: Ints
    other: Ints
    gap: Floats
    speed: Floats


class _Side(NamedTuple):
    """What a pair's place of meeting is for one of the two, [P] each."""

    row: Ints
    enter: Floats
    time: Floats
    gone: Floats
    late: Bools
    heading: Floats


def waits(movers: Movers, look: Floats, *, margin: float, hardest: float) -> Waits:
    """Who waits for whom.

    Ways meet where centres would come so close that vehicles side by side touch. Who has another one before it in its
    own way, or is in the way of the other already, is no matter of precedence: drivers brake for what they see there.

    Args:
        movers: Everybody.
        look: [K] arc lengths at which the ways are given, m, from 0.
        margin: Lateral clearance, m.
        hardest: Hardest braking, m/s²: who would need more to stop goes first.
    """
    one, two, hits = _meetings(movers, look, margin)
    first = _side(movers, look, one, np.asarray(hits.any(2)), hardest)
    second = _side(movers, look, two, np.asarray(hits.any(1)), hardest)
    outside = ~hits[:, 0].any(-1) & ~hits[:, :, 0].any(-1)
    ranks = movers.ahead[one], movers.ahead[two]
    # Of equally early ones the first row goes first.
    earlier = np.where(ranks[0] == ranks[1], first.time <= second.time, ranks[0])
    earlier = np.where(first.late == second.late, earlier, first.late)
    angle = wrap_angle(first.heading - second.heading)
    found = []
    for waiting, other, yields in ((second, first, earlier), (first, second, ~earlier)):
        rows = yields & outside & movers.gives[waiting.row] & (waiting.time < other.gone + SPARE)
        # Who stands in a queue does not come, but a roundabout that all drive into comes to a halt.
        rows &= (movers.free[other.row] >= other.enter) | (movers.ahead[other.row] & ~movers.ahead[waiting.row])
        along = movers.speed[other.row] * np.maximum(np.cos(angle), 0.0)
        found.append(Waits(waiting.row[rows], other.row[rows], np.maximum(waiting.enter[rows], 0.0), along[rows]))
    return Waits(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def circling(successors: Sequence[Sequence[int]], lengths: Floats, longest: float) -> Bools:
    """[L] which lanes are part of a roundabout: a way along the lanes comes back to them within `longest`, m.

    Args:
        successors: [L] which lanes each leads into.
        lengths: [L] m.
        longest: Length of the longest roundabout, m.
    """
    found = np.zeros(len(lengths), bool)
    for lane in range(len(lengths)):
        queue = [(float(lengths[lane]), after) for after in successors[lane]]
        heapify(queue)
        seen: set[int] = set()
        while queue and not found[lane]:
            way, now = heappop(queue)
            found[lane] = now == lane and way <= longest
            if now not in seen and way <= longest:
                seen.add(now)
                for after in successors[now]:
                    heappush(queue, (way + float(lengths[now]), after))
    return found


def _meetings(movers: Movers, look: Floats, margin: float) -> tuple[Ints, Ints, Bools]:
    """Pairs whose ways meet: rows [P] of both, and which of their points are too close [P, K, K]."""
    reach = np.minimum(movers.speed * AHEAD + NEAREST, look[-1])
    place = movers.ways[:, 0, :2]
    apart = np.hypot(*np.moveaxis(place[:, None] - place, -1, 0))
    wide = movers.half[:, 1]
    near = apart < reach[:, None] + reach + wide[:, None] + wide + margin
    near &= movers.gives[:, None] | movers.gives
    one, two = np.nonzero(np.triu(near, 1))
    points = (movers.ways[..., :2] - coarse_origin(place[:1].sum(0))).astype(np.float32)
    offset = points[one, :, None] - points[two, None]
    hits = np.square(offset).sum(-1) < np.square(wide[one] + wide[two] + margin)[:, None, None]
    within = look <= reach[:, None]
    hits &= within[one, :, None] & within[two, None]
    met = hits.any((1, 2))
    return one[met], two[met], hits[met]


def _side(movers: Movers, look: Floats, row: Ints, along: Bools, hardest: float) -> _Side:
    """For one of each pair, from which points of its way [P, K] are too close to the other's."""
    first, last = along.argmax(1), along.shape[1] - 1 - along[:, ::-1].argmax(1)
    speed, half = movers.speed[row], movers.half[row, 0]
    pace = np.maximum(speed, _CRAWL)
    enter = look[first] - half
    return _Side(
        row=row,
        enter=enter,
        time=np.maximum(enter, 0.0) / pace,
        gone=(look[last] + half) / pace,
        late=enter < speed**2 / (2 * hardest),
        heading=movers.ways[row, first, 2],
    )

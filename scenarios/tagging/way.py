"""The ego's way over the lanes of the map: where it drives, a little further on, and where it changes lanes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.geometry import project_to_polyline, wrap_angle
from scenarios.map_index import MapIndex
from scenarios.scenario import Scenario
from scenarios.tagging.meetings import Motion

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

AHEAD: Final = 25.0
"""The way goes on straight by so much beyond the ego's last place, m: whoever waits at a junction is before it."""
MARGIN: Final = 10.0
"""Lanes are looked for within so much of the ego's places, m."""
ON_LANE: Final = 4.0
"""Farther from every lane the ego is on none, m."""
SETTLED: Final = 1.0
"""The ego has settled in a lane where its centre is that near to the lane's, m, and both head the same way."""
BESIDE: Final = 2.0
"""A lane that was changed to lies at least so far from the old one, m."""
SAME_WAY: Final = np.radians(20.0)
"""Neighbouring lanes lead the same way within this, rad."""
LANES_ON: Final = 6
"""So many lanes on, a lane is looked for behind another one: what leads there was no change of lanes."""


class Way(NamedTuple):
    """The ego's way.

    Attributes:
        lanes: Lanes in the order in which the ego comes to them, indices into those of `MapIndex.of`.
        since: Step at which the ego comes to each; after the last step for those further on.
        joints: Pairs of lanes, one after the other, on the way.
        line: [N, 2] the places where the ego is, and the middle of the lanes further on, m.
        changes: Steps at which the ego has settled in a lane that it changed to.
        near: The map about the way; its lanes are indices into its own `lane_ids`.
    """

    lanes: tuple[int, ...]
    since: tuple[int, ...]
    joints: tuple[tuple[int, int], ...]
    line: Floats
    changes: tuple[int, ...]
    near: MapIndex


def ego_way(scenario: Scenario, ego: Motion, line: Floats) -> Way:
    """The way of the ego of a scene; without lanes where it drives on none.

    Args:
        scenario: The scene.
        ego: Its ego, valid at one step at least.
        line: Where it drives, [N, 2] m.
    """
    index = MapIndex.of(scenario)
    rows = np.flatnonzero(ego.valid)
    lanes = lanes_near(index, ego.states[rows, :2])
    near = index.part(lanes.tolist())
    place = near.locate(ego.states[rows, :2], ego.states[rows, 2], ON_LANE)
    lane = np.append(lanes, -1)[place.lane]
    order, since = _visited(lane, rows)
    if order:
        # The end of the way is where the ego is last seen on a lane.
        last = int(np.flatnonzero(lane >= 0)[-1])
        further, points = _further(index, int(lane[last]), float(place.along[last]))
        line = np.concatenate([line, points])
        order += [name for name in further if name not in order]
        since += [len(ego.valid)] * (len(order) - len(since))
    joints = tuple((a, b) for a, b in pairwise(order) if b in index.successors[a])
    along = np.abs(wrap_angle(place.heading - ego.states[rows, 2])) <= SAME_WAY
    settled = (np.abs(place.offset) <= SETTLED) & (lane >= 0) & along
    changes = tuple(lane_changes(index, lane[settled], rows[settled], ego.states[rows[settled], :2]))
    return Way(tuple(order), tuple(since), joints, line, changes, near)


def lanes_near(index: MapIndex, places: Floats) -> Ints:
    """Lanes that come near some places [N, 2], m: trees over the map of a whole town take long to make."""
    if not index.lane_lines:
        return np.zeros(0, dtype=np.intp)
    low, high = places.min(0) - MARGIN, places.max(0) + MARGIN
    points = np.concatenate(index.lane_lines)
    starts = np.cumsum([0, *(len(line) for line in index.lane_lines[:-1])])
    least, most = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    return np.flatnonzero(((least <= high) & (most >= low)).all(-1))


def lane_changes(index: MapIndex, lanes: Ints, steps: Ints, places: Floats) -> Iterator[int]:
    """Steps at which somebody has settled in a lane that its lane does not lead to and that lies beside it.

    Args:
        index: The map.
        lanes: [K] lanes in which it has settled.
        steps: [K] when.
        places: [K, 2] where, m.
    """
    for before, after in pairwise(range(len(lanes))):
        old, new = int(lanes[before]), int(lanes[after])
        if old != new and not _belong(index, old, new) and _is_beside(index, old, new, places[after]):
            yield int(steps[after])


def _belong(index: MapIndex, old: int, new: int) -> bool:
    """Whether a lane leads to another, or both begin or end in one lane and lie upon one another there."""
    begin = any(_leads(index, earlier, new) for earlier in index.predecessors[old])
    return begin or _leads(index, old, new) or any(_leads(index, old, later) for later in index.successors[new])


def _is_beside(index: MapIndex, old: int, new: int, place: Floats) -> bool:
    """Whether a lane runs beside another at a place [2], the same way."""
    lines = index.lane_lines[old], index.lane_lines[new]
    feet = [project_to_polyline(place, line) for line in lines]
    headings = [np.arctan2(*(line[foot[2] + 1] - line[foot[2]])[::-1]) for foot, line in zip(feet, lines, strict=True)]
    same = abs(float(wrap_angle(headings[0] - headings[1]))) <= SAME_WAY
    return same and abs(float(feet[0][1])) >= BESIDE and 0.0 < float(feet[0][0]) < float(index.lane_lengths[old])


def _leads(index: MapIndex, lane: int, target: int) -> bool:
    """Whether a lane leads to another within `LANES_ON` lanes."""
    front, seen = {lane}, {lane}
    for _ in range(LANES_ON):
        front = {after for one in front for after in index.successors[one]} - seen
        if target in front:
            return True
        seen |= front
    return False


def _visited(lane: Ints, rows: Ints) -> tuple[list[int], list[int]]:
    """Lanes [R] in the order in which they first occur, and the step of each; -1 is none."""
    first: dict[int, int] = {}
    for name, row in zip(lane.tolist(), rows.tolist(), strict=True):
        if name >= 0:
            first.setdefault(name, row)
    return list(first), list(first.values())


def _further(index: MapIndex, lane: int, along: float) -> tuple[list[int], Floats]:
    """Lanes within `AHEAD` m of a place on a lane, straightest first, and the middle of the way there, [N, 2]."""
    found, rest = [lane], AHEAD - (float(index.lane_lengths[lane]) - along)
    while rest > 0 and index.successors[found[-1]]:
        after = index.straightest_first(found[-1])[0]
        if after in found:
            break
        found.append(after)
        rest -= float(index.lane_lengths[after])
    return found, index.lane_path(lane, along, AHEAD)

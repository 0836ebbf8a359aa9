"""The ego's way beyond its log: along the lane graph, a branch drawn wherever the road forks, until the map ends."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.geometry import arc_lengths, interpolate_polyline, wrap_angle
from scenarios.map_index import MapIndex
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]

SPACING: Final = 4.0
"""Distance of the points of the way beyond the log, m: on a curve of 10 m radius the chord is off by 20 cm."""
TOP_SPEED: Final = 25.0
"""Nobody drives farther than at this speed, m/s: the ego's car ends at 22 (MetaDrive's `max_speed_km_h`, 80)."""
MARGIN: Final = 100.0
"""The way goes on for this much more than can be driven, m, so that an ego always has way points ahead."""
_ON_LANE: Final = 4.0
_ALONG: Final = np.pi / 3
"""The last logged pose is on a lane at most so far from its centre, m, that leads at most so far aside, rad."""
_RETURN: Final = 15.0
"""Over this distance the way comes back to the centre of the lane, m (as in `idm-lane`)."""
_LANES: Final = 10_000
"""Most lanes of a way: a loop of lanes without length must end somewhere."""


def beyond_the_log(scenario: Scenario, metres: float, rng: np.random.Generator) -> Floats:
    """The way [N, 2] (m, world) that goes on where the ego's log ends; empty where no lane leads on from there.

    Args:
        scenario: Map, and the ego's log.
        metres: Least length, m; the lane on which it is reached is the last one. Shorter where the map ends.
        rng: Draws the branch at every fork.
    """
    last = int(np.flatnonzero(scenario.valid[scenario.ego])[-1])
    place, heading = scenario.position[scenario.ego, last, :2], scenario.heading[scenario.ego, last]
    index = MapIndex.of(scenario)
    found = index.locate(place, heading, max_distance=_ON_LANE)
    if int(found.lane) < 0 or abs(float(wrap_angle(found.heading - heading))) > _ALONG:
        return np.zeros((0, 2))
    line = _walk(index, int(found.lane), float(found.along), metres, rng)
    total = float(arc_lengths(line)[-1])
    along = np.append(np.arange(SPACING, total, SPACING), total)
    if total < SPACING:
        return np.zeros((0, 2))
    points, direction = interpolate_polyline(line, along)
    side = float(found.offset) * np.exp(-along / _RETURN)
    return np.asarray(points + side[:, None] * np.stack([-np.sin(direction), np.cos(direction)], -1))


def _walk(index: MapIndex, lane: int, along: float, metres: float, rng: np.random.Generator) -> Floats:
    """Centre line [n, 2] from a place on a lane on, over lanes drawn with equal probability."""
    pieces, length = [index.lane_path(lane, along, float(index.lane_lengths[lane]) - along)], 0.0
    for _ in range(_LANES):
        length += float(arc_lengths(pieces[-1])[-1])
        nexts = index.successors[lane]
        if length >= metres or not nexts:
            break
        lane = nexts[int(rng.integers(len(nexts)))]
        pieces.append(index.lane_lines[lane])
    joined = np.concatenate(pieces)
    return joined[np.concatenate([[True], np.hypot(*np.diff(joined, axis=0).T) > 1e-6])]

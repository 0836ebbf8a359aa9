"""Where vehicles may drive by themselves, as flat arrays: what `lane_traffic` reads beside `Scenes`.

A vehicle leaves its log on the way that begins where it then is; which ways there are depends on scene, vehicle and
step only (`harness.traffic.lane_paths`). Lengths are metres, angles rad, relative to the scene's origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.fast.made_for import LOGGED, check_traffic
from harness.traffic.lane_idm import LaneIDMTraffic
from harness.traffic.lane_paths import POINTS, LaneIDMConfig
from harness.traffic.make import make_traffic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WAY_X, WAY_Y, WAY_HEADING, WAY_LIMIT = range(4)
"""Columns of a point of a way: place, heading, allowed speed (m/s)."""
WAY: Final = 4
ORIGIN_X, ORIGIN_Y, EGO_HALF_LENGTH, EGO_HALF_WIDTH = range(4)
"""Columns of `Lanes.frame`: the scene's origin in its own frame, and half of the ego's logged box (the one that others
brake for)."""
FRAME: Final = 4


class Lanes(NamedTuple):
    """Any number of scenes, one after another. S scenes, J places where somebody may join, W ways on from them.

    Attributes:
        frame: [S, FRAME].
        joins: One for each row of `Scenes.tracks`: which place it is to join, or -1.
        first_way: [J + 1] the first way on from each place.
        parked: [J] whether who joins there stays where it is.
        red: [W] distance along the way to the first red light.
        ways: [W, POINTS, WAY] points a metre apart.
    """

    frame: Floats
    joins: NDArray[np.int32]
    first_way: Ints
    parked: NDArray[np.bool_]
    red: Floats
    ways: Floats


def drivers_of(traffic: str) -> LaneIDMConfig | None:
    """Who drives by themselves in `traffic` (as of `EngineConfig.traffic`); None where everybody follows the log.

    Raises:
        ConfigError: The fast engine does not play this traffic, or it has no such option.
    """
    check_traffic(traffic)
    if traffic == LOGGED:
        return None
    made = make_traffic(traffic)
    if not isinstance(made, LaneIDMTraffic):
        raise ConfigError(f"traffic {traffic!r}: here it is {type(made).__name__}, unknown to the fast engine.")
    return made.config


def joined_lanes(parts: Sequence[Lanes]) -> Lanes:
    """Several scenes' as one."""
    joins, firsts, places, ways = [], [np.zeros(1, np.int64)], 0, 0
    for part in parts:
        joins.append(np.where(part.joins >= 0, part.joins + np.int32(places), np.int32(-1)))
        firsts.append(part.first_way[1:] + ways)
        places += len(part.parked)
        ways += len(part.red)
    return Lanes(
        np.concatenate([part.frame for part in parts]),
        np.concatenate(joins),
        np.concatenate(firsts),
        np.concatenate([part.parked for part in parts]),
        np.concatenate([part.red for part in parts]),
        np.concatenate([part.ways for part in parts]),
    )


_TYPES: Final = {
    "frame": np.float64,
    "joins": np.int32,
    "first_way": np.int64,
    "parked": np.bool_,
    "red": np.float64,
    "ways": np.float64,
}


def are_sound(lanes: Lanes, rows: int) -> bool:
    """Whether lanes of one scene with so many rows of tracks are such as kernels can read, who do not look twice."""
    places, ways = len(lanes.parked), len(lanes.red)
    shapes = {
        "frame": (1, FRAME),
        "joins": (rows,),
        "first_way": (places + 1,),
        "parked": (places,),
        "red": (ways,),
        "ways": (ways, POINTS, WAY),
    }
    for name, array in lanes._asdict().items():
        if array.dtype != _TYPES[name] or array.shape != shapes[name]:
            return False
    # Everybody who joins has a way on.
    begins = lanes.first_way[0] == 0 and lanes.first_way[-1] == ways and (np.diff(lanes.first_way) > 0).all()
    return bool(begins and ((lanes.joins >= -1) & (lanes.joins < places)).all())

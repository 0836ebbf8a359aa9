"""Another vehicle seen along the ego's path: how far ahead, how far beside, how fast towards it.

The reference drivers of UN R157 are written for a straight motorway lane. Projecting on the path that the ego took
carries them over to bends, junctions and oncoming traffic: the lane becomes the corridor that the ego's box sweeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ConfigError
from harness.geometry import arc_lengths, box_corners, interpolate_polyline, project_to_polyline, wrap_angle
from harness.interfaces import VX, Trajectory

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Direction = Literal["same", "oncoming", "crossing"]

EXTENSION: Final = 120.0
"""The path goes on straight this far (m) at both ends, so that what is behind or far ahead has a place on it."""
MIN_MOVE: Final = 0.05
"""Recorded positions closer than this (m) are one point of the path: noise of a standing vehicle has no direction."""
SAME_WAY: Final = np.deg2rad(45.0)
"""Up to this angle to the path (rad) a vehicle drives the same way, beyond its supplement it is oncoming (our rule)."""


@dataclass(frozen=True, slots=True)
class EgoPath:
    """The ego's path and where along it the ego was.

    Attributes:
        line: [N, 2] centre of the box, m.
        lengths: [N] arc length at the points, m.
        headings: [N] of the box at the points, unwrapped, rad.
        stations: [n] arc length of the recorded ego from `start` on, m.
        speeds: [n] along the heading, never negative, m/s.
        start: Absolute step of the first row.
    """

    line: Floats
    lengths: Floats
    headings: Floats
    stations: Floats
    speeds: Floats
    start: int

    def poses(self, stations: Floats) -> Floats:
        """Poses [..., 3] of the box at arc lengths [...]."""
        points, _ = interpolate_polyline(self.line, stations)
        heading = np.interp(stations, self.lengths, self.headings)
        return np.concatenate([points, heading[..., None]], -1)


@dataclass(frozen=True, slots=True)
class Sighting:
    """Another vehicle at one step, in coordinates of the ego's path.

    Attributes:
        rear, front: Arc lengths between which its box lies, m.
        centre, offset: Arc length and lateral offset of its centre, m.
        low, high: Lateral offsets between which its box lies, m, left positive.
        along, across: Velocity along and across (left positive) the path, m/s.
        direction: Direction of its heading relative to the path.
        beside: Distance of its box from the corridor that the ego sweeps, m; 0 within.
        approach: Rate at which `beside` falls, m/s; what it would be for a box at the border if it is within.
    """

    rear: float
    front: float
    centre: float
    offset: float
    low: float
    high: float
    along: float
    across: float
    direction: Direction
    beside: float
    approach: float

    @property
    def inside(self) -> bool:
        """Whether its box reaches into the corridor."""
        return self.beside <= 0.0


def ego_path(ego: Trajectory, start: int, stop: int) -> EgoPath:
    """The path through the recorded positions from step `start` to `stop - 1`, extended straight at both ends.

    Raises:
        ConfigError: The ego is not valid there.
    """
    if not 0 <= start < stop <= len(ego.valid) or not ego.valid[start:stop].all():
        raise ConfigError(f"ego path: the ego must be valid in steps {start} to {stop - 1}.")
    states = ego.states[start:stop]
    heading = np.unwrap(states[:, 2])
    keep = [0]
    for row in range(1, len(states)):
        if np.hypot(*(states[row, :2] - states[keep[-1], :2])) >= MIN_MOVE:
            keep.append(row)
    first, last = _unit(heading[0]), _unit(heading[-1])
    points = states[keep, :2]
    line = np.concatenate([points[:1] - EXTENSION * first, points, points[-1:] + EXTENSION * last])
    turned = np.concatenate([heading[:1], heading[keep], heading[-1:]])
    lengths = arc_lengths(line)
    # Every recorded step has the arc length of the last point that it reached, plus what it moved since.
    reached = np.searchsorted(keep, np.arange(len(states)), side="right") - 1
    since = np.hypot(*(states[:, :2] - points[reached]).T)
    stations = np.maximum.accumulate(lengths[reached + 1] + since)
    speeds = np.maximum(states[:, VX] * np.cos(heading) + states[:, VX + 1] * np.sin(heading), 0.0)
    return EgoPath(line, lengths, turned, stations, speeds, start)


def sightings(
    path: EgoPath, ego_size: ArrayLike, states: Floats, valid: Bools, size: ArrayLike
) -> list[Sighting | None]:
    """The vehicle at each step in path coordinates, None where it is absent.

    Args:
        path: Path of the ego.
        ego_size: [2] length and width, m.
        states: [T, 5]; `valid` [T].
        valid: Present.
        size: [2] length and width, m.
    """
    half = float(np.asarray(ego_size)[1]) / 2
    corners = box_corners(states[:, :3], np.asarray(size, dtype=np.float64))
    points = np.concatenate([corners, states[:, None, :2]], 1)
    along, offset, segment = project_to_polyline(points, path.line)
    delta = np.diff(path.line, axis=0)[segment[:, 4]]
    tangent = np.arctan2(delta[:, 1], delta[:, 0])
    cos, sin = np.cos(tangent), np.sin(tangent)
    vx, vy = states[:, VX], states[:, VX + 1]
    onward, across = cos * vx + sin * vy, cos * vy - sin * vx
    angle = np.abs(wrap_angle(states[:, 2] - tangent))
    found: list[Sighting | None] = []
    for step in range(len(states)):
        if not valid[step]:
            found.append(None)
            continue
        low, high = float(offset[step, :4].min()), float(offset[step, :4].max())
        side = np.sign(offset[step, 4]) or 1.0
        direction: Direction = "crossing"
        if angle[step] <= SAME_WAY:
            direction = "same"
        elif angle[step] >= np.pi - SAME_WAY:
            direction = "oncoming"
        found.append(
            Sighting(
                rear=float(along[step, :4].min()),
                front=float(along[step, :4].max()),
                centre=float(along[step, 4]),
                offset=float(offset[step, 4]),
                low=low,
                high=high,
                along=float(onward[step]),
                across=float(across[step]),
                direction=direction,
                beside=max(low - half, -half - high, 0.0),
                approach=float(-side * across[step]),
            )
        )
    return found


def leaves_in(sighting: Sighting, half: float) -> float:
    """Time until a vehicle within the corridor of half width `half` (m) has crossed out of it, s; inf if it stays."""
    if abs(sighting.across) < 1e-6:
        return float("inf")
    way = half - sighting.low if sighting.across > 0 else half + sighting.high
    return max(way, 0.0) / abs(sighting.across)


def _unit(heading: float) -> Floats:
    return np.array([np.cos(heading), np.sin(heading)])

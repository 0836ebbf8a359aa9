"""The ways on that the lanes of a map offer to vehicles, with speed limits, bends and red lights along them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.geometry import arc_lengths, interpolate_polyline, project_to_polyline, wrap_angle
from scenarios.map_index import MapIndex
from scenarios.scenario import CURRENT_STEP, Scenario

Floats = NDArray[np.float64]

SPACING: Final = 1.0
"""Distance of the points of a path, m."""
FREE: Final = 1e6
"""Distance to what is not there, m."""
AT_REST: Final = 0.1
"""A slower vehicle stands, m/s."""
_PATH: Final = 300.0
"""Length of prepared paths, m: 8 s at 37 m/s."""
POINTS: Final = int(_PATH / SPACING) + 1
"""Points of a path."""
_RED: Final = ("LANE_STATE_STOP", "LANE_STATE_ARROW_STOP")
_CURB: Final = 1.5
"""Who stands this far from the centre of its lane (m) is parked, not queueing."""


@dataclass(frozen=True)
class LaneIDMConfig:
    """Drivers.

    Attributes:
        gap: Desired time gap to whoever is ahead, s.
        standstill: Gap at rest, m.
        acceleration: Strongest acceleration, m/s².
        braking: Comfortable deceleration, m/s².
        hardest: Hardest braking, m/s².
        speed: Desired speed where the map gives no limit, m/s (50 km/h).
        lateral: Largest lateral acceleration in bends, m/s².
        pace: Desired speed, as a factor on what bends and limits allow.
        spread: Standard deviation of the drivers' paces, as a share of `pace`.
        margin: Lateral clearance, m.
        branches: Most ways on that are considered per vehicle.
        return_length: Distance over which a vehicle comes back to the centre of its lane, m.
    """

    gap: float = 1.5
    standstill: float = 2.0
    acceleration: float = 2.0
    braking: float = 3.0
    hardest: float = 8.0
    speed: float = 13.9
    lateral: float = 2.5
    pace: float = 1.0
    spread: float = 0.1
    margin: float = 0.2
    branches: int = 6
    return_length: float = 15.0

    def __post_init__(self) -> None:
        """Reject what cannot drive."""
        numbers = {item.name: getattr(self, item.name) for item in fields(LaneIDMConfig)}
        positive = [value for name, value in numbers.items() if name not in ("standstill", "spread", "margin")]
        if not all(map(math.isfinite, numbers.values())) or min(positive) <= 0 or self.standstill < 0:
            raise ConfigError(
                f"idm-lane: {self}: expected finite numbers, all but standstill, spread and margin positive, and "
                "standstill not negative."
            )

    def limited(self, change: Floats, wanted: Floats, gap: Floats) -> Floats:
        """Accelerations (m/s²) within what the vehicle can do, and what the driver does to keep a wanted gap (m).

        Above the desired speed the free-road term of the model alone would brake harder than anyone does.
        """
        floor = np.where(wanted < gap, -self.braking, -self.hardest)
        return np.clip(change, floor, self.acceleration)


def varied(mean: float, spread: float, noise: Floats) -> Floats:
    """A desire of many drivers: its mean, times one plus `spread` times standard normal noise, within .5 and 1.5."""
    return mean * np.clip(1 + spread * noise, 0.5, 1.5)


@dataclass(frozen=True, slots=True)
class LanePaths:
    """Every way on of every vehicle: V vehicles, B branches, N points.

    Attributes:
        points: [V, B, N, 3] x, y, heading at equal spacing.
        count: [V] branches.
        limit: [V, B, N] speed allowed by bends and limits, m/s.
        red: [V, B] distance to the first red light, m (`FREE`: none).
        end: [V, B] distance to where the lanes end, or where a path without lanes does, m (`FREE`: they go on).
    """

    points: Floats
    count: NDArray[np.intp]
    limit: Floats
    red: Floats
    end: Floats


def prepare_paths(
    scenario: Scenario, poses: Floats, velocity: Floats, config: LaneIDMConfig, step: int = CURRENT_STEP
) -> LanePaths:
    """Every way on of every vehicle, from its present pose.

    Args:
        scenario: Map and lights.
        poses: [V, 3] x, y, heading.
        velocity: [V, 2], m/s.
        config: Drivers.
        step: Absolute step whose lights are heeded.
    """
    index = MapIndex.of(scenario)
    place = index.locate(poses[:, :2], poses[:, 2], max_distance=4.0)
    limits = speed_limits(scenario, index, config.speed)
    stops = red_stops(scenario, step)
    ways: list[list[tuple[Floats, Floats, float, float]]] = []
    for row, pose in enumerate(poses):
        lane = int(place.lane[row])
        moving = float(np.hypot(*velocity[row]))
        aligned = lane >= 0 and abs(float(wrap_angle(place.heading[row] - pose[2]))) < np.pi / 3
        parked = moving < AT_REST and abs(float(place.offset[row])) > _CURB
        if aligned and not parked:
            lines = index.lane_paths(lane, float(place.along[row]), _PATH, config.branches)
            made = [_lane_way(line, pose, limits[lane], stops, config) for line in lines if len(line) > 1]
        else:
            made = []
        if not made:
            straight = pose[:2] + np.arange(POINTS)[:, None] * SPACING * np.array([np.cos(pose[2]), np.sin(pose[2])])
            points = np.concatenate([straight, np.full((POINTS, 1), pose[2])], -1)
            # Off the lanes nobody accelerates; who stands there is parked.
            made = [(points, np.full(POINTS, moving if moving >= AT_REST else 0.0), FREE, _PATH)]
        ways.append(made)
    most = max((len(way) for way in ways), default=1)
    filled = [way + way[:1] * (most - len(way)) for way in ways]
    shape = (len(poses), most, POINTS)
    return LanePaths(
        np.array([[branch[0] for branch in way] for way in filled]).reshape(*shape, 3),
        np.array([len(way) for way in ways], dtype=np.intp),
        np.array([[branch[1] for branch in way] for way in filled]).reshape(shape),
        np.array([[branch[2] for branch in way] for way in filled]).reshape(shape[:2]),
        np.array([[branch[3] for branch in way] for way in filled]).reshape(shape[:2]),
    )


def _lane_way(
    line: Floats, pose: Floats, limit: float, stops: Floats, config: LaneIDMConfig
) -> tuple[Floats, Floats, float, float]:
    """Poses, speed limits and distances to the first red light and to the end, along one lane line from a pose."""
    along = np.arange(POINTS) * SPACING
    length = arc_lengths(line)[-1]
    points, heading = interpolate_polyline(line, np.asarray(along, dtype=np.float64))
    # Beyond a dead end (the edge of the map) it goes straight on.
    beyond = np.maximum(along - length, 0.0)[:, None]
    points = points + beyond * np.stack([np.cos(heading[-1:]), np.sin(heading[-1:])], -1)
    _, offset, _ = project_to_polyline(pose[None, :2], line)
    fade = float(offset[0]) * np.exp(-along / config.return_length)
    normal = np.stack([-np.sin(heading), np.cos(heading)], -1)
    centre = points + fade[:, None] * normal
    slope = np.gradient(centre, axis=0)
    smooth = np.arctan2(slope[:, 1], slope[:, 0])
    turned = wrap_angle(pose[2] - smooth[0]) * np.exp(-along / 5.0)
    bend = np.abs(wrap_angle(np.diff(smooth, append=smooth[-1:]))) / SPACING
    bend = np.convolve(bend, np.full(5, 0.2), mode="same")
    allowed = np.minimum(limit, np.sqrt(config.lateral / np.maximum(bend, 1e-4)))
    end = float(length) if length < _PATH - SPACING else FREE
    return np.concatenate([centre, (smooth + turned)[:, None]], -1), allowed, first_red(line, stops), end


def first_red(line: Floats, stops: Floats, after: float = 0.0) -> float:
    """Distance along a line [N, 2] to the first of the stop points [L, 2] on it beyond `after`, m; `FREE` without."""
    if not len(stops):
        return FREE
    where, side, _ = project_to_polyline(stops, line)
    near = (np.abs(side) < 1.0) & (where > after + 0.5)
    return float(where[near].min()) if near.any() else FREE


def speed_limits(scenario: Scenario, index: MapIndex, default: float) -> Floats:
    """Speed limit per lane of the index, m/s; the default where the map says none."""
    given = {feature.id: feature.extras.get("speed_limit_kmh") for feature in scenario.features if feature.is_lane}
    values = [given.get(name) for name in index.lane_ids]
    return np.array([float(v) / 3.6 if isinstance(v, int | float) and v > 1 else default for v in values])


def red_stops(scenario: Scenario, step: int = CURRENT_STEP) -> Floats:
    """Stop points [L, 2] of the lights that are red at a step; after their last row they stay as they are then."""
    found = []
    for light in scenario.lights.values():
        state = light.get("state", {})
        states: Sequence[str] = state.get("object_state", ()) if isinstance(state, dict) else ()
        point = light.get("stop_point")
        if point is not None and len(states) > CURRENT_STEP and states[min(step, len(states) - 1)] in _RED:
            found.append(np.asarray(point, dtype=np.float64).flatten()[:2])
    return np.array(found, dtype=np.float64).reshape(-1, 2)

"""Intelligent driver model along the logged route, with pure-pursuit steering. No engine, no map: numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.geometry import arc_lengths, box_corners, interpolate_polyline, project_to_polyline, to_frame
from harness.interfaces import HEADING, VX, VY, EgoView, Floats
from scenarios.scenario import Scenario

MAX_STEERING: Final = np.deg2rad(40.0)
"""Front wheel angle at action 1, rad (`max_steering` of MetaDrive's default vehicle)."""
WHEELBASE_RATIO: Final = 0.547
"""Wheelbase over length of MetaDrive's default vehicle (2.469 m / 4.515 m)."""
FULL_THROTTLE: Final = 2.9
"""Acceleration at action 1, m/s². This and the next two: measured on MetaDrive 0.4.3's default vehicle, 1 to 20 m/s."""
FULL_BRAKE: Final = 22.0
"""Deceleration that action −1 would give if it went on as it begins, m/s² (−0.25 gives 4.6 to 6.3)."""
ROLLING: Final = 0.36
"""Deceleration at action 0, m/s²."""
RUN_OUT: Final = 50.0
"""How far the route is prolonged straight on past its end, m, so that the ego does not stop just short of it."""
MIN_SPACING: Final = 0.5
"""Route points closer than this are merged, m: a halted log has no direction."""


@dataclass(frozen=True, slots=True)
class IDMConfig:
    """Constants of the driver (Treiber, Hennecke and Helbing 2000, table I, unless noted)."""

    desired_speed: float | None = None
    """m/s; None takes the speed limit where known, else the highest speed of the ego's own log."""
    min_desired_speed: float = 3.0
    """Floor of the desired speed taken from a log, m/s (a log may stand still)."""
    time_headway: float = 1.5
    """s."""
    standstill_gap: float = 2.0
    """m, bumper to bumper."""
    acceleration: float = 2.0
    """Comfortable acceleration, m/s² (paper: 0.73, too timid to get through a 9 s scene)."""
    deceleration: float = 3.0
    """Comfortable deceleration, m/s² (paper: 1.67)."""
    hardest_braking: float = 9.0
    """The driver brakes no harder than a good road allows, m/s²."""
    exponent: float = 4.0
    """Exponent of the free-road term."""
    lateral_margin: float = 0.3
    """Added to either side of the ego's width to get the corridor, m."""
    view_distance: float = 80.0
    """Agents further along the route are ignored, m."""
    lateral_acceleration: float = 3.0
    """Comfort limit in curves, m/s²."""
    lookahead_time: float = 0.6
    """Pure-pursuit look-ahead, s."""
    min_lookahead: float = 4.0
    """m."""

    def __post_init__(self) -> None:
        """Reject values that cannot work."""
        for name in (
            "time_headway",
            "standstill_gap",
            "acceleration",
            "deceleration",
            "hardest_braking",
            "min_lookahead",
        ):
            if not getattr(self, name) > 0:
                raise ConfigError(f"IDMConfig.{name} must be positive, got {getattr(self, name)}.")


@dataclass(frozen=True, slots=True)
class Leader:
    """What stands or drives in the way: free distance (m, bumper to bumper) and its speed along the route (m/s)."""

    gap: float
    speed: float


def prepare_route(route: Floats, ego_heading: float, ego_position: Floats) -> Floats:
    """Drop repeated points and prolong the route straight on.

    Args:
        route: [N, 2], m.
        ego_heading: rad; gives the direction when the route has none.
        ego_position: [2], m; stands in for a route without finite points.

    Returns:
        [M, 2], M ≥ 2, with segments of at least `MIN_SPACING`.
    """
    points = np.asarray(route, dtype=np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(-1)]
    kept: list[Floats] = []
    for point in points:
        if not kept or np.hypot(*(point - kept[-1])) >= MIN_SPACING:
            kept.append(point)
    if not kept:
        kept = [np.asarray(ego_position, dtype=np.float64)]
    if len(kept) == 1:
        direction = np.array([np.cos(ego_heading), np.sin(ego_heading)])
    else:
        direction = kept[-1] - kept[-2]
        direction = direction / np.hypot(*direction)
    return np.array([*kept, kept[-1] + RUN_OUT * direction])


def find_leader(view: EgoView, route: Floats, config: IDMConfig) -> Leader | None:
    """The nearest agent whose box reaches into the ego's corridor ahead, crossing agents included.

    Args:
        view: The present.
        route: [N, 2] from `prepare_route`.
        config: Constants.

    Returns:
        None when the corridor is free.
    """
    if len(view.agents) == 0:
        return None
    near = np.hypot(*(view.agents[:, :2] - view.ego[:2]).T) < config.view_distance + view.agent_sizes.max(-1)
    agents, sizes = view.agents[near], view.agent_sizes[near]
    if len(agents) == 0:
        return None
    outline = np.concatenate([box_corners(agents[:, :3], sizes), agents[:, None, :2]], axis=1)
    along, lateral, segment = project_to_polyline(outline, route)
    ego_along = float(project_to_polyline(view.ego[:2], route)[0])
    half_width = view.ego_size[1] / 2 + config.lateral_margin
    # A box that lies across the route has corners on both sides: the interval of offsets then contains 0.
    within = (lateral.min(-1) <= half_width) & (lateral.max(-1) >= -half_width)
    ahead = along[:, -1] > ego_along
    gaps = along.min(-1) - ego_along - view.ego_size[0] / 2
    blocking = within & ahead & (gaps < config.view_distance)
    if not blocking.any():
        return None
    index = int(np.where(blocking, gaps, np.inf).argmin())
    tangent = route[segment[index, -1] + 1] - route[segment[index, -1]]
    speed = float(agents[index, [VX, VY]] @ tangent / np.hypot(*tangent))
    return Leader(float(gaps[index]), max(speed, 0.0))


def idm_acceleration(speed: float, desired: float, leader: Leader | None, config: IDMConfig) -> float:
    """Acceleration, m/s² (Treiber et al. 2000, eqs. 2 and 3).

    Args:
        speed: Of the ego, m/s.
        desired: Speed on a free road, m/s.
        leader: What is ahead, or None.
        config: Constants.
    """
    free = 1.0 - (speed / max(desired, 0.1)) ** config.exponent
    if leader is None:
        return config.acceleration * free
    approach = speed * (speed - leader.speed) / (2.0 * np.sqrt(config.acceleration * config.deceleration))
    wanted = config.standstill_gap + max(0.0, speed * config.time_headway + approach)
    return float(config.acceleration * (free - (wanted / max(leader.gap, 0.1)) ** 2))


def curve_speed(route: Floats, along: float, distance: float, limit: float) -> float:
    """Highest speed (m/s) that keeps lateral acceleration under `limit` over the next `distance` m of the route."""
    # Chords shorter than this would turn the noise of a logged path into curvature.
    chord = 3.0
    spots = np.arange(along, along + max(distance, 2 * chord) + chord, chord)
    points, _ = interpolate_polyline(route, spots)
    delta = np.diff(points, axis=0)
    turn = np.diff(np.unwrap(np.arctan2(delta[:, 1], delta[:, 0])))
    return float(np.sqrt(limit / max(np.abs(turn).max() / chord, 1e-3)))


def pedal(acceleration: float, hardest: float) -> float:
    """Throttle (positive) or brake (negative), each up to 1, that gives an acceleration (m/s²)."""
    if acceleration >= -ROLLING:
        return min((acceleration + ROLLING) / FULL_THROTTLE, 1.0)
    return max(acceleration, -hardest) / FULL_BRAKE


class IDMPolicy:
    """Drives the logged route, keeps its distance, brakes for whoever is in the way.

    Privileged: it reads true positions from `EgoView`, takes its desired speed from the ego's own log, and stops
    where that log ends in a stop. It knows nobody else's future, and brakes for crossing agents only once their box
    is in its corridor.
    """

    name = "idm"
    control: ClassVar[Literal["action", "replay"]] = "action"
    observation = "none"
    privileged = True

    def __init__(self, config: IDMConfig | None = None) -> None:
        """Make a driver with the given constants."""
        self.config = config or IDMConfig()
        self._log_speed = self.config.min_desired_speed
        self._end_speed = self._log_speed
        self._route: tuple[Floats, Floats] | None = None

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Take the desired speed, and the speed at the route's end, from the ego's own log."""
        speeds = np.hypot(*scenario.velocity[scenario.ego].T)[scenario.valid[scenario.ego]]
        self._log_speed = max(float(speeds.max(initial=0.0)), self.config.min_desired_speed)
        self._end_speed = float(speeds[-1]) if len(speeds) else 0.0
        self._route = None

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """Steering and throttle [2] from the view; the observation is ignored."""
        route = self._prepared(view)
        along = float(project_to_polyline(view.ego[:2], route)[0])
        speed = float(np.hypot(view.ego[VX], view.ego[VY]))
        config = self.config
        desired = config.desired_speed or view.speed_limit or self._log_speed
        braking_distance = max(speed**2 / (2 * config.deceleration), config.min_lookahead)
        desired = min(desired, curve_speed(route, along, braking_distance, config.lateral_acceleration))
        # A log that ends at a red light or in a queue says so by its last speed: do not drive on past it.
        left = max(arc_lengths(route)[-1] - RUN_OUT - along, 0.0)
        desired = min(desired, float(np.sqrt(self._end_speed**2 + 2 * config.deceleration * left)))
        acceleration = idm_acceleration(speed, desired, find_leader(view, route, config), config)
        action = np.array([self._steer(view, route, along, speed), pedal(acceleration, config.hardest_braking)])
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def _prepared(self, view: EgoView) -> Floats:
        """The route of this episode, prepared once."""
        if self._route is None or not np.array_equal(self._route[0], view.route):
            self._route = (view.route, prepare_route(view.route, float(view.ego[HEADING]), view.ego[:2]))
        return self._route[1]

    def _steer(self, view: EgoView, route: Floats, along: float, speed: float) -> float:
        """Pure pursuit (Coulter 1992): the arc through a point on the route ahead."""
        lookahead = max(self.config.min_lookahead, speed * self.config.lookahead_time)
        total = arc_lengths(route)[-1]
        target, _ = interpolate_polyline(route, np.array(min(along + lookahead, total)))
        x, y = to_frame(target, view.ego[:3])
        curvature = 2.0 * y / max(x**2 + y**2, 1.0)
        wheel = np.arctan(curvature * WHEELBASE_RATIO * view.ego_size[0])
        return float(wheel / MAX_STEERING)

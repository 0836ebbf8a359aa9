"""Car following by the intelligent driver model: who is ahead, who is behind, and how hard to accelerate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.geometry import box_corners, project_to_polyline
from harness.interfaces import VX, VY, EgoView, Floats
from scenarios.idm import acceleration, desired_gap

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class IDMConfig:
    """Constants of the driver (Treiber, Hennecke and Helbing 2000, table I, unless noted)."""

    desired_speed: float | None = None
    """Speed on a free road, m/s; None takes the speed limit where known, else the highest speed of the ego's log."""
    min_desired_speed: float = 3.0
    """Floor of the desired speed taken from a log, m/s (a log may stand still)."""
    time_headway: float = 1.5
    """Desired time gap to the leader, s."""
    standstill_gap: float = 2.0
    """Gap to a standing leader, bumper to bumper, m."""
    acceleration: float = 2.0
    """Comfortable acceleration, m/s² (paper: 0.73, too timid to get through a 9 s scene)."""
    deceleration: float = 3.0
    """Comfortable deceleration, m/s² (paper: 1.67)."""
    hardest_braking: float = 9.0
    """The driver brakes no harder than a good road allows, m/s²."""
    exponent: float = 4.0
    """Exponent of the free-road term."""
    lateral_margin: float = 0.3
    """Margin on either side of the ego's width, which makes the corridor, m."""
    view_distance: float = 80.0
    """Agents further along the route are ignored, m."""
    lateral_acceleration: float = 3.0
    """Comfort limit in curves, m/s²."""
    lookahead_time: float = 0.6
    """Pure-pursuit look-ahead, s."""
    min_lookahead: float = 4.0
    """Shortest pure-pursuit look-ahead, m."""

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
    """What stands or drives in the way: free distance (m, bumper to bumper) and its speed along the route (m/s).

    Attributes:
        gap, speed: See above.
        agent: Row of `EgoView.agents`; -1 where it is not one of them.
    """

    gap: float
    speed: float
    agent: int = -1


@dataclass(frozen=True, slots=True)
class Corridor:
    """Which agents reach into the strip that the ego sweeps along a path, and where.

    Attributes:
        rows: [m] rows of `EgoView.agents` within viewing distance; the other fields follow them.
        within: [m] whether the agent's box reaches into the strip.
        near, far: [m] arc lengths where the box begins and ends, relative to the ego's centre, m.
        centre: [m] the same for the agent's centre, m.
        speed: [m] along the path, m/s; at least 0: who comes towards the ego counts as standing.
    """

    rows: NDArray[np.intp]
    within: Bools
    near: Floats
    far: Floats
    centre: Floats
    speed: Floats

    def leader(self, ego_length: float, view_distance: float) -> Leader | None:
        """The nearest agent ahead, crossing agents included; None when the strip is free."""
        gaps = self.near - ego_length / 2
        blocking = self.within & (self.centre > 0) & (gaps < view_distance)
        if not blocking.any():
            return None
        index = int(np.where(blocking, gaps, np.inf).argmin())
        return Leader(float(gaps[index]), float(self.speed[index]), int(self.rows[index]))

    def follower(self, ego_length: float, view_distance: float) -> Leader | None:
        """The nearest agent behind or beside (then with a gap below 0); None when there is nobody."""
        gaps = -self.far - ego_length / 2
        behind = self.within & (self.centre <= 0) & (gaps < view_distance)
        if not behind.any():
            return None
        index = int(np.where(behind, gaps, np.inf).argmin())
        return Leader(float(gaps[index]), float(self.speed[index]), int(self.rows[index]))


def look_along(view: EgoView, path: Floats, config: IDMConfig, distance: float | None = None) -> Corridor:
    """Sort the agents in view by where they are along a path.

    Args:
        view: The present.
        path: [N, 2] from `prepare_route`, m.
        config: Constants.
        distance: Agents farther away are left out, m; None takes `config.view_distance`.
    """
    reach = config.view_distance if distance is None else distance
    near = np.hypot(*(view.agents[:, :2] - view.ego[:2]).T) < reach + view.agent_sizes.max(-1, initial=0)
    rows = np.flatnonzero(near)
    agents, sizes = view.agents[rows], view.agent_sizes[rows]
    if len(rows) == 0:
        nothing = np.zeros(0)
        return Corridor(rows, np.zeros(0, dtype=np.bool_), nothing, nothing, nothing, nothing)
    outline = np.concatenate([box_corners(agents[:, :3], sizes), agents[:, None, :2]], axis=1)
    along, lateral, segment = project_to_polyline(outline, path)
    along = along - float(project_to_polyline(view.ego[:2], path)[0])
    half_width = view.ego_size[1] / 2 + config.lateral_margin
    # A box that lies across the path has corners on both sides: the interval of offsets then contains 0.
    within = (lateral.min(-1) <= half_width) & (lateral.max(-1) >= -half_width)
    tangent = path[segment[:, -1] + 1] - path[segment[:, -1]]
    speed = (agents[:, VX : VY + 1] * tangent).sum(-1) / np.hypot(*tangent.T)
    return Corridor(rows, within, along.min(-1), along.max(-1), along[:, -1], np.maximum(speed, 0.0))


def find_leader(view: EgoView, route: Floats, config: IDMConfig) -> Leader | None:
    """The nearest agent whose box reaches into the ego's corridor ahead, crossing agents included.

    Args:
        view: The present.
        route: [N, 2] from `prepare_route`.
        config: Constants.

    Returns:
        None when the corridor is free.
    """
    return look_along(view, route, config).leader(view.ego_size[0], config.view_distance)


def idm_acceleration(speed: float, desired: float, leader: Leader | None, config: IDMConfig) -> float:
    """Acceleration, m/s² (Treiber et al. 2000, eqs. 2 and 3).

    Args:
        speed: Speed of the ego, m/s.
        desired: Speed on a free road, m/s.
        leader: What is ahead, or None.
        config: Constants.
    """
    leader = Leader(np.inf, speed) if leader is None else leader
    wanted = desired_gap(
        speed,
        leader.speed,
        headway=config.time_headway,
        standstill=config.standstill_gap,
        top=config.acceleration,
        braking=config.deceleration,
    )
    # Boxes may meet, and a log may stand still: neither gap nor desired speed is ever nought.
    gap, desired = max(leader.gap, 0.1), max(desired, 0.1)
    return float(acceleration(speed, gap, wanted, desired, top=config.acceleration, exponent=config.exponent))

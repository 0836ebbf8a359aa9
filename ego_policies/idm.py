"""Intelligent driver model along the logged route, with lane changes and pure-pursuit steering. No engine."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ego_policies.following import IDMConfig, find_leader, idm_acceleration
from ego_policies.lane_change import LaneChangeConfig, LaneChanger
from ego_policies.routes import RUN_OUT, curve_speed, prepare_route
from ego_policies.vehicle import MAX_STEERING, WHEELBASE_RATIO, pedal
from harness.geometry import arc_lengths, interpolate_polyline, project_to_polyline, to_frame
from harness.interfaces import HEADING, VX, VY, EgoView, Floats
from scenarios.scenario import Scenario


class IDMPolicy:
    """Drives the logged route, keeps its distance, brakes for whoever is in the way, overtakes where there is a lane.

    Privileged: it reads true positions from `EgoView`, takes its desired speed from the ego's own log, and stops
    where that log ends in a stop. It knows nobody else's future, and brakes for crossing agents only once their box
    is in its corridor.
    """

    name = "idm"
    control: ClassVar[Literal["action", "replay"]] = "action"
    observation = "none"
    privileged = True

    def __init__(
        self,
        config: IDMConfig | None = None,
        lane_changes: LaneChangeConfig | None = LaneChangeConfig(),  # noqa: B008 (frozen)
    ) -> None:
        """Make a driver with the given constants; `lane_changes` None: one that stays on its route."""
        self.config = config or IDMConfig()
        self._changer = LaneChanger(lane_changes, self.config) if lane_changes is not None else None
        self._log_speed = self.config.min_desired_speed
        self._end_speed = self._log_speed
        self._route: tuple[Floats, Floats] | None = None

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Take the desired speed, and the speed at the route's end, from the ego's own log."""
        speeds = np.hypot(*scenario.velocity[scenario.ego].T)[scenario.valid[scenario.ego]]
        self._log_speed = max(float(speeds.max(initial=0.0)), self.config.min_desired_speed)
        self._end_speed = float(speeds[-1]) if len(speeds) else 0.0
        self._route = None
        if self._changer is not None:
            self._changer.begin(scenario)

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """Steering and throttle [2] from the view; the observation is ignored."""
        route = self._prepared(view)
        along = float(project_to_polyline(view.ego[:2], route)[0])
        speed = float(np.hypot(view.ego[VX], view.ego[VY]))
        config = self.config
        desired = config.desired_speed or view.speed_limit or self._log_speed
        # A log that ends at a red light or in a queue says so by its last speed: do not drive on past it.
        left = max(arc_lengths(route)[-1] - RUN_OUT - along, 0.0)
        desired = min(desired, float(np.sqrt(self._end_speed**2 + 2 * config.deceleration * left)))
        path, place = route, along
        if self._changer is not None:
            path = self._changer.path(view, route, along, desired)
            if path is not route:
                place = float(project_to_polyline(view.ego[:2], path)[0])
        braking_distance = max(speed**2 / (2 * config.deceleration), config.min_lookahead)
        desired = min(desired, curve_speed(path, place, braking_distance, config.lateral_acceleration))
        acceleration = idm_acceleration(speed, desired, find_leader(view, path, config), config)
        action = np.array([self._steer(view, path, place, speed), pedal(acceleration, config.hardest_braking)])
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

"""IDM traffic on a network of routes: car following, zipper merging and gap acceptance at crossings.

Longitudinal control is the improved intelligent driver model (Treiber and Kesting, Traffic Flow Dynamics, 2013,
ch. 11) with its interaction term taken over every vehicle that is in the way: ahead on the own route, ahead of a
merge (as if it were projected onto the own route), or holding the right of way at a crossing. Vehicles stay on
their routes: the rear axle follows the route, the body is rigid, so headings, positions and velocities agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scenarios.idm import improved_acceleration
from scenarios.procedural.encounters import Network, Traits, followed, seen_from, settle, yielding
from scenarios.procedural.routes import SPACING, Routes
from scenarios.scenario import DT

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

HARDEST_BRAKING: Final = -6.0
"""Emergency deceleration, m/s² (dry road allows about 8)."""
JERK_UP, JERK_DOWN = 4.0, 12.0
"""Fastest change of acceleration when accelerating more and when braking more, m/s³."""


@dataclass(slots=True)
class Drivers:
    """V vehicles: what they are and how they drive. All [V]."""

    route: NDArray[np.intp]
    length: Floats
    width: Floats
    height: Floats
    headway: Floats
    """Desired time gap, s."""
    accel: Floats
    """IDM's maximal acceleration, m/s²."""
    brake: Floats
    """IDM's comfortable deceleration, m/s²."""
    eagerness: Floats
    """Desired speed over the route's comfortable speed."""
    margin: Floats
    """Time that must pass between another's leaving a crossing and the own entering it, s."""
    bias: Floats
    """Lateral position in the lane, m."""
    weave: Floats
    """Amplitude (m) and phase (rad) of the wandering in the lane, [V, 2]."""


def draw_drivers(routes: NDArray[np.intp], rng: np.random.Generator, trucks: float = 0.08) -> Drivers:
    """Draw one driver and vehicle per route index, a share `trucks` of them vans and trucks."""
    count = len(routes)
    truck = rng.random(count) < trucks
    length = np.where(truck, rng.uniform(6.2, 8.6, count), np.clip(rng.normal(4.75, 0.32, count), 3.9, 5.6))
    width = np.where(truck, rng.uniform(2.15, 2.4, count), np.clip(rng.normal(1.9, 0.1, count), 1.65, 2.12))
    height = np.where(truck, rng.uniform(2.4, 3.3, count), np.clip(rng.normal(1.6, 0.15, count), 1.35, 2.0))
    bold = rng.random(count)  # one trait behind several habits
    return Drivers(
        route=routes,
        length=length,
        width=width,
        height=height,
        headway=1.7 - 0.9 * bold + rng.uniform(-0.1, 0.1, count),
        accel=np.where(truck, 1.0, 1.3 + 1.1 * bold),
        brake=1.6 + 1.0 * bold,
        eagerness=np.where(truck, 0.85, 0.85 + 0.3 * bold + rng.normal(0.0, 0.04, count)),
        margin=0.8 - 0.8 * bold,
        bias=np.clip(rng.normal(0.0, 0.12, count), -0.25, 0.25),
        weave=np.stack([rng.uniform(0.0, 0.12, count), rng.uniform(0.0, 2 * np.pi, count)], -1),
    )


@dataclass(slots=True)
class DriveLog:
    """What V vehicles did in T steps."""

    along: Floats
    """[V, T] arc length of the rear axle on the route, m."""
    speed: Floats
    """[V, T] m/s along the route."""
    present: Bools
    """[V, T]."""


class Traffic:
    """One simulation. All state is arrays over the V vehicles that ever exist; absent ones are masked."""

    def __init__(
        self,
        routes: Routes,
        profile: Floats,
        road_speed: float,
        drivers: Drivers,
        entry_time: Floats,
        start: Floats,
    ) -> None:
        """Set the vehicles up.

        Args:
            routes: The network.
            profile: [R, N] comfortable speed along the routes, m/s.
            road_speed: Desired speed of the average driver on straight road, m/s.
            drivers: The vehicles.
            entry_time: [V] s at which each wants to enter its route (−1: is there from the start).
            start: [V] m along the route where each begins.
        """
        self.routes, self.drivers = routes, drivers
        self.profile, self.road_speed = profile, road_speed
        count = len(drivers.route)
        self.along = start.copy()
        self.speed = np.zeros(count)
        self.accel = np.zeros(count)
        self.present = np.zeros(count, dtype=bool)
        self.waiting = np.ones(count, dtype=bool)
        self.stopped = np.zeros(count)
        self.entry_time = entry_time
        d, r = drivers, routes
        self.traits = Traits(d.route, d.length, d.width, d.headway, d.accel, d.brake, d.margin)
        self.network = Network(r.length, r.along, r.lateral, r.facing, r.penalty, r.zones, r.zone_kind)
        # first[i, j, k]: i passes conflict zone k of its route pair before j (+1), after it (−1), or unsettled (0).
        self.first = np.zeros((count, count, routes.zones.shape[2]), dtype=np.int8)

    def limit_initial(self, count: int) -> None:
        """Place at most `count` of the vehicles that are there from the start; the rest never enter."""
        self._enter(-0.5, count)
        self.waiting &= self.entry_time >= 0

    def run(self, duration: float, max_vehicles: int) -> DriveLog:
        """Simulate; vehicles enter when their time has come and there is room, and leave at their route's end."""
        steps = round(duration / DT)
        shape = (len(self.along), steps)
        log = DriveLog(np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool))
        for step in range(steps):
            self._enter(step * DT, max_vehicles)
            log.along[:, step], log.speed[:, step], log.present[:, step] = self.along, self.speed, self.present
            self._advance()
        return log

    def _enter(self, time: float, max_vehicles: int) -> None:
        due = np.flatnonzero(self.waiting & (self.entry_time <= time))
        for i in due[: max(0, max_vehicles - int(self.present.sum()))]:
            speed = self._entry_speed(i, 0.95 * float(self._wish(np.array([i]))[0]))
            if speed is not None:
                self.present[i], self.waiting[i], self.speed[i] = True, False, speed

    def _entry_speed(self, i: int, wish: float) -> float | None:
        """Speed at which vehicle i may appear where it stands, or None if there is no room."""
        others = np.flatnonzero(self.present)
        if len(others) == 0:
            return float(wish)
        state = self.along, self.speed, self.traits, self.network
        gap, speed, near = seen_from(np.array([i]), others, *state)
        # From the other side as well: nobody may find it suddenly in front.
        back_gap, _, back_near = seen_from(others, np.array([i]), *state)
        ahead, behind = gap[0, near[0]], back_gap[:, 0][back_near[:, 0]]
        if len(behind) and (behind < 6.0 + 1.6 * self.speed[others][back_near[:, 0]]).any():
            return None
        if len(ahead):
            lead = int(ahead.argmin())
            if ahead[lead] < 8.0:
                return None
            # Slow enough to keep a time gap of 1 s, or to follow.
            wish = min(wish, max(float(speed[0, near[0]][lead]), (ahead[lead] - 4.0) / 1.5))
        return float(wish)

    def _wish(self, who: NDArray[np.intp]) -> Floats:
        """Desired speeds [W], m/s: the driver's own on straight road, the curve's (half a second ahead) in curves."""
        d = self.drivers
        at = np.minimum(self.along[who] + 0.5 * self.speed[who], self.routes.length[d.route[who]])
        curve = self.profile[d.route[who], (at / SPACING).astype(np.intp)] * np.clip(d.eagerness[who], 0.88, 1.04)
        return np.maximum(np.minimum(curve, self.road_speed * d.eagerness[who]), 0.5)

    def _advance(self) -> None:
        who = np.flatnonzero(self.present)
        if len(who) == 0:
            return
        d = self.drivers
        speed = self.speed[who]
        wish = self._wish(who)
        state = self.traits, self.network
        pace = np.maximum(0.5 * (speed + wish), 1.5)
        ratio = followed(who, self.along, self.speed, *state)
        settle(who, self.along, self.speed, pace, self.stopped, *state, self.first)
        merge_ratio, limit = yielding(who, self.along, self.speed, pace, *state, self.first)
        ratio = np.maximum(ratio, merge_ratio)
        accel = improved_acceleration(speed, ratio, wish, top=d.accel[who], braking=d.brake[who])
        target = np.clip(np.minimum(accel, limit), HARDEST_BRAKING, d.accel[who])
        change = np.clip(target - self.accel[who], -JERK_DOWN * DT, JERK_UP * DT)
        accel = self.accel[who] + change
        after = np.maximum(speed + accel * DT, 0.0)
        self.accel[who] = (after - speed) / DT
        self.along[who] += (speed + after) / 2 * DT
        self.speed[who] = after
        self.stopped[who] = np.where(after < 0.5, self.stopped[who] + DT, 0.0)
        # The front bumper must not leave the route: beyond it there is no road.
        self.present[who] = self.along[who] + d.length[who] < self.routes.length[d.route[who]]


def poses(routes: Routes, drivers: Drivers, log: DriveLog, vehicle: int, steps: slice) -> tuple[Floats, Floats, Floats]:
    """Centre position [T, 2], heading [T] and velocity [T, 2] of one vehicle over some steps.

    The rear axle follows the route, shifted by the driver's place in the lane; the centre is 0.3 of the length ahead.
    """
    r = drivers.route[vehicle]
    along = log.along[vehicle, steps]
    grid = np.arange(routes.points.shape[1]) * SPACING
    amplitude, phase = drivers.weave[vehicle]
    wave = 2 * np.pi / 70.0

    def body(at: Floats) -> tuple[Floats, Floats]:
        at = np.clip(at, 0.0, routes.length[r])
        angle = np.interp(at, grid, routes.heading[r])
        side = drivers.bias[vehicle] + amplitude * np.sin(wave * at + phase)
        heading = angle + np.arctan(amplitude * wave * np.cos(wave * at + phase))
        x = np.interp(at, grid, routes.points[r, :, 0]) - side * np.sin(angle)
        y = np.interp(at, grid, routes.points[r, :, 1]) + side * np.cos(angle)
        reach = 0.3 * drivers.length[vehicle]
        return np.stack([x + reach * np.cos(heading), y + reach * np.sin(heading)], -1), heading

    position, heading = body(along)
    ahead, behind = body(along + 0.25)[0], body(along - 0.25)[0]
    # Velocity is the derivative of the centre along the route times the speed: exact, without differencing in time.
    velocity = (ahead - behind) / 0.5 * log.speed[vehicle, steps][:, None]
    return position, heading, velocity

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

from scenarios.idm import desired_gap, improved_acceleration
from scenarios.procedural.routes import CROSS, MERGE, SPACING, Routes
from scenarios.scenario import DT

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

STANDSTILL: Final = 2.2
"""Gap that IDM keeps at standstill, m."""
HARDEST_BRAKING: Final = -6.0
"""Emergency deceleration, m/s² (dry road allows about 8)."""
JERK_UP, JERK_DOWN = 4.0, 12.0
"""Fastest change of acceleration when accelerating more and when braking more, m/s³."""
LOOK_AHEAD: Final = 70.0
"""Conflicts are settled at most this far ahead of a zone, m."""
HYSTERESIS: Final = 1.0
"""An agreed order of passing changes only for an advantage of this much, s."""
REACTION: Final = 1.2
"""Time constant with which the speed is adapted to a gap in crossing traffic, s."""
SLOWEST_ROLL: Final = 1.2
"""Who would have to roll slower than this to let another pass stops instead, m/s."""
FAR: Final = 1e6


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
        gap, speed, near = self._seen_from(np.array([i]), others)
        # From the other side as well: nobody may find it suddenly in front.
        back_gap, _, back_near = self._seen_from(others, np.array([i]))
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

    def _seen_from(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> tuple[Floats, Floats, Bools]:
        """Free gap ahead of i up to j, j's speed along i's route, and whether j is in i's way at all.

        Returns:
            Three arrays [len(i), len(j)].
        """
        d, r = self.drivers, self.routes
        ri, rj = d.route[i][:, None], d.route[j][None]
        length_j, width = d.length[j][None], (d.width[i][:, None] + d.width[j][None]) / 2
        gap = np.full((len(i), len(j)), FAR)
        near = np.zeros(gap.shape, dtype=bool)
        facing = np.zeros(gap.shape)
        # The rear axle leads the arc length: the body reaches from 0.2 of its length behind it to 0.8 ahead.
        for share in (-0.2, 0.3, 0.8):
            at = np.clip(self.along[j][None] + share * length_j, 0.0, r.length[rj])
            index = (at / SPACING).astype(np.intp)
            foot = r.along[ri, rj, index] + (at - index * SPACING) * r.facing[ri, rj, index]
            cosine = r.facing[ri, rj, index]
            here = (r.along[ri, rj, index] >= 0) & (r.lateral[ri, rj, index] < width + 0.25)
            ahead = foot - (self.along[i] + 0.8 * d.length[i])[:, None]
            # Crossing vehicles stick out sideways by half their width.
            ahead = ahead - np.where(np.abs(cosine) < 0.8, d.width[j][None] / 2, 0.0)
            # Of two vehicles side by side on one course, the one whose middle is ahead leads.
            follows = foot - share * length_j + 0.3 * (length_j - d.length[i][:, None]) > self.along[i][:, None]
            # Crossing traffic is a matter of right of way, unless it stands in the way.
            blocks = (ahead > -2.0) & ((self.speed[j][None] < 1.0) | (ahead < 3.0))
            here &= np.where(cosine > 0.7, follows, blocks)
            closer = here & (ahead < gap)
            gap, facing = np.where(closer, ahead, gap), np.where(closer, cosine, facing)
            near |= here
        return gap, np.maximum(facing, 0.0) * self.speed[j][None], near

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
        gap, other, near = self._seen_from(who, who)
        np.fill_diagonal(near, False)
        ratio = self._ratio(who, np.where(near, gap, FAR), other)
        merge_ratio, limit = self._conflicts(who, wish)
        ratio = np.maximum(ratio.max(1), merge_ratio)
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

    def _ratio(self, who: NDArray[np.intp], gap: Floats, other: Floats) -> Floats:
        """IDM's desired gap over the actual gap [W, W] (rows: followers)."""
        d, speed = self.drivers, self.speed[who][:, None]
        headway, top, braking = (values[who][:, None] for values in (d.headway, d.accel, d.brake))
        desired = desired_gap(speed, other, headway=headway, standstill=STANDSTILL, top=top, braking=braking)
        return desired / np.maximum(gap, 0.3)

    def _conflicts(self, who: NDArray[np.intp], wish: Floats) -> tuple[Floats, Floats]:
        """What the right of way asks for: IDM ratios from merging [W] and upper bounds of acceleration [W]."""
        d, r = self.drivers, self.routes
        route = d.route[who]
        zone, kind = r.zones[route[:, None], route[None]], r.zone_kind[route[:, None], route[None]]
        # Distances of front bumper to the zone's start and of rear bumper to its end, for i and j.
        front, rear = self.along[who] + 0.8 * d.length[who], self.along[who] - 0.2 * d.length[who]
        to_i, out_i = zone[..., 0] - front[:, None, None], zone[..., 1] - rear[:, None, None]
        to_j, out_j = zone[..., 2] - front[None, :, None], zone[..., 3] - rear[None, :, None]
        open_zone = (kind > 0) & (out_i > 0) & (out_j > 0) & (np.maximum(to_i, to_j) < LOOK_AHEAD)
        open_zone &= ~np.eye(len(who), dtype=bool)[..., None]
        speed = self.speed[who]
        pace = np.maximum(0.5 * (speed + wish), 1.5)
        self._settle(who, zone, to_i, to_j, open_zone, pace)
        yields = open_zone & (self.first[who[:, None], who[None]] < 0)
        limit = self._crossing_limit(who, yields & (kind == CROSS), to_i, out_j, pace)
        merging = yields & (kind == MERGE) & (to_i > 0)
        # At a merge the one that goes first counts as if it were ahead on the own route.
        gap = np.where(merging, to_i - to_j - d.length[who][None, :, None], FAR).min(-1)
        close = np.where(merging, to_i, FAR).min(-1)
        ratio = self._ratio(who, np.maximum(gap, 1.0), np.broadcast_to(speed[None], gap.shape))
        # Far from the merge there is time: brake gently to open the gap.
        easy = np.where(close > 25.0, 1.45, 2.0)
        ratio = np.where(gap < FAR, np.minimum(ratio, easy), 0.0)
        stop = (gap < 1.0) & (close < speed[:, None] ** 2 / 5.0 + 3.0)
        wall = self._ratio(who, np.where(stop, np.maximum(close - 0.5, 0.3), FAR), np.zeros(gap.shape))
        return np.maximum(ratio.max(1), wall.max(1)), limit

    def _settle(
        self, who: NDArray[np.intp], zone: Floats, to_i: Floats, to_j: Floats, open_zone: Bools, pace: Floats
    ) -> None:
        """Agree who goes first at every open conflict: the one inside, else the earlier one, by precedence."""
        route = self.drivers.route[who]
        last = self.routes.penalty.shape[1] - 1
        inside = np.clip((zone[..., 0] + 3.0) / SPACING, 0, last).astype(np.intp)
        give = self.routes.penalty[route[:, None, None], inside]
        patience = np.minimum(self.stopped[who], 8.0)[:, None, None] * 0.5  # waiting earns precedence
        score = np.maximum(to_i, 0.0) / pace[:, None, None] + give - patience
        advantage = score.transpose(1, 0, 2) - score  # positive: i is better placed
        advantage += 1e-6 * np.sign(who[None] - who[:, None])[..., None]  # break ties the same way on both sides
        held = self.first[who[:, None], who[None]]
        braking = self.speed[who][:, None, None] ** 2 / 5.0
        in_i, in_j = to_i <= 0, to_j <= 0
        committed_i, committed_j = to_i < braking, to_j < braking.transpose(1, 0, 2)
        fresh = np.where(advantage > 0, 1, -1)
        flip = (held != 0) & (fresh != held) & (np.abs(advantage) > HYSTERESIS)
        flip &= ~np.where(held > 0, committed_i, committed_j)
        order = np.where((held == 0) | flip, fresh, held)
        order = np.where(in_i & ~in_j, 1, np.where(in_j & ~in_i, -1, order))
        self.first[who[:, None], who[None]] = np.where(open_zone, order, 0)

    def _crossing_limit(
        self, who: NDArray[np.intp], yields: Bools, to_i: Floats, out_j: Floats, pace: Floats
    ) -> Floats:
        """Largest acceleration [W] with which everyone reaches its crossings after those that go first."""
        d, speed = self.drivers, self.speed[who]
        v_i = speed[:, None, None]
        # When will the other be gone? Between its speed and the one it wishes for.
        clear = np.maximum(out_j, 0.0) / np.maximum(pace, 2.0)[None, :, None] + d.margin[who][:, None, None]
        arrive = to_i / np.maximum(v_i, 0.1)
        waits = yields & (to_i > -0.5) & (arrive < clear)
        distance = np.maximum(to_i - 1.0, 0.1)
        brake = d.brake[who][:, None, None]
        # Rolling up at the speed that just lets the other pass is what drivers do; stopping costs them more.
        steady = distance / clear
        rolling = np.maximum((steady - v_i) / REACTION, -1.3 * brake)
        stopping = -(v_i**2) / (2 * np.maximum(distance - 0.5, 0.3))
        # A stop further away than comfortable braking needs is not begun yet.
        stopping = np.where(stopping > -0.6 * brake, d.accel[who][:, None, None] * 0.3, stopping)
        demand = np.where(steady > SLOWEST_ROLL, rolling, stopping)
        demand = np.where((v_i < 0.3) & (distance < 1.5), -1.0, demand)
        return np.where(waits, demand, FAR).min((1, 2))


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

"""A driver by rules that reads nothing but the observation `route`: it follows the way points and brakes for others.

Steering is pure pursuit of a place ahead on the route. Of a few accelerations the throttle takes the one that is
nearest to what the speed calls for and meets nobody soon, if everybody else goes on as now. Nothing is learnt, and
nothing is remembered. `harness.fast.route_view` lists the numbers of the observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ego_policies.vehicle import FULL_BRAKE, FULL_THROTTLE, MAX_STEERING, REAR_AXLE, ROLLING, WHEELBASE
from harness.errors import ConfigError
from harness.interfaces import EgoView, Floats
from scenarios.scenario import Scenario

SIZE: Final = 252
"""Numbers of the observation."""
_SPEED, _SIDEWAYS, _NEEDED, _ENGINE, _BRAKE = 0, 1, 13, 15, 16
_WAYS, _OTHERS = slice(18, 40), slice(124, 236)
_TOP, _TOP_SIDEWAYS, _REACH = 25.0, 5.0, 40.0
_FORCES, _MEAN_ENGINE, _MEAN_BRAKE = 50.0, 800.0, 130.0
"""Where the ego's numbers stand, and by what they are scaled: m/s, m, N and N s per wheel."""
_VEHICLE: Final = 14
_PLACE, _RELATIVE, _LENGTH, _WIDTH, _TURNS, _PULLS = 50.0, 20.0, 10.0, 4.0, 1.0, 5.0
"""Numbers of another vehicle, and their scales: m, m/s, m, m, rad/s, m/s²."""

DT: Final = 0.1
TIMES: Final = np.arange(1, 31) * DT
"""When places are compared, s from now."""
ACCELERATIONS: Final = np.array([-9.0, -6.0, -4.0, -2.5, -1.0, 0.0, 1.0, 2.5])
"""What is tried besides what the speed calls for, m/s²."""
HARDEST, STRONGEST = -5.0, 2.7
"""Bounds of what the speed calls for, m/s²."""
TURNING, PULLING = 1.5, 1.0
"""For so long others are taken to turn, and to change their speed, as now, s."""
DISCS: Final = np.array([-1.45, 0.0, 1.45])
DISC: Final = 1.0
"""The ego as three discs: their middles ahead of the car's, and their radius, m."""
EAGERNESS: Final = 0.5
"""How much worse it is to be faster than wanted than slower, m/s²."""


@dataclass(frozen=True, slots=True)
class RouteFollowerConfig:
    """Constants of the driver, chosen on generated scenes and on training scenes of WOMD."""

    min_lookahead: float = 3.0
    """Shortest distance along the route to the place that is steered for, m."""
    lookahead_time: float = 0.45
    """Time in which that place would be reached, s."""
    haste: float = 1.15
    """Speed aimed at, as a multiple of the speed that is needed to arrive in time."""
    slack: float = 1.0
    """What is added to it, m/s."""
    lateral_acceleration: float = 4.0
    """Limit in bends, m/s²."""
    slowing: float = 3.0
    """Deceleration before bends, m/s²."""
    gain: float = 2.0
    """Acceleration for each m/s that the speed is off, 1/s."""
    margin: float = 0.3
    """Distance to keep from others, m."""
    fear: float = 60.0
    """What meeting somebody right now would cost, as acceleration forgone, m/s²."""
    patience: float = 0.8
    """Time in which that falls by e, s: what is farther off may still change."""

    def __post_init__(self) -> None:
        """Reject values that cannot work."""
        for name in ("min_lookahead", "haste", "lateral_acceleration", "gain", "patience"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"RouteFollowerConfig.{name} must be positive, got {getattr(self, name)}.")


class RouteFollowerPolicy:
    """Reads the observation `route` alone, neither scene nor view: what any policy on this observation can reach."""

    name = "route_follower"
    control: ClassVar[Literal["action", "replay"]] = "action"
    observation = "route"
    observation_size = SIZE
    privileged = False

    def __init__(self, config: RouteFollowerConfig | None = None) -> None:
        """Make a driver with the given constants."""
        self.config = config or RouteFollowerConfig()

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Nothing is remembered."""

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """Steering and throttle [2] from the observation [252]; the view is ignored."""
        return follow_route(observation[None], self.config)[0]


def follow_route(observations: NDArray[np.float32], config: RouteFollowerConfig | None = None) -> NDArray[np.float32]:
    """Steering and throttle [B, 2] for observations `route` [B, 252] of B cars."""
    config = config or RouteFollowerConfig()
    seen = np.asarray(observations, np.float64)
    speed, route = _TOP * seen[:, _SPEED], _route(seen)
    pace = np.minimum(config.haste * _TOP * seen[:, _NEEDED] + config.slack, _bend_speed(route, config))
    wanted = np.clip(config.gain * (pace - speed), HARDEST, STRONGEST)
    tried = np.column_stack([np.broadcast_to(ACCELERATIONS, (len(seen), len(ACCELERATIONS))), wanted])
    own = _own_places(route, speed, np.maximum(speed, pace), tried)
    met = _first_contact(own, _other_places(seen), config.margin)
    cost = np.abs(tried - wanted[:, None]) + EAGERNESS * (tried > wanted[:, None])
    cost += np.where(np.isfinite(met), config.fear * np.exp(-met / config.patience), 0.0)
    chosen = tried[np.arange(len(tried)), cost.argmin(1)]
    throttle = (chosen + ROLLING) / (FULL_THROTTLE * (1 + _FORCES * seen[:, _ENGINE] / _MEAN_ENGINE))
    brake = chosen / (FULL_BRAKE * (1 + _FORCES * seen[:, _BRAKE] / _MEAN_BRAKE))
    action = np.column_stack([_steering(route, speed, config), np.where(chosen >= -ROLLING, throttle, brake)])
    return np.clip(action, -1.0, 1.0).astype(np.float32)


class _Route(NamedTuple):
    """The way points with the car's own place before them: B cars, W + 1 points."""

    points: Floats  # [B, W + 1, 2] in the car's frame
    along: Floats  # [B, W + 1] length until there
    lengths: Floats  # [B, W] of the pieces between
    headings: Floats  # [B, W] of these, continuous
    middles: Floats  # [B, W] length until their middles


def _route(seen: Floats) -> _Route:
    ways = _REACH * seen[:, _WAYS].reshape(len(seen), -1, 2)
    points = np.concatenate([np.zeros_like(ways[:, :1]), ways], axis=1)
    pieces = np.diff(points, axis=1)
    lengths = np.maximum(np.hypot(pieces[..., 0], pieces[..., 1]), 1e-6)
    along = np.pad(np.cumsum(lengths, axis=1), ((0, 0), (1, 0)))
    headings = np.unwrap(np.arctan2(pieces[..., 1], pieces[..., 0]), axis=1)
    return _Route(points, along, lengths, headings, (along[:, 1:] + along[:, :-1]) / 2)


def _at(where: Floats, along: Floats, values: Floats) -> Floats:
    """Values [B, P] known at lengths `along` [B, P], between them at `where` [B, N]; beyond, the line goes on."""
    piece = np.clip((along[:, None] <= where[..., None]).sum(-1) - 1, 0, along.shape[1] - 2)
    first, second = (np.take_along_axis(along, piece + end, 1) for end in (0, 1))
    left, right = (np.take_along_axis(values, piece + end, 1) for end in (0, 1))
    return left + (right - left) * (where - first) / (second - first)


def _steering(route: _Route, speed: Floats, config: RouteFollowerConfig) -> Floats:
    """Pure pursuit (Coulter 1992) for the car's middle, which moves askew of its heading while the rear axle does not.

    On an arc of curvature c the middle moves at an angle of about c times its distance from the rear axle, and a chord
    of length d at c d / 2 more.
    """
    ahead = np.maximum(config.min_lookahead, config.lookahead_time * np.abs(speed))[:, None]
    x, y = (_at(ahead, route.along, route.points[..., axis])[:, 0] for axis in (0, 1))
    chord = np.maximum(np.hypot(x, y), 1.0)
    curvature = np.sin(np.arctan2(y, np.maximum(x, 0.1))) / (chord / 2 + REAR_AXLE)
    return np.arctan(curvature * WHEELBASE) / MAX_STEERING


def _bend_speed(route: _Route, config: RouteFollowerConfig) -> Floats:
    """Speed [B] from which every bend ahead can be taken, braking in time."""
    # The first corner is where the way from the car's own place joins the route: no bend of the road.
    turns = np.abs(np.diff(route.headings, axis=1))[:, 1:]
    curvature = turns / (0.5 * (route.lengths[:, 2:] + route.lengths[:, 1:-1]))
    there = config.lateral_acceleration / np.maximum(curvature, 1e-3)
    before = np.maximum(route.along[:, 2:-1] - 1.0, 0.0)
    return np.sqrt(there + 2 * config.slowing * before).min(1)


class _Places(NamedTuple):
    """Discs over time: middles [B, N, T, 3, 2], m in the car's frame, and radii [B, N]; NaN where there is nobody."""

    middles: Floats
    radii: Floats


def _discs(x: Floats, y: Floats, heading: Floats, along: Floats, radii: Floats) -> _Places:
    """Discs `along` [B, N, 3] the heading of places [B, N, T]."""
    offsets = along[:, :, None]
    middles = (x[..., None] + offsets * np.cos(heading)[..., None], y[..., None] + offsets * np.sin(heading)[..., None])
    return _Places(np.stack(middles, -1).astype(np.float32), radii.astype(np.float32))


def _own_places(route: _Route, speed: Floats, top: Floats, tried: Floats) -> _Places:
    """Where the car would be on its route with each acceleration [B, C], between standstill and `top`."""
    speeds = np.clip(speed[:, None, None] + tried[..., None] * TIMES, 0.0, top[:, None, None])
    where = (DT * np.cumsum(speeds, -1)).reshape(len(speed), -1)
    x, y = (_at(where, route.along, route.points[..., axis]) for axis in (0, 1))
    # At its own place the car has its own heading, 0.
    known = np.pad(route.middles, ((0, 0), (1, 0))), np.pad(route.headings, ((0, 0), (1, 0)))
    heading = _at(np.minimum(where, route.middles[:, -1:]), *known)
    x, y, heading = (values.reshape(speeds.shape) for values in (x, y, heading))
    return _discs(x, y, heading, np.broadcast_to(DISCS, (*tried.shape, 3)), np.full(tried.shape, DISC))


def _other_places(seen: Floats) -> _Places:
    """Where the others will be if they go on as now."""
    values = seen[:, _OTHERS].reshape(len(seen), -1, _VEHICLE)
    present, ahead, left, sine, cosine, along, aside, length, width, turns, pulls = np.moveaxis(values[..., :11], -1, 0)
    # Velocities are relative to the ego's, in its frame.
    vx = _RELATIVE * along + _TOP * seen[:, None, _SPEED]
    vy = _RELATIVE * aside + _TOP_SIDEWAYS * seen[:, None, _SIDEWAYS]
    # A turn rate at the end of its scale is that of a jump in the log.
    turned = np.where(np.abs(turns) < 1.0, _TURNS * turns, 0.0)[..., None] * np.minimum(TIMES, TURNING)
    speeds = np.hypot(vx, vy)[..., None] + np.clip(_PULLS * pulls, -4.0, 2.0)[..., None] * np.minimum(TIMES, PULLING)
    course, way = np.arctan2(vy, vx)[..., None] + turned, DT * np.maximum(speeds, 0.0)
    x = _PLACE * ahead[..., None] + np.cumsum(way * np.cos(course), -1)
    y = _PLACE * left[..., None] + np.cumsum(way * np.sin(course), -1)
    length, width = _LENGTH * length, _WIDTH * width
    radii = np.where(present > 0.5, 0.53 * width, np.nan)
    reach = (length - width)[..., None] / 2 * np.array([-1.0, 0.0, 1.0])
    return _discs(x, y, np.arctan2(sine, cosine)[..., None] + turned, reach, radii)


def _first_contact(own: _Places, others: _Places, margin: float) -> Floats:
    """When (s from now) each of the own drives [B, C] comes nearer to anybody than the margin; inf if none does."""
    met = np.zeros(own.middles.shape[:3], bool)
    for middles, radii in zip(np.moveaxis(others.middles, 1, 0), others.radii.T, strict=True):
        gaps = own.middles[:, :, :, :, None] - middles[:, None, :, None]
        least = np.square(gaps).sum(-1).min((-1, -2))
        met |= least < np.square(own.radii + radii[:, None] + margin)[..., None]
    return np.where(met.any(-1), TIMES[met.argmax(-1)], np.inf)

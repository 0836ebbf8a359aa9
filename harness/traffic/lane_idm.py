"""Closed-loop traffic on map lanes by the intelligent driver model: no engine, batched over roll-outs and vehicles.

A vehicle drives on the lane it is on; where the road forks every roll-out draws a branch. It brakes for whatever
stands or drives on its path, for red lights as they are at the current step, and for bends. Vehicles off the lanes
keep their heading, parked ones stay. Pedestrians and cyclists keep their velocity.

Source of the model: Treiber, Hennecke, Helbing, Phys. Rev. E 62 (2000) 1805.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.geometry import arc_lengths, interpolate_polyline, project_to_polyline, wrap_angle
from harness.traffic.heights import follow_ground
from harness.traffic.rollouts import FUTURE_STEPS, SimulatedScene, simulated_agents
from scenarios.map_index import MapIndex
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

Floats = NDArray[np.float64]

_PATH: Final = 300.0
"""Length of prepared paths, m: 8 s at 37 m/s."""
_SPACING: Final = 1.0
_LOOK: Final = np.arange(0.0, 61.0, 2.0)
"""Where on its path ahead a vehicle looks for others, m."""
_RED: Final = ("LANE_STATE_STOP", "LANE_STATE_ARROW_STOP")
_EVERY: Final = 2
"""Steps between two looks ahead (0.2 s)."""
_FREE: Final = 1e6
_AT_REST: Final = 0.1
"""A slower vehicle stands, m/s."""
_CURB: Final = 1.5
"""Who stands this far from the centre of its lane (m) is parked, not queueing."""


@dataclass(frozen=True)
class IDMTrafficConfig:
    """Drivers.

    Attributes:
        headway: Time gap, s.
        standstill: Gap at rest, m.
        acceleration: Strongest acceleration, m/s².
        braking: Comfortable deceleration, m/s².
        hardest: Hardest braking, m/s².
        speed: Desired speed where the map gives no limit, m/s (50 km/h).
        lateral: Largest lateral acceleration in bends, m/s².
        spread: Standard deviation of the drivers' desired speeds, as a share.
        margin: Lateral clearance, m.
        branches: Most ways on that are considered per vehicle.
        return_length: Distance over which a vehicle comes back to the centre of its lane, m.
    """

    headway: float = 1.5
    standstill: float = 2.0
    acceleration: float = 2.0
    braking: float = 3.0
    hardest: float = 8.0
    speed: float = 13.9
    lateral: float = 2.5
    spread: float = 0.1
    margin: float = 0.2
    branches: int = 6
    return_length: float = 15.0

    def __post_init__(self) -> None:
        """Reject what cannot drive."""
        if min(self.headway, self.acceleration, self.braking, self.hardest, self.speed) <= 0 or self.branches < 1:
            raise ConfigError(
                f"idm traffic: {self}: expected positive headway, accelerations and speed, branches >= 1."
            )


@dataclass(frozen=True, slots=True)
class _Paths:
    """Every way on of every vehicle: V vehicles, B branches, N points.

    Attributes:
        points: [V, B, N, 3] x, y, heading at equal spacing.
        count: [V] branches.
        limit: [V, B, N] speed allowed by bends and limits, m/s.
        red: [V, B] distance to the first red light, m (`_FREE`: none).
    """

    points: Floats
    count: NDArray[np.intp]
    limit: Floats
    red: Floats


class IDMSimulator:
    """`SceneSimulator`: everybody drives by the intelligent driver model. See the module."""

    name = "idm"

    def __init__(self, config: IDMTrafficConfig | None = None) -> None:
        """Choose the drivers."""
        self.config = config or IDMTrafficConfig()

    def simulate(self, scenario: Scenario, rollouts: int, seed: int) -> SimulatedScene:
        """Roll out from step 10; see `SceneSimulator`."""
        agents = simulated_agents(scenario)
        rng = np.random.default_rng([seed, 0x1D])
        pose = np.concatenate(
            [scenario.position[agents, CURRENT_STEP, :2], scenario.heading[agents, CURRENT_STEP, None]], -1
        )
        velocity = scenario.velocity[agents, CURRENT_STEP]
        driving = np.flatnonzero(scenario.kinds[agents] == Kind.VEHICLE)
        paths = _prepare(scenario, pose[driving], velocity[driving], self.config)
        half = scenario.size[agents, CURRENT_STEP, :2] / 2
        run = _Run(self.config, paths, pose, velocity, half, driving, rollouts, rng, scenario.dt)
        states = np.zeros((rollouts, len(agents), FUTURE_STEPS, 4))
        for step in range(FUTURE_STEPS):
            states[:, :, step, [0, 1, 3]] = run.advance(step)
        states[..., 2] = follow_ground(scenario, agents, states)
        return SimulatedScene(states, agents)


class _Run:
    """All roll-outs of one scene, stepped together."""

    def __init__(
        self,
        config: IDMTrafficConfig,
        paths: _Paths,
        pose: Floats,
        velocity: Floats,
        half: Floats,
        driving: NDArray[np.intp],
        rollouts: int,
        rng: np.random.Generator,
        dt: float,
    ) -> None:
        self._config, self._half, self._driving, self._dt = config, half, driving, dt
        self._velocity = velocity
        heading = pose[driving, 2]
        forward = np.cos(heading) * velocity[driving, 0] + np.sin(heading) * velocity[driving, 1]
        vehicles = np.arange(len(driving))
        branch = (rng.random((rollouts, len(driving))) * paths.count).astype(int)
        # [R, V, …] the path that each roll-out takes.
        self._points = paths.points[vehicles, branch]
        self._limit = paths.limit[vehicles, branch]
        self._red = paths.red[vehicles, branch]
        self._factor = np.clip(1 + config.spread * rng.standard_normal(branch.shape), 0.5, 1.5)
        self._poses = np.repeat(pose[None], rollouts, 0)
        self._speed = np.repeat(np.maximum(forward, 0.0)[None], rollouts, 0)
        self._along = np.zeros(branch.shape)
        self._change = np.zeros(branch.shape)
        self._parked = np.hypot(*velocity[driving].T) < _AT_REST
        self._parked &= ~np.isfinite(paths.limit[:, 0, 0]) | (paths.limit[:, 0, 0] <= 0)

    def advance(self, step: int) -> Floats:
        """Poses [R, A, 3] after one more step."""
        if step % _EVERY == 0:
            self._change = self._accelerations()
        new = np.maximum(self._speed + self._change * self._dt, 0.0)
        new[:, self._parked] = 0.0
        self._along += (self._speed + new) / 2 * self._dt
        self._speed = new
        self._poses[..., :2] += self._velocity * self._dt
        self._poses[:, self._driving] = self._at(self._along)
        return self._poses

    def _at(self, along: Floats) -> Floats:
        """Poses [..., 3] at arc lengths [R, V] or [R, V, K] of the chosen paths."""
        last = self._points.shape[2] - 1
        place = np.clip(along / _SPACING, 0, last - 1e-6)
        low = place.astype(int)
        ratio = (place - low)[..., None]
        rows = low.reshape(*along.shape[:2], -1)
        start = np.take_along_axis(self._points, rows[..., None], 2).reshape(*along.shape, 3)
        end = np.take_along_axis(self._points, rows[..., None] + 1, 2).reshape(*along.shape, 3)
        turn = wrap_angle(end[..., 2] - start[..., 2])
        pose = start + ratio * (end - start)
        pose[..., 2] = start[..., 2] + ratio[..., 0] * turn
        return pose

    def _accelerations(self) -> Floats:
        """Of each vehicle [R, V], m/s²."""
        config = self._config
        gap, leader = self._ahead()
        stop = self._red - self._along - self._half[self._driving, 0]
        red = (stop > -1.0) & (stop < gap)
        gap, leader = np.where(red, stop, gap), np.where(red, 0.0, leader)
        rows = np.clip((self._along[..., None] + _LOOK[:15]) / _SPACING, 0, self._limit.shape[2] - 1).astype(int)
        allowed = np.take_along_axis(self._limit, rows, 2)
        # Slow down in time for what lies ahead: v² = limit² + 2 b distance.
        desired = np.sqrt(allowed**2 + 2 * config.braking * 0.5 * _LOOK[:15]).min(-1) * self._factor
        desired = np.maximum(desired, 0.5)
        speed = self._speed
        closing = speed * (speed - leader) / (2 * np.sqrt(config.acceleration * config.braking))
        wanted = config.standstill + np.maximum(config.headway * speed + closing, 0.0)
        change = config.acceleration * (1 - (speed / desired) ** 4 - (wanted / np.maximum(gap, 0.1)) ** 2)
        # Above the desired speed the free-road term alone would brake harder than anyone does.
        floor = np.where(wanted < gap, -config.braking, -config.hardest)
        return np.clip(change, floor, config.acceleration)

    def _ahead(self) -> tuple[Floats, Floats]:
        """Free way (m) along each vehicle's path to the first obstacle, and that obstacle's speed along the path."""
        look = self._at(self._along[..., None] + _LOOK).astype(np.float32)
        others = self._poses.astype(np.float32)
        half = self._half.astype(np.float32)
        cos, sin = np.cos(look[..., 2]), np.sin(look[..., 2])
        speed = np.repeat(self._velocity[None], len(others), 0)
        driven = self._poses[:, self._driving, 2]
        speed[:, self._driving] = self._speed[..., None] * np.stack([np.cos(driven), np.sin(driven)], -1)
        gap = np.full(self._along.shape, _FREE)
        leader = np.zeros(self._along.shape)
        for vehicle, agent in enumerate(self._driving):
            near = self._near(agent, others)
            if len(near) == 0:
                continue
            offset = others[:, None, near, :2] - look[:, vehicle, :, None, :2]  # [R, K, M, 2]
            c, s = cos[:, vehicle, :, None], sin[:, vehicle, :, None]
            along = c * offset[..., 0] + s * offset[..., 1]
            across = np.abs(c * offset[..., 1] - s * offset[..., 0])
            turn = others[:, None, near, 2] - look[:, vehicle, :, None, 2]
            ct, st = np.abs(np.cos(turn)), np.abs(np.sin(turn))
            reach = ct * half[near, 0] + st * half[near, 1]
            wide = st * half[near, 0] + ct * half[near, 1]
            # Only who is ahead now: nobody brakes for the car that follows.
            met = (across < wide + half[agent, 1] + self._config.margin) & (np.abs(along) < reach + half[agent, 0])
            met &= along[:, :1] > 0
            free = np.where(met, _LOOK[None, :, None] + along - reach - half[agent, 0], _FREE)
            flat = free.reshape(len(free), -1)
            best = flat.argmin(-1)
            roll = np.arange(len(free))
            who, where = near[best % len(near)], best // len(near)
            gap[:, vehicle] = flat[roll, best]
            direction = look[roll, vehicle, where, 2]
            leader[:, vehicle] = np.cos(direction) * speed[roll, who, 0] + np.sin(direction) * speed[roll, who, 1]
        return gap, np.maximum(leader, 0.0)

    def _near(self, agent: int, others: NDArray[np.float32]) -> NDArray[np.intp]:
        """Agents that are within reach of the look-ahead in any roll-out."""
        distance = np.square(others[..., :2] - others[:, agent, None, :2]).sum(-1).min(0)
        near = distance < (_LOOK[-1] + 10.0) ** 2
        near[agent] = False
        return np.flatnonzero(near)


def _prepare(scenario: Scenario, poses: Floats, velocity: Floats, config: IDMTrafficConfig) -> _Paths:
    """Paths of all vehicles [V, 3]."""
    index = MapIndex.of(scenario)
    place = index.locate(poses[:, :2], poses[:, 2], max_distance=4.0)
    limits = _speed_limits(scenario, index)
    stops = _red_stops(scenario)
    number = int(_PATH / _SPACING) + 1
    ways: list[list[tuple[Floats, Floats, float]]] = []
    for row, pose in enumerate(poses):
        lane = int(place.lane[row])
        moving = float(np.hypot(*velocity[row]))
        aligned = lane >= 0 and abs(float(wrap_angle(place.heading[row] - pose[2]))) < np.pi / 3
        parked = moving < _AT_REST and abs(float(place.offset[row])) > _CURB
        if aligned and not parked:
            lines = index.lane_paths(lane, float(place.along[row]), _PATH, config.branches)
            made = [_lane_way(line, pose, limits[lane], number, stops, config) for line in lines if len(line) > 1]
        else:
            made = []
        if not made:
            straight = pose[:2] + np.arange(number)[:, None] * _SPACING * np.array([np.cos(pose[2]), np.sin(pose[2])])
            points = np.concatenate([straight, np.full((number, 1), pose[2])], -1)
            # Off the lanes nobody accelerates; who stands there is parked.
            made = [(points, np.full(number, moving if moving >= _AT_REST else 0.0), _FREE)]
        ways.append(made)
    most = max((len(way) for way in ways), default=1)
    filled = [way + way[:1] * (most - len(way)) for way in ways]
    shape = (len(poses), most, number)
    return _Paths(
        np.array([[branch[0] for branch in way] for way in filled]).reshape(*shape, 3),
        np.array([len(way) for way in ways], dtype=np.intp),
        np.array([[branch[1] for branch in way] for way in filled]).reshape(shape),
        np.array([[branch[2] for branch in way] for way in filled]).reshape(shape[:2]),
    )


def _lane_way(
    line: Floats, pose: Floats, limit: float, number: int, stops: Floats, config: IDMTrafficConfig
) -> tuple[Floats, Floats, float]:
    """Poses, speed limits and distance to the first red light along one lane line, from a vehicle's own pose."""
    along = np.arange(number) * _SPACING
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
    bend = np.abs(wrap_angle(np.diff(smooth, append=smooth[-1:]))) / _SPACING
    bend = np.convolve(bend, np.full(5, 0.2), mode="same")
    allowed = np.minimum(limit, np.sqrt(config.lateral / np.maximum(bend, 1e-4)))
    red = _FREE
    if len(stops):
        where, side, _ = project_to_polyline(stops, line)
        near = (np.abs(side) < 1.0) & (where > 0.5)
        red = float(where[near].min()) if near.any() else _FREE
    return np.concatenate([centre, (smooth + turned)[:, None]], -1), allowed, red


def _speed_limits(scenario: Scenario, index: MapIndex) -> Floats:
    """Speed limit per lane of the index, m/s; the default where the map says none."""
    given = {feature.id: feature.extras.get("speed_limit_kmh") for feature in scenario.features if feature.is_lane}
    values = [given.get(name) for name in index.lane_ids]
    default = IDMTrafficConfig.speed
    return np.array([float(v) / 3.6 if isinstance(v, int | float) and v > 1 else default for v in values])


def _red_stops(scenario: Scenario) -> Floats:
    """Stop points [L, 2] of the lights that are red at the current step."""
    found = []
    for light in scenario.lights.values():
        state = light.get("state", {})
        states: Sequence[str] = state.get("object_state", ()) if isinstance(state, dict) else ()
        point = light.get("stop_point")
        if point is not None and len(states) > CURRENT_STEP and states[CURRENT_STEP] in _RED:
            found.append(np.asarray(point, dtype=np.float64).flatten()[:2])
    return np.array(found, dtype=np.float64).reshape(-1, 2)

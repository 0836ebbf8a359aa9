"""Closed-loop traffic on map lanes by the intelligent driver model: no engine, batched over roll-outs and vehicles.

A vehicle drives on the lane it is on; where the road forks every roll-out draws a branch. It brakes for whatever
stands or drives on its path, for lights that are red at step 10, and for bends. Vehicles off the lanes keep their
heading, parked ones stay.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.geometry import box_reach, coarse_origin, wrap_angle
from harness.interfaces import HEADING, VX, VY
from harness.traffic.heights import follow_ground
from harness.traffic.lane_paths import AT_REST, FREE, POINTS, SPACING, LaneIDMConfig, first_red, prepare_paths, varied
from harness.traffic.log_policies import logged_at
from harness.traffic.rollouts import SimulatedScene, simulated_agents
from scenarios.idm import acceleration, desired_gap
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS, Kind, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

LOOK: Final = np.arange(0.0, 61.0, 2.0)
"""Where on its path ahead a vehicle looks for others, m, evenly spaced."""
LOOKS_FOR_LIMITS: Final = 15
"""At how many of these it looks for lower speed limits."""
EVERY: Final = 2
"""Steps between two looks ahead (0.2 s)."""
_AHEAD: Final = 100.0
"""With less of its path left than this (m) a vehicle that stays for long needs another one."""


class LaneIDMSimulator:
    """`SceneSimulator`: every vehicle drives along the lanes; people and cyclists keep their velocity."""

    name = "idm-lane"

    def __init__(self, config: LaneIDMConfig | None = None, **options: Any) -> None:
        """Choose the drivers.

        Args:
            config: All of their numbers.
            options: Single fields of `LaneIDMConfig`, instead of those of `config`.
        """
        self.config = replace(config or LaneIDMConfig(), **options)

    def simulate(self, scenario: Scenario, rollouts: int, seed: int) -> SimulatedScene:
        """Roll out from step 10; see `SceneSimulator`."""
        agents = simulated_agents(scenario)
        rng = np.random.default_rng([seed, 0x1D])
        pose = np.concatenate(
            [scenario.position[agents, CURRENT_STEP, :2], scenario.heading[agents, CURRENT_STEP, None]], -1
        )
        velocity = scenario.velocity[agents, CURRENT_STEP]
        half = scenario.size[agents, CURRENT_STEP, :2] / 2
        run = LaneRun(self.config, pose, velocity, half, rollouts, rng, scenario.dt)
        run.join(scenario, np.flatnonzero(scenario.kinds[agents] == Kind.VEHICLE))
        states = np.zeros((rollouts, len(agents), FUTURE_STEPS, 4))
        for step in range(FUTURE_STEPS):
            states[:, :, step, [0, 1, 3]] = run.advance(step)
        states[..., 2] = follow_ground(scenario, agents, states)
        return SimulatedScene(states, agents)


class LaneIDMTraffic:
    """`TrafficPolicy`: from step 10 on vehicles leave their logs and drive along the lanes, whatever the ego does.

    Who is moved: every vehicle but ego and opponent, from step 10 or its first step after it. A moved vehicle stays,
    even where its log ends, until it has come to the end of its path, 300 m on. People, cyclists and objects follow
    the log.
    """

    name = "idm-lane"
    simulator = LaneIDMSimulator
    """Rolls out whole scenes, many times at once."""

    def __init__(self, config: LaneIDMConfig | None = None, **options: Any) -> None:
        """Choose the drivers; see `LaneIDMSimulator`."""
        self.config = replace(config or LaneIDMConfig(), **options)

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Begin an episode.

        Raises:
            ScenarioError: The scene ends before step 10.
        """
        simulated_agents(scenario)
        self._scenario = scenario
        agents = range(scenario.num_agents)
        self._log = np.stack([scenario.states(agent) for agent in agents])
        self._movable = scenario.kinds == Kind.VEHICLE
        self._movable[[agent for agent in (scenario.ego, scenario.opponent) if agent is not None]] = False
        self._gone = np.zeros(len(agents), bool)
        half = np.array([scenario.box(agent) for agent in agents]) / 2
        self._run = LaneRun(self.config, self._log[:, 0, :3], self._log[:, 0, VX:], half, 1, rng, scenario.dt)

    def step(self, step: int, states: Floats, valid: Bools) -> tuple[Floats, Bools]:
        """Everybody at `step + 1`; see `TrafficPolicy`."""
        following, present = logged_at(self._log, self._scenario.valid, step + 1)
        if step < CURRENT_STEP:
            return following, present
        run = self._run
        run.observe(states, valid)
        self._gone[run.driving] |= ~valid[run.driving] | run.at_the_end
        run.join(self._scenario, np.setdiff1d(np.flatnonzero(self._movable & valid), run.driving))
        poses = run.advance(step - CURRENT_STEP)[0, run.driving]
        speed = run.speed[0]
        following[run.driving, : HEADING + 1] = poses
        following[run.driving, VX] = speed * np.cos(poses[:, 2])
        following[run.driving, VY] = speed * np.sin(poses[:, 2])
        present[run.driving] = True
        return following, present & ~self._gone


class LaneRun:
    """R roll-outs of one scene of A agents, stepped together; V of the agents drive along the lanes.

    Attributes:
        driving: [V] agents that drive, in the order in which they have joined.
        speed: [R, V] m/s.
    """

    def __init__(
        self,
        config: LaneIDMConfig,
        pose: Floats,
        velocity: Floats,
        half: Floats,
        rollouts: int,
        rng: np.random.Generator,
        dt: float,
    ) -> None:
        """Begin.

        Args:
            config: Drivers.
            pose: [A, 3] x, y, heading.
            velocity: [A, 2], m/s.
            half: [A, 2] half of the lengths and widths, m.
            rollouts: R.
            rng: Draws branches and drivers.
            dt: Length of a step, s.
        """
        self._config, self._half, self._dt, self._rng = config, half.copy(), dt, rng
        self._velocity, self._present = velocity.copy(), np.ones(len(pose), bool)
        self._poses = np.repeat(pose[None], rollouts, 0)
        none = np.zeros((rollouts, 0))
        self.driving: Ints = np.zeros(0, np.intp)
        self.speed, self._along, self._change, self._red, self._factor = none, none, none, none, none
        self._end = none
        self._points, self._limit = np.zeros((rollouts, 0, POINTS, 3)), np.zeros((rollouts, 0, POINTS))
        self._parked = np.zeros(0, bool)

    @property
    def at_the_end(self) -> Bools:
        """[V] who has come to the end of its path, in the first roll-out."""
        ended: Bools = self._along[0] >= (POINTS - 1) * SPACING
        return ended

    @property
    def off_the_map(self) -> Bools:
        """[V] who has come to where its lanes end, in the first roll-out."""
        ended: Bools = self._along[0] >= self._end[0]
        return ended

    @property
    def short_of_way(self) -> Bools:
        """[V] who moves and needs a new path soon: its lanes go on, its path not for long, in the first roll-out."""
        short: Bools = (self._end[0] >= FREE) & (self._along[0] > (POINTS - 1) * SPACING - _AHEAD) & (self.speed[0] > 1)
        return short

    @property
    def parked(self) -> Bools:
        """[V] who stands beside the road for good."""
        return self._parked

    @property
    def half(self) -> Floats:
        """[A, 2] half of everybody's length and width, m."""
        return self._half

    @property
    def poses(self) -> Floats:
        """[A, 3] where everybody is, in the first roll-out."""
        poses: Floats = self._poses[0]
        return poses

    def velocity_of(self, agents: Ints) -> Floats:
        """[N, 2] velocities of some agents in the first roll-out, m/s."""
        velocity = self._velocity.copy()
        heading = self._poses[0, self.driving, 2]
        velocity[self.driving] = self.speed[0, :, None] * np.stack([np.cos(heading), np.sin(heading)], -1)
        return velocity[agents]

    def place(self, agent: int, pose: Floats, velocity: Floats, half: Floats) -> None:
        """Put an agent that does not drive yet somewhere: pose [3], velocity [2] (m/s), half its length and width."""
        self._poses[:, agent], self._velocity[agent], self._half[agent] = pose, velocity, half
        self._present = self._present.copy()
        self._present[agent] = True

    def leave(self, gone: Bools) -> None:
        """Forget some [V] of those who drive."""
        kept = ~gone
        self.driving, self._parked = self.driving[kept], self._parked[kept]
        for name in ("speed", "_along", "_change", "_red", "_factor", "_end", "_points", "_limit"):
            setattr(self, name, getattr(self, name)[:, kept])

    def look_at_lights(self, stops: Floats) -> None:
        """Heed the stop points [L, 2] of the lights that are red now, in all roll-outs."""
        for roll, row in np.ndindex(self._red.shape):
            self._red[roll, row] = first_red(self._points[roll, row, :, :2], stops, float(self._along[roll, row]))

    def join(self, scenario: Scenario, agents: Ints, step: int = CURRENT_STEP) -> None:
        """Let `agents` drive from where they are, with the lights of absolute step `step`."""
        if not len(agents):
            return
        pose, velocity = self._poses[0, agents], self._velocity[agents]
        paths = prepare_paths(scenario, pose, velocity, self._config, step)
        rollouts, vehicles = len(self._poses), np.arange(len(agents))
        # [R, V] the way on that each roll-out takes.
        branch = (self._rng.random((rollouts, len(agents))) * paths.count).astype(int)
        factor = varied(self._config.pace, self._config.spread, self._rng.standard_normal(branch.shape))
        forward = np.cos(pose[:, 2]) * velocity[:, 0] + np.sin(pose[:, 2]) * velocity[:, 1]
        parked = np.hypot(*velocity.T) < AT_REST
        parked &= ~np.isfinite(paths.limit[:, 0, 0]) | (paths.limit[:, 0, 0] <= 0)

        def put(old: Floats, new: Floats) -> Floats:
            return np.concatenate([old, new], axis=1)

        self.driving = np.concatenate([self.driving, agents])
        self._parked = np.concatenate([self._parked, parked])
        self._points = put(self._points, paths.points[vehicles, branch])
        self._limit = put(self._limit, paths.limit[vehicles, branch])
        self._red = put(self._red, paths.red[vehicles, branch])
        self._end = put(self._end, paths.end[vehicles, branch])
        self._factor = put(self._factor, factor)
        self.speed = put(self.speed, np.repeat(np.maximum(forward, 0.0)[None], rollouts, 0))
        self._along = put(self._along, np.zeros(branch.shape))
        self._change = put(self._change, np.zeros(branch.shape))

    def go_on(self, scenario: Scenario, again: Bools, step: int) -> None:
        """Draw new ways on for some [V] of those who drive, before their paths end; they keep speed and driver."""
        agents, speed, factor = self.driving[again], self.speed[:, again], self._factor[:, again]
        heading = self._poses[0, agents, 2]
        self._velocity[agents] = speed[0, :, None] * np.stack([np.cos(heading), np.sin(heading)], -1)
        self.leave(again)
        self.join(scenario, agents, step)
        self.speed[:, len(self.driving) - len(agents) :] = speed
        self._factor[:, len(self.driving) - len(agents) :] = factor

    def observe(self, states: Floats, valid: Bools) -> None:
        """Take note of where everybody else truly is: states [A, STATE], present [A]."""
        others = np.setdiff1d(np.arange(len(valid)), self.driving)
        self._poses[:, others] = states[others, : HEADING + 1]
        self._velocity[others] = states[others, VX:]
        self._present = valid

    def advance(self, step: int) -> Floats:
        """Poses [R, A, 3] after one more step."""
        if step % EVERY == 0:
            self._change = self._accelerations()
        new = np.maximum(self.speed + self._change * self._dt, 0.0)
        new[:, self._parked] = 0.0
        self._along += (self.speed + new) / 2 * self._dt
        self.speed = new
        self._poses[..., :2] += self._velocity * self._dt
        self._poses[:, self.driving] = self._at(self._along)
        return self._poses

    def _at(self, along: Floats) -> Floats:
        """Poses [..., 3] at arc lengths [R, V] or [R, V, K] of the chosen paths."""
        last = self._points.shape[2] - 1
        place = np.clip(along / SPACING, 0, last - 1e-6)
        low = place.astype(int)
        ratio = (place - low)[..., None]
        rows = low.reshape(*along.shape[:2], math.prod(along.shape[2:]))
        start = np.take_along_axis(self._points, rows[..., None], 2).reshape(*along.shape, 3)
        end = np.take_along_axis(self._points, rows[..., None] + 1, 2).reshape(*along.shape, 3)
        turn = wrap_angle(end[..., 2] - start[..., 2])
        pose = start + ratio * (end - start)
        pose[..., 2] = start[..., 2] + ratio[..., 0] * turn
        return pose

    def _accelerations(self) -> Floats:
        """Acceleration of each vehicle [R, V], m/s²."""
        config = self._config
        gap, leader, _ = self.ahead()
        stop = self._red - self._along - self._half[self.driving, 0]
        red = (stop > -1.0) & (stop < gap)
        gap, leader = np.where(red, stop, gap), np.where(red, 0.0, leader)
        rows = np.clip(
            (self._along[..., None] + LOOK[:LOOKS_FOR_LIMITS]) / SPACING, 0, self._limit.shape[2] - 1
        ).astype(int)
        allowed = np.take_along_axis(self._limit, rows, 2)
        # Slow down in time for what lies ahead: v² = limit² + 2 b distance.
        desired = np.sqrt(allowed**2 + 2 * config.braking * 0.5 * LOOK[:LOOKS_FOR_LIMITS]).min(-1) * self._factor
        desired = np.maximum(desired, 0.5)
        speed = self.speed
        wanted = desired_gap(
            speed,
            leader,
            headway=config.gap,
            standstill=config.standstill,
            top=config.acceleration,
            braking=config.braking,
        )
        # Boxes may meet: the gap is never nought.
        change = acceleration(speed, np.maximum(gap, 0.1), wanted, desired, top=config.acceleration)
        return config.limited(change, wanted, gap)

    def ahead(self) -> tuple[Floats, Floats, Ints]:
        """The first obstacle on each vehicle's path, [R, V] each.

        Returns:
            Free way to it (m), its speed along the path (m/s), and which agent it is (-1: there is none).
        """
        about = np.append(coarse_origin(self._poses[0, self.driving[:1], :2].sum(0)), 0.0)
        look = (self._at(self._along[..., None] + LOOK) - about).astype(np.float32)
        others = (self._poses - about).astype(np.float32)
        half = self._half.astype(np.float32)
        cos, sin = np.cos(look[..., 2]), np.sin(look[..., 2])
        speed = np.repeat(self._velocity[None], len(others), 0)
        driven = self._poses[:, self.driving, 2]
        speed[:, self.driving] = self.speed[..., None] * np.stack([np.cos(driven), np.sin(driven)], -1)
        gap = np.full(self._along.shape, FREE)
        leader = np.zeros(self._along.shape)
        first = np.full(self._along.shape, -1, np.intp)
        for vehicle, agent in enumerate(self.driving):
            near = self.near(agent, others)
            if len(near) == 0:
                continue
            offset = others[:, None, near, :2] - look[:, vehicle, :, None, :2]  # [R, K, M, 2]
            c, s = cos[:, vehicle, :, None], sin[:, vehicle, :, None]
            along = c * offset[..., 0] + s * offset[..., 1]
            across = np.abs(c * offset[..., 1] - s * offset[..., 0])
            turn = others[:, None, near, 2] - look[:, vehicle, :, None, 2]
            reach, wide = box_reach(turn, half[near, 0], half[near, 1])
            # Only who is ahead now: nobody brakes for the car that follows.
            met = (across < wide + half[agent, 1] + self._config.margin) & (np.abs(along) < reach + half[agent, 0])
            met &= along[:, :1] > 0
            free = np.where(met, LOOK[None, :, None] + along - reach - half[agent, 0], FREE)
            flat = free.reshape(len(free), -1)
            best = flat.argmin(-1)
            roll = np.arange(len(free))
            who, where = near[best % len(near)], best // len(near)
            gap[:, vehicle] = flat[roll, best]
            first[:, vehicle] = np.where(gap[:, vehicle] < FREE, who, -1)
            direction = look[roll, vehicle, where, 2]
            leader[:, vehicle] = np.cos(direction) * speed[roll, who, 0] + np.sin(direction) * speed[roll, who, 1]
        return gap, np.maximum(leader, 0.0), first

    def near(self, agent: int, others: NDArray[np.float32]) -> NDArray[np.intp]:
        """Agents that are within reach of the look-ahead in any roll-out, and that `agent` heeds."""
        distance = np.square(others[..., :2] - others[:, agent, None, :2]).sum(-1).min(0)
        near = distance < (LOOK[-1] + 10.0) ** 2
        near[agent] = False
        near &= self._present
        return np.flatnonzero(near)

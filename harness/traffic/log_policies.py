"""Background traffic: the log as it is, or the log slowed down by whoever gets in the way. Free of MetaDrive."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.geometry import box_reach
from harness.interfaces import HEADING, VX, VY
from harness.traffic.baselines import ConstantVelocitySimulator, LogSimulator
from scenarios.idm import acceleration, desired_gap
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_OFF_LOG: Final = 0.5
"""Somebody this far from the log (m) is an obstacle to those behind; nobody else is."""
_LOOK_AHEAD: Final = 40
_STRIDE: Final = 2
"""How far along its own log a vehicle looks for obstacles, and how finely, steps."""
_MARGIN: Final = 0.3
"""Lateral clearance that drivers keep, m."""


def _logged(scenario: Scenario) -> Floats:
    """[A, T, STATE] the log."""
    return np.concatenate([scenario.position[..., :2], scenario.heading[..., None], scenario.velocity], axis=-1)


def logged_at(log: Floats, valid: Bools, step: int) -> tuple[Floats, Bools]:
    """Where everybody is at a step as recorded, and who is there.

    Args:
        log: [A, T, STATE] the log.
        valid: [A, T] who is there.
        step: Step of the log; beyond its end nobody is there, and states are those of its last step.

    Returns:
        [A, STATE], a copy, and [A].
    """
    row = min(step, log.shape[1] - 1)
    return log[:, row].copy(), valid[:, row] & (step < log.shape[1])


class LogTraffic:
    """Everybody follows the log. The engine knows this one and does it without calling it.

    Limits: Nobody reacts. Whoever is behind an ego that brakes drives into it.
    """

    name = "log"
    simulator = LogSimulator
    """Replays whole scenes."""

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Begin an episode."""
        self._states, self._valid = _logged(scenario), scenario.valid

    def step(self, step: int, states: Floats, valid: Bools) -> tuple[Floats, Bools]:
        """The log's next row; where the log ends, nobody."""
        following = step + 1
        if following >= self._states.shape[1]:
            return self._states[:, -1].copy(), np.zeros(len(valid), bool)
        return self._states[:, following].copy(), self._valid[:, following].copy()


class ConstantVelocityTraffic:
    """From step 10 on whoever moves keeps its velocity and heading, through everybody; objects follow the log.

    Limits: Nobody reacts, and nobody keeps to the road. It is a baseline for measures of realism.
    """

    name = "constant_velocity"
    simulator = ConstantVelocitySimulator
    """Extrapolates whole scenes."""

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Begin an episode."""
        self._log, self._dt = LogTraffic(), scenario.dt
        self._log.reset(scenario, rng)
        self._moves = np.isin(scenario.kinds, (Kind.VEHICLE, Kind.PEDESTRIAN, Kind.CYCLIST))

    def step(self, step: int, states: Floats, valid: Bools) -> tuple[Floats, Bools]:
        """Up to step 10 the log's next row; then everybody who is there goes on."""
        following, present = self._log.step(step, states, valid)
        if step >= CURRENT_STEP:
            goes_on = self._moves & valid
            following[goes_on] = states[goes_on]
            following[goes_on, :2] += states[goes_on, VX:] * self._dt
            present |= goes_on
        return following, present


class PathIDMTraffic:
    """Vehicles follow their log, never faster than it, and brake for obstacles by the intelligent driver model.

    Every vehicle has its own clock on its own log. An undisturbed clock runs at the speed of time, so undisturbed
    traffic *is* the log. An obstacle ahead on the vehicle's logged path (the ego or the opponent off their logs, or a
    vehicle that is itself delayed) slows the vehicle, and its clock with it: it drives the same path later. Stops
    at lights and in queues stay as logged, because a clock also runs while the logged vehicle stands. People,
    cyclists and objects follow the log.

    Limits: Vehicles react by braking alone: nobody swerves, and nobody drives faster than recorded.

    Source of the model: Treiber, Hennecke, Helbing, Phys. Rev. E 62 (2000) 1805, with their city parameters.
    """

    name = "idm-path"

    def __init__(
        self,
        *,
        gap: float = 1.5,
        standstill: float = 2.0,
        acceleration: float = 2.0,
        braking: float = 3.0,
        hardest: float = 8.0,
    ) -> None:
        """Set the driver.

        Args:
            gap: Desired time gap to the obstacle, s.
            standstill: Gap at rest, m.
            acceleration: Strongest acceleration, m/s².
            braking: Comfortable deceleration, m/s².
            hardest: Hardest braking, m/s².
        """
        self._gap, self._standstill = gap, standstill
        self._acceleration, self._braking, self._hardest = acceleration, braking, hardest

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Begin an episode: every clock at zero."""
        self._log, self._valid, self._dt = _logged(scenario), scenario.valid, scenario.dt
        self._size = np.array([scenario.box(agent) for agent in range(scenario.num_agents)]).reshape(-1, 2)
        self._driven = np.array([agent for agent in (scenario.ego, scenario.opponent) if agent is not None])
        self._reacts = scenario.kinds == Kind.VEHICLE
        self._reacts[self._driven] = False
        self._clock = np.zeros(scenario.num_agents)
        self._speed = np.hypot(self._log[:, 0, VX], self._log[:, 0, VY])
        self._delayed = np.zeros(scenario.num_agents, bool)

    def step(self, step: int, states: Floats, valid: Bools) -> tuple[Floats, Bools]:
        """Advance every clock by one step, or by less behind an obstacle."""
        obstacles = self._obstacles(step, states, valid)
        pace = np.ones(len(valid))
        moving = np.flatnonzero(self._reacts & valid & (len(obstacles) > 0) & (self._clock < self._log.shape[1] - 1))
        blocked = moving[self._gaps(moving, obstacles, states)[0] < np.inf] if len(moving) else moving
        slowed = np.union1d(blocked, np.flatnonzero(self._delayed & self._reacts & valid)).astype(np.intp)
        if len(slowed):
            pace[slowed] = self._paces(slowed, obstacles, states)
        self._delayed |= pace < 1.0 - 1e-9
        self._clock += pace
        on_time = ~self._delayed
        self._clock[on_time] = step + 1
        following, present = self._sample()
        logged_speed = np.hypot(following[:, VX], following[:, VY])
        self._speed = np.where(self._delayed, pace * logged_speed, logged_speed)
        following[self._delayed, VX : VY + 1] *= pace[self._delayed, None]
        return following, present

    def _obstacles(self, step: int, states: Floats, valid: Bools) -> NDArray[np.intp]:
        """Who is somewhere else than the log says."""
        row = min(step, self._log.shape[1] - 1)
        off = np.zeros(len(valid), bool)
        gap = np.hypot(*(states[self._driven, :2] - self._log[self._driven, row, :2]).T)
        off[self._driven] = (gap > _OFF_LOG) | ~self._valid[self._driven, row] | (step >= self._log.shape[1])
        return np.flatnonzero((off | self._delayed) & valid)

    def _gaps(self, agents: NDArray[np.intp], obstacles: NDArray[np.intp], states: Floats) -> tuple[Floats, Floats]:
        """Free way (m) along each agent's logged path to the first obstacle, and that obstacle's speed along it."""
        steps = self._log.shape[1]
        rows = np.minimum(self._clock[agents, None].astype(int) + 1 + np.arange(0, _LOOK_AHEAD, _STRIDE), steps - 1)
        ahead = self._log[agents[:, None], rows]
        path = np.concatenate([states[agents, None, :2], ahead[..., :2]], axis=1)
        travelled = np.cumsum(np.hypot(*np.moveaxis(np.diff(path, axis=1), -1, 0)), axis=1)
        known = np.logical_and.accumulate(self._valid[agents[:, None], rows], axis=1)
        offset = states[obstacles, :2] - ahead[:, :, None, :2]
        cos, sin = np.cos(ahead[..., HEADING])[..., None], np.sin(ahead[..., HEADING])[..., None]
        along = cos * offset[..., 0] + sin * offset[..., 1]
        across = np.abs(cos * offset[..., 1] - sin * offset[..., 0])
        turn = np.abs(states[obstacles, HEADING] - ahead[..., HEADING][..., None])
        length, width = self._size[obstacles, 0] / 2, self._size[obstacles, 1] / 2
        reach_along, reach_across = box_reach(turn, length, width)
        own = self._size[agents, None, None] / 2
        met = (across < reach_across + own[..., 1] + _MARGIN) & (np.abs(along) < reach_along + own[..., 0])
        front = states[obstacles, :2] - states[agents, None, :2]
        heading = states[agents, None, HEADING]
        before = np.cos(heading) * front[..., 0] + np.sin(heading) * front[..., 1] > 0
        met &= known[..., None] & before[:, None, :] & (obstacles != agents[:, None])[:, None, :]
        gap = np.where(met, travelled[..., None] + along - reach_along - own[..., 0], np.inf)
        flat = gap.reshape(len(agents), -1)
        best = flat.argmin(axis=1)
        who = best % len(obstacles)
        where = ahead[np.arange(len(agents)), best // len(obstacles), HEADING]
        speed = np.cos(where) * states[obstacles[who], VX] + np.sin(where) * states[obstacles[who], VY]
        return np.maximum(flat.min(axis=1), 0.01), np.maximum(speed, 0.0)

    def _paces(self, agents: NDArray[np.intp], obstacles: NDArray[np.intp], states: Floats) -> Floats:
        """Clock advance in [0, 1] per agent: the speed it can drive over the speed that its log has there."""
        gap, leader = np.full(len(agents), np.inf), np.zeros(len(agents))
        if len(obstacles):
            gap, leader = self._gaps(agents, obstacles, states)
        speed = self._speed[agents]
        wanted = desired_gap(
            speed,
            leader,
            headway=self._gap,
            standstill=self._standstill,
            top=self._acceleration,
            braking=self._braking,
        )
        # The log is the speed limit, so that no speed is desired beyond it.
        change = acceleration(speed, gap, wanted, np.inf, top=self._acceleration)
        possible = np.maximum(speed + np.clip(change, -self._hardest, self._acceleration) * self._dt, 0.0)
        rows = np.minimum(self._clock[agents].astype(int) + 1, self._log.shape[1] - 1)
        logged = np.hypot(self._log[agents, rows, VX], self._log[agents, rows, VY])
        return np.where(logged > 0.1, np.clip(possible / np.maximum(logged, 0.1), 0.0, 1.0), 1.0)

    def _sample(self) -> tuple[Floats, Bools]:
        """States [A, STATE] at every clock, between logged rows where a clock is, and who is present."""
        last = self._log.shape[1] - 1
        low = np.minimum(np.floor(self._clock + 1e-9).astype(int), last)
        high = np.minimum(low + 1, last)
        agents = np.arange(len(low))
        part = np.clip(self._clock - low, 0.0, 1.0)
        start, end = self._log[agents, low], self._log[agents, high]
        part = np.where(self._valid[agents, high], part, 0.0)
        state = start + part[:, None] * (end - start)
        turn = (end[:, HEADING] - start[:, HEADING] + np.pi) % (2 * np.pi) - np.pi
        state[:, HEADING] = start[:, HEADING] + part * turn
        return state, self._valid[agents, low] & (self._clock <= last + 1e-9)

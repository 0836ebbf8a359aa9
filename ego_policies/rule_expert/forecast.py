"""Where the ego would be under its own controllers, and where others will be; vectorised over cars and targets."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ego_policies.routes import SampledRoute
from ego_policies.rule_expert.config import RuleExpertConfig
from ego_policies.rule_expert.pid import PID
from ego_policies.vehicle import CORNERING, MAX_STEERING, REAR_AXLE, WHEELBASE, pedal_acceleration
from harness.geometry import wrap_angle
from harness.interfaces import HEADING, STATE, VX, VY, EgoView

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

PEDAL_SCALE: Final = 5.0
"""Controller output that is full throttle or brake (published: 5 m/s², whatever the car can do)."""
_SLOW: Final = 1.0
"""Below this speed (m/s) a measured turn rate is noise."""
_MAX_TURN: Final = 0.8
"""Turn rates beyond this (rad/s) are taken for noise of the track and clipped."""


class Controllers:
    """The lateral and the longitudinal controller, for one ego or for many imagined ones."""

    def __init__(self, config: RuleExpertConfig, lateral: PID | None = None, longitudinal: PID | None = None) -> None:
        """Begin at rest, or go on with given controllers."""
        self._config = config
        self._lateral = lateral or PID(config.lateral, config.window)
        self._longitudinal = longitudinal or PID(config.longitudinal, config.window)

    def fork(self, count: int) -> Controllers:
        """`count` imagined copies."""
        return Controllers(self._config, self._lateral.fork(count), self._longitudinal.fork(count))

    def act(
        self, place: Complexes, ahead: Complexes, speed: Floats, target: Floats, route: SampledRoute, along: Floats
    ) -> tuple[Floats, Floats]:
        """Steering and pedal, each [...] in [-1, 1], of cars at `along` (m) on the route.

        Args:
            place: [...] x + iy, m.
            ahead: [...] heading as a complex number of size 1.
            speed, target: [...] m/s.
            route: To follow.
            along: [...], m.
        """
        config = self._config
        reach = np.minimum(np.maximum(config.lookahead_time * speed, config.min_lookahead), config.max_lookahead)
        angle = np.angle((route.complex_points(along + reach) - place) * ahead.conjugate())
        return (
            _bounded(self._lateral.step(angle), 1.0),
            _bounded(self._longitudinal.step(target - speed) / PEDAL_SCALE, 1.0),
        )


def _bounded(values: Floats, limit: Floats | float) -> Floats:
    """Values within ± limit (`clip` takes three times as long for a handful of numbers)."""
    return np.minimum(np.maximum(values, -limit), limit)


def forecast_ego(
    ego: Floats, targets: Floats, controllers: Controllers, route: SampledRoute, along: float, steps: int, dt: float
) -> tuple[Floats, Floats]:
    """Roll the ego out under its own controllers, once per target speed, with a kinematic bicycle.

    The centre moves along heading plus slip angle (Rajamani 2012, section 2.2); the turn rate is bounded by what the
    tyres hold. Constants are the simulated car's, not the CARLA car's of the published code.

    Args:
        ego: [STATE] now.
        targets: [K] target speeds, m/s.
        controllers: The controllers as they are now; left untouched.
        route: To follow.
        along: Where the ego is on it, m.
        steps: Number of steps H.
        dt: Their length, s.

    Returns:
        Poses [K, H, 3] and speeds [K, H] after each step.
    """
    count = len(targets)
    twins = controllers.fork(count)
    place = np.full(count, ego[0] + 1j * ego[1])
    heading, speed = np.full(count, ego[HEADING]), np.full(count, np.hypot(ego[VX], ego[VY]))
    ahead = np.exp(1j * heading)
    distance = np.full(count, along)
    poses, speeds = np.empty((steps, count, 3)), np.empty((steps, count))
    for step in range(steps):
        steering, pedals = twins.act(place, ahead, speed, targets, route, distance)
        slip = np.arctan(REAR_AXLE / WHEELBASE * np.tan(steering * MAX_STEERING))
        turn = _bounded(speed * np.sin(slip) / REAR_AXLE, CORNERING / np.maximum(speed, 0.1))
        move = speed * dt * ahead * np.exp(1j * slip)
        place, heading = place + move, heading + turn * dt
        ahead = np.exp(1j * heading)
        distance = distance + (move * route.complex_tangents(distance).conjugate()).real
        speed = np.maximum(speed + pedal_acceleration(pedals, speed) * dt, 0.0)
        poses[step, :, 0], poses[step, :, 1], poses[step, :, 2], speeds[step] = place.real, place.imag, heading, speed
    return poses.swapaxes(0, 1), speeds.T


def constant_turn(states: Floats, turn: Floats, steps: int, dt: float) -> Floats:
    """Poses [M, H, 3] of agents that keep their speed, their course and their turn rate.

    Args:
        states: [M, STATE].
        turn: [M] rad/s.
        steps: Number of steps H.
        dt: s.
    """
    time = dt * np.arange(1, steps + 1)
    half = 0.5 * turn[:, None] * time
    # A chord of the circle: 2 v / w sin(w t / 2) long, half the turn away from the course; sinc covers w = 0.
    chord = np.hypot(states[:, VX], states[:, VY])[:, None] * time * np.sinc(half / np.pi)
    course = np.arctan2(states[:, VY], states[:, VX])[:, None] + half
    x, y = states[:, :1] + chord * np.cos(course), states[:, 1:2] + chord * np.sin(course)
    return np.stack([x, y, states[:, HEADING, None] + 2 * half], -1)


class TurnRates:
    """Turn rates of the present agents, from their headings now and a step ago.

    A view does not name its agents: each is recognised by its size and by where it must have come from.
    """

    _GATE: Final = 1.0
    """Farthest from the expected place, m."""

    def __init__(self) -> None:
        """Nobody was seen yet."""
        self._states = np.zeros((0, STATE))
        self._sizes = np.zeros((0, 2))

    def update(self, view: EgoView) -> Floats:
        """Turn rates [M] (rad/s) of `view.agents`; 0 for those that are new or slow."""
        states, sizes, dt = view.agents, view.agent_sizes, view.dt
        old, old_sizes = self._states, self._sizes
        self._states, self._sizes = states.copy(), sizes.copy()
        turn = np.zeros(len(states))
        if len(old) == 0 or len(states) == 0:
            return turn
        expected = old[:, :2] + dt * old[:, VX : VY + 1]
        distance = np.hypot(*np.moveaxis(states[:, None, :2] - expected, -1, 0))
        distance[(sizes[:, None] != old_sizes).any(-1)] = np.inf
        match = distance.argmin(-1)
        known = (distance.min(-1) < self._GATE) & (np.hypot(states[:, VX], states[:, VY]) > _SLOW)
        change = wrap_angle(states[:, HEADING] - old[match, HEADING]) / dt
        turn[known] = np.clip(change[known], -_MAX_TURN, _MAX_TURN)
        return turn


def other_poses(view: EgoView, turn: Floats, steps: int, *, knows: bool) -> Floats:
    """Poses [M, H, 3] of the others after each step: as known, and where nobody knows, as they move by then.

    Args:
        view: What the ego sees now.
        turn: [M] turn rates now, rad/s.
        steps: Number of steps H.
        knows: Whether to read the view's futures; else everybody keeps speed and turn rate.

    Returns:
        NaN where somebody will be gone.
    """
    guessed, futures = constant_turn(view.agents, turn, steps, view.dt), view.futures
    if futures is None or not knows:
        return guessed
    poses = np.full((len(futures), steps, 3), np.nan)
    given = futures[:, :steps, :3]
    poses[:, : given.shape[1]] = given
    unknown = np.isnan(poses[..., 0]).all(-1) & (futures.shape[1] > 0)
    poses[unknown] = guessed[unknown]
    known = np.zeros(0, np.intp) if view.foreseen is None else view.foreseen
    for row in np.flatnonzero((known > 0) & (known < min(steps, futures.shape[1]))):
        _carry_on(poses[row], futures[row, : known[row]], view.agents[row], view.dt)
    return poses


def _carry_on(poses: Floats, known: Floats, now: Floats, dt: float) -> None:
    """Let an agent keep its last known speed and turn rate: fills poses [H, 3] after the K known rows [K, STATE]."""
    before, last = np.vstack([now, known])[-2:]
    if not np.isfinite(last[0]):
        return
    change = float(wrap_angle(last[HEADING] - before[HEADING])) / dt if np.isfinite(before[0]) else 0.0
    turn = np.clip(change, -_MAX_TURN, _MAX_TURN) if np.hypot(last[VX], last[VY]) > _SLOW else 0.0
    poses[len(known) :] = constant_turn(last[None], np.array([turn]), len(poses) - len(known), dt)[0]

"""Motion that no recording needs to contain: half seconds of vehicles, cyclists and pedestrians, drawn at random.

Vehicles and cyclists are kinematic bicycles at every speed, curvature and acceleration that tyres and steering allow,
reversing and standing included; pedestrians walk and turn in every direction. A vocabulary built from it covers
manoeuvres that a small data set lacks, and can be shipped, because no recording is in it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.traffic.tokens.shapes import TOKEN_STEPS
from scenarios.scenario import DT

Floats = NDArray[np.float64]

_SUBSTEPS: Final = 4
"""Integration steps per 0.1 s."""


class _Bicycle(NamedTuple):
    """Limits of one kind of bicycle model; speeds in m/s, accelerations in m/s², curvature in 1/m."""

    wheelbase: float
    fastest: float
    cruising: float
    reverse: float
    braking: float
    throttle: float
    curvature: float
    lateral: float
    jitter: float


VEHICLE: Final = _Bicycle(2.8, 34.0, 15.0, -5.0, -8.0, 5.0, 0.2, 6.0, 0.004)
"""Wheelbase and turning circle of a passenger car; 8 m/s² is a full stop on dry asphalt, 6 m/s² a very brisk turn."""
CYCLIST: Final = _Bicycle(1.1, 14.0, 7.0, -1.0, -5.0, 2.5, 0.45, 4.0, 0.01)
"""A bicycle: 14 m/s downhill, turning radius 2.2 m."""


def _integrate(speed: Floats, acceleration: Floats, curvature: Floats, sweep: Floats, wheelbase: float) -> Floats:
    """Poses [N, 6, 3] of the box centre; curvature is that of the rear axle and changes by `sweep` [1/(m s)]."""
    count, dt = len(speed), DT / _SUBSTEPS
    rear = np.zeros((count, 3))
    half = wheelbase / 2
    start = np.stack([np.full(count, half), np.zeros(count), np.zeros(count)], -1)
    poses = [start]
    forward = speed >= 0
    speed, curvature = speed.copy(), curvature.copy()
    for _ in range(TOKEN_STEPS):
        for _ in range(_SUBSTEPS):
            middle = rear[:, 2] + 0.5 * dt * speed * curvature
            rear = rear + dt * np.stack([speed * np.cos(middle), speed * np.sin(middle), speed * curvature], -1)
            # Brakes stop a vehicle; they do not push it the other way.
            speed = speed + dt * acceleration
            speed = np.where(forward, np.maximum(speed, 0.0), np.minimum(speed, 0.0))
            curvature = curvature + dt * sweep
        centre = rear[:, :2] + half * np.stack([np.cos(rear[:, 2]), np.sin(rear[:, 2])], -1)
        poses.append(np.concatenate([centre, rear[:, 2:]], -1))
    out = np.stack(poses, 1)
    out[..., 0] -= half
    return np.asarray(out)


def bicycle_motion(model: _Bicycle, count: int, rng: np.random.Generator) -> Floats:
    """Half seconds [count, 6, 3] of a vehicle or a cyclist."""
    group = rng.choice(4, count, p=[0.45, 0.25, 0.25, 0.05])
    low = np.array([0.0, 0.0, model.cruising * 0.6, model.reverse])[group]
    high = np.array([model.cruising, model.cruising / 3, model.fastest, 0.0])[group]
    speed = rng.uniform(low, high)
    gentle = rng.random(count) < 0.5
    acceleration = np.where(
        gentle, rng.normal(0.0, 1.2, count), rng.uniform(model.braking, model.throttle, count)
    ).clip(model.braking, model.throttle)
    # At speed the engine, not the pedal, limits acceleration.
    acceleration = np.minimum(acceleration, model.throttle * (1.15 - np.abs(speed) / model.fastest).clip(0.1, 1.0))
    limit = np.minimum(model.curvature, model.lateral / np.maximum(speed**2, 1e-3))
    share = np.where(rng.random(count) < 0.5, rng.normal(0.0, 0.15, count), rng.uniform(-1.0, 1.0, count))
    curvature = share.clip(-1, 1) * limit
    sweep = rng.normal(0.0, 0.25, count) * limit
    poses = _integrate(speed, acceleration, curvature, sweep, model.wheelbase)
    # Recorded boxes slip sideways a little: tracking noise and side slip, growing with the distance driven.
    slip = rng.normal(0.0, model.jitter, count) * np.abs(speed)
    ramp = np.linspace(0.0, 1.0, TOKEN_STEPS + 1) * 0.5
    poses[..., 1] += slip[:, None] * ramp
    return poses


def pedestrian_motion(count: int, rng: np.random.Generator) -> Floats:
    """Half seconds [count, 6, 3] of walking and running in any direction, and of turning on the spot."""
    running = rng.random(count) < 0.15
    speed = np.where(running, rng.uniform(1.5, 5.0, count), np.abs(rng.normal(0.9, 0.7, count)))
    # Mostly straight ahead; trackers and people also side-step and walk backwards.
    direction = np.where(rng.random(count) < 0.92, rng.normal(0.0, 0.2, count), rng.uniform(-np.pi, np.pi, count))
    acceleration = rng.normal(0.0, 1.0, count)
    slow = 1.0 / (1.0 + speed)
    turn = np.where(rng.random(count) < 0.92, rng.normal(0.0, 0.4, count), rng.normal(0.0, 2.0, count) * slow)
    time = np.arange(TOKEN_STEPS + 1) * DT
    along = np.maximum(speed[:, None] * time + 0.5 * acceleration[:, None] * time**2, 0.0)
    bearing = direction[:, None] + 0.5 * turn[:, None] * time
    return np.stack([along * np.cos(bearing), along * np.sin(bearing), turn[:, None] * time], -1)


def analytic_motion(kind: int, count: int, seed: int) -> Floats:
    """Half seconds [count, 6, 3] of a token kind; the first stands still."""
    rng = np.random.default_rng([seed, kind])
    if kind == 1:
        motion = pedestrian_motion(count, rng)
    else:
        motion = bicycle_motion(VEHICLE if kind == 0 else CYCLIST, count, rng)
    motion[0] = 0.0
    return motion


def analytic_pieces(count: int, seed: int, length: float) -> Floats:
    """Shapes [count, 3, 2] of map pieces: arcs and kinks of up to `length` (m), in the frame of their middle."""
    rng = np.random.default_rng([seed, 7])
    size = np.where(rng.random(count) < 0.6, rng.uniform(0.8, 1.0, count), rng.uniform(0.05, 1.0, count)) * length / 2
    bend = np.where(rng.random(count) < 0.6, rng.normal(0.0, 0.15, count), rng.uniform(-1.6, 1.6, count))
    uneven = rng.normal(0.0, 0.03, count)
    before, after = size * (1 + uneven), size * (1 - uneven)
    shape = np.zeros((count, 3, 2))
    shape[:, 0] = -before[:, None] * np.stack([np.cos(-bend / 2), np.sin(-bend / 2)], -1)
    shape[:, 2] = after[:, None] * np.stack([np.cos(bend / 2), np.sin(bend / 2)], -1)
    return centred(shape)


def centred(points: Floats) -> Floats:
    """Pieces [N, 3, 2] moved to their middle point and turned so that start→end points along +x."""
    shifted = points - points[:, 1:2]
    chord = points[:, 2] - points[:, 0]
    angle = np.arctan2(chord[:, 1], chord[:, 0])
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x = cos * shifted[..., 0] + sin * shifted[..., 1]
    y = cos * shifted[..., 1] - sin * shifted[..., 0]
    return np.stack([x, y], -1)

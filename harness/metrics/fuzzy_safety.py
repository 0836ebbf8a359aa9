"""The fuzzy safety model (FSM) of the European Commission's Joint Research Centre, as added to UN Regulation 157.

Mattas et al., "Fuzzy Surrogate Safety Metrics for real-time assessment of rear-end collision risk", Accident Analysis &
Prevention 148 (2020) 105794, and "Driver models for the definition of safety requirements of automated vehicles in
international regulations", ibid. 174 (2022) 106743; public implementation and constants: github.com/ec-jrc/JRC-FSM
(`utility/fuzzy_functs.py`, `models.py`, `vehicle.py`). Unlike the CC driver, this one anticipates: it brakes gently as
soon as the distance would not suffice if the vehicle ahead braked fully (proactive, PFS), and hard when it does not
suffice as things are (critical, CFS). Beyond cut-ins by the rules of `reference_driver`; our reading besides:

- Against oncoming vehicles the stopping distance of the other is added in PFS, not subtracted.
- Until its first reaction takes effect the driver does what the recorded ego did; later it keeps its speed while safe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.interfaces import Trajectory
from harness.metrics.ego_path import Sighting, ego_path, sightings
from harness.metrics.reference_driver import (
    ReferenceDriver,
    carried_on,
    conflict,
    horizon,
    is_ahead,
    meets,
    verdict,
)
from harness.metrics.vehicle_model import GRAVITY

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FuzzyDriver:
    """Constants of the model (`utility/vehicle.py` of JRC-FSM).

    Attributes:
        reaction: s.
        comfortable: Comfortable braking of the driver, m/s².
        hard: Hard braking of the driver, m/s².
        other: Braking assumed of the vehicle ahead, m/s².
        standing: Distance kept at a standstill, m; subtracted from every distance by PFS.
        margin: Further distance that a safe driver keeps, m.
        strongest: Physical limit of braking, m/s².
        jerk: Rate at which braking builds up, m/s³.
    """

    reaction: float = 0.75
    comfortable: float = 4.0
    hard: float = 6.0
    other: float = 7.0
    standing: float = 2.0
    margin: float = 2.0
    strongest: float = 0.774 * GRAVITY
    jerk: float = 12.65

    def proactive(self, distance: float, speed: float, ahead: float) -> float:
        """PFS: 0 where even full braking ahead would be survived comfortably … 1 where hard braking would not suffice.

        Args:
            distance: Between the boxes, m.
            speed: Speed of the driver, m/s.
            ahead: Speed of the vehicle ahead, m/s; negative if it is oncoming.
        """
        stopping = np.sign(ahead) * ahead**2 / (2 * self.other)
        safe = speed * self.reaction + speed**2 / (2 * self.comfortable) - stopping + self.margin
        unsafe = speed * self.reaction + speed**2 / (2 * self.hard) - stopping
        return _falling(distance - self.standing, unsafe, safe)

    def critical(self, distance: float, speed: float, ahead: float, acceleration: float) -> float:
        """CFS: 0 where comfortable braking after the reaction time avoids the contact … 1 where hard braking would not.

        Args:
            distance: Between the boxes, m.
            speed: Speed of the driver, m/s.
            ahead: Speed of the vehicle ahead, m/s (taken as constant).
            acceleration: Acceleration of the driver at present, m/s², kept during the reaction.
        """
        if speed <= ahead:
            return 0.0
        kept = max(acceleration, -self.comfortable)
        later = speed + self.reaction * kept
        if later < ahead:
            return float(distance < (speed - ahead) ** 2 / abs(2 * acceleration))
        reacting = (speed + kept * self.reaction / 2 - ahead) * self.reaction
        safe = reacting + (later - ahead) ** 2 / (2 * self.comfortable)
        unsafe = reacting + (later - ahead) ** 2 / (2 * self.hard)
        return _falling(distance, unsafe, safe)

    def braking(self, proactive: float, critical: float) -> float:
        """Deceleration (m/s²) that the two metrics ask for."""
        if critical > 0:
            return self.comfortable + critical * (self.hard - self.comfortable)
        return proactive * self.comfortable


def fuzzy_driver(
    ego: Trajectory,
    ego_size: ArrayLike,
    opponent: Trajectory,
    opponent_size: ArrayLike,
    dt: float = 0.1,
    *,
    contact_step: int,
    start: int = 0,
    model: FuzzyDriver | None = None,
) -> ReferenceDriver:
    """Whether the FSM driver in the ego's place would have prevented the contact; see `competent_driver`."""
    model = model or FuzzyDriver()
    path = ego_path(ego, start, contact_step)
    steps = horizon(contact_step, dt)
    other = carried_on(opponent, steps, dt)
    seen = sightings(path, ego_size, other.states, other.valid, opponent_size)
    known, count = len(path.stations), steps - path.start
    stations, speeds = np.zeros(count), np.zeros(count)
    stations[0], speeds[0] = path.stations[0], path.speeds[0]
    perceived, braking, kind = None, None, "none"
    waiting, deceleration, acceleration = model.reaction, 0.0, 0.0
    for row in range(count - 1):
        step, station, speed = path.start + row, float(stations[row]), float(speeds[row])
        wanted = _wanted_braking(seen[step], station, speed, acceleration, ego_size, model)
        if wanted > 0 and perceived is None:
            sighting = seen[step]
            perceived, kind = step, conflict(sighting) if sighting is not None else kind
        if wanted > 0 and waiting > 1e-9:
            waiting -= dt
        elif wanted > 0:
            deceleration = min(deceleration + model.jerk * dt, model.strongest, wanted)
            braking = step if braking is None else braking
        follows = braking is None and row + 1 < known
        faster = float(path.speeds[row + 1]) if follows else speed
        if not follows and wanted > 0 and waiting <= 1e-9 and braking is not None:
            faster = max(speed - deceleration * dt, 0.0)
        acceleration = (faster - speed) / dt
        stations[row + 1] = path.stations[row + 1] if follows else station + (speed + faster) / 2 * dt
        speeds[row + 1] = faster
    return verdict(path, stations, speeds, ego_size, other, opponent_size, kind, perceived, braking, dt)


def _wanted_braking(
    sighting: Sighting | None,
    station: float,
    speed: float,
    acceleration: float,
    ego_size: ArrayLike,
    model: FuzzyDriver,
) -> float:
    """Deceleration (m/s²) that the situation asks for; 0 where it is safe."""
    if sighting is None or not is_ahead(sighting, station) or not meets(sighting, station, speed, ego_size):
        return 0.0
    distance = sighting.rear - station - float(np.asarray(ego_size)[0]) / 2
    critical = model.critical(distance, speed, sighting.along, acceleration)
    return model.braking(model.proactive(distance, speed, sighting.along), critical)


def _falling(value: float, low: float, high: float) -> float:
    """1 up to `low`, 0 from `high` on, linear between."""
    if value >= high:
        return 0.0
    return 1.0 if value < low else float((high - value) / (high - low))

"""The competent and careful human driver of UN Regulation 157 ("CC driver", annex 4, appendix 3, §3.3).

Published facts: a cut-in is perceived when the vehicle has left its normal wandering of 0.375 m; assessing the risk
takes 0.4 s; then it takes 0.75 s until the brakes act, and 0.6 s until they act fully, with 0.774 g. The danger is real
below a time to collision of 2.0 s. A vehicle ahead that brakes harder than 5 m/s² is perceived as a risk at once.
Constants as in the regulation; beyond cut-ins by the rules of `reference_driver`. Our reading of what it leaves open:

- An encounter with more than 2 s left is no emergency, but the driver does not wait until it cannot be helped any more:
  the risk counts from the last moment at which full reaction (assessment, delay, ramp, braking) just suffices, if that
  is earlier. JRC-FSM counts these encounters as preventable without simulating them.
- Wandering is measured from where the vehicle's centre was furthest from the ego's path, as lane centres are not known.
- The driver brakes to a stop, and keeps what the recorded ego did until then (no release of the accelerator).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.interfaces import Trajectory
from harness.metrics.ego_path import EgoPath, Sighting, ego_path, sightings
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
class CompetentDriver:
    """Constants of the model (UN R157, annex 4, appendix 3, table of performance model factors).

    Attributes:
        wandering: Lateral movement that is still normal, m.
        assessment: Risk evaluation, s.
        delay: From the end of the perception to the start of braking, s.
        ramp: From the start of braking to full braking, s.
        braking: Full braking, m/s².
        danger: Time to collision below which an encounter is dangerous, s.
        hard_braking: Deceleration of the vehicle ahead that is perceived as a risk, m/s².
        headway: Time gap up to which hard braking ahead concerns the driver, s.
    """

    wandering: float = 0.375
    assessment: float = 0.4
    delay: float = 0.75
    ramp: float = 0.6
    braking: float = 0.774 * GRAVITY
    danger: float = 2.0
    hard_braking: float = 5.0
    headway: float = 2.0

    @property
    def reaction(self) -> float:
        """From the perception to the start of braking, s."""
        return self.assessment + self.delay

    def needed_distance(self, closing: float) -> float:
        """Distance (m) at perception that just suffices against a vehicle that is slower by `closing` m/s, constantly.

        Reaction, then a linear ramp of the deceleration, then full braking until both are equally fast.
        """
        jerk = self.braking / self.ramp
        if closing <= 0:
            return 0.0
        lost = self.braking * self.ramp / 2
        if closing <= lost:
            ending = float(np.sqrt(2 * closing / jerk))
            return closing * (self.reaction + ending) - jerk * ending**3 / 6
        ramping = closing * self.ramp - jerk * self.ramp**3 / 6
        return closing * self.reaction + ramping + (closing - lost) ** 2 / (2 * self.braking)

    def needed_time(self, closing: float) -> float:
        """`needed_distance` as time to collision, s."""
        return self.needed_distance(closing) / closing if closing > 0 else 0.0


def competent_driver(
    ego: Trajectory,
    ego_size: ArrayLike,
    opponent: Trajectory,
    opponent_size: ArrayLike,
    dt: float = 0.1,
    *,
    contact_step: int,
    start: int = 0,
    model: CompetentDriver | None = None,
) -> ReferenceDriver:
    """Whether the CC driver in the ego's place would have prevented the contact at `contact_step`.

    Args:
        ego: What the ego did; valid from `start` to `contact_step - 1`.
        ego_size: [2] length and width, m.
        opponent: The vehicle that it touched, as it truly moved (give its whole plan where it is known).
        opponent_size: [2], m.
        dt: s.
        contact_step: First step of contact.
        start: First step from which the driver watches.
        model: Constants.

    Raises:
        ConfigError: The ego is not valid there.
    """
    model = model or CompetentDriver()
    path = ego_path(ego, start, contact_step)
    steps = horizon(contact_step, dt)
    other = carried_on(opponent, steps, dt)
    seen = sightings(path, ego_size, other.states, other.valid, opponent_size)
    perceived, kind = _perception(path, seen, ego_size, dt, model)
    count = steps - path.start
    if perceived is None:
        stations, speeds = _coasting(path, count, dt)
        return verdict(path, stations, speeds, ego_size, other, opponent_size, "none", None, None, dt)
    begin = (perceived - path.start) * dt + model.reaction
    stations, speeds = _braking(path, count, begin, dt, model)
    braking = path.start + int(np.ceil(begin / dt - 1e-9))
    return verdict(path, stations, speeds, ego_size, other, opponent_size, kind, perceived, braking, dt)


def _perception(
    path: EgoPath, seen: list[Sighting | None], ego_size: ArrayLike, dt: float, model: CompetentDriver
) -> tuple[int | None, str]:
    """The step at which the driver perceives a risk, and of what kind; (None, "none") if there is none."""
    farthest, previous = 0.0, None
    for row, (station, speed) in enumerate(zip(path.stations, path.speeds, strict=True)):
        step = path.start + row
        sighting = seen[step]
        if sighting is None:
            farthest, previous = 0.0, None
            continue
        farthest = max(farthest, abs(sighting.offset))
        braked = 0.0 if previous is None else (previous.along - sighting.along) / dt
        previous = sighting
        if not is_ahead(sighting, float(station)):
            continue
        if _is_risk(sighting, float(station), float(speed), ego_size, farthest, braked, dt, model):
            return step, conflict(sighting)
    return None, "none"


def _is_risk(
    sighting: Sighting,
    station: float,
    speed: float,
    ego_size: ArrayLike,
    farthest: float,
    braked: float,
    dt: float,
    model: CompetentDriver,
) -> bool:
    """Whether a vehicle ahead is perceived as a risk right now."""
    distance = sighting.rear - station - float(np.asarray(ego_size)[0]) / 2
    closing = speed - sighting.along
    if distance <= 0:
        time = 0.0
    else:
        time = distance / closing if closing > 0 else np.inf
    # Checked once a step: what is just enough now is too little at the next one.
    dangerous = time <= max(model.danger, model.needed_time(closing) + dt)
    if sighting.inside:
        if sighting.direction == "same":
            hard = braked >= model.hard_braking and distance <= model.headway * speed
            return (dangerous and meets(sighting, station, speed, ego_size)) or hard
        return dangerous and meets(sighting, station, speed, ego_size)
    moved = farthest - abs(sighting.offset) >= model.wandering and sighting.approach > 0
    if not moved or not dangerous:
        return False
    return sighting.direction == "same" or meets(sighting, station, speed, ego_size)


def _coasting(path: EgoPath, count: int, dt: float) -> tuple[Floats, Floats]:
    """Stations and speeds [count]: as recorded, then at the last speed."""
    known = len(path.stations)
    stations = np.concatenate(
        [path.stations, path.stations[-1] + path.speeds[-1] * dt * np.arange(1, count - known + 1)]
    )
    return stations, np.concatenate([path.speeds, np.full(count - known, path.speeds[-1])])


def _braking(path: EgoPath, count: int, begin: float, dt: float, model: CompetentDriver) -> tuple[Floats, Floats]:
    """Stations and speeds [count]: as recorded until `begin` (s after the start of the path), then full braking.

    The ramp starts from the deceleration that the recorded ego had then. Exact, whatever `dt`.
    """
    stations, speeds = _coasting(path, count, dt)
    clock = np.arange(count) * dt
    station, speed = np.interp(begin, clock, stations), np.interp(begin, clock, speeds)
    rates = np.diff(speeds) / dt
    row = min(max(int(begin / dt), 0), len(rates) - 1)
    rate = float(np.clip(-rates[row], 0.0, model.braking))
    jerk = model.braking / model.ramp
    ramp = (model.braking - rate) / jerk

    def moved(time: Floats) -> tuple[Floats, Floats]:
        rising, full = np.minimum(time, ramp), np.maximum(time - ramp, 0.0)
        at_full = speed - rate * rising - jerk * rising**2 / 2
        way = speed * rising - rate * rising**2 / 2 - jerk * rising**3 / 6
        return way + at_full * full - model.braking * full**2 / 2, at_full - model.braking * full

    lost = rate * ramp + jerk * ramp**2 / 2
    if speed >= lost:
        stop = ramp + (speed - lost) / model.braking
    else:
        stop = (-rate + np.sqrt(rate**2 + 2 * jerk * speed)) / jerk
    since = clock - begin
    way, slower = moved(np.clip(since, 0.0, stop))
    after = since > 0
    return np.where(after, station + way, stations), np.where(after, np.maximum(slower, 0.0), speeds)

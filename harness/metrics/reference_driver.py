"""What the reference drivers have in common: when a conflict is one, and whether what they do prevents the contact.

Rules that extend UN R157 beyond cut-ins on a motorway (ours, stated here, used by both drivers):

1. The lane is the corridor that the ego's box sweeps along the path it took; after the contact the path goes straight.
2. Until it brakes, the driver does what the recorded ego did; it never steers differently.
3. Only a vehicle whose centre is ahead of the ego's is a conflict: braking prevents nothing that comes from behind.
4. A vehicle that comes from the side, or oncoming, is a conflict only if it reaches the corridor before the ego has
   passed (constant velocities; a faster one only if it is alongside), and one within the corridor only if it does not
   leave it before the ego arrives.
5. The oncoming vehicle's speed counts as negative: distances to it close at the sum of both speeds.
6. Prevented means: no contact with this vehicle, moving as it truly did, until `AFTER` s after the recorded contact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.interfaces import STATE, VX, Trajectory
from harness.metrics.collision import first_overlap
from harness.metrics.ego_path import EgoPath, Sighting, leaves_in
from harness.metrics.obstacles import extended

Floats = NDArray[np.float64]

AFTER: Final = 4.0
"""Time after the contact that is simulated, s."""
SLACK: Final = 0.1
"""Time by which a crossing vehicle must miss the ego to be no conflict, s (JRC-FSM's lateral check)."""


@dataclass(frozen=True, slots=True)
class ReferenceDriver:
    """What a reference driver would have done in the ego's place.

    Attributes:
        prevented: Whether there is no contact then.
        kind: The conflict at perception: `lead`, `cut-in`, `oncoming`, `crossing`, or `none` (never perceived).
        perceived_step: Step at which the risk is perceived, or None.
        braking_step: First step at which the driver brakes, or None.
        contact_step: Step of the contact that remains, or None.
        contact_speed: Driver's speed at that contact, m/s, or None.
        trajectory: What the driver did, by absolute step (valid from the first considered step on).
        reason: The verdict in words.
    """

    prevented: bool
    kind: str
    perceived_step: int | None
    braking_step: int | None
    contact_step: int | None
    contact_speed: float | None
    trajectory: Trajectory
    reason: str


def horizon(contact_step: int, dt: float) -> int:
    """Number of steps that are simulated."""
    return contact_step + round(AFTER / dt) + 1


def carried_on(other: Trajectory, steps: int, dt: float) -> Trajectory:
    """The other vehicle for `steps` steps, at constant velocity after its recording."""
    states, valid = extended(other.states[None], other.valid[None], steps, dt)
    return Trajectory(states[0], valid[0])


def conflict(sighting: Sighting) -> str:
    """Name of the conflict with a vehicle seen like this."""
    if sighting.direction != "same":
        return sighting.direction
    return "lead" if sighting.inside else "cut-in"


def is_ahead(sighting: Sighting, station: float) -> bool:
    """Rule 3."""
    return sighting.centre > station


def meets(sighting: Sighting, station: float, speed: float, ego_size: ArrayLike) -> bool:
    """Rule 4: whether, at constant velocities, the vehicle is in the corridor when the ego arrives there.

    Args:
        sighting: The vehicle.
        station: Place along the path of the ego's centre, m.
        speed: Speed of the ego, m/s.
        ego_size: [2] length and width, m.
    """
    length, width = (float(value) for value in np.asarray(ego_size, dtype=np.float64))
    closing = speed - sighting.along
    if sighting.inside:
        arrival = (sighting.rear - station - length / 2) / closing if closing > 0 else np.inf
        leaving = leaves_in(sighting, width / 2) + SLACK
        return arrival <= leaving if np.isfinite(leaving) else True
    if sighting.approach <= 0:
        return False
    if closing <= 0:
        return sighting.rear < station + length / 2
    passed = (sighting.front - station + length / 2) / closing
    return sighting.beside / sighting.approach <= passed + SLACK


def verdict(
    path: EgoPath,
    stations: Floats,
    speeds: Floats,
    ego_size: ArrayLike,
    other: Trajectory,
    other_size: ArrayLike,
    kind: str,
    perceived: int | None,
    braking: int | None,
    dt: float,
) -> ReferenceDriver:
    """Judge what a driver did: `stations` and `speeds` [n] from `path.start` on."""
    steps = path.start + len(stations)
    poses = path.poses(stations)
    states, valid = np.zeros((steps, STATE)), np.zeros(steps, dtype=bool)
    states[path.start :, :3], valid[path.start :] = poses, True
    states[path.start :, VX] = speeds * np.cos(poses[:, 2])
    states[path.start :, VX + 1] = speeds * np.sin(poses[:, 2])
    found = int(first_overlap(states, valid, ego_size, other.states, other.valid, other_size, path.start))
    contact = found if found >= 0 else None
    contact_speed = None if contact is None else float(speeds[contact - path.start])
    return ReferenceDriver(
        prevented=contact is None,
        kind=kind,
        perceived_step=perceived,
        braking_step=braking,
        contact_step=contact,
        contact_speed=contact_speed,
        trajectory=Trajectory(states, valid),
        reason=_reason(kind, perceived, braking, contact, contact_speed, dt),
    )


def _reason(
    kind: str, perceived: int | None, braking: int | None, contact: int | None, speed: float | None, dt: float
) -> str:
    if perceived is None:
        return "no conflict to brake for was perceived" + ("" if contact is None else ", so the contact happens")
    seen = f"{kind} perceived at {perceived * dt:.1f} s"
    if contact is None:
        acts = f"braking from {braking * dt:.1f} s" if braking is not None else "without braking"
        return f"{seen}, {acts}: no contact"
    if braking is None or braking >= contact:
        return f"{seen}, contact at {contact * dt:.1f} s before braking could begin"
    return f"{seen}, braking from {braking * dt:.1f} s, yet contact at {contact * dt:.1f} s with {speed:.1f} m/s"

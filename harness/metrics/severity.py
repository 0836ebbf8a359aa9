"""How bad a contact is: change of velocity by momentum, side struck, and the probability of a serious injury.

Injury curve: Wang, "MAIS(05/08) injury probability curves as functions of delta V", NHTSA, DOT HS 813 219 (2022),
tables A-3, A-6 and A-9: logistic regressions on occupants of towed cars in NASS-CDS 2010 to 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.metrics.encounter import contact_place
from scenarios.scenario import Kind

Floats = NDArray[np.float64]
Side = Literal["front", "rear", "left", "right"]
Crash = Literal["frontal", "rear_end", "any"]
"""Kinds of crash that injury curves are made for."""

MASSES: Final = ((3.0, 300.0), (4.1, 1150.0), (4.9, 1550.0), (5.6, 2100.0), (7.0, 3000.0), (9.0, 8000.0))
"""Up to which length (m) a vehicle has which mass (kg), with its driver: motorcycle, small car, car, large car or
pick-up, van, light lorry. Round figures of common models; a scene tells sizes, and no masses."""
HEAVIEST: Final = 15_000.0
"""Mass of longer vehicles, kg: lorry, coach."""
PERSON: Final = 80.0
"""Mass of somebody on foot, kg."""
ON_BICYCLE: Final = 95.0
"""Mass of somebody with a bicycle, kg."""
MPH: Final = 0.44704
"""Metres per second of a mile per hour."""


@dataclass(frozen=True)
class InjuryCurve:
    """Probability that an occupant suffers a serious injury (MAIS3+), by the change of velocity of the own vehicle.

    Attributes:
        name: For tables.
        source: Where the numbers stand, and what they rest on.
        coefficients: Intercept and slope (per m/s) of the logistic function, by kind of crash.
        highest: Change of velocity up to which it is used, m/s; beyond that its value there.
    """

    name: str
    source: str
    coefficients: Mapping[Crash, tuple[float, float]]
    highest: float

    def probability(self, delta_v: float, crash: Crash) -> float:
        """Probability of MAIS3+.

        Args:
            delta_v: Change of velocity of the occupant's vehicle, m/s.
            crash: Kind of crash.
        """
        intercept, slope = self.coefficients[crash]
        return float(1 / (1 + np.exp(-(intercept + slope * min(delta_v, self.highest)))))


NHTSA_2022: Final = InjuryCurve(
    name="NHTSA 2022",
    source="DOT HS 813 219, tables A-3, A-6 and A-9: MAIS3+ of occupants of towed vehicles, NASS-CDS 2010 to 2015",
    coefficients={
        "any": (-6.9540, 0.1637 / MPH),
        "frontal": (-6.9774, 0.1620 / MPH),
        "rear_end": (-8.0329, 0.1793 / MPH),
    },
    highest=70 * MPH,
)
"""The default. It has no curve for sides that are struck; `any` is used for them, which is too mild."""


@dataclass(frozen=True, slots=True)
class Severity:
    """How bad a contact is for the occupants of one vehicle.

    Attributes:
        delta_v: Change of the vehicle's velocity, m/s, as if both went on together (momentum alone; no rebound).
        side: Which side of the vehicle is struck.
        injury: Probability of a serious injury (MAIS3+) of an occupant.
    """

    delta_v: float
    side: Side
    injury: float


def mass_of(kind: Kind, length: float) -> float:
    """A mass for an agent of the log, kg.

    Args:
        kind: What it is.
        length: m.
    """
    if kind == Kind.PEDESTRIAN:
        return PERSON
    if kind == Kind.CYCLIST:
        return ON_BICYCLE
    return next((mass for longest, mass in MASSES if length <= longest), HEAVIEST)


def side_struck(own: Floats, own_size: ArrayLike, other: Floats, other_size: ArrayLike) -> Side:
    """Which side of a box another one touches: where the middle of what both share lies, seen from the box's middle.

    Args:
        own, other: [≥ 3] x, y, heading.
        own_size, other_size: [2] length and width, m.
    """
    size = np.asarray(own_size, dtype=np.float64)
    x, y = contact_place(own, own_size, other, other_size)
    ahead, aside = x - own[0], y - own[1]
    cos, sin = np.cos(own[2]), np.sin(own[2])
    along, left = cos * ahead + sin * aside, -sin * ahead + cos * aside
    if abs(along) / size[0] >= abs(left) / size[1]:
        return "front" if along >= 0 else "rear"
    return "left" if left >= 0 else "right"


def severity(
    relative_speed: float, mass: float, other_mass: float, side: Side, curve: InjuryCurve = NHTSA_2022
) -> Severity:
    """How bad a contact is for the occupants of a vehicle.

    Args:
        relative_speed: Length of the difference of both velocities just before it, m/s.
        mass, other_mass: Masses of the vehicle and of what it meets, kg.
        side: Which side of the vehicle is struck.
        curve: From the change of velocity to the probability of an injury.
    """
    delta_v = relative_speed * other_mass / (mass + other_mass)
    crashes: Mapping[Side, Crash] = {"front": "frontal", "rear": "rear_end", "left": "any", "right": "any"}
    return Severity(delta_v, side, curve.probability(delta_v, crashes[side]))

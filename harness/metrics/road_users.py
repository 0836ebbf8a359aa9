"""What people on foot and on bicycles can do, and what they usually do: published numbers, by kind.

Sources:

- Bohannon 1997: "Comfortable and maximum walking speed of adults aged 20-79 years", Age and Ageing 26.
- Fugger et al. 2000: "Analysis of pedestrian gait and perception-reaction at signal-controlled crosswalk
  intersections", Transportation Research Record 1705.
- FHWA 2004: "Characteristics of emerging road and trail users and their safety", FHWA-HRT-04-103.
- AASHTO 1999: "Guide for the development of bicycle facilities", as FHWA 2004 quotes it.
- TxDOT: "Roadway design manual", section 18.3.4.
- Schöller et al. 2020: "What the constant velocity model can teach us about pedestrian motion prediction",
  Robotics and Automation Letters 5, and its code (`sample_angle_std`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from harness.metrics.vehicle_model import GRAVITY
from scenarios.opponents import TOP_SPEED
from scenarios.scenario import Kind


class MotionLimits(NamedTuple):
    """What somebody cannot exceed.

    Attributes:
        speed: Top speed, m/s.
        acceleration: Along the way, m/s².
        braking: Against it, m/s².
        lateral: Across it, m/s².
        radius: Tightest curve, m; 0 for who turns on the spot.
        yaw_rate: rad/s.
    """

    speed: float
    acceleration: float
    braking: float
    lateral: float
    radius: float
    yaw_rate: float


class RoadUserHabits(NamedTuple):
    """What somebody usually does.

    Attributes:
        speed: Mean of the speeds at which people go, m/s.
        speed_spread: Their standard deviation, m/s.
        direction_spread: Standard deviation of the change of direction of somebody on the move, rad.
    """

    speed: float
    speed_spread: float
    direction_spread: float


_PEDESTRIAN_EFFORT: Final = (0.14 + 0.09) * GRAVITY
"""Mean and one standard deviation of the accelerations at crosswalks (Fugger et al.), m/s². Nothing is published of
braking and of lateral acceleration that we know of: legs push alike in all directions, so the same bound is taken."""
_CYCLIST_LATERAL: Final = 0.36 * GRAVITY
"""What the 85th percentile of cyclists accepts in a curve of 9.2 m (FHWA 2004, table 19), m/s²."""
_CYCLIST_RADIUS: Final = 3.1
"""The tightest curve that the 85th percentile of cyclists took there, m."""

MOTION_LIMITS: Final[Mapping[Kind, MotionLimits]] = {
    Kind.PEDESTRIAN: MotionLimits(
        speed=TOP_SPEED[Kind.PEDESTRIAN],  # Bohannon.
        acceleration=_PEDESTRIAN_EFFORT,
        braking=_PEDESTRIAN_EFFORT,
        lateral=_PEDESTRIAN_EFFORT,
        radius=0.0,
        yaw_rate=np.pi,  # Our own bound, without a source: about face in a second.
    ),
    Kind.CYCLIST: MotionLimits(
        speed=TOP_SPEED[Kind.CYCLIST],  # AASHTO.
        acceleration=1.4,  # FHWA 2004, table 10: the 85th percentile where it is largest.
        braking=0.25 * GRAVITY,  # AASHTO's coefficient of friction for stopping.
        lateral=_CYCLIST_LATERAL,
        radius=_CYCLIST_RADIUS,
        yaw_rate=float(np.sqrt(_CYCLIST_LATERAL / _CYCLIST_RADIUS)),  # Follows from the two.
    ),
}
"""Limits of people on foot and on bicycles."""

HABITS: Final[Mapping[Kind, RoadUserHabits]] = {
    # Speeds of Fugger et al.; direction of Schöller et al.
    Kind.PEDESTRIAN: RoadUserHabits(speed=1.36, speed_spread=0.24, direction_spread=float(np.deg2rad(25.0))),
    # A normal distribution through the median of TxDOT (9.7 mph) and the 85th percentile of FHWA 2004 (22 km/h). No
    # spread of a cyclist's direction is published that we know of: a pedestrian's is taken.
    Kind.CYCLIST: RoadUserHabits(speed=4.34, speed_spread=1.7, direction_spread=float(np.deg2rad(25.0))),
}
"""RoadUserHabits of people on foot and on bicycles."""

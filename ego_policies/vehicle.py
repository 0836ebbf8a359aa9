"""What the simulated car does with an action, as far as rule-based drivers need to know it.

All constants: MetaDrive 0.4.3's default vehicle, read from it or measured on it between 5 and 20 m/s.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import VehicleModel

Floats = NDArray[np.float64]

MAX_STEERING: Final = np.deg2rad(40.0)
"""Front wheel angle at action 1, rad (`max_steering`)."""
REAR_AXLE: Final = 1.4166
"""From the car's centre back to the rear axle, m (`REAR_WHEELBASE`)."""
WHEELBASE: Final = 2.469
"""Distance of the axles, m (`REAR_WHEELBASE` + `FRONT_WHEELBASE`)."""
WHEELBASE_RATIO: Final = 0.547
"""Wheelbase over length (2.469 m / 4.515 m)."""
FULL_THROTTLE: Final = 2.9
"""Acceleration at action 1, m/s²."""
FULL_BRAKE: Final = 22.0
"""Deceleration that action −1 would give if it went on as it begins, m/s² (−0.25 gives 4.6 to 6.3)."""
ROLLING: Final = 0.36
"""Deceleration at action 0, m/s²."""
GRIP: Final = 12.0
"""Deceleration that the tyres hold over a full stop, m/s² (action −1 begins with 16 to 24, levels off at 12 to 14)."""
CORNERING: Final = 7.0
"""Lateral acceleration beyond which the car slides instead of turning, m/s² (6.5 to 8)."""
TOP_SPEED: Final = 80.0 / 3.6
"""The engine gives no more force beyond this, m/s (`max_speed_km_h`)."""

MODEL: Final = VehicleModel(
    front_axle=WHEELBASE - REAR_AXLE,
    rear_axle=REAR_AXLE,
    max_steering=float(MAX_STEERING),
    throttle=FULL_THROTTLE,
    brake=FULL_BRAKE,
    grip=GRIP,
    rolling=ROLLING,
)
"""The car as the tracker knows it; MetaDrive draws the forces of its engine and brakes anew in every scene."""


def pedal(acceleration: float, hardest: float) -> float:
    """Throttle (positive) or brake (negative), each up to 1, that gives an acceleration (m/s²)."""
    if acceleration >= -ROLLING:
        return min((acceleration + ROLLING) / FULL_THROTTLE, 1.0)
    return max(acceleration, -hardest) / FULL_BRAKE


def pedal_acceleration(pedals: Floats, speeds: Floats) -> Floats:
    """Acceleration (m/s²) that throttle or brake [...] in [-1, 1] gives at speeds [...] (m/s): inverse of `pedal`."""
    driving = np.where(speeds < TOP_SPEED, FULL_THROTTLE, 0.0) * pedals - ROLLING
    return np.where(pedals >= 0.0, driving, np.maximum(FULL_BRAKE * pedals, -GRIP))

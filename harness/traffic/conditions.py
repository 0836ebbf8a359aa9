"""Drivers' conditions: how fast, how close and how attentively they drive, and what that changes in what they do.

A condition says how a driver differs from the reference driver, which is that of `idm-lane` with its usual numbers:
1.5 s behind the vehicle ahead, and as fast as the lane allows. What the difference is worth, in m/s², the intelligent
driver model says; the learned model's choices are shifted by that much (see `harness.traffic.model.drivers`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.geometry import box_reach, wrap_angle
from harness.traffic.lane_paths import LaneIDMConfig, speed_limits, varied
from scenarios.idm import acceleration, desired_gap
from scenarios.map_index import MapIndex
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

REFERENCE: Final = LaneIDMConfig()
"""Whom conditions are relative to."""
_AHEAD: Final = 60.0
"""Farther vehicles are not followed, m: as far as the learned model sees them (SMART: 60)."""
_ALIGNED: Final = np.radians(45.0)
"""Who is turned away by more is not followed, but crossed or met, rad."""
_BESIDE: Final = 4.0
"""Drivers this far from every lane's centre have no speed limit, m (as `idm-lane`)."""


@dataclass(frozen=True)
class Conditions:
    """How drivers drive; the defaults change nothing."""

    pace: float = 1.0
    """Desired speed, as a factor on what the lane allows. The reference driver has 1."""
    gap: float = REFERENCE.gap
    """Desired time gap to the vehicle ahead, s. The reference driver has 1.5."""
    attention: float = 1.0
    """Probability with which a driver sees the others at a decision (every half second), each time anew; else it knows
    of them only what it remembers. At 0 it never sees anybody."""
    spread: float = 0.0
    """Standard deviation of the drivers' paces, as a share of `pace`; the factor stays within .5 and 1.5."""
    gap_spread: float = 0.0
    """Standard deviation of the drivers' time gaps, as a share of `gap`; the factor stays within .5 and 1.5."""

    def __post_init__(self) -> None:
        """Reject what nobody can do.

        Raises:
            ConfigError: A number is out of range.
        """
        if not (0 < self.pace < np.inf and 0 < self.gap < np.inf and 0 <= self.attention <= 1):
            raise ConfigError(f"conditions: pace and gap must be positive, attention from 0 to 1; found {self}.")
        if not (0 <= self.spread < np.inf and 0 <= self.gap_spread < np.inf):
            raise ConfigError(f"conditions: spread and gap_spread must be 0 or more; found {self}.")

    @property
    def neutral(self) -> bool:
        """Whether nothing changes."""
        return self == Conditions()


class Desires(NamedTuple):
    """Desired speed factor and desired time gap (s) of drivers, both [W, A]."""

    pace: Floats
    gap: Floats


def draw_desires(conditions: Conditions, shape: tuple[int, ...], rng: np.random.Generator) -> Desires:
    """A population of drivers; where its spreads are 0, everybody is the same."""
    return Desires(
        varied(conditions.pace, conditions.spread, rng.standard_normal(shape)),
        varied(conditions.gap, conditions.gap_spread, rng.standard_normal(shape)),
    )


class Ahead(NamedTuple):
    """The vehicle ahead: distance between bumpers (m, infinite where nobody is ahead) and its speed (m/s)."""

    gap: Floats
    speed: Floats


def vehicle_ahead(pose: Floats, speed: Floats, half: Floats, present: Bools) -> Ahead:
    """Whom everybody follows: the nearest one on the arc that leads from one's own pose smoothly to the other's.

    On a bend, vehicles of one lane lie on such an arc, and those of the next lane as far beside it as the lanes are
    apart.

    Args:
        pose: [..., A, 3] x, y (m), heading (rad).
        speed: [..., A] forwards, m/s.
        half: [..., A, 2] half length and half width, m.
        present: [..., A] who is there.

    Returns:
        Gaps and speeds [..., A].
    """
    offset = pose[..., None, :, :2] - pose[..., :, None, :2]
    cos, sin = np.cos(pose[..., 2])[..., None], np.sin(pose[..., 2])[..., None]
    along = cos * offset[..., 0] + sin * offset[..., 1]
    across = cos * offset[..., 1] - sin * offset[..., 0]
    turn = wrap_angle(pose[..., None, :, 2] - pose[..., :, None, 2])
    own, other = half[..., :, None, :], half[..., None, :, :]
    # Between two tangents that differ by `turn`, the chord is turned by half of it.
    aside = np.abs(across - along * np.tan(turn / 2 * (np.abs(turn) < _ALIGNED)))
    _, wide = box_reach(turn, other[..., 0], other[..., 1])
    arc = np.hypot(along, across) / np.sinc(turn / (2 * np.pi))
    follows = (along > 0) & (arc < _AHEAD) & (np.abs(turn) < _ALIGNED)
    follows &= (aside < own[..., 1] + wide + REFERENCE.margin) & present[..., None, :] & present[..., :, None]
    free = np.where(follows, arc - own[..., 0] - other[..., 0], np.inf)
    who = free.argmin(-1)
    gap = np.take_along_axis(free, who[..., None], -1)[..., 0]
    return Ahead(gap, np.where(np.isfinite(gap), np.take_along_axis(speed, who, -1), 0.0))


class LaneSpeeds:
    """How fast the lanes of a scene allow to drive.

    Args:
        scenario: The scene. Where its map gives no limit, 50 km/h are allowed, as for `idm-lane`.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._index = MapIndex.of(scenario)
        # Off the lanes (the last one) there is no limit.
        self._limits = np.append(speed_limits(scenario, self._index, REFERENCE.speed), np.inf)

    def at(self, poses: Floats) -> Floats:
        """Allowed speeds [...] (m/s) at poses [..., 3] of the world; infinite off the lanes."""
        found: Floats = self._limits[self._index.locate(poses[..., :2], poses[..., 2], _BESIDE).lane]
        return found


def shift(speed: Floats, allowed: Floats, ahead: Ahead, desires: Desires) -> Floats:
    """By how much [...] (m/s²) a driver accelerates more than the reference driver would in its place.

    The difference of two intelligent driver models (Treiber et al. 2000) with all numbers of `idm-lane`, but the
    desired speed and the time gap. It leads to what the driver desires and no farther: who is there already is not
    pushed on, and who would brake by its own desires is not made to speed up.

    Args:
        speed: [...] forwards, m/s.
        allowed: [...] m/s.
        ahead: The vehicle ahead.
        desires: What drivers desire.
    """
    wished = _acceleration(speed, allowed * desires.pace, ahead, desires.gap)
    difference = wished - _acceleration(speed, allowed, ahead, REFERENCE.gap)
    return np.clip(difference, np.minimum(wished, 0.0), np.maximum(wished, 0.0))


def _acceleration(speed: Floats, desired: Floats, ahead: Ahead, time_gap: Floats | float) -> Floats:
    driver = REFERENCE
    wanted = desired_gap(speed, ahead.speed, time_gap, driver.standstill, driver.acceleration, driver.braking)
    change = acceleration(speed, np.maximum(ahead.gap, 0.1), wanted, np.maximum(desired, 0.5), driver.acceleration)
    return driver.limited(change, wanted, ahead.gap)

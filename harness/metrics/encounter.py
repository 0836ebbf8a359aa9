"""How near two vehicles came, how soon they would have met, and how hard they did: by box geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from harness.geometry import box_corners, box_distances, wrap_angle
from harness.interfaces import VX, MetricValue, Trajectory

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

STILL: Final = 1e-9
"""Relative speed along an axis (m/s) below which the boxes do not approach along it."""


@dataclass(frozen=True, slots=True)
class TimeToCollision:
    """Time to collision over an episode.

    Attributes:
        values: [T], s: 0 in contact, inf where the two would never meet, NaN where either is absent.
        minimum: The smallest, valid if it is finite.
    """

    values: Floats
    minimum: MetricValue


@dataclass(frozen=True, slots=True)
class Impact:
    """How two vehicles met.

    Attributes:
        step: The step before the contact, whose velocities are used: later ones may already show the crash itself.
        ego_speed, other_speed: m/s.
        relative_speed: Length of the difference of the velocities, m/s.
        closing_speed: Rate at which the centres approached, m/s; negative if they moved apart.
        heading_difference: Other's heading minus the ego's, rad in [-π, π).
    """

    step: int
    ego_speed: float
    other_speed: float
    relative_speed: float
    closing_speed: float
    heading_difference: float


def distances(ego: Trajectory, ego_size: ArrayLike, other: Trajectory, other_size: ArrayLike) -> Floats:
    """Distance of the boxes at each step, [T], m; NaN where either is absent."""
    both = ego.valid & other.valid
    result = np.full(both.shape, np.nan)
    size_a, size_b = (np.asarray(size, dtype=np.float64) for size in (ego_size, other_size))
    result[both] = box_distances(ego.states[both, :3], size_a, other.states[both, :3], size_b)
    return result


def minimum_distance(
    ego: Trajectory, ego_size: ArrayLike, other: Trajectory, other_size: ArrayLike, start: int = 0
) -> MetricValue:
    """Smallest distance between the boxes at a common step, m (0 in contact).

    Args:
        ego, other: Trajectories of the same length.
        ego_size, other_size: [2] length and width, m.
        start: First absolute step that counts.
    """
    found = distances(ego, ego_size, other, other_size)[start:]
    found = found[np.isfinite(found)]
    return MetricValue(float(found.min()), True) if len(found) else MetricValue(float("nan"), False)


def time_to_collision(
    ego: Trajectory, ego_size: ArrayLike, other: Trajectory, other_size: ArrayLike, start: int = 0
) -> TimeToCollision:
    """When the boxes would meet if both kept velocity and heading; in the plane, not only along a lane.

    Args:
        ego, other: Trajectories of the same length.
        ego_size, other_size: [2] length and width, m.
        start: First absolute step that counts (earlier ones are NaN).
    """
    both = ego.valid & other.valid
    both[:start] = False
    values = np.full(both.shape, np.nan)
    values[both] = constant_velocity_contact(ego.states[both], ego_size, other.states[both], other_size)
    finite = values[np.isfinite(values)]
    minimum = MetricValue(float(finite.min()), True) if len(finite) else MetricValue(float("nan"), False)
    return TimeToCollision(values, minimum)


def constant_velocity_contact(states_a: Floats, size_a: ArrayLike, states_b: Floats, size_b: ArrayLike) -> Floats:
    """Time until two boxes of constant velocity and heading first overlap, [...], s; inf where they never do.

    Separating axes that move: along each of the four face normals the gap closes and opens again at known times, and
    the boxes overlap while all four are closed.

    Args:
        states_a, states_b: [..., 5].
        size_a, size_b: [..., 2] length and width, m.
    """
    half_a, half_b = (np.asarray(size, dtype=np.float64) / 2 for size in (size_a, size_b))
    offset = states_b[..., :2] - states_a[..., :2]
    velocity = states_b[..., VX : VX + 2] - states_a[..., VX : VX + 2]
    enter, leave = np.full(offset.shape[:-1], -np.inf), np.full(offset.shape[:-1], np.inf)
    for normal in (
        states_a[..., 2],
        states_a[..., 2] + np.pi / 2,
        states_b[..., 2],
        states_b[..., 2] + np.pi / 2,
    ):
        cos, sin = np.cos(normal), np.sin(normal)
        centre = cos * offset[..., 0] + sin * offset[..., 1]
        rate = cos * velocity[..., 0] + sin * velocity[..., 1]
        reach = _extent(half_a, states_a[..., 2] - normal) + _extent(half_b, states_b[..., 2] - normal)
        moving = np.abs(rate) > STILL
        safe_rate = np.where(moving, rate, 1.0)
        first, last = (-reach - centre) / safe_rate, (reach - centre) / safe_rate
        inside = np.abs(centre) <= reach
        enter = np.maximum(enter, np.where(moving, np.minimum(first, last), np.where(inside, -np.inf, np.inf)))
        leave = np.minimum(leave, np.where(moving, np.maximum(first, last), np.where(inside, np.inf, -np.inf)))
    return np.where((enter <= leave) & (leave >= 0.0), np.maximum(enter, 0.0), np.inf)


def impact(ego: Trajectory, other: Trajectory, step: int) -> Impact:
    """How the two met at `step`, from their velocities one step earlier (at `step` where that one is not valid).

    Args:
        ego, other: Trajectories of the same length.
        step: First step of contact.
    """
    before = step - 1
    if before < 0 or not (ego.valid[before] and other.valid[before]):
        before = step
    a, b = ego.states[before], other.states[before]
    relative = b[VX:] - a[VX:]
    apart = b[:2] - a[:2]
    gap = float(np.hypot(*apart))
    closing = -float(relative @ apart) / gap if gap > 0 else float(np.hypot(*relative))
    return Impact(
        step=before,
        ego_speed=float(np.hypot(*a[VX:])),
        other_speed=float(np.hypot(*b[VX:])),
        relative_speed=float(np.hypot(*relative)),
        closing_speed=closing,
        heading_difference=float(wrap_angle(b[2] - a[2])),
    )


def contact_place(own: Floats, own_size: ArrayLike, other: Floats, other_size: ArrayLike) -> tuple[float, float]:
    """Where two boxes meet, m: the middle of their overlap, or of the gap between boxes that do not overlap.

    Args:
        own, other: [≥ 3] x, y, heading.
        own_size, other_size: [2] length and width, m.
    """
    pairs = ((own, own_size), (other, other_size))
    mine, theirs = (shapely.polygons(box_corners(state[:3], np.asarray(size, np.float64))) for state, size in pairs)
    common = mine.intersection(theirs)
    middle = (common if not common.is_empty else shapely.shortest_line(mine, theirs)).centroid
    return float(middle.x), float(middle.y)


def _extent(half: Floats, turn: Floats) -> Floats:
    """Half length of the projection of a box, turned by `turn` rad, on an axis, m."""
    return half[..., 0] * np.abs(np.cos(turn)) + half[..., 1] * np.abs(np.sin(turn))

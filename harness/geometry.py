"""Oriented boxes, separating-axis tests, polylines and frames. Batched; the only copy.

Boxes are given by centre poses [..., 3] (x, y, heading) and sizes [..., 2] (length, width), metres and radians.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Real = TypeVar("Real", bound=np.floating)


def wrap_angle(angle: Floats) -> Floats:
    """Angle wrapped to [-π, π), rad; any shape."""
    return (np.asarray(angle) + np.pi) % (2 * np.pi) - np.pi


def quarter_turn(turn: Floats) -> NDArray[np.intp]:
    """The quarter turn that is nearest to an angle (rad): 0 ahead, 1 left, 2 back, 3 right, each ± 45°; any shape."""
    return np.rint(np.asarray(turn) / (np.pi / 2)).astype(np.intp) % 4


def to_frame(points: Floats, pose: Floats) -> Floats:
    """World points [..., 2] in the frame of `pose` (x, y, heading), whose heading becomes +x."""
    offset = points - pose[..., :2]
    cos, sin = np.cos(pose[..., 2]), np.sin(pose[..., 2])
    return np.stack([cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]], -1)


def from_frame(points: Floats, pose: Floats) -> Floats:
    """Inverse of `to_frame`: points [..., 2] of the frame of `pose`, in the world."""
    cos, sin = np.cos(pose[..., 2]), np.sin(pose[..., 2])
    x = cos * points[..., 0] - sin * points[..., 1] + pose[..., 0]
    y = sin * points[..., 0] + cos * points[..., 1] + pose[..., 1]
    return np.stack([x, y], -1)


def box_corners(poses: Floats, sizes: Floats) -> Floats:
    """Corners [..., 4, 2] (front-left, rear-left, rear-right, front-right: counter-clockwise) of oriented boxes."""
    cos, sin = np.cos(poses[..., 2]), np.sin(poses[..., 2])
    half = np.asarray(sizes, dtype=np.float64) / 2
    ahead = np.stack([cos, sin], -1) * half[..., :1]
    left = np.stack([-sin, cos], -1) * half[..., 1:]
    centre = poses[..., :2]
    return np.stack([centre + ahead + left, centre - ahead + left, centre - ahead - left, centre + ahead - left], -2)


def boxes_overlap(poses_a: Floats, sizes_a: Floats, poses_b: Floats, sizes_b: Floats) -> Bools:
    """Whether oriented boxes overlap, by separating axes; broadcasts over leading dimensions.

    Containment and crossing count; boxes that merely touch (a gap of exactly zero) count as well.

    Args:
        poses_a, poses_b: [..., 3].
        sizes_a, sizes_b: [..., 2].

    Returns:
        [...] bool.
    """
    return box_separation(poses_a, sizes_a, poses_b, sizes_b) <= 0.0


def box_reach(
    turn: NDArray[Real], half_length: NDArray[Real], half_width: NDArray[Real]
) -> tuple[NDArray[Real], NDArray[Real]]:
    """How far a box reaches from its centre along and across an axis that it is turned away from by `turn` rad, m."""
    cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    return cos * half_length + sin * half_width, sin * half_length + cos * half_width


def box_separation(poses_a: Floats, sizes_a: Floats, poses_b: Floats, sizes_b: Floats) -> Floats:
    """Largest gap along the four face normals, m: ≤ 0 exactly when the boxes overlap (then minus the penetration).

    Where positive it is a lower bound of the distance between the boxes (equal to it unless corners face
    each other).
    """
    half_a, half_b = np.asarray(sizes_a, dtype=np.float64) / 2, np.asarray(sizes_b, dtype=np.float64) / 2
    offset = poses_b[..., :2] - poses_a[..., :2]
    turn = poses_b[..., 2] - poses_a[..., 2]
    cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))

    def gaps(heading: Floats, own: Floats, other: Floats) -> Floats:
        c, s = np.cos(heading), np.sin(heading)
        along = np.abs(c * offset[..., 0] + s * offset[..., 1])
        across = np.abs(c * offset[..., 1] - s * offset[..., 0])
        gap_along = along - own[..., 0] - (other[..., 0] * cos + other[..., 1] * sin)
        gap_across = across - own[..., 1] - (other[..., 0] * sin + other[..., 1] * cos)
        return np.maximum(gap_along, gap_across)

    return np.maximum(gaps(poses_a[..., 2], half_a, half_b), gaps(poses_b[..., 2], half_b, half_a))


def box_distances(poses_a: Floats, sizes_a: Floats, poses_b: Floats, sizes_b: Floats) -> Floats:
    """Distance between oriented boxes, m, 0 where they touch or overlap; broadcasts over leading dimensions.

    Two convex shapes that are apart are nearest at a corner of one of them, so eight corner-to-box distances suffice.

    Args:
        poses_a, poses_b: [..., 3].
        sizes_a, sizes_b: [..., 2].

    Returns:
        [...].
    """

    def corners_to_box(poses: Floats, sizes: Floats, box: Floats, box_sizes: Floats) -> Floats:
        local = to_frame(box_corners(poses, sizes), box[..., None, :])
        half = np.asarray(box_sizes, dtype=np.float64)[..., None, :] / 2
        outside = np.maximum(np.abs(local) - half, 0.0)
        return np.hypot(outside[..., 0], outside[..., 1]).min(-1)

    nearest = np.minimum(
        corners_to_box(poses_a, sizes_a, poses_b, sizes_b), corners_to_box(poses_b, sizes_b, poses_a, sizes_a)
    )
    return np.where(boxes_overlap(poses_a, sizes_a, poses_b, sizes_b), 0.0, nearest)


def segments_cross_boxes(starts: Floats, ends: Floats, poses: Floats, sizes: Floats) -> Bools:
    """Whether line segments intersect (or lie within) oriented boxes; broadcasts over leading dimensions.

    Liang-Barsky clipping in the frame of the box.

    Args:
        starts, ends: [..., 2] segment end points, m.
        poses: [..., 3]; sizes: [..., 2].

    Returns:
        [...] bool.
    """
    a, b = to_frame(starts, poses), to_frame(ends, poses)
    half = np.asarray(sizes, dtype=np.float64) / 2
    delta = b - a
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (-half - a) / delta, (half - a) / delta
    near, far = np.minimum(low, high), np.maximum(low, high)
    # A segment parallel to a slab is unbounded by it when inside, and never within it when outside.
    parallel, inside = delta == 0.0, np.abs(a) <= half
    near = np.where(parallel, np.where(inside, -np.inf, np.inf), near)
    far = np.where(parallel, np.where(inside, np.inf, -np.inf), far)
    enter = np.maximum(near.max(-1), 0.0)
    leave = np.minimum(far.min(-1), 1.0)
    return enter <= leave


def arc_lengths(polyline: Floats) -> Floats:
    """Cumulative length [N] along a polyline [N, 2], m, starting at 0."""
    steps = np.hypot(*np.diff(polyline[:, :2], axis=0).T)
    return np.concatenate([[0.0], np.cumsum(steps)])


def project_to_polyline(points: Floats, polyline: Floats) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Nearest point on a polyline [N, 2] (N ≥ 2) for points [..., 2].

    Returns:
        Arc length [...] of the foot point (m), signed lateral offset [...] (m, left positive), segment index [...].
    """
    start, delta = polyline[:-1, :2], np.diff(polyline[:, :2], axis=0)
    squared = np.maximum((delta**2).sum(-1), 1e-12)
    relative = points[..., None, :2] - start
    ratio = np.clip((relative * delta).sum(-1) / squared, 0.0, 1.0)
    gap = relative - ratio[..., None] * delta
    distance = np.hypot(gap[..., 0], gap[..., 1])
    segment = distance.argmin(-1)

    def pick(values: Floats) -> Floats:
        return np.take_along_axis(values, segment[..., None], -1)[..., 0]

    cross = delta[..., 0] * relative[..., 1] - delta[..., 1] * relative[..., 0]
    along = arc_lengths(polyline)[segment] + pick(ratio) * np.sqrt(squared)[segment]
    return along, np.copysign(pick(distance), pick(cross)), segment


def coarse_origin(place: Floats) -> Floats:
    """A place [2] near `place` [2, m] about which coordinates keep millimetres in single precision.

    It is a multiple of 65,536 m: nothing changes for scenes about the origin, while coordinates of a map projection
    (UTM), which single precision would round to half a metre, become small.
    """
    return np.asarray(np.round(np.asarray(place, dtype=np.float64) / 65_536.0) * 65_536.0)


def interpolate_polyline(polyline: Floats, along: Floats) -> tuple[Floats, Floats]:
    """Points [..., 2] and headings [...] (rad) at arc lengths `along` [...] (clamped to the ends)."""
    lengths = arc_lengths(polyline)
    along = np.clip(along, 0.0, lengths[-1])
    segment = np.clip(np.searchsorted(lengths, along, side="right") - 1, 0, len(polyline) - 2)
    delta = polyline[segment + 1, :2] - polyline[segment, :2]
    span = np.maximum(lengths[segment + 1] - lengths[segment], 1e-9)
    ratio = (along - lengths[segment]) / span
    return polyline[segment, :2] + ratio[..., None] * delta, np.arctan2(delta[..., 1], delta[..., 0])

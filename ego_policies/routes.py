"""The route that rule-based drivers follow: the logged path, cleaned, prolonged, and sampled for quick look-ups."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.geometry import arc_lengths, interpolate_polyline, project_to_polyline

Floats = NDArray[np.float64]

RUN_OUT: Final = 50.0
"""How far the route is prolonged straight on past its end, m, so that the ego does not stop just short of it."""
MIN_SPACING: Final = 0.5
"""Route points closer than this are merged, m: a halted log has no direction."""


def prepare_route(route: Floats, ego_heading: float, ego_position: Floats, run_out: float = RUN_OUT) -> Floats:
    """Drop repeated points and prolong the route straight on.

    Args:
        route: [N, 2], m.
        ego_heading: rad; gives the direction when the route has none.
        ego_position: [2], m; stands in for a route without finite points.
        run_out: How far to prolong, m.

    Returns:
        [M, 2], M ≥ 2, with segments of at least `MIN_SPACING`.
    """
    points = np.asarray(route, dtype=np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(-1)]
    kept: list[Floats] = []
    for point in points:
        if not kept or np.hypot(*(point - kept[-1])) >= MIN_SPACING:
            kept.append(point)
    if not kept:
        kept = [np.asarray(ego_position, dtype=np.float64)]
    if len(kept) == 1:
        direction = np.array([np.cos(ego_heading), np.sin(ego_heading)])
    else:
        direction = kept[-1] - kept[-2]
        direction = direction / np.hypot(*direction)
    return np.array([*kept, kept[-1] + run_out * direction])


def curve_speed(route: Floats, along: float, distance: float, limit: float) -> float:
    """Highest speed (m/s) that keeps lateral acceleration under `limit` over the next `distance` m of the route."""
    # Chords shorter than this would turn the noise of a logged path into curvature.
    chord = 3.0
    spots = np.arange(along, along + max(distance, 2 * chord) + chord, chord)
    points, _ = interpolate_polyline(route, spots)
    delta = np.diff(points, axis=0)
    turn = np.diff(np.unwrap(np.arctan2(delta[:, 1], delta[:, 0])))
    return float(np.sqrt(limit / max(np.abs(turn).max() / chord, 1e-3)))


class SampledRoute:
    """A route at equal arc lengths: points and directions by index instead of by search.

    Attributes:
        line: [N, 2] the prepared route, m.
        length: Length of the route, m, prolongation included.
    """

    SPACING: Final = 0.25
    """Distance between two points, m."""
    WINDOW: Final = 10.0
    """How far from the last place the next one is looked for, m (0.1 s at 80 m/s is 8 m)."""

    def __init__(self, line: Floats) -> None:
        """Sample a polyline [N, 2] (N ≥ 2) from `prepare_route`."""
        self.line = line
        self.length = float(arc_lengths(line)[-1])
        along = np.arange(0.0, self.length + self.SPACING, self.SPACING)
        self._points, heading = interpolate_polyline(line, along)
        self._tangents = np.stack([np.cos(heading), np.sin(heading)], -1)
        self._points_complex = self._points[:, 0] + 1j * self._points[:, 1]
        self._tangents_complex = self._tangents[:, 0] + 1j * self._tangents[:, 1]
        self._last = len(along) - 1

    def _index(self, along: Floats) -> NDArray[np.intp]:
        # Rounding puts the error at half a sample; two ufuncs cost half of one `clip`.
        return np.minimum(np.maximum(along / self.SPACING + 0.5, 0.0), self._last).astype(np.intp)

    def points(self, along: Floats) -> Floats:
        """Points [..., 2] at arc lengths [...], m; past the end, the end."""
        return self._points[self._index(along)]

    def tangents(self, along: Floats) -> Floats:
        """Unit vectors [..., 2] along the route at arc lengths [...]."""
        return self._tangents[self._index(along)]

    def complex_points(self, along: Floats) -> NDArray[np.complex128]:
        """`points` as x + iy: half the calls where a forecast steps through time."""
        return self._points_complex[self._index(along)]

    def complex_tangents(self, along: Floats) -> NDArray[np.complex128]:
        """`tangents` as x + iy."""
        return self._tangents_complex[self._index(along)]

    def locate(self, point: Floats, last: float | None = None) -> float:
        """Arc length (m) of the nearest place to a point [2], not far from the `last` one where given.

        Remembering the last place keeps a route that crosses or doubles back on itself from being mixed up.
        """
        if last is None:
            return float(project_to_polyline(point, self.line)[0])
        low, high = self._index(np.array([last - self.WINDOW, last + self.WINDOW]))
        gap = self._points[low : high + 1] - point
        nearest = int((gap**2).sum(-1).argmin()) + int(low)
        beyond = -gap[nearest - low] @ self._tangents[nearest]
        return float(np.clip(nearest * self.SPACING + beyond, 0.0, self.length))

    def offsets(self, points: Floats, along: Floats) -> Floats:
        """Offsets [...] (m, left positive) of points [..., 2] from the route at arc lengths [...]."""
        tangent, gap = self.tangents(along), points - self.points(along)
        return tangent[..., 0] * gap[..., 1] - tangent[..., 1] * gap[..., 0]

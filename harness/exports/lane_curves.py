"""Polylines as smooth curves of few pieces: each a line or a cubic, joined without kinks."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.geometry import arc_lengths, from_frame, project_to_polyline, to_frame, wrap_angle

Floats = NDArray[np.float64]

TOLERANCE: Final = 0.05
"""Largest distance between a curve and the points it replaces, m: half of what maps of this kind are good for."""
LONGEST: Final = 60.0
"""Longest cubic, m."""
WIDEST_TURN: Final = 1.0
"""Largest turn within a piece, rad: beyond, a cubic is no longer close to a circle."""
STRAIGHT: Final = 1e-3
"""Largest angle between the ends of a straight piece, rad: simulators accept that as no kink."""
NEAREST: Final = 0.05
"""Points closer together than this say nothing about direction, m."""


class Piece(NamedTuple):
    """One piece of a curve, in the frame of its start (u ahead, v left).

    Attributes:
        start: [3] x, y (m) and heading (rad).
        length: m.
        cubic: [2, 4] coefficients of u and v by ascending power of p in [0, 1], or None for a straight line.
    """

    start: Floats
    length: float
    cubic: Floats | None

    def at(self, p: Floats) -> Floats:
        """Points [n, 2] (m) at parameters [n] in [0, 1]."""
        if self.cubic is None:
            local = np.stack([p * self.length, np.zeros_like(p)], -1)
        else:
            local = (self.cubic[:, None, :] * p[None, :, None] ** np.arange(4)).sum(-1).T
        return from_frame(local, self.start)


def fit(
    points: Floats, tolerance: float = TOLERANCE, *, start: float | None = None, end: float | None = None
) -> list[Piece]:
    """Fit a curve through a polyline: it passes through both ends and stays within `tolerance` of every point.

    Directions at the joints come from the points on both sides, so that neighbouring pieces meet without a kink.

    Args:
        points: [N, ≥2], m.
        tolerance: m.
        start, end: Headings at the two ends, rad, where another curve joins on; None: by the points.

    Returns:
        The pieces in order; none for fewer than two distinct points.
    """
    line = clean(points)
    if len(line) < 2:
        return []
    headings = point_headings(line)
    headings[0] = headings[0] if start is None else start
    headings[-1] = headings[-1] if end is None else end
    along = arc_lengths(line)
    pieces: list[Piece] = []
    waiting = [(0, len(line) - 1)]
    while waiting:
        first, last = waiting.pop()
        piece = _piece(line, headings, along, first, last)
        if last - first > 1 and not _good(piece, line, headings, along, first, last, tolerance):
            middle = int(np.searchsorted(along, (along[first] + along[last]) / 2))
            middle = min(max(middle, first + 1), last - 1)
            waiting += [(middle, last), (first, middle)]
            continue
        pieces.append(piece)
    return pieces


def sample(pieces: list[Piece], per_piece: int = 20) -> Floats:
    """Points [n, 2] along a curve, ends included, m."""
    p = np.linspace(0.0, 1.0, per_piece)
    return np.concatenate([piece.at(p) for piece in pieces])


def clean(line: Floats) -> Floats:
    """The points [N, 2] of a polyline that are finite and do not nearly repeat their predecessor; both ends stay."""
    line = np.asarray(line, dtype=np.float64)[:, :2]
    line = line[np.isfinite(line).all(-1)]
    if len(line) < 2:
        return line
    kept = [0]
    for index in range(1, len(line)):
        if np.hypot(*(line[index] - line[kept[-1]])) >= NEAREST:
            kept.append(index)
    if len(kept) == 1:
        return line[:1]
    kept[-1] = len(line) - 1
    return line[kept]


def point_headings(line: Floats) -> Floats:
    """Direction of travel [N] at every point of a polyline [N, 2], rad; at the ends the turn is carried on."""
    steps = np.diff(line, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    raw = np.arctan2(steps[:, 1], steps[:, 0])
    turns = wrap_angle(np.diff(raw))
    result = np.empty(len(line))
    # The circle through three points: its direction at the middle one leans to the shorter side's chord.
    result[1:-1] = raw[:-1] + turns * lengths[:-1] / (lengths[:-1] + lengths[1:])
    if len(turns):
        half = 0.5 * np.clip(turns[[0, -1]], -0.3, 0.3)
        result[0], result[-1] = raw[0] - half[0], raw[-1] + half[1]
    else:
        result[:] = raw[0]
    return result


def _piece(line: Floats, headings: Floats, along: Floats, first: int, last: int) -> Piece:
    """The cubic with given ends and end directions (Hermite), or a line where it would be straight."""
    start = np.array([*line[first], headings[first]])
    end = to_frame(line[last], start)
    turn = float(wrap_angle(headings[last : last + 1] - headings[first])[0])
    chord = float(np.hypot(*end))
    bearing = float(np.arctan2(end[1], end[0]))
    if abs(bearing) < STRAIGHT and abs(turn - bearing) < STRAIGHT:
        return Piece(np.array([*line[first], headings[first] + bearing]), chord, None)
    reach = float(along[last] - along[first])
    leave, arrive = np.array([reach, 0.0]), reach * np.array([np.cos(turn), np.sin(turn)])
    cubic = np.stack([np.zeros(2), leave, 3 * end - 2 * leave - arrive, leave + arrive - 2 * end], -1)
    return Piece(start, _length(cubic), cubic)


def _length(cubic: Floats) -> float:
    """Arc length of a cubic, m, by Gauss's rule (exact to far below a millimetre for gentle curves)."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    p = (nodes + 1) / 2
    speed = (cubic[:, None, 1:] * np.arange(1, 4) * p[None, :, None] ** np.arange(3)).sum(-1)
    return float((weights * np.hypot(speed[0], speed[1])).sum() / 2)


def _good(piece: Piece, line: Floats, headings: Floats, along: Floats, first: int, last: int, tolerance: float) -> bool:
    """Whether a piece is short, gentle and close enough to the points between its ends."""
    if piece.cubic is not None and along[last] - along[first] > LONGEST:
        return False
    if abs(float(wrap_angle(headings[last : last + 1] - headings[first])[0])) > WIDEST_TURN:
        return False
    curve = piece.at(np.linspace(0.0, 1.0, 2 * (last - first) + 8))
    _, offset, _ = project_to_polyline(line[first + 1 : last], curve)
    return bool(np.abs(offset).max() <= tolerance)

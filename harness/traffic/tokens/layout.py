"""Layout tokens: where somebody is (grid), which way it looks (yaw), and what it is (type), seen from the observer.

RosettaSim, section 4.2 and appendix D.1, with InfGen's grid. Frame: the observer is at the origin and looks along +x.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from harness.geometry import from_frame, to_frame, wrap_angle
from harness.traffic.tokens.shapes import TOKEN_KINDS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GRID_RADIUS: Final = 75.0
"""Cells are no farther from the observer than this, m."""
GRID_STEP: Final = 3.0
"""Distance between neighbouring cells, m."""
GRID_CELLS: Final = 1961
"""Points of the lattice within the radius."""
YAWS: Final = 120
"""Yaw tokens: every 3°; token k is the heading 3k° against the observer's."""
END: Final = TOKEN_KINDS
"""Type token after the last newcomer; those before it are token kinds (vehicle, pedestrian, cyclist)."""
TYPES: Final = TOKEN_KINDS + 1
"""Number of type tokens."""


class LayoutTokens(NamedTuple):
    """Grid and yaw tokens, any shape, and where they stand for the place: within half a cell of the grid's radius."""

    grid: Ints
    yaw: Ints
    covered: NDArray[np.bool_]


@cache
def grid_cells() -> Floats:
    """Centres of the cells [1961, 2] in the observer's frame, m; x by x, then by y. Read-only."""
    reach = int(GRID_RADIUS // GRID_STEP)
    line = np.arange(-reach, reach + 1)
    lattice = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    cells = lattice[(lattice**2).sum(-1) <= reach**2] * GRID_STEP
    cells.setflags(write=False)
    return cells


@cache
def _tree() -> cKDTree:
    return cKDTree(grid_cells())


def grid_tokens(places: Floats) -> Ints:
    """The nearest cell [...] of places [..., 2] in the observer's frame, m; also of those beyond the grid."""
    return np.asarray(_tree().query(places)[1], dtype=np.int64)


def yaw_tokens(headings: Floats) -> Ints:
    """The nearest yaw token [...] of headings [...] against the observer's, rad."""
    return np.asarray(np.round(np.asarray(headings) * (YAWS / (2 * np.pi))), dtype=np.int64) % YAWS


def layout_tokens(poses: Floats, observer: Floats) -> LayoutTokens:
    """Tokens of world poses.

    Args:
        poses: [..., 3] x, y (m), heading (rad).
        observer: [3] or [..., 3], broadcast.
    """
    places = to_frame(poses[..., :2], observer)
    return LayoutTokens(
        grid_tokens(places),
        yaw_tokens(poses[..., 2] - observer[..., 2]),
        np.asarray(np.hypot(places[..., 0], places[..., 1]) <= GRID_RADIUS + GRID_STEP / 2),
    )


def layout_poses(grid: Ints, yaw: Ints, observer: Floats) -> Floats:
    """World poses [..., 3] that tokens [...] stand for, headings in [-π, π); to the cell."""
    heading = wrap_angle(np.asarray(yaw) * (2 * np.pi / YAWS) + observer[..., 2])
    return np.concatenate([from_frame(grid_cells()[grid], observer), np.asarray(heading)[..., None]], -1)

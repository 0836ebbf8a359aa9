"""Road edges where a data set has none: the outline of its road surface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from harness.errors import ScenarioError

Floats = NDArray[np.float64]

MAX_AREAS: Final = 15_000
"""Areas of a map: joining them takes seconds then. Published maps have up to 50."""
MAX_CORNERS: Final = 200_000
"""Corners of all areas of a map; published maps have some hundreds to some thousands."""
MAX_TANGLE: Final = 500
"""Crossings of an area's border with itself: untangling takes a second then, and grows with their square."""
MAX_CROSSINGS: Final = 50_000
"""Crossings of all borders with each other."""
MANY_PARTS: Final = 500
"""Parts of a road that are not connected; published maps have up to 3."""
MAX_MEETINGS: Final = 5_000_000
"""Pairs of sides that lie within each other's bounds; published maps have up to 15,000."""


def road_outlines(areas: Iterable[Floats], gap: float = 0.01) -> list[Floats]:
    """Closed outlines [N, 2] of the union of areas, the road on the left, m.

    Args:
        areas: Corners [M, 2] of polygons; those of fewer than three corners are nothing.
        gap: Areas that meet have gaps between them: those up to twice this width are closed, m.

    Raises:
        ScenarioError: The areas are none that can be joined.
    """
    try:
        areas = [area for area in areas if len(area) > 2]
        _refuse_tangles(areas)
        polygons = [shapely.make_valid(shapely.Polygon(area)) for area in areas]
        joined = shapely.unary_union([shapely.buffer(area, gap) for area in polygons])
        # Many one by one, for the time that all together take grows with the square of their number.
        many = shapely.get_num_geometries(joined) > MANY_PARTS
        parts = shapely.get_parts(shapely.buffer(shapely.get_parts(joined) if many else joined, -gap))
    except (shapely.errors.ShapelyError, ValueError) as error:
        raise ScenarioError(f"the areas of its road cannot be joined: {error}.") from error
    lines: list[Floats] = []
    for part in parts:
        if part.geom_type == "Polygon" and not part.is_empty:
            part = shapely.geometry.polygon.orient(part)
            lines += [np.array(ring.coords, dtype=np.float64)[:, :2] for ring in (part.exterior, *part.interiors)]
    return lines


def _refuse_tangles(areas: Sequence[Floats]) -> None:
    """Raise ValueError where borders [M, 2] cross themselves or each other more often than can be untangled."""
    if not all(np.isfinite(area).all() for area in areas):
        raise ValueError("a corner is NaN or infinite")
    if len(areas) > MAX_AREAS:
        raise ValueError(f"they are {len(areas):,}; at most {MAX_AREAS:,} can be joined")
    count = sum(map(len, areas))
    if count > MAX_CORNERS:
        raise ValueError(f"they have {count:,} corners; at most {MAX_CORNERS:,} can be joined")
    sides = [np.stack([area[:, :2], np.roll(area[:, :2], -1, axis=0)], 1) for area in areas]
    for area, own in zip(areas, sides, strict=True):
        if not shapely.is_valid(shapely.Polygon(area)) and _crossings(own, MAX_TANGLE) > MAX_TANGLE:
            raise ValueError(f"one crosses itself more than {MAX_TANGLE} times")
    if sides and _crossings(np.concatenate(sides), MAX_CROSSINGS) > MAX_CROSSINGS:
        raise ValueError(f"they cross each other more than {MAX_CROSSINGS:,} times")


def _crossings(sides: Floats, enough: int) -> int:
    """How often segments [N, 2, 2] cross; counting stops when it is more than `enough`.

    Raises:
        ValueError: More than `MAX_MEETINGS` pairs lie over each other.
    """
    lines = shapely.linestrings(sides)
    tree, found, met = shapely.STRtree(lines), 0, 0
    for begin in range(0, len(sides), 200):  # In parts: all pairs at once may not fit the memory.
        one, two = tree.query(lines[begin : begin + 200])
        one += begin
        # Each pair is met twice.
        one, two = one[one < two], two[one < two]
        met += len(one)
        if met > MAX_MEETINGS:
            raise ValueError(f"more than {MAX_MEETINGS:,} pairs of their sides lie over each other")
        found += int((_apart(sides[one], sides[two]) & _apart(sides[two], sides[one])).sum())
        if found > enough:
            break
    return found


def _apart(line: Floats, other: Floats) -> NDArray[np.bool_]:
    """Whether the ends of each `other` segment [N, 2, 2] lie on either side of the line through `line` [N, 2, 2]."""
    way = line[:, 1] - line[:, 0]
    begin, end = (way[:, 0] * to[:, 1] - way[:, 1] * to[:, 0] for to in (other[:, row] - line[:, 0] for row in (0, 1)))
    return begin * end < 0

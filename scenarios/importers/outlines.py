"""Road edges where a data set has none: the outline of its road surface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from harness.errors import ScenarioError

Floats = NDArray[np.float64]

MAX_CORNERS: Final = 200_000
"""Corners of all areas of a map; published maps have some hundreds to some thousands."""
MAX_TANGLE: Final = 500
"""Crossings of an area's border with itself: untangling takes a second then, and grows with their square."""
MAX_CROSSINGS: Final = 50_000
"""Crossings of all borders with each other."""


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
        joined = shapely.buffer(shapely.unary_union([shapely.buffer(area, gap) for area in polygons]), -gap)
    except (shapely.errors.ShapelyError, ValueError) as error:
        raise ScenarioError(f"the areas of its road cannot be joined: {error}.") from error
    lines: list[Floats] = []
    for part in shapely.get_parts(joined):
        if part.geom_type == "Polygon" and not part.is_empty:
            part = shapely.geometry.polygon.orient(part)
            lines += [np.array(ring.coords, dtype=np.float64)[:, :2] for ring in (part.exterior, *part.interiors)]
    return lines


def _refuse_tangles(areas: Sequence[Floats]) -> None:
    """Raise ValueError where borders [M, 2] cross themselves or each other more often than can be untangled."""
    if not all(np.isfinite(area).all() for area in areas):
        raise ValueError("a corner is NaN or infinite")
    count = sum(map(len, areas))
    if count > MAX_CORNERS:
        raise ValueError(f"they have {count:,} corners; at most {MAX_CORNERS:,} can be joined")
    sides = [shapely.linestrings(np.stack([area[:, :2], np.roll(area[:, :2], -1, axis=0)], 1)) for area in areas]
    for area, own in zip(areas, sides, strict=True):
        if not shapely.is_valid(shapely.Polygon(area)) and _crossings(own, MAX_TANGLE) > MAX_TANGLE:
            raise ValueError(f"one crosses itself more than {MAX_TANGLE} times")
    if sides and _crossings(np.concatenate(sides), MAX_CROSSINGS) > MAX_CROSSINGS:
        raise ValueError(f"they cross each other more than {MAX_CROSSINGS:,} times")


def _crossings(sides: NDArray[np.object_], enough: int) -> int:
    """How often segments cross; counting stops when it is more than `enough`."""
    tree, found = shapely.STRtree(sides), 0
    for begin in range(0, len(sides), 200):  # In parts: all pairs at once may not fit the memory.
        # Each pair is met twice.
        found += len(tree.query(sides[begin : begin + 200], predicate="crosses")[0])
        if found > 2 * enough:
            break
    return found // 2

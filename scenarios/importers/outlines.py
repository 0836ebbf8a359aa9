"""Road edges where a data set has none: the outline of its road surface."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import shapely
from numpy.typing import NDArray

from harness.errors import ScenarioError

Floats = NDArray[np.float64]


def road_outlines(areas: Iterable[Floats], gap: float = 0.01) -> list[Floats]:
    """Closed outlines [N, 2] of the union of areas, the road on the left, m.

    Args:
        areas: Corners [M, 2] of polygons; those of fewer than three corners are nothing.
        gap: Areas that meet have gaps between them: those up to twice this width are closed, m.

    Raises:
        ScenarioError: The areas are none that can be joined.
    """
    try:
        polygons = [shapely.make_valid(shapely.Polygon(area)) for area in areas if len(area) > 2]
        joined = shapely.buffer(shapely.unary_union([shapely.buffer(area, gap) for area in polygons]), -gap)
    except shapely.errors.GEOSException as error:
        raise ScenarioError(f"the areas of its road cannot be joined: {error}.") from error
    lines: list[Floats] = []
    for part in shapely.get_parts(joined):
        if part.geom_type == "Polygon" and not part.is_empty:
            part = shapely.geometry.polygon.orient(part)
            lines += [np.array(ring.coords, dtype=np.float64)[:, :2] for ring in (part.exterior, *part.interiors)]
    return lines

"""Lines: what rays meet of them, and what the ego stands on.

A piece of line is a box of .075 m by its length. Pieces are found through a grid; a ray walks the cells that it crosses
(Amanatides and Woo, 1987) and stops at the first cell behind the nearest hit. Each cell holds its pieces themselves,
those of one kind side by side, so that a ray reads nothing that does not concern it.
"""

from __future__ import annotations

import math
from typing import Final

from harness.fast.scenes import (
    BROKEN,
    GRID_CELL,
    GRID_COLUMNS,
    GRID_ROWS,
    GRID_X,
    GRID_Y,
    HALF_WIDTH,
    KINDS,
    LINE_HALF,
    LINE_UX,
    LINE_UY,
    LINE_X,
    LINE_Y,
    WHITE,
    YELLOW,
    Kinds,
)
from harness.fast.vehicle import LENGTH, WIDTH
from harness.kernels import Cells, Floats, Singles, inlined, kernel

BLIND: Final = 0.01
"""Bullet's ray cast meets nothing that begins within this distance of it, m."""
_ROUNDING: Final = 1e-9
_HL: Final = LENGTH / 2
_HW: Final = WIDTH / 2


@inlined
def meets_line(lines: Floats, index: int, x: float, y: float, dx: float, dy: float) -> float:
    """Distance (m) along a ray at which it enters the piece of line `lines[index]`; infinity where it does not."""
    ux, uy, half = lines[index, LINE_UX], lines[index, LINE_UY], lines[index, LINE_HALF]
    rx, ry = x - lines[index, LINE_X], y - lines[index, LINE_Y]
    slope, rate = dy * ux - dx * uy, dx * ux + dy * uy
    # Most pieces lie beside the ray's line; this tells without a division.
    if abs(rx * dy - ry * dx) > half * abs(slope) + HALF_WIDTH * abs(rate) + _ROUNDING:
        return math.inf
    across, along = ry * ux - rx * uy, rx * ux + ry * uy
    if abs(across) < HALF_WIDTH + BLIND and abs(along) < half + BLIND:
        return math.inf
    distance = 0.0
    if across > HALF_WIDTH:
        if slope >= 0:
            return math.inf
        distance = (HALF_WIDTH - across) / slope
    elif across < -HALF_WIDTH:
        if slope <= 0:
            return math.inf
        distance = (-HALF_WIDTH - across) / slope
    end = along + distance * rate
    if abs(end) > half:
        if (end > half and rate >= 0) or (end < -half and rate <= 0):
            return math.inf
        distance = ((half if end > half else -half) - along) / rate
        if abs(across + distance * slope) > HALF_WIDTH:
            return math.inf
    # A ray that starts inside meets nothing.
    return distance if distance > 0 else math.inf


@inlined
def _first_cell(place: float, rate: float, inverse: float, enter: float, cells: int) -> tuple[int, int, float, float]:
    """Where a walk begins along one axis: cell, step, distance of the next border and between borders, in cells."""
    cell = min(max(int(place + rate * enter), 0), cells - 1)
    if rate >= 0:
        return cell, 1, (cell + 1 - place) * abs(inverse), abs(inverse)
    return cell, -1, (place - cell) * abs(inverse), abs(inverse)


@inlined
def _inside(place: float, rate: float, inverse: float, cells: int) -> tuple[float, float]:
    """Where a ray enters and leaves the grid along one axis, in cells."""
    if rate == 0:
        return (-math.inf, math.inf) if 0 <= place < cells else (math.inf, -math.inf)
    first, second = -place * inverse, (cells - place) * inverse
    return min(first, second), max(first, second)


@inlined
def _walk(
    grid: Floats, cells: Cells, lines: Floats, x: float, y: float, dx: float, dy: float, reach: float, kinds: Kinds
) -> float:
    """See `cast`."""
    size, columns, rows = grid[GRID_CELL], int(grid[GRID_COLUMNS]), int(grid[GRID_ROWS])
    px, py, ix, iy = (x - grid[GRID_X]) / size, (y - grid[GRID_Y]) / size, 1 / dx, 1 / dy
    # Without this a walk from nowhere would not end. (`isfinite` of a sum is folded away where sums may be reordered.)
    if not abs(px) + abs(py) + abs(dx) + abs(dy) < math.inf:
        return 1.0
    enter_x, leave_x = _inside(px, dx, ix, columns)
    enter_y, leave_y = _inside(py, dy, iy, rows)
    # Nothing lies at the grid's rim: a little less than the way out keeps roundings inside.
    enter, leave = max(enter_x, enter_y, 0.0), min(leave_x, leave_y) - _ROUNDING
    if enter >= leave:
        return 1.0
    column, step_x, next_x, wide = _first_cell(px, dx, ix, enter, columns)
    row, step_y, next_y, high = _first_cell(py, dy, iy, enter, rows)
    nearest, limit = reach, min(reach / size, leave)
    while True:
        place = KINDS * (row * columns + column)
        for index in range(cells[place + kinds[0]], cells[place + kinds[1]]):
            distance = meets_line(lines, index, x, y, dx, dy)
            if distance < nearest:
                nearest = distance
                limit = min(limit, distance / size)
        sideways = next_x < next_y
        if min(next_x, next_y) >= limit:
            return nearest / reach
        column += step_x if sideways else 0
        row += 0 if sideways else step_y
        next_x += wide if sideways else 0.0
        next_y += 0.0 if sideways else high


@kernel
def cast(
    grid: Floats, cells: Cells, lines: Floats, x: float, y: float, dx: float, dy: float, reach: float, kinds: Kinds
) -> float:
    """Nearest line along a ray as a share of its reach; 1 where there is none.

    Args:
        grid, cells, lines: A scene's, see `Scenes`.
        x, y: The ray's start, m.
        dx, dy: Its direction, a unit vector.
        reach: m.
        kinds: Which lines count.
    """
    return _walk(grid, cells, lines, x, y, dx, dy, reach, kinds)


@kernel
def cast_fan(
    grid: Floats,
    cells: Cells,
    lines: Floats,
    x: float,
    y: float,
    dx: float,
    dy: float,
    reach: float,
    kinds: Kinds,
    values: Singles,
    first: int,
    rays: int,
) -> None:
    """Rays in all directions, the first one along dx, dy, the others anticlockwise; see `cast`.

    Args:
        grid, cells, lines, x, y, dx, dy, reach, kinds: As of `cast`.
        values: values[first : first + rays] are written.
        first: See there.
        rays: How many.
    """
    c, s = math.cos(2 * math.pi / rays), math.sin(2 * math.pi / rays)
    for index in range(first, first + rays):
        values[index] = _walk(grid, cells, lines, x, y, dx, dy, reach, kinds)
        dx, dy = dx * c - dy * s, dx * s + dy * c


@kernel
def lines_under(grid: Floats, cells: Cells, lines: Floats, x: float, y: float, fx: float, fy: float) -> int:
    """Kinds of the lines (bit k: kind k) that the ego's box touches; the box is at x, y (m) and points along fx, fy."""
    size, columns, rows = grid[GRID_CELL], int(grid[GRID_COLUMNS]), int(grid[GRID_ROWS])
    reach_x, reach_y = abs(fx) * _HL + abs(fy) * _HW, abs(fy) * _HL + abs(fx) * _HW
    left = max(math.floor((x - reach_x - grid[GRID_X]) / size), 0)
    right = min(math.floor((x + reach_x - grid[GRID_X]) / size), columns - 1)
    low = max(math.floor((y - reach_y - grid[GRID_Y]) / size), 0)
    high = min(math.floor((y + reach_y - grid[GRID_Y]) / size), rows - 1)
    found = 0
    for row in range(low, high + 1):
        for column in range(left, right + 1):
            for kind in (YELLOW, WHITE, BROKEN):
                if found & (1 << kind):
                    continue
                place = KINDS * (row * columns + column) + kind
                for index in range(cells[place], cells[place + 1]):
                    if _under(lines, index, x, y, fx, fy):
                        found |= 1 << kind
                        break
    return found


@inlined
def _under(lines: Floats, index: int, x: float, y: float, fx: float, fy: float) -> bool:
    """Whether a piece of line meets the ego's box (separating axes)."""
    dx, dy, ux, uy, half = (
        lines[index, LINE_X] - x,
        lines[index, LINE_Y] - y,
        lines[index, LINE_UX],
        lines[index, LINE_UY],
        lines[index, LINE_HALF],
    )
    cosine, sine = abs(fx * ux + fy * uy), abs(fx * uy - fy * ux)
    return (
        abs(dx * fx + dy * fy) <= _HL + half * cosine + HALF_WIDTH * sine
        and abs(dx * fy - dy * fx) <= _HW + half * sine + HALF_WIDTH * cosine
        and abs(dx * ux + dy * uy) <= half + _HL * cosine + _HW * sine
        and abs(dy * ux - dx * uy) <= HALF_WIDTH + _HL * sine + _HW * cosine
    )

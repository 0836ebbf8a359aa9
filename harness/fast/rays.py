"""Lines: what rays meet of them, and what the ego stands on.

A piece of line is a box of .075 m by its length. Pieces are found through a grid; a ray walks the cells that it crosses
(Amanatides and Woo, 1987) and stops at the first cell behind the nearest hit.
"""

from __future__ import annotations

import math
from typing import Final

from harness.fast.compiled import Floats, Ints, Numbers, kernel
from harness.fast.scenes import (
    GRID_CELL,
    GRID_COLUMNS,
    GRID_ROWS,
    GRID_X,
    GRID_Y,
    HALF_WIDTH,
    LINE_HALF,
    LINE_KIND,
    LINE_UX,
    LINE_UY,
    LINE_X,
    LINE_Y,
)
from harness.fast.vehicle import LENGTH, WIDTH

BLIND: Final = 0.01
"""Bullet's ray cast meets nothing that begins within this distance of it, m."""
_HL: Final = LENGTH / 2
_HW: Final = WIDTH / 2


@kernel
def meets_line(lines: Floats, index: int, x: float, y: float, dx: float, dy: float) -> float:
    """Distance (m) along a ray at which it enters the piece of line `lines[index]`; infinity where it does not."""
    ux, uy, half = lines[index, LINE_UX], lines[index, LINE_UY], lines[index, LINE_HALF]
    rx, ry = x - lines[index, LINE_X], y - lines[index, LINE_Y]
    across, along = ry * ux - rx * uy, rx * ux + ry * uy
    if abs(across) < HALF_WIDTH + BLIND and abs(along) < half + BLIND:
        return math.inf
    slope, rate = dy * ux - dx * uy, dx * ux + dy * uy
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


@kernel
def _span(place: float, rate: float, cells: int) -> Numbers:
    """Where a ray enters and leaves the grid along one axis, in cells."""
    if rate == 0:
        return (-math.inf, math.inf) if 0 <= place < cells else (math.inf, -math.inf)
    first, second = -place / rate, (cells - place) / rate
    return min(first, second), max(first, second)


@kernel
def cast(
    grid: Floats,
    cells: Ints,
    entries: Ints,
    lines: Floats,
    x: float,
    y: float,
    dx: float,
    dy: float,
    reach: float,
    kinds: int,
) -> float:
    """Nearest line along a ray as a share of its reach; 1 where there is none.

    Args:
        grid, cells, entries, lines: A scene's, see `Scenes`.
        x, y: Where the ray starts, m.
        dx, dy: Its direction, of length 1.
        reach: Its length, m.
        kinds: Which kinds of lines count, as bits.
    """
    size, columns, rows = grid[GRID_CELL], int(grid[GRID_COLUMNS]), int(grid[GRID_ROWS])
    px, py = (x - grid[GRID_X]) / size, (y - grid[GRID_Y]) / size
    enter_x, leave_x = _span(px, dx, columns)
    enter_y, leave_y = _span(py, dy, rows)
    enter, leave = max(enter_x, enter_y, 0.0), min(leave_x, leave_y, reach / size)
    if enter >= leave:
        return 1.0
    column = min(max(int(px + dx * enter), 0), columns - 1)
    row = min(max(int(py + dy * enter), 0), rows - 1)
    step_x, step_y = 1 if dx > 0 else -1, 1 if dy > 0 else -1
    next_x = (column + (1 if dx > 0 else 0) - px) / dx if dx != 0 else math.inf
    next_y = (row + (1 if dy > 0 else 0) - py) / dy if dy != 0 else math.inf
    wide, high = abs(1 / dx) if dx != 0 else math.inf, abs(1 / dy) if dy != 0 else math.inf
    best = reach
    while True:
        cell = row * columns + column
        for index in range(cells[cell], cells[cell + 1]):
            if int(lines[entries[index], LINE_KIND]) & kinds:
                best = min(best, meets_line(lines, entries[index], x, y, dx, dy))
        ahead = min(next_x, next_y)
        if ahead >= best / size or ahead >= leave:
            return best / reach
        if next_x < next_y:
            column += step_x
            next_x += wide
            if column < 0 or column >= columns:
                return best / reach
        else:
            row += step_y
            next_y += high
            if row < 0 or row >= rows:
                return best / reach


@kernel
def lines_under(
    grid: Floats, cells: Ints, entries: Ints, lines: Floats, x: float, y: float, fx: float, fy: float
) -> int:
    """Kinds of the lines (bits) that the ego's box touches; the box is at x, y (m) and points along fx, fy."""
    size, columns, rows = grid[GRID_CELL], int(grid[GRID_COLUMNS]), int(grid[GRID_ROWS])
    reach_x, reach_y = abs(fx) * _HL + abs(fy) * _HW, abs(fy) * _HL + abs(fx) * _HW
    first = max(math.floor((x - reach_x - grid[GRID_X]) / size), 0)
    last = min(math.floor((x + reach_x - grid[GRID_X]) / size), columns - 1)
    low = max(math.floor((y - reach_y - grid[GRID_Y]) / size), 0)
    high = min(math.floor((y + reach_y - grid[GRID_Y]) / size), rows - 1)
    found = 0
    for row in range(low, high + 1):
        for column in range(first, last + 1):
            cell = row * columns + column
            for index in range(cells[cell], cells[cell + 1]):
                kind = int(lines[entries[index], LINE_KIND])
                if not found & kind and _under(lines, entries[index], x, y, fx, fy):
                    found |= kind
    return found


@kernel
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

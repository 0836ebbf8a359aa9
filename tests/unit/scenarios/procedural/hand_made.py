"""Road networks and motions drawn by hand."""

from __future__ import annotations

import numpy as np

from scenarios.procedural.roads import Lane, RoadMap
from scenarios.procedural.traffic import Drivers
from scenarios.procedural.windows import SimulatedMotion


def lane(start: tuple[float, float], end: tuple[float, float], road: int, rank: int = 0, block: str = "S") -> Lane:
    """A straight lane with points 1 m apart."""
    a, b = np.array(start, dtype=float), np.array(end, dtype=float)
    count = round(float(np.hypot(*(b - a)))) + 1
    centre = a + (b - a) * np.linspace(0.0, 1.0, count)[:, None]
    lines = ("ROAD_LINE_SOLID_SINGLE_WHITE", "ROAD_EDGE_BOUNDARY")
    return Lane(centre, 3.5, lines, (True, False), road, rank, block, leads_in=True, leads_out=True)


def crossing_roads() -> RoadMap:
    """Two one-way roads of 200 m: eastwards along y = 0 and northwards along x = 0, crossing at the origin."""
    return RoadMap("intersection", [lane((-100, 0), (100, 0), 0), lane((0, -100), (0, 100), 1)], [])


def merging_roads() -> RoadMap:
    """A main road along y = 0 from −150 to 150, and a slip road that joins it at x = 0 at an angle of 10°."""
    slope = np.tan(np.deg2rad(10.0))
    slip = lane((-120.0, -120.0 * slope), (0, 0), 1)
    before, after = lane((-150, 0), (0, 0), 0), lane((0, 0), (150, 0), 2)
    before.leads_out = slip.leads_out = after.leads_in = False
    before.successors, slip.successors, after.predecessors = [2], [2], [0, 1]
    return RoadMap("merge", [before, slip, after], [])


def drivers(routes: list[int], length: float = 4.5) -> Drivers:
    """Equal drivers with round numbers, in the middle of their lanes."""
    count = len(routes)
    return Drivers(
        route=np.array(routes, dtype=np.intp),
        length=np.full(count, length),
        width=np.full(count, 1.9),
        height=np.full(count, 1.5),
        headway=np.full(count, 1.2),
        accel=np.full(count, 1.5),
        brake=np.full(count, 2.0),
        eagerness=np.ones(count),
        margin=np.full(count, 0.5),
        bias=np.zeros(count),
        weave=np.zeros((count, 2)),
    )


def straight_motion(
    starts: list[tuple[float, float]], velocities: list[tuple[float, float]], steps: int
) -> SimulatedMotion:
    """Vehicles at constant velocity, 4.5 m × 1.9 m."""
    start, velocity = np.array(starts, dtype=float), np.array(velocities, dtype=float)
    time = np.arange(steps) * 0.1
    position = start[:, None] + velocity[:, None] * time[None, :, None]
    heading = np.repeat(np.arctan2(velocity[:, 1], velocity[:, 0])[:, None], steps, 1)
    return SimulatedMotion(
        position=position,
        heading=heading,
        velocity=np.repeat(velocity[:, None], steps, 1),
        speed=np.repeat(np.hypot(*velocity.T)[:, None], steps, 1),
        present=np.ones((len(start), steps), dtype=bool),
        size=np.tile([4.5, 1.9, 1.5], (len(start), 1)),
    )

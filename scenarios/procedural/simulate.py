"""One seed: a road map, a simulation on it, and the scenes recorded from that."""

from __future__ import annotations

import logging
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import GauntletError
from scenarios.procedural.config import SEEDS_PER_SPLIT, SPLITS, VERSION, ProceduralConfig
from scenarios.procedural.record import describe
from scenarios.procedural.roads import RoadMap, build_map
from scenarios.procedural.routes import CROSS, SPACING, Routes, find_routes, speed_profile
from scenarios.procedural.traffic import Traffic, draw_drivers, poses
from scenarios.procedural.windows import SimulatedMotion, choose_windows
from scenarios.source_format import Description

Floats = NDArray[np.float64]

logger = logging.getLogger(__name__)

ROAD_SPEED: Final = {
    "intersection": (8.0, 16.0),
    "t_intersection": (8.0, 16.0),
    "roundabout": (8.0, 14.0),
    "merge": (10.0, 21.0),
    "diverge": (11.0, 21.0),
    "curve": (9.0, 19.0),
    "straight": (10.0, 21.0),
    "mixed": (9.0, 15.0),
}
"""Range of the desired speed on straight road, by kind of map, m/s (urban streets to rural roads)."""
CROSSING_PREFERENCE: Final = 3.0
"""How much rather two vehicles are sent into a crossing than into a merge."""
MAP_TRIALS: Final = 8
"""Maps drawn per simulation before giving up."""


def simulate(config: ProceduralConfig, split: str, index: int) -> list[Description]:
    """Scenes of simulation `index` of a split, as ScenarioDescription dictionaries; possibly none.

    The result depends on nothing but the arguments: every random number comes from one generator seeded by them.
    """
    seed = SPLITS.index(split) * SEEDS_PER_SPLIT + index
    rng = np.random.default_rng([VERSION, config.seed, seed])
    names = sorted(config.kinds)
    odds = np.array([config.kinds[name] for name in names])
    kind = str(rng.choice(names, p=odds / odds.sum()))
    roads, routes = _roads(kind, rng)
    road_speed = float(rng.uniform(*ROAD_SPEED[kind]))
    density = float(rng.uniform(config.min_density, config.max_density))
    motion = _drive(config, roads, routes, road_speed, density, rng)
    scenes = []
    for number, window in enumerate(choose_windows(motion, config, rng)):
        name = f"pg-{split}-{index:06d}-{number}"
        scenes.append(describe(name, roads, motion, window, config, seed, road_speed, density))
    logger.debug("procedural: %s simulation %d (%s): %d scenes", split, index, kind, len(scenes))
    return scenes


def _roads(kind: str, rng: np.random.Generator) -> tuple[RoadMap, Routes]:
    """A map of this kind with routes through it, drawn again while MetaDrive's blocks do not fit together."""
    for trial in range(MAP_TRIALS):
        try:
            roads = build_map(kind, rng)
            return roads, find_routes(roads, rng)
        except GauntletError as error:
            logger.debug("procedural: trial %d: %s", trial, error)
    raise GauntletError(f"procedural: no {kind} map in {MAP_TRIALS} trials; take another seed")


def _drive(
    config: ProceduralConfig,
    roads: RoadMap,
    routes: Routes,
    road_speed: float,
    density: float,
    rng: np.random.Generator,
) -> SimulatedMotion:
    """Simulate traffic of a density (vehicles per km of lane) and return what everybody did."""
    lane_km = sum(lane.length for lane in roads.lanes if lane.block not in "XT") / 1000.0
    # The ring carries everybody, and its entries are slow: as many vehicles as elsewhere would block it.
    ring = "O" in {lane.block for lane in roads.lanes}
    initial = int(np.clip(round((0.6 if ring else 1.0) * density * lane_km), 4, config.max_vehicles))
    # Vehicles arrive at the rate at which this density flows through.
    rate = initial / max(float(np.median(routes.length)) / (0.7 * road_speed), 1.0)
    arrivals = int(rate * config.duration) + 1
    entries = np.unique(routes.entry)
    weight = rng.uniform(0.4, 1.6, len(routes.entry)) * np.where(routes.turns > 0.6, 1.3, 1.0)
    weight /= np.array([(weight * (routes.entry == entry)).sum() for entry in routes.entry])  # per entry
    weight *= rng.uniform(0.5, 1.5, len(entries))[np.searchsorted(entries, routes.entry)]
    weight /= weight.sum()
    profile = speed_profile(routes, 1.3 * road_speed)  # each driver's own limit comes on top
    meeting, entry, start = _appointments(routes, profile, initial, config, rng)
    tries = 3 * initial
    random = rng.choice(len(weight), tries + arrivals, p=weight)
    span = routes.length[random] - 25.0
    places = np.where(np.arange(tries + arrivals) < tries, rng.uniform(0.03, 0.75, tries + arrivals) * span, 0.0)
    times = np.concatenate([np.full(tries, -1.0), np.sort(rng.uniform(0.0, config.duration, arrivals))])
    # MetaDrive's roundabouts have entries too tight for trucks: their fronts would swing over the kerb.
    drivers = draw_drivers(np.concatenate([meeting, random]), rng, trucks=0.0 if ring else 0.08)
    start, entry_time = np.concatenate([start, places]), np.concatenate([entry, times])
    # The whole body is on the map: the rear axle is 0.2 of the length ahead of the rear bumper.
    start += 0.2 * drivers.length
    on_turn = routes.penalty[drivers.route, (start / SPACING).astype(np.intp)] > 0
    entry_time[on_turn & (entry_time < 0)] = np.inf  # nobody starts within a junction
    traffic = Traffic(routes, profile, road_speed, drivers, entry_time, start)
    traffic.limit_initial(initial)
    log = traffic.run(config.duration, config.max_vehicles)
    ever = np.flatnonzero(log.present.any(1))
    body = [poses(routes, drivers, log, int(v), slice(None)) for v in ever]
    size = np.stack([drivers.length, drivers.width, drivers.height], -1)[ever]
    return SimulatedMotion(
        position=np.stack([b[0] for b in body]),
        heading=np.stack([b[1] for b in body]),
        velocity=np.stack([b[2] for b in body]),
        speed=log.speed[ever],
        present=log.present[ever],
        size=size,
    )


def _appointments(
    routes: Routes, profile: Floats, count: int, config: ProceduralConfig, rng: np.random.Generator
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Pairs of vehicles whose undisturbed drives reach a conflict zone at about the same time.

    Left to chance, most vehicles of light traffic never get into each other's way.

    Returns:
        Route [2M], entry time [2M] (s; −1: from the start) and start [2M] (m) of each vehicle.
    """
    a, b, k = np.nonzero(
        np.triu(np.ones(routes.zone_kind.shape[:2], dtype=bool), 1)[..., None] & (routes.zone_kind > 0)
    )
    if len(a) == 0:
        return np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0)
    odds = np.where(routes.zone_kind[a, b, k] == CROSS, CROSSING_PREFERENCE, 1.0)
    pick = rng.choice(len(a), max(2, count // 2), p=odds / odds.sum())
    zone = routes.zones[a[pick], b[pick], k[pick]]
    route = np.stack([a[pick], b[pick]], -1)
    meet = rng.uniform(4.0, config.duration - 5.0, len(pick))
    when = np.stack([meet, meet + rng.uniform(-1.5, 1.5, len(pick))], -1)
    # Undisturbed time from the route's start to each of its points.
    clock = np.concatenate([np.zeros((len(profile), 1)), np.cumsum(SPACING / profile[:, :-1], 1)], 1)
    arrive = clock[route, np.stack([zone[:, 0], zone[:, 2]], -1).astype(np.intp)]
    entry = when - arrive
    start = np.zeros(entry.shape)
    for m, side in zip(*np.nonzero(entry < 0), strict=True):
        start[m, side] = np.searchsorted(clock[route[m, side]], -entry[m, side]) * SPACING
    entry = np.where(entry < 0, -1.0, entry)
    return route.ravel(), entry.ravel(), start.ravel()

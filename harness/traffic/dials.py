"""What traffic does when one of its options is turned: speeds, time gaps, contacts, and hits of a braking ego.

Every level of the dial meets the same scenes with the same random numbers. Whether an answer is monotone says
Spearman's rank correlation of level and answer, in each scene by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from harness import specs
from harness.errors import ConfigError
from harness.files import JsonDict
from harness.interfaces import TrafficPolicy
from harness.metrics.intervals import bootstrap_mean
from harness.traffic.conditions import vehicle_ahead
from harness.traffic.make import make_simulator, make_traffic
from harness.traffic.reactivity import Braking, find_case, react
from harness.traffic.recording import summary
from harness.traffic.rollouts import SceneSimulator, SimulatedScene
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

Floats = NDArray[np.float64]

MEASURES: Final = ("speed", "time_gap", "contacts", "hits")
"""Mean speed (m/s) of vehicles that move at step 10; mean time gap (s) of those that follow somebody then; share of
agents that touch somebody; share of roll-outs in which a follower hits an ego that brakes."""
MOVING: Final = 1.0
"""Slower vehicles stand, m/s."""
FOLLOWING: Final = 4.0
"""Who is farther behind at step 10 does not follow, s."""
_LONGEST: Final = 10.0
"""Longer time gaps count as this, s: behind a standing vehicle they would grow without bounds."""
_EVERY: Final = 5
"""Time gaps are taken every so many steps."""


class Turning(NamedTuple):
    """An option of traffic, and the levels at which it is measured."""

    name: str
    levels: tuple[float, ...]


def parse_dial(text: str) -> Turning:
    """Read `pace=0.8,1,1.2`.

    Raises:
        ConfigError: It is something else, or has fewer than two levels, or one twice.
    """
    name, _, values = text.partition("=")
    try:
        levels = tuple(float(value) for value in values.split(","))
    except ValueError:
        levels = ()
    if not name or len(set(levels)) < 2 or len(set(levels)) < len(levels) or not np.isfinite(levels).all():
        raise ConfigError(f"--dial {text!r}: expected OPTION=LEVEL,LEVEL,… with two levels or more, as in pace=0.8,1.")
    return Turning(name, levels)


class _Turned(NamedTuple):
    """Traffic at one level of a dial."""

    simulator: SceneSimulator
    traffic: TrafficPolicy


def turn(
    names: Sequence[str], dial: Turning, scenes: Iterable[Scenario], *, rollouts: int, seed: int, deceleration: float
) -> JsonDict:
    """Measure traffic at every level.

    Args:
        names: What moves the traffic.
        dial: What is turned.
        scenes: Loaded one at a time.
        rollouts: How often each scene is rolled out at each level.
        seed: Seed of the roll-outs and of the bootstrap, the same at all levels.
        deceleration: How hard an ego brakes, m/s².

    Returns:
        Kind of traffic → `levels`: level → measure → mean, low, high, scenes; and `trend`: the same of the rank
        correlations. Where a measure is not defined in a scene (nobody follows), that scene does not count; where it
        is the same at all levels the rank correlation is 0.

    Raises:
        ConfigError: Traffic has no such option, or there are no scenes.
    """
    made = {name: [_Turned(make_simulator(text), make_traffic(text)) for text in _texts(name, dial)] for name in names}
    found: dict[str, list[Floats]] = {name: [] for name in names}
    for scenario in scenes:
        case = find_case(scenario, deceleration)
        for name, levels in made.items():
            rows = [_measure(turned, scenario, case, rollouts, seed) for turned in levels]
            found[name].append(np.array([[row[measure] for measure in MEASURES] for row in rows]))
    return {name: _summarise(dial, tables, seed) for name, tables in found.items()}


def _texts(name: str, dial: Turning) -> list[str]:
    return [specs.with_option(name, dial.name, f"{level:g}") for level in dial.levels]


def _measure(
    turned: _Turned, scenario: Scenario, case: Braking | None, rollouts: int, seed: int
) -> Mapping[str, float]:
    simulated = turned.simulator.simulate(scenario, rollouts, seed)
    touched = sum(row["agents_in_contact"] for row in summary(scenario, simulated))
    hits = [react(case, turned.traffic, seed + number).hit for number in range(rollouts)] if case is not None else []
    return {
        **movement(scenario, simulated),
        "contacts": touched / (rollouts * len(simulated.agents)),
        "hits": float(np.mean(hits)) if hits else float("nan"),
    }


def movement(scenario: Scenario, simulated: SimulatedScene) -> dict[str, float]:
    """Mean speed and mean time gap of a scene's roll-outs; see `MEASURES`. NaN where nobody moves or follows."""
    agents, dt = simulated.agents, scenario.dt
    now = np.concatenate([scenario.position[agents, CURRENT_STEP, :2], scenario.heading[agents, CURRENT_STEP, None]], 1)
    first = np.broadcast_to(now[None, :, None], (simulated.rollouts, len(agents), 1, 3))
    poses = np.concatenate([first, simulated.states[..., [0, 1, 3]]], 2)
    pace = np.hypot(*np.moveaxis(np.diff(poses[..., :2], axis=2), -1, 0)) / dt
    began = np.hypot(*scenario.velocity[agents, CURRENT_STEP].T)
    vehicles = (scenario.kinds[agents] == Kind.VEHICLE) & (began > MOVING)
    half = np.array([scenario.box(int(agent)) for agent in agents]) / 2
    present = np.ones(len(agents), bool)
    at_first = vehicle_ahead(now, began, half, present).gap
    follows = vehicles & (at_first < FOLLOWING * began)
    speed, gap = float("nan"), float("nan")
    if vehicles.any():
        speed = float(pace[:, vehicles].mean())
    if follows.any():
        # [R, T, A]: everybody at one moment.
        later, paces = (part[:, :, _EVERY - 1 :: _EVERY].swapaxes(1, 2) for part in (poses[:, :, 1:], pace))
        shape = (*later.shape[:3], 2)
        ahead = vehicle_ahead(later, paces, np.broadcast_to(half, shape), np.broadcast_to(present, shape[:-1]))
        known = np.isfinite(ahead.gap) & (paces > MOVING) & follows
        gap = float(np.minimum(ahead.gap[known] / paces[known], _LONGEST).mean()) if known.any() else gap
    return {"speed": speed, "time_gap": gap}


def _summarise(dial: Turning, tables: Sequence[Floats], seed: int) -> JsonDict:
    """Means and trends of one kind of traffic from tables [levels, measures], one per scene."""
    if not tables:
        raise ConfigError("dial: there is no scene to look at; take some.")
    numbers = np.stack(tables, -1)
    trend = [[rank_correlation(dial.levels, scene[:, column]) for scene in tables] for column in range(len(MEASURES))]
    return {
        "levels": {
            f"{level:g}": {measure: _interval(row[column], seed) for column, measure in enumerate(MEASURES)}
            for level, row in zip(dial.levels, numbers, strict=True)
        },
        "trend": {measure: _interval(values, seed) for measure, values in zip(MEASURES, trend, strict=True)},
    }


def rank_correlation(levels: Sequence[float], values: Floats) -> float:
    """Spearman's ρ of levels and values [L]; 0 where all values are the same, NaN where one is."""
    if np.isnan(values).any():
        return float("nan")
    return 0.0 if np.ptp(values) == 0 else float(spearmanr(levels, values)[0])


def _interval(values: Sequence[float] | Floats, seed: int) -> JsonDict:
    return {**bootstrap_mean(values, seed)._asdict(), "scenes": int(np.isfinite(values).sum())}

"""How traffic reacts to an ego that brakes hard in its lane: how often do its followers hit it?

The ego follows its log up to step 10, then brakes evenly along its own logged path, as an attacked driver might.
Everybody else is moved by a traffic policy. Where nobody follows the recorded ego, the nearest vehicle with a follower
takes its part, so that most scenes count, and each once. No simulator is involved: what counts is whether boxes meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.files import JsonDict
from harness.geometry import arc_lengths, to_frame, wrap_angle
from harness.interfaces import HEADING, STATE, VX, VY, SpawningTraffic, TrafficPolicy
from harness.metrics.collision import first_overlap
from harness.metrics.intervals import wilson
from harness.metrics.paired import mcnemar
from harness.traffic.rollouts import Interventions, total_interventions
from harness.traffic.slots import Slots, reserve_of
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SLOWEST: Final = 3.0
"""Egos and followers slower than this at step 10 (m/s) are not looked at: nothing can be learnt from them."""
REACH: Final = 40.0
"""Followers begin at most so far behind the ego (centres, m): 2.9 s at 50 km/h."""
LANE: Final = 1.75
"""Followers begin at most so far aside of the ego (m): half a lane of 3.5 m."""
ALIGNED: Final = np.radians(30.0)
"""Followers are turned against the ego by at most this much, rad."""
SPARE: Final = 5.0
"""The logged path goes on at least this far beyond where the braking ego stops (m): the recorded ego drove on."""


class Braking(NamedTuple):
    """An ego that brakes in a scene (whose `ego` it is): its states [T, STATE], and who [F] follows it at step 10."""

    scenario: Scenario
    states: Floats
    followers: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Reaction:
    """What one kind of traffic did in one scene.

    Attributes:
        hit: Whether a follower ran into the ego.
        step: Absolute step of the first such contact, or -1.
        closing: Follower's speed minus the ego's then, m/s; NaN without contact.
        slowed: Largest speed that a follower lost, m/s.
        interventions: What the traffic's shield has done; None without one.
    """

    hit: bool
    step: int
    closing: float
    slowed: float
    interventions: Interventions | None = None


def find_case(scenario: Scenario, deceleration: float) -> Braking | None:
    """The ego of a scene, braking, or else the vehicle nearest to it that can take its part; None without any."""
    if scenario.num_steps <= CURRENT_STEP:
        return None
    place = scenario.position[:, CURRENT_STEP, :2]
    vehicles = np.flatnonzero(scenario.valid[:, CURRENT_STEP] & (scenario.kinds == Kind.VEHICLE))
    order = np.argsort(np.hypot(*(place[vehicles] - place[scenario.ego]).T), kind="stable")
    for agent in vehicles[order].tolist():
        case = braking(replace(scenario, ego=agent, opponent=None), deceleration)
        if case is not None:
            return case
    return None


def braking(scenario: Scenario, deceleration: float) -> Braking | None:
    """The ego of a scene, braking; None where it is slow, soon stops anyway, or nobody follows it.

    Args:
        scenario: The scene.
        deceleration: m/s².
    """
    ego, steps = scenario.ego, scenario.num_steps
    if steps <= CURRENT_STEP + 1 or not scenario.valid[ego, : CURRENT_STEP + 1].all():
        return None
    states = scenario.states(ego)
    speed = float(np.hypot(*states[CURRENT_STEP, VX : VY + 1]))
    rows = CURRENT_STEP + np.flatnonzero(np.logical_and.accumulate(scenario.valid[ego, CURRENT_STEP:]))
    along = arc_lengths(states[rows, :2])
    if speed < SLOWEST or along[-1] < speed**2 / (2 * deceleration) + SPARE:
        return None
    followers = _followers(scenario, states[CURRENT_STEP])
    if not len(followers):
        return None
    time = np.arange(1, steps - CURRENT_STEP) * scenario.dt
    time = np.minimum(time, speed / deceleration)
    gone, pace = speed * time - deceleration * time**2 / 2, np.maximum(speed - deceleration * time, 0.0)
    heading = np.interp(gone, along, np.unwrap(states[rows, HEADING]))
    place = [np.interp(gone, along, states[rows, column]) for column in range(2)]
    braked = states.copy()
    braked[CURRENT_STEP + 1 :] = np.stack([*place, heading, pace * np.cos(heading), pace * np.sin(heading)], -1)
    return Braking(scenario, braked, followers)


def _followers(scenario: Scenario, ego: Floats) -> NDArray[np.intp]:
    """Vehicles behind the ego [STATE] in its lane at step 10, moving its way and not touching it."""
    now = np.stack([scenario.states(agent)[CURRENT_STEP] for agent in range(scenario.num_agents)])
    local = to_frame(now[:, :2], ego[: HEADING + 1])
    lengths = np.array([scenario.box(agent)[0] for agent in range(scenario.num_agents)])
    gap = -local[:, 0] - (lengths + lengths[scenario.ego]) / 2
    follows = (gap > 0) & (-local[:, 0] < REACH) & (np.abs(local[:, 1]) < LANE)
    follows &= np.abs(wrap_angle(now[:, HEADING] - ego[HEADING])) < ALIGNED
    follows &= (np.hypot(now[:, VX], now[:, VY]) > SLOWEST) & scenario.valid[:, CURRENT_STEP]
    return np.flatnonzero(follows & (scenario.kinds == Kind.VEHICLE))


class Driver(Protocol):
    """Takes somebody's place after the absolute step `since`."""

    since: int

    def step(self, step: int, states: Floats, valid: Bools) -> Floats:
        """Its state [STATE] at `step + 1`, given everybody's [A, STATE], [A] at `step`."""
        ...


def play(
    scenario: Scenario,
    traffic: TrafficPolicy,
    ego: Floats | None,
    seed: int | Sequence[int],
    *,
    drivers: Mapping[int, Driver] = MappingProxyType({}),
    last: int | None = None,
    comings: Slots | None = None,
) -> tuple[Floats, Bools]:
    """Everybody's states [A, T, STATE] and validity [A, T] around an ego that does as it is told.

    Where the traffic lets agents enter, those that do are returned with `comings` alone, in the scene's slots.

    Args:
        scenario: The scene.
        traffic: What moves everybody but the ego.
        ego: [T, STATE] states of the ego, NaN at steps at which it is not there; None where nobody is there to react to
            (`with_absent_ego`).
        seed: The traffic's: a number, or several.
        drivers: Who drives instead of single agents, the ego included; the traffic sees them.
        last: Last step that is played, of which nothing is valid beyond; by default the scene's.
        comings: Slots of the scene of this episode, which are told of everybody who enters.
    """
    known, steps = scenario.num_agents, scenario.num_steps
    scenario = scenario.with_opponent(None).with_reserve(reserve_of(traffic))
    states = np.zeros((scenario.num_agents, steps, STATE))
    valid = np.zeros((scenario.num_agents, steps), bool)
    states[:, 0] = [scenario.states(agent)[0] for agent in range(scenario.num_agents)]
    valid[:, 0] = scenario.valid[:, 0]
    traffic.reset(scenario, np.random.default_rng(seed))
    for step in range(min(steps - 1, steps if last is None else last)):
        states[:, step + 1], valid[:, step + 1] = traffic.step(step, states[:, step].copy(), valid[:, step].copy())
        if comings is not None and isinstance(traffic, SpawningTraffic):
            comings.enter(traffic.spawned(), step + 1, valid[:, step + 1], valid[:, step])
        own = np.full(STATE, np.nan) if ego is None else ego[step + 1]
        valid[scenario.ego, step + 1] = np.isfinite(own).all()
        states[scenario.ego, step + 1] = np.where(valid[scenario.ego, step + 1], own, 0.0)
        for agent, driver in drivers.items():
            if step >= driver.since:
                states[agent, step + 1], valid[agent, step + 1] = (
                    driver.step(step, states[:known, step], valid[:known, step]),
                    True,
                )
    return (states, valid) if comings is not None else (states[:known], valid[:known])


def react(case: Braking, traffic: TrafficPolicy, seed: int) -> Reaction:
    """Let traffic meet a braking ego."""
    scenario = case.scenario
    states, valid = play(scenario, traffic, case.states, seed)
    done = getattr(traffic, "interventions", None)
    ego, followers = scenario.ego, case.followers
    sizes = np.array([scenario.box(agent) for agent in range(scenario.num_agents)])
    steps = first_overlap(
        states[ego], valid[ego], sizes[ego], states[followers], valid[followers], sizes[followers], CURRENT_STEP + 1
    )
    pace = np.hypot(states[followers, :, VX], states[followers, :, VY])
    seen = np.where(valid[followers], pace, np.inf)[:, CURRENT_STEP:]
    slowed = float((pace[:, CURRENT_STEP] - seen.min(1)).max())
    if not (steps >= 0).any():
        return Reaction(False, -1, float("nan"), slowed, done)
    row = int(np.where(steps >= 0, steps, states.shape[1]).argmin())
    step = int(steps[row])
    own = float(np.hypot(*states[ego, step, VX : VY + 1]))
    return Reaction(True, step, float(pace[row, step]) - own, slowed, done)


def summarise(found: Mapping[str, Sequence[Reaction]]) -> JsonDict:
    """Rates with Wilson intervals, and exact McNemar tests of every kind of traffic against the first.

    Raises:
        ConfigError: No scene was looked at.
    """
    first = next(iter(found), "")
    if not found or not found[first]:
        raise ConfigError("reactivity: in none of the scenes does somebody follow an ego that could brake; take more.")
    baseline = [item.hit for item in found[first]]
    rows = {}
    for name, reactions in found.items():
        hits = [item.hit for item in reactions]
        closing = [item.closing for item in reactions if item.hit]
        rate = wilson(sum(hits), len(hits))
        rows[name] = {
            "scenes": len(hits),
            "hits": sum(hits),
            "rate": rate.mean,
            "interval": [rate.low, rate.high],
            "closing_speed": float(np.mean(closing)) if closing else float("nan"),
            "speed_lost": float(np.mean([item.slowed for item in reactions])),
            "p_against_first": mcnemar(baseline, hits).p_value,
            "interventions": total_interventions(item.interventions for item in reactions),
        }
    return rows

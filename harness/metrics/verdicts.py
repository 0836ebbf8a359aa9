"""Everything that is said about one contact, from an episode: with whom, how hard, avoidable, preventable, fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import Episode, Trajectory
from harness.metrics.avoidability import Avoidability, Search, avoidability
from harness.metrics.collision import first_contact
from harness.metrics.competent_driver import competent_driver
from harness.metrics.encounter import Impact, impact
from harness.metrics.fault import Fault, fault
from harness.metrics.fuzzy_safety import fuzzy_driver
from harness.metrics.reference_driver import ReferenceDriver
from harness.metrics.visibility import visible_step
from scenarios.map_index import MapIndex, has_road_edges
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FIRST_STEP = CURRENT_STEP + 1
"""The first step that an attack can change, and from which drivers are judged."""
STRUCK_FROM_BEHIND: Final = ("rear_end", "rear_end_lane_change", "hit_stopped")
"""Kinds of `fault` in which one drove into another's rear."""


@dataclass(frozen=True, slots=True)
class ContactVerdict:
    """One contact of the ego with one vehicle.

    Attributes:
        agent: Index of that vehicle in the scene.
        is_opponent: Whether it is the attacked scene's opponent.
        contact_step: First step of contact, at least 11.
        visible_step: From when the ego could know.
        impact: How they met.
        avoidability: Whether anything could have been done; None where the map has no road edges, as the search would
            escape across fields.
        competent: The CC driver of UN R157 in the ego's place.
        fuzzy: The fuzzy safety model in the ego's place.
        fault: Who caused it.
    """

    agent: int
    is_opponent: bool
    contact_step: int
    visible_step: int
    impact: Impact
    avoidability: Avoidability | None
    competent: ReferenceDriver
    fuzzy: ReferenceDriver
    fault: Fault


def judge_contact(
    scenario: Scenario, episode: Episode, ego_size: tuple[float, float], search: Search | None = None
) -> ContactVerdict | None:
    """Judge the first contact of an episode that begins after step 10; None where the ego met no vehicle.

    The opponent moves on by its plan where the recording has ended. A contact with another vehicle, or with an opponent
    that had not left its log by then, was visible from the first step on: it is not the attack that came as a surprise.
    Road edges bind the search for avoidability, and medians, as they are kerbs or walls; without road edges there is
    no such search.

    Args:
        scenario: The scene.
        episode: What happened in it.
        ego_size: The ego's length and width in this episode, m.
        search: Resolution of the avoidability search.
    """
    if episode.error:
        return None
    states, valid = _everyone(scenario, episode)
    sizes = np.array([scenario.box(agent) for agent in range(scenario.num_agents)])
    contact, agent = _first_contact(scenario, episode, states, valid, sizes, ego_size)
    if agent is None:
        return None
    ego, other, size = episode.ego, Trajectory(states[agent], valid[agent]), sizes[agent]
    is_opponent = agent == scenario.opponent
    seen = None
    if is_opponent and episode.plan is not None:
        logged = Trajectory(scenario.states(agent), scenario.valid[agent])
        seen = visible_step(logged, other, FIRST_STEP)
    seen = FIRST_STEP if seen is None or seen >= contact else seen
    index = MapIndex.of(scenario)
    avoidable = None
    if has_road_edges(scenario):
        edges = np.concatenate([index.edge_segments, index.median_segments])
        rest = np.arange(scenario.num_agents) != scenario.ego
        avoidable = avoidability(
            ego, ego_size, states[rest], valid[rest], sizes[rest], contact, seen, scenario.dt, edges, search
        )
    lanes = index if index.lane_ids else None
    watched = min(FIRST_STEP, contact - 1)  # The drivers need one step before the contact.
    return ContactVerdict(
        agent=agent,
        is_opponent=is_opponent,
        contact_step=contact,
        visible_step=seen,
        impact=impact(ego, other, contact),
        avoidability=avoidable,
        competent=competent_driver(ego, ego_size, other, size, scenario.dt, contact_step=contact, start=watched),
        fuzzy=fuzzy_driver(ego, ego_size, other, size, scenario.dt, contact_step=contact, start=watched),
        fault=fault(ego, ego_size, other, size, contact, scenario.dt, lanes),
    )


def beyond_care(verdict: ContactVerdict | None) -> bool:
    """Whether the ego met a vehicle, and a careful driver in its place could not have avoided it.

    Either no motion of the ego's car avoids the contact from when it could be seen on (`avoidability`, which bounds
    every driver from above), or somebody else drove into the ego's rear: replayed vehicles and plans do not react.
    Where the map has no road edges the search is not made, and only the latter counts.
    """
    if verdict is None:
        return False
    fault = verdict.fault
    struck = fault.party == "opponent" and fault.kind in STRUCK_FROM_BEHIND and fault.ego_face == "rear"
    return struck or (verdict.avoidability is not None and not verdict.avoidability.avoidable)


def _everyone(scenario: Scenario, episode: Episode) -> tuple[Floats, Bools]:
    """States [A, T, 5] and validity of all agents; the opponent carries on with its plan where the recording ends."""
    states, valid = episode.agents.copy(), episode.agents_valid.copy()
    plan, opponent = episode.plan, scenario.opponent
    if plan is not None and opponent is not None:
        recorded = np.flatnonzero(valid.any(0))
        after = int(recorded[-1]) + 1 if len(recorded) else 0
        end = max(min(len(plan.valid), valid.shape[1]), after)  # Neither need last as long as the other.
        states[opponent, after:end], valid[opponent, after:end] = plan.states[after:end], plan.valid[after:end]
    return states, valid


def _first_contact(
    scenario: Scenario, episode: Episode, states: Floats, valid: Bools, sizes: Floats, ego_size: tuple[float, float]
) -> tuple[int, int | None]:
    """Step and agent of the first contact that begins after step 10 (the opponent's, of several at once)."""
    vehicles = np.flatnonzero((scenario.kinds == Kind.VEHICLE) & (np.arange(scenario.num_agents) != scenario.ego))
    ego = episode.ego
    steps = first_contact(
        states[vehicles], valid[vehicles], sizes[vehicles], ego.states[None], ego.valid[None], ego_size, FIRST_STEP
    )
    touched = vehicles[steps >= 0]
    if len(touched) == 0:
        return -1, None
    when = steps[steps >= 0]
    first = int(when.min())
    at_once = touched[when == first]
    opponent = scenario.opponent
    return first, opponent if opponent is not None and opponent in at_once else int(at_once[0])

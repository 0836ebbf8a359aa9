"""Everything that is said about one contact, from an episode: with whom, how hard, avoidable, preventable, fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import AttackPlan, Episode, Trajectory
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
Escape = Literal["avoidable", "preventable"]
"""Who escapes: some motion of the ego's car (`avoidability`), or the careful human of UN R157 (`competent_driver`)."""


@dataclass(frozen=True, slots=True)
class ContactVerdict:
    """One contact of the ego with one vehicle, or with an opponent of any kind.

    Attributes:
        agent: Index of the other one in the scene.
        is_opponent: Whether it is the attacked scene's opponent.
        contact_step: First step of contact, at least 11.
        visible_step: From when the ego could know.
        impact: How they met.
        avoidability: Whether anything could have been done; None where the map has no road edges, as the search would
            escape across fields.
        competent: The CC driver of UN R157 in the ego's place.
        fuzzy: The fuzzy safety model in the ego's place.
        fault: Who caused it; None where the other one is on foot or on a bicycle: the rules are about two vehicles.
    """

    agent: int
    is_opponent: bool
    contact_step: int
    visible_step: int
    impact: Impact
    avoidability: Avoidability | None
    competent: ReferenceDriver
    fuzzy: ReferenceDriver
    fault: Fault | None


def judge_contact(
    scenario: Scenario, episode: Episode, ego_size: tuple[float, float], search: Search | None = None
) -> ContactVerdict | None:
    """Judge the first contact of an episode that begins after step 10; None where the ego met no vehicle
    and no opponent.

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
    met = _met(scenario, episode.ego, states, valid, ego_size)
    if met is None:
        return None
    contact, agent = met.contact, met.agent
    ego, other, size = episode.ego, Trajectory(states[agent], valid[agent]), met.sizes[agent]
    is_opponent = agent == scenario.opponent
    seen = _seen(scenario, met, attacked=episode.plan is not None)
    avoidable = _avoidable(scenario, ego, ego_size, met, seen, search) if has_road_edges(scenario) else None
    index = MapIndex.of(scenario)
    lanes = index if index.lane_ids else None
    rules_apply = scenario.kinds[agent] == Kind.VEHICLE
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
        fault=fault(ego, ego_size, other, size, contact, scenario.dt, lanes) if rules_apply else None,
    )


def escapes(
    scenario: Scenario,
    plan: AttackPlan | None,
    drive: Trajectory,
    ego_size: tuple[float, float],
    escape: Escape = "avoidable",
    *,
    opponent_only: bool = False,
    search: Search | None = None,
) -> bool:
    """Whether a reference driver in the ego's place escapes the first contact of a drive after step 10.

    The opponent moves by the plan and everybody else as logged, whatever they did when the ego drove. True where there
    is no contact. Where the map has no road edges the search for a motion would escape across fields, so that the
    competent driver, who keeps to the ego's path, is asked in either case.

    Args:
        scenario: The scene, with its opponent where there is a plan.
        plan: The attack, or None for the scene as recorded.
        drive: What the ego did, by absolute step.
        ego_size: The ego's length and width, m.
        escape: Who has to escape.
        opponent_only: Whether contacts with others are passed over.
        search: Resolution of the avoidability search.
    """
    every = range(scenario.num_agents)
    states, valid = np.stack([scenario.states(agent) for agent in every]), scenario.valid.copy()
    if plan is not None and scenario.opponent is not None:
        states[scenario.opponent], valid[scenario.opponent] = _as_long(
            Trajectory(plan.states, plan.valid), scenario.num_steps
        )
    ego = _as_long(drive, scenario.num_steps)
    met = _met(scenario, ego, states, valid, ego_size, opponent_only)
    if met is None:
        return True
    # Who begins in the midst of a log sees nothing before, and escapes nothing that it begins in.
    first = int(ego.valid.argmax())
    if first >= met.contact:
        return False
    seen = max(_seen(scenario, met, attacked=plan is not None), first)
    if escape == "avoidable" and has_road_edges(scenario):
        return _avoidable(scenario, ego, ego_size, met, seen, search, latest=False).avoidable
    other = Trajectory(states[met.agent], valid[met.agent])
    watched = max(min(FIRST_STEP, met.contact - 1), first)
    return competent_driver(
        ego, ego_size, other, met.sizes[met.agent], scenario.dt, contact_step=met.contact, start=watched
    ).prevented


def beyond_care(verdict: ContactVerdict | None) -> bool:
    """Whether the ego met a vehicle, and a careful driver in its place could not have avoided it.

    Either no motion of the ego's car avoids the contact from when it could be seen on (`avoidability`, which bounds
    every driver from above), or somebody else drove into the ego's rear: replayed vehicles and plans do not react.
    Where the map has no road edges the search is not made, and only the latter counts.
    """
    if verdict is None:
        return False
    fault = verdict.fault
    unavoidable = verdict.avoidability is not None and not verdict.avoidability.avoidable
    if fault is None or fault.party != "opponent":
        return unavoidable
    return unavoidable or (fault.kind in STRUCK_FROM_BEHIND and fault.ego_face == "rear")


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


class _Met(NamedTuple):
    """A contact: its step, whom the ego met, and everybody's states [A, T, 5], validity [A, T] and sizes [A, 2]."""

    contact: int
    agent: int
    states: Floats
    valid: Bools
    sizes: Floats


def _met(
    scenario: Scenario,
    ego: Trajectory,
    states: Floats,
    valid: Bools,
    ego_size: tuple[float, float],
    opponent_only: bool = False,
) -> _Met | None:
    """The first contact that begins after step 10 (the opponent's, of several at once)."""
    sizes = np.array([scenario.box(agent) for agent in range(scenario.num_agents)])
    opponent, agents = scenario.opponent, np.arange(scenario.num_agents)
    counts = scenario.kinds == Kind.VEHICLE
    if opponent is not None:
        counts |= agents == opponent
    vehicles = np.flatnonzero(counts & (agents != scenario.ego))
    if opponent_only:
        vehicles = vehicles[vehicles == (-1 if opponent is None else opponent)]
    steps = first_contact(
        states[vehicles], valid[vehicles], sizes[vehicles], ego.states[None], ego.valid[None], ego_size, FIRST_STEP
    )
    touched = vehicles[steps >= 0]
    if len(touched) == 0:
        return None
    when = steps[steps >= 0]
    first = int(when.min())
    at_once = touched[when == first]
    agent = opponent if opponent is not None and opponent in at_once else int(at_once[0])
    return _Met(first, agent, states, valid, sizes)


def _seen(scenario: Scenario, met: _Met, *, attacked: bool) -> int:
    """From when the ego could know: a contact that is no attack's surprise was visible from the first step on."""
    seen = None
    if attacked and met.agent == scenario.opponent:
        logged = Trajectory(scenario.states(met.agent), scenario.valid[met.agent])
        seen = visible_step(logged, Trajectory(met.states[met.agent], met.valid[met.agent]), FIRST_STEP)
    return FIRST_STEP if seen is None or seen >= met.contact else seen


def _avoidable(
    scenario: Scenario,
    ego: Trajectory,
    ego_size: tuple[float, float],
    met: _Met,
    seen: int,
    search: Search | None,
    latest: bool = True,
) -> Avoidability:
    """Whether some motion within road edges and medians avoids the contact."""
    index, rest = MapIndex.of(scenario), np.arange(scenario.num_agents) != scenario.ego
    edges = np.concatenate([index.edge_segments, index.median_segments])
    others = met.states[rest], met.valid[rest], met.sizes[rest]
    return avoidability(ego, ego_size, *others, met.contact, seen, scenario.dt, edges, search, latest)


def _as_long(drive: Trajectory, steps: int) -> Trajectory:
    """A drive of so many steps: cut, or invalid after its end."""
    states, valid = np.zeros((steps, drive.states.shape[1])), np.zeros(steps, dtype=bool)
    kept = min(steps, len(drive.valid))
    states[:kept], valid[:kept] = drive.states[:kept], drive.valid[:kept]
    return Trajectory(states, valid)

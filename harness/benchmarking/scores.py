"""Every number of one episode, from its record alone: what happened, how hard the attack was, how lifelike.

Two trajectories of the opponent matter. *Executed* is where it truly was; contact, distance and reward are judged on
it (corrected protocol). *Motion* is what the realism of an attack is judged on: the whole plan, even where the episode
ended before it, because the length of an episode must not decide how lifelike an attack looks; only where a reactive
controller drove (SEAL) is it the executed one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.benchmarking.attack_types import attack_type
from harness.benchmarking.columns import LATE, REACTIONS_S
from harness.episodes.protocol import Protocol
from harness.episodes.records import UNDISTURBED, Score
from harness.errors import PolicyError, foreign
from harness.interfaces import STATE, AttackPlan, EgoPolicy, Episode, Trajectory
from harness.metrics.adversarial import adversarial_reward
from harness.metrics.avoidability import Avoidability
from harness.metrics.collision import AS_PUBLISHED, OverlapCheck, first_contact, first_overlap, near_contact
from harness.metrics.compliance import map_checks
from harness.metrics.distribution import kinematic_samples
from harness.metrics.encounter import Impact, impact, minimum_distance, time_to_collision
from harness.metrics.fault import Fault
from harness.metrics.realism import realism_of
from harness.metrics.severity import mass_of, severity, side_struck
from harness.metrics.verdicts import judge_contact
from harness.traffic.rollouts import Interventions
from scenarios.map_index import MapIndex
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

START: Final = CURRENT_STEP + 1
"""First step that an attack can change: contacts that began earlier are nobody's success."""
_EXACT: Final = 1e-9
MEASURED: Final = "policy_"
"""What the names of a policy's own scores begin with."""
PATH_POLYGONS: Final = OverlapCheck(headings="path")
"""SAGE's `eval_sage.py`: polygons at every step, headings from positions."""


@dataclass(frozen=True)
class Case:
    """One finished episode with all that its numbers depend on.

    Attributes:
        scenario: The recorded scene.
        episode: The (attacked) episode.
        undisturbed: Stage 1 of the same system in the same scene.
        plan: What the adversary planned (before any lag), or None.
        ego_size: Length and width, m.
        protocol: Which deviations of the published code are repeated.
        reactive_traffic: Whether the background does not follow its log.
    """

    scenario: Scenario
    episode: Episode
    undisturbed: Episode
    plan: AttackPlan | None
    ego_size: tuple[float, float]
    protocol: Protocol
    reactive_traffic: bool = False

    @cached_property
    def rows(self) -> int:
        """Rows of every trajectory here: the longest of the scene and the episode."""
        return max(self.scenario.num_steps, len(self.episode.ego.valid))

    @cached_property
    def ego(self) -> Trajectory:
        """What the ego did."""
        return padded(self.episode.ego, self.rows)

    @cached_property
    def executed(self) -> Trajectory:
        """Where the opponent truly was."""
        assert self.episode.opponent is not None, "only cases with an opponent are scored"
        return padded(self.episode.opponent, self.rows)

    @cached_property
    def planned(self) -> Trajectory:
        """Where the opponent was to be: its plan, or its log."""
        if self.plan is not None:
            return padded(Trajectory(self.plan.states, self.plan.valid), self.rows)
        agent = self.agent
        return padded(Trajectory(self.scenario.states(agent), self.scenario.valid[agent]), self.rows)

    @cached_property
    def motion(self) -> Trajectory:
        """What realism is judged on; the recorded history does not count, the seam to it does."""
        drives_itself = self.plan.controller is not None if self.plan is not None else self.reactive_traffic
        states, valid = self.executed if drives_itself else self.planned
        return Trajectory(states, valid & (np.arange(self.rows) >= CURRENT_STEP))

    @cached_property
    def agent(self) -> int:
        """Index of the opponent."""
        assert self.scenario.opponent is not None, "only cases with an opponent are scored"
        return self.scenario.opponent

    @property
    def kind(self) -> Kind:
        """What the opponent is."""
        return Kind(int(self.scenario.kinds[self.agent]))

    @cached_property
    def size(self) -> tuple[float, float]:
        """Length and width of the opponent, m."""
        return self.scenario.box(self.agent)

    @cached_property
    def contact(self) -> int | None:
        """First step (after the attack began) at which a contact of ego and opponent begins, by boxes, or None."""
        step = int(first_contact(*self.executed, self.size, *self.ego, self.ego_size, START))
        return step if step >= 0 else None


def padded(trajectory: Trajectory, rows: int) -> Trajectory:
    """The trajectory with `rows` rows; further ones are invalid and zero."""
    have = len(trajectory.valid)
    if have == rows:
        return trajectory
    states, valid = np.zeros((rows, STATE)), np.zeros(rows, dtype=np.bool_)
    states[: min(have, rows)], valid[: min(have, rows)] = trajectory.states[:rows], trajectory.valid[:rows]
    return Trajectory(states, valid)


def score(case: Case) -> dict[str, Score]:
    """Every number of an episode that did not fail; what is undefined is None."""
    numbers = dict(_drive(case))
    if case.scenario.opponent is not None and case.episode.opponent is not None:
        numbers |= {**_success(case), **_quality(case), **_encounter(case)}
        if case.kind != Kind.VEHICLE:
            numbers["opponent_kind"] = case.kind.name.lower()
    numbers |= _verdict(case)
    return {key: _plain(value) for key, value in numbers.items()}


def shield_scores(done: Interventions | None) -> dict[str, Score]:
    """Shares of the decisions of an episode's traffic that its shield changed; nothing without a shield."""
    if done is None or not done.decisions:
        return {}
    return {
        "shield_changed": done.changed / done.decisions,
        "shield_no_way_out": done.no_way_out / done.decisions,
    }


def measured_by(policy: EgoPolicy) -> dict[str, Score]:
    """What the policy itself measured in the episode, by `policy_NAME`; nothing where it measures nothing.

    Raises:
        PolicyError: Its `measured` fails, or gives something else than finite numbers by name.
    """
    measured = getattr(policy, "measured", None)
    if not callable(measured):
        return {}
    with foreign(f"policy {policy.name!r}: `measured` failed", PolicyError):
        return {f"{MEASURED}{name}": _finite(value) for name, value in measured().items()}


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"expected finite numbers, got {number}")
    return number


def profiles(case: Case) -> dict[str, NDArray[np.generic]]:
    """Samples for pooled distributions: of the attack, and of the log of the same vehicle at the same steps."""
    if case.scenario.opponent is None or case.episode.opponent is None:
        return {}
    reading = "as-published" if case.protocol.distances_as_written else "corrected"
    log = padded(Trajectory(case.scenario.states(case.agent), case.scenario.valid[case.agent]), case.rows)
    later = np.arange(case.rows) >= CURRENT_STEP
    found: dict[str, NDArray[np.generic]] = {}
    for name, (states, valid) in (("attack", case.motion), ("log", Trajectory(log.states, log.valid & later))):
        samples = kinematic_samples(states, valid, case.scenario.dt, reading)  # type: ignore[arg-type]
        found |= {
            f"{name}_acceleration": samples.acceleration,
            f"{name}_speed": samples.speed,
            f"{name}_yaw_rate": samples.yaw_rate,
        }
    return found


def _drive(case: Case) -> Mapping[str, object]:
    """How the system under test drove, whoever attacked."""
    episode = case.episode
    return {
        "completion": episode.route_completion,
        "arrived": episode.arrived,
        "off_road_ego": episode.off_road,
        "crashed": episode.crashed,
        "crashed_contact": episode.crash_contact is not None,
        "crashed_geometry": episode.crash_geometry is not None,
        "speed": episode.mean_speed,
        "jerk": episode.mean_jerk,
        "ego_reward": episode.reward,
        "ego_cost": episode.cost,
    }


def _success(case: Case) -> Mapping[str, object]:
    """Contact with the opponent, by every reading."""
    log = Trajectory(case.scenario.states(case.scenario.ego), case.scenario.valid[case.scenario.ego])
    before, other = case.undisturbed.ego, case.undisturbed.opponent
    quiet = other is not None and _meet(case, other, before)
    numbers = {
        "contact_step": case.contact,
        "success_geometry": case.contact is not None,
        "success_contact": _touched(case),
        "success_new": case.contact is not None and not quiet,
        "success_planned": _meet(case, case.planned, before),
        "success_sage": _meet(case, case.planned, case.ego, PATH_POLYGONS),
        "success_cat": _meet(case, case.planned, log, AS_PUBLISHED),
    }
    headline = "success_sage" if case.protocol.success_of_the_plan else "success_geometry"
    return {"success": numbers[headline], **numbers}


def _meet(case: Case, opponent: Trajectory, ego: Trajectory, published: OverlapCheck | None = None) -> bool:
    """Whether a contact of the two begins after the attack; by a published check: whether they overlap in it."""
    pair = (*padded(opponent, case.rows), case.size, *padded(ego, case.rows), case.ego_size, START)
    return bool((first_contact(*pair) if published is None else first_overlap(*pair, published)) >= 0)


def _touched(case: Case) -> bool:
    """Whether the first contact that counts as a crash for the engine was with the opponent (and since the attack)."""
    step = case.episode.crash_contact
    if step is None or step < START or step >= case.rows:
        return False
    ego, other = case.ego, case.executed
    return near_contact(step, ego.states, ego.valid, case.ego_size, other.states, other.valid, case.size)


def _quality(case: Case) -> Mapping[str, Any]:
    """Equations 11 to 13 and the map."""
    protocol, scene = case.protocol, case.scenario
    actual = case.planned if protocol.reward_of_the_plan else case.executed
    style: dict[str, Any] = {}
    if protocol.penalties_by_gradient:
        style = {"differences": "gradient", "headings": "path"}
    pair = (*actual, case.size, *case.ego, case.ego_size)
    kinematic, behavioural = realism_of(case.kind, *case.motion, scene.dt, **style)
    return {
        "reward": adversarial_reward(*pair, START, as_published=protocol.reward_of_the_plan),
        "kinematic": kinematic,
        "behavioural": behavioural,
        **_compliance(case),
    }


def _compliance(case: Case) -> Mapping[str, bool | None]:
    """Whether the opponent leaves the road (None: no edges that bind it) or meets anyone but the ego (as logged)."""
    scene, steps = case.scenario, case.scenario.num_steps
    motion = case.motion.states[:steps], case.motion.valid[:steps]
    edges, objects = map_checks(
        MapIndex.of(scene), scene, case.agent, motion, START, mirrored=case.protocol.boxes_mirrored
    )
    return {"crosses_edge": edges, "hits_objects": objects}


def _encounter(case: Case) -> Mapping[str, object]:
    """How near, how soon, how hard."""
    pair = (case.ego, case.ego_size, case.executed, case.size)
    near, soon = minimum_distance(*pair, START), time_to_collision(*pair, START).minimum
    hard = impact(case.ego, case.executed, case.contact) if case.contact is not None else None
    return {
        "min_distance": near.value if near.valid else None,
        "min_ttc": soon.value if soon.valid else None,
        "impact_speed": hard.relative_speed if hard is not None else None,
        "attack_type": _attack_type(case),
        **_severity(case, hard),
    }


def _attack_type(case: Case) -> str | None:
    """What kind of encounter it was, as it was played."""
    if case.kind != Kind.VEHICLE:
        return case.kind.name.lower()
    return attack_type(case.scenario, case.ego, case.ego_size, case.executed, case.size, START, case.contact)


def _severity(case: Case, hard: Impact | None) -> Mapping[str, object]:
    """How bad the contact is for the ego's occupants; without one the risk of the attack is 0."""
    if hard is None or case.contact is None:
        return {"injury_risk": 0.0}
    step = case.contact
    masses = mass_of(Kind.VEHICLE, case.ego_size[0]), mass_of(case.kind, case.size[0])
    side = side_struck(case.ego.states[step], case.ego_size, case.executed.states[step], case.size)
    found = severity(hard.relative_speed, *masses, side)
    return {
        "closing_speed": hard.closing_speed,
        "impact_angle": abs(np.degrees(hard.heading_difference)),
        "delta_v": found.delta_v,
        "side_struck": found.side,
        "injury_given_contact": found.injury,
        "injury_risk": found.injury,
    }


def _verdict(case: Case) -> Mapping[str, object]:
    """Who could have done what about the first contact: with the opponent, or, undisturbed, with any vehicle.

    After the first contact nothing tells what drivers would have done, so later ones are not judged; and who ran into
    somebody else under attack is no measure of the attack.
    """
    verdict = judge_contact(case.scenario, case.episode, case.ego_size)
    if verdict is None or not (verdict.is_opponent or case.episode.adversary == UNDISTURBED):
        return {}
    return {
        "visible_step": verdict.visible_step,
        **_avoidable(verdict.avoidability, case.scenario.dt),
        "cc_prevented": verdict.competent.prevented,
        "fsm_prevented": verdict.fuzzy.prevented,
        **_fault(verdict.fault),
    }


def _avoidable(found: Avoidability | None, dt: float) -> Mapping[str, object]:
    """Whether anything avoids the contact, until when, and who is still in time: by the time that a driver takes.

    A driver who takes τ to react acts τ after the contact has become visible, and until then does what the ego did.
    """
    late = [f"{LATE}{round(1000 * reaction)}ms" for reaction in REACTIONS_S]
    if found is None:
        return dict.fromkeys(("avoidable", "seconds_before_impact", "time_to_react", *late))
    left = found.time_to_react(dt)
    in_time = [left is not None and reaction <= left + _EXACT for reaction in REACTIONS_S]
    return {
        "avoidable": found.avoidable,
        "seconds_before_impact": found.seconds_before_impact,
        "time_to_react": left,
        **dict(zip(late, in_time, strict=True)),
    }


def _fault(found: Fault | None) -> Mapping[str, object]:
    """Who is to blame; nothing where the rules do not apply."""
    if found is None:
        return {}
    return {"fault": found.party, "fault_kind": found.kind, "fault_reason": found.reason}


def _plain(value: Any) -> Score:
    """Numbers in Python's own types; NaN as None."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    number = float(value)
    return number if np.isfinite(number) else None

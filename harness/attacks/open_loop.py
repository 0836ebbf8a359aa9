"""How well an adversary attacks the logged ego, from geometry alone: no simulation, a few milliseconds a scene.

A replayed ego does exactly what its log says, so the planned attack against the log *is* what a simulation with the
`replay` policy would show. Two published readings of "success" are computed beside Gauntlet's own; they belong in
tables of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from harness.episodes.attacks import attack_context, plan_attack
from harness.episodes.protocol import Protocol, protocol_of
from harness.errors import AdversaryError
from harness.files import JsonDict
from harness.interfaces import Adversary, AttackContext, AttackPlan, Bools, Floats
from harness.metrics.adversarial import adversarial_reward
from harness.metrics.collision import AS_PUBLISHED, OverlapCheck, closest_approach, first_contact, first_overlap
from harness.metrics.compliance import map_checks
from harness.metrics.intervals import Interval, bootstrap_mean, wilson
from harness.metrics.realism import realism_of
from harness.report.tables import Value
from scenarios.map_index import MapIndex
from scenarios.scenario import Kind, Scenario

PATH_POLYGONS: Final = OverlapCheck(headings="path")
"""SAGE's `eval_sage.py`: polygons at every step, headings recomputed from positions."""


@dataclass(frozen=True, slots=True)
class AttackRecord:
    """One attack on one scene. Steps are absolute, -1 for never; penalties as in SAGE's appendix B.2.

    Attributes:
        scenario: Scene name.
        adversary: Registry name (`none`: the logged opponent itself).
        protocol: Protocol of the adversary.
        error: Why there is no plan; then no other number counts.
        contact_step: First step of a contact that begins after the current step: boxes overlap, true headings.
        contact_step_cat: First overlap by the check of CAT's code (every fifth step, edges only).
        contact_step_sage: The same by the check of SAGE's evaluation script.
        closest_m: Smallest distance of the centres, m.
        reward: R_adv, equation 11.
        kinematic: P_kin, equation 12, of the opponent from the current step on, by the limits of its kind.
        behavioural: P_beh, equation 13, of the opponent from the current step on; NaN for a pedestrian.
        off_road: Whether the opponent's box crosses a road edge; None where the map has none, or on foot or bicycle.
        hits_traffic: Whether the opponent's box meets another agent's logged track; None where there is no plan.
        milliseconds: Time to plan, ms.
        opponent: What the opponent is: `vehicle`, `pedestrian` or `cyclist`.
    """

    scenario: str
    adversary: str
    protocol: str
    error: str = ""
    contact_step: int = -1
    contact_step_cat: int = -1
    contact_step_sage: int = -1
    closest_m: float = np.nan
    reward: float = np.nan
    kinematic: float = np.nan
    behavioural: float = np.nan
    off_road: bool | None = None
    hits_traffic: bool | None = None
    milliseconds: float = np.nan
    opponent: str = ""


def attack_logged(
    adversary: Adversary, scenario: Scenario, protocol: Protocol, *, intensity: float = 1.0, seed: int = 0
) -> tuple[AttackRecord, AttackPlan | None]:
    """Plan one attack on the logged ego and judge it; a scene that cannot be attacked yields a record with `error`."""
    rng = np.random.default_rng(seed)
    try:
        context = attack_context(scenario, rng, intensity=intensity)
        attack = plan_attack(adversary, scenario, rng, intensity=intensity, protocol=protocol)
    except AdversaryError as error:
        return AttackRecord(scenario.id, adversary.name, protocol.name, error=str(error)), None
    # Nothing is played here, so nothing is late: the plan is judged as the adversary meant it.
    plan = attack.planned
    if plan is None:
        plan_states, plan_valid = scenario.states(context.opponent), scenario.valid[context.opponent]
    else:
        plan_states, plan_valid = plan.states, plan.valid
    numbers = judge(context, plan_states, plan_valid, protocol)
    kind = Kind(int(scenario.kinds[context.opponent])).name.lower()
    record = AttackRecord(
        scenario.id, adversary.name, protocol.name, milliseconds=attack.seconds * 1e3, opponent=kind, **numbers
    )
    return record, plan


def judge(context: AttackContext, states: Floats, valid: Bools, protocol: Protocol) -> JsonDict:
    """Every number of an `AttackRecord` for the opponent's `states` [T, 5] with `valid` [T] against the newest ego."""
    scene, start = context.scenario, context.step + 1
    ego, size = context.ego_trajectories[-1], scene.box(context.opponent)
    pair = (states, valid, size, ego.states, ego.valid, context.ego_size)
    motion = valid.copy()
    motion[: context.step] = False  # the seam from the last observed row counts, the recorded history does not
    style: JsonDict = {"differences": "gradient", "headings": "path"} if protocol.penalties_by_gradient else {}
    off_road, hits_traffic = map_checks(
        MapIndex.of(scene), scene, context.opponent, (states, valid), start, mirrored=protocol.boxes_mirrored
    )
    kinematic, behavioural = realism_of(Kind(int(scene.kinds[context.opponent])), states, motion, scene.dt, **style)
    return {
        "contact_step": int(first_contact(*pair, start)),
        "contact_step_cat": int(first_overlap(*pair, start, AS_PUBLISHED)),
        "contact_step_sage": int(first_overlap(*pair, start, PATH_POLYGONS)),
        "closest_m": float(closest_approach(states, valid, ego.states, ego.valid, start)),
        "reward": float(adversarial_reward(*pair, start, as_published=protocol.reward_of_the_plan)),
        "kinematic": float(kinematic),
        "behavioural": float(behavioural),
        "off_road": off_road,
        "hits_traffic": hits_traffic,
    }


def attack_all(
    adversaries: Sequence[Adversary],
    scenes: Iterable[Scenario],
    protocol: Protocol,
    *,
    intensity: float = 1.0,
    seed: int = 0,
    on_plan: Callable[[Scenario, AttackRecord, AttackPlan | None], None] | None = None,
) -> list[AttackRecord]:
    """Every adversary on every scene, scene by scene.

    Args:
        adversaries: Built with the same `protocol`.
        scenes: Loaded one at a time.
        protocol: Which reading of reward and penalties.
        intensity: Intensity of every attack.
        seed: Each scene's generator is seeded with `seed` plus its number.
        on_plan: Called after each attack (pictures, progress).
    """
    records = []
    for number, scene in enumerate(scenes):
        for adversary in adversaries:
            record, plan = attack_logged(adversary, scene, protocol, intensity=intensity, seed=seed + number)
            records.append(record)
            if on_plan is not None:
                on_plan(scene, record, plan)
    return records


def summarise(records: Sequence[AttackRecord], seed: int = 0) -> list[dict[str, Value]]:
    """One row of the table per adversary, in order of first appearance.

    `scenes` were attacked; `failed` could not be, and are in no other number. `success` is the share of scenes with
    contact: `as-published` counts CAT's check, `corrected` every step; `success_sage` goes by SAGE's script (only
    `as-published`). Rates have Wilson intervals, means bootstrap intervals over scenes; `milliseconds` is the median.
    `vulnerable` counts opponents on foot and on bicycles, and `without_edges` vehicles in scenes whose map has no road
    edges: `off_road` is a share of the others.
    """
    rows = []
    for name in dict.fromkeys(record.adversary for record in records):
        own = [record for record in records if record.adversary == name]
        good = [record for record in own if not record.error]
        published = protocol_of(own[0].protocol).success_of_the_plan

        def rate(flags: Iterable[bool | None]) -> Interval:
            known = [flag for flag in flags if flag is not None]
            return wilson(sum(known), len(known))

        hits = [r.contact_step_cat if published else r.contact_step for r in good]
        row: dict[str, Value] = {
            "adversary": name,
            "protocol": own[0].protocol,
            "scenes": len(good),
            "failed": len(own) - len(good),
            "success": rate(step >= 0 for step in hits),
            "success_sage": rate(r.contact_step_sage >= 0 for r in good) if published else None,
            "reward": bootstrap_mean([r.reward for r in good], seed),
            "kinematic": bootstrap_mean([r.kinematic for r in good], seed),
            "behavioural": bootstrap_mean([r.behavioural for r in good], seed),
            "off_road": rate(r.off_road for r in good),
            "without_edges": sum(r.off_road is None and r.opponent == Kind.VEHICLE.name.lower() for r in good),
            "vulnerable": sum(r.opponent in ("pedestrian", "cyclist") for r in good),
            "hits_traffic": rate(r.hits_traffic for r in good),
            "milliseconds": float(np.median([r.milliseconds for r in good])) if good else np.nan,
        }
        rows.append(row)
    return rows

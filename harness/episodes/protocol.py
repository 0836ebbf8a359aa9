"""The two readings of the published attacks: one object says, switch by switch, what is repeated of their code.

`CORRECTED` repeats none of the deviations of CAT's and SAGE's public code (`adv_generator.py`, `eval_sage.py`,
`sage/*.py`), `PUBLISHED` all of them. Every command takes the same object; a run folder holds one protocol only, and
its tables name what they repeat. Adversaries read the switches of `ADVERSARY_SWITCHES`, everybody else the others.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Literal

from harness.errors import UnknownNameError
from harness.metrics.collision import AS_PUBLISHED, EVERY_STEP, OverlapCheck

ProtocolName = Literal["corrected", "as-published"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """Which deviations of the published code are repeated. The defaults repeat none.

    Attributes:
        name: As it appears in tables.
        attack_logged_ego: The attacks of an evaluation aim at the logged ego; its undisturbed drive is never handed to
            the adversary. Training always aims at recent drives, as CAT's does.
        plan_one_step_late: Row k of a plan is played at step k + 1.
        success_of_the_plan: Success is the overlap of the *planned* opponent with the re-simulated ego, headings taken
            from the path (`attack`: CAT's check); nobody asks whether the simulated cars touched.
        reward_of_the_plan: Equation 11 with t counted from 0, T = number of common steps, nothing beyond 20 m, and the
            planned opponent.
        penalties_by_gradient: Equations 12 and 13 by second-order central differences and headings from the path.
        boxes_mirrored: Boxes are turned by minus their heading in both map checks.
        distances_as_written: Wasserstein samples as `sage/metrics.py` takes them: unsigned accelerations that include
            the lateral part, headings from the path.
        collision_by_flag: A collision of a trained ego is the simulator's contact flag; boxes that meet do not count.
        check: How an adversary judges contact with the ego. CAT checks every fifth step, edge against edge, with
            headings from smoothed finite differences, and counts k in samples of 0.5 s.
        clamp_rank: Log-probabilities from this rank on (0 is the likeliest) are set to that rank's, or None.
        normalise_ego: Whether the weights of the ego trajectories sum to one; CAT's weigh 1 each.
        path_headings: Plan headings are recomputed from positions (CAT's smoothing) instead of the model's.
        forward_velocity: Plan velocities are forward differences, zero in the last row, instead of the model's.
        rule_as_written: `rule` takes a uniform curve parameter, reads the logged future, and appends the ego's rows
            one step early, as `adv_generator_rule.py` does.
        king_as_written: `king` makes one drive with KING's throttle gain instead of several with a car's.
        sage_as_written: `sage` judges its candidates against the logged ego, with the objectives of its code, and
            spaces its goals not at all.
    """

    name: str = "corrected"
    attack_logged_ego: bool = False
    plan_one_step_late: bool = False
    success_of_the_plan: bool = False
    reward_of_the_plan: bool = False
    penalties_by_gradient: bool = False
    boxes_mirrored: bool = False
    distances_as_written: bool = False
    collision_by_flag: bool = False
    check: OverlapCheck = EVERY_STEP
    clamp_rank: int | None = None
    normalise_ego: bool = True
    path_headings: bool = False
    forward_velocity: bool = False
    rule_as_written: bool = False
    king_as_written: bool = False
    sage_as_written: bool = False

    @property
    def adversaries_as_written(self) -> bool:
        """Whether adversaries repeat anything of their code."""
        return any(getattr(self, name) != getattr(CORRECTED, name) for name in ADVERSARY_SWITCHES)

    def names(self) -> tuple[str, ...]:
        """The deviations of an evaluation that are repeated, by their keys in `MEANING`."""
        return tuple(name for name in MEANING if getattr(self, name))

    def describe(self) -> list[dict[str, str]]:
        """Every deviation of an evaluation with its switch, for tables and run folders."""
        return [
            {"name": name, "repeated": "yes" if getattr(self, name) else "no", "published": theirs, "corrected": ours}
            for name, (theirs, ours) in MEANING.items()
        ]


ADVERSARY_SWITCHES: Final = (
    "check",
    "clamp_rank",
    "normalise_ego",
    "path_headings",
    "forward_velocity",
    "rule_as_written",
    "king_as_written",
    "sage_as_written",
)
"""Switches that adversaries read."""
SWITCHES: Final = tuple(item.name for item in fields(Protocol) if item.name != "name")
"""Every switch."""

CORRECTED: Final = Protocol()
PUBLISHED: Final = Protocol(
    name="as-published",
    attack_logged_ego=True,
    plan_one_step_late=True,
    success_of_the_plan=True,
    reward_of_the_plan=True,
    penalties_by_gradient=True,
    boxes_mirrored=True,
    distances_as_written=True,
    collision_by_flag=True,
    check=AS_PUBLISHED,
    clamp_rank=6,
    normalise_ego=False,
    path_headings=True,
    forward_velocity=True,
    rule_as_written=True,
    king_as_written=True,
    sage_as_written=True,
)
PROTOCOLS: Final[dict[str, Protocol]] = {protocol.name: protocol for protocol in (CORRECTED, PUBLISHED)}

MEANING: Final[dict[str, tuple[str, str]]] = {
    "attack_logged_ego": (
        "attacks aim at the logged ego, whatever the system under test drove in stage 1",
        "attacks aim at what the system under test drove undisturbed",
    ),
    "adversaries_as_written": (
        "adversaries judge candidates as their code does: every fifth step, edges only, path headings, clamped ranks",
        "every step, separating axes, true headings, normalised probabilities",
    ),
    "plan_one_step_late": ("row k of a plan is played at step k + 1", "row k is the state after step k"),
    "success_of_the_plan": (
        "success: the planned opponent overlaps the re-simulated ego (headings from the path)",
        "success: the simulated opponent and the simulated ego meet",
    ),
    "reward_of_the_plan": (
        "adversarial reward of the plan: t from 0, T = common steps, 0 beyond 20 m",
        "adversarial reward of what happened: equation 11 as printed, T = 8 s",
    ),
    "penalties_by_gradient": (
        "penalties by central differences, headings from the path",
        "penalties by backward differences (equations 12, 13), true headings",
    ),
    "boxes_mirrored": ("boxes turned by minus their heading in map checks", "boxes turned by their heading"),
    "distances_as_written": (
        "Wasserstein samples: length of the acceleration vector, headings from the path",
        "Wasserstein samples: signed longitudinal acceleration, true headings",
    ),
}
"""What the published code does in an evaluation, and what `corrected` does instead."""

NOT_REPEATED: Final[tuple[str, ...]] = (
    "`rule` in evaluation mode silently planning as `cat` (here `rule` is always the Bézier curve)",
    "a late opponent's missing history read as the point (0, 0)",
    "plans that survive a reset, and teleports after the last row of a plan",
    "contacts of a replayed ego that the simulator's flag misses (the flag works here; geometry stands beside it)",
    "episodes cut at the crash (published rewards per success show that the full horizon was used)",
    "test scenes among the training scenes (splits are disjoint here)",
)
"""Deviations that no protocol repeats."""


def protocol_of(value: str | Protocol) -> Protocol:
    """The protocol of that name (a `Protocol` passes through).

    Raises:
        UnknownNameError: No such protocol.
    """
    if isinstance(value, Protocol):
        return value
    try:
        return PROTOCOLS[value]
    except KeyError:
        raise UnknownNameError("protocol", value, PROTOCOLS) from None

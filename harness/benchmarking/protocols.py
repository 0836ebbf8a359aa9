"""The two readings of the benchmark: what the published code does, named one by one, and what is right.

`corrected` repeats none of these deviations, `as-published` all of them; a run folder holds one protocol only, and its
tables name what they repeat. Sources: CAT's and SAGE's public code (`adv_generator.py`, `eval_sage.py`, `sage/*.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Literal

from harness.errors import UnknownNameError

ProtocolName = Literal["corrected", "as-published"]


@dataclass(frozen=True, slots=True)
class Deviations:
    """Which deviations of the published code are repeated.

    Attributes:
        attack_logged_ego: Attacks aim at the logged ego; stage 1 is driven but never handed to the adversary.
        adversaries_as_written: Adversaries check contact and score candidates as their code does
            (`adversaries.common.protocol` lists what that means for each).
        plan_one_step_late: Row k of a plan is played at step k + 1.
        success_of_the_plan: Success is the overlap of the *planned* opponent with the re-simulated ego, headings taken
            from the path; nobody asks whether the simulated cars touched.
        reward_of_the_plan: Equation 11 with t counted from 0, T = number of common steps, nothing beyond 20 m, and the
            planned opponent.
        penalties_by_gradient: Equations 12 and 13 by second-order central differences and headings from the path.
        boxes_mirrored: Boxes are turned by minus their heading in both map checks.
        distances_as_written: Wasserstein samples as `sage/metrics.py` takes them: unsigned accelerations that include
            the lateral part, headings from the path.
    """

    attack_logged_ego: bool = False
    adversaries_as_written: bool = False
    plan_one_step_late: bool = False
    success_of_the_plan: bool = False
    reward_of_the_plan: bool = False
    penalties_by_gradient: bool = False
    boxes_mirrored: bool = False
    distances_as_written: bool = False

    def names(self) -> tuple[str, ...]:
        """Names of those that are on."""
        return tuple(item.name for item in fields(self) if getattr(self, item.name))


PROTOCOLS: Final[dict[str, Deviations]] = {
    "corrected": Deviations(),
    "as-published": Deviations(**{item.name: True for item in fields(Deviations)}),
}

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
"""What the published code does, and what `corrected` does instead."""

NOT_REPEATED: Final[tuple[str, ...]] = (
    "`rule` in evaluation mode silently planning as `cat` (here `rule` is always the Bézier curve)",
    "a late opponent's missing history read as the point (0, 0)",
    "plans that survive a reset, and teleports after the last row of a plan",
    "contacts of a replayed ego that the simulator's flag misses (the flag works here; geometry stands beside it)",
    "episodes cut at the crash (published rewards per success show that the full horizon was used)",
    "test scenes among the training scenes (splits are disjoint here)",
)
"""Deviations that no protocol repeats."""


def deviations(protocol: str) -> Deviations:
    """What a protocol repeats.

    Raises:
        UnknownNameError: No such protocol.
    """
    try:
        return PROTOCOLS[protocol]
    except KeyError:
        raise UnknownNameError("protocol", protocol, PROTOCOLS) from None


def describe(protocol: str) -> list[dict[str, str]]:
    """Every deviation with its switch, for tables and `run.json`."""
    chosen = deviations(protocol)
    return [
        {"name": name, "repeated": "yes" if getattr(chosen, name) else "no", "published": published, "corrected": right}
        for name, (published, right) in MEANING.items()
    ]

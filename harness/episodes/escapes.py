"""Attacks that teach: only those from which a reference driver in the ego's place still escapes."""

from __future__ import annotations

import hashlib
from typing import Final

from harness.caching import Lru
from harness.episodes.attacks import Attacks
from harness.interfaces import AttackPlan, Trajectory
from harness.metrics.verdicts import Escape, escapes
from scenarios.scenario import Scenario

KEPT: Final = 8192
"""Verdicts that are remembered: those of 1,000 scenes at a few intensities."""


class EscapePrecondition:
    """Whether a reference driver escapes a plan, had the ego driven as in its newest drive until then.

    Only contacts with the opponent count; the rules are those of `harness.metrics.verdicts.escapes`. A verdict is kept
    by scene, plan and drive: with `remember="undisturbed"` an ego's drive in a scene, and with `sage?levels=4` the plan
    against it, stay the same over several episodes.

    Attributes:
        escape: Who has to escape.
        judged: Verdicts that were made, and not remembered.
    """

    def __init__(self, escape: Escape, kept: int = KEPT) -> None:
        """Remember so many verdicts."""
        self.escape, self.judged = escape, 0
        self._verdicts: Lru[tuple[str, bytes], bool] = Lru(kept)

    def __call__(self, scenario: Scenario, plan: AttackPlan, drive: Trajectory, ego_size: tuple[float, float]) -> bool:
        """The verdict; arguments as of `escapes`."""
        digest = hashlib.sha256(repr(ego_size).encode())
        for array in (plan.states, plan.valid, drive.states, drive.valid):
            digest.update(array.tobytes())
        return self._verdicts.get((scenario.id, digest.digest()), lambda: self._judge(scenario, plan, drive, ego_size))

    def _judge(self, scenario: Scenario, plan: AttackPlan, drive: Trajectory, ego_size: tuple[float, float]) -> bool:
        self.judged += 1
        return escapes(scenario, plan, drive, ego_size, self.escape, opponent_only=True)


def precondition_of(attacks: Attacks) -> EscapePrecondition | None:
    """The precondition of attacks in training, or None where all are played."""
    return None if attacks == "all" else EscapePrecondition(attacks)

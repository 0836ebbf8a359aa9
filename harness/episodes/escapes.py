"""Attacks that teach: those from which a reference driver in the ego's place still escapes, and the ego's regret."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

import numpy as np

from harness.caching import Lru
from harness.episodes.attacks import Attacks
from harness.interfaces import AttackPlan, EpisodeOutcome, Trajectory
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


def with_regret(
    outcome: EpisodeOutcome,
    scenario: Scenario,
    plan: AttackPlan | None,
    drive: Trajectory,
    ego_size: tuple[float, float],
) -> EpisodeOutcome:
    """The outcome of an attacked episode with its scene and its regret.

    Regret is what a careful driver achieves minus what the ego achieved, by the score that chooses policies: the share
    of the route without a contact and on the road, else 0. A careful driver keeps to the log's pace, and fails only
    where the ego met a vehicle and the careful human of UN R157, who brakes and does not swerve, would have met it too
    (`escapes`). The log is not attacked, so that its pace is an estimate from above.

    Paper: Dennis et al., "Emergent Complexity and Zero-shot Transfer via Unsupervised Environment Design" (2020), in
    which a second agent stands for the best policy.

    Args:
        outcome: What happened.
        scenario: The scene.
        plan: The attack that was played.
        drive: What the ego did, by absolute step.
        ego_size: The ego's length and width, m.
    """
    return replace(outcome, scene=scenario.id, regret=_regret(outcome, scenario, plan, drive, ego_size))


def _regret(
    outcome: EpisodeOutcome,
    scenario: Scenario,
    plan: AttackPlan | None,
    drive: Trajectory,
    ego_size: tuple[float, float],
) -> float:
    if outcome.crashed:
        return float(escapes(scenario, plan, drive, ego_size, "preventable"))
    if outcome.off_road:
        return 1.0
    # A route that leads nowhere (a parked ego) has no completion: NaN is no shortfall.
    if outcome.arrived or np.isnan(outcome.route_completion):
        return 0.0
    last = int(np.flatnonzero(drive.valid)[-1])
    return float(np.clip(_logged_share(scenario, last) - outcome.route_completion, 0.0, 1.0))


def _logged_share(scenario: Scenario, step: int) -> float:
    """Share of its way that the logged ego has driven at a step."""
    path = scenario.position[scenario.ego, scenario.valid[scenario.ego], :2]
    driven = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    row = int(scenario.valid[scenario.ego, : step + 1].sum()) - 1
    return float(driven[max(row, 0)] / driven[-1]) if driven[-1] > 0 else 0.0

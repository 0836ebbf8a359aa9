"""Attacked scenes as scenes of their own: the opponent's track becomes the plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.errors import AdversaryError
from harness.interfaces import HEADING, VX, VY, AttackPlan
from harness.metrics.profiles import hold
from scenarios.scenario import Scenario


def attacked_scene(scenario: Scenario, plan: AttackPlan, name: str) -> Scenario:
    """A copy of `scenario` whose opponent follows `plan`; its height and size are held from the log.

    Args:
        scenario: The recorded scene.
        plan: Planned for `scenario.opponent`.
        name: Id of the copy.

    Raises:
        AdversaryError: The scene has no opponent.
    """
    agent = scenario.opponent
    if agent is None:
        raise AdversaryError(f"scenario {scenario.id}: no opponent, so there is no attack to write.")
    position, size, valid = scenario.position.copy(), scenario.size.copy(), scenario.valid.copy()
    heading, velocity = scenario.heading.copy(), scenario.velocity.copy()
    logged = scenario.valid[agent]
    position[agent, :, 2] = hold(position[agent, :, 2], logged)
    size[agent] = hold(size[agent].T, np.broadcast_to(logged, (3, len(logged)))).T
    position[agent, :, :2] = plan.states[:, :2]
    heading[agent] = plan.states[:, HEADING]
    velocity[agent] = plan.states[:, [VX, VY]]
    valid[agent] = plan.valid
    position[agent, ~plan.valid], size[agent, ~plan.valid] = 0.0, 0.0
    return replace(
        scenario, id=name, position=position, heading=heading, velocity=velocity, size=size, valid=valid, source=""
    )

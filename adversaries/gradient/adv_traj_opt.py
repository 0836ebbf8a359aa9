"""`adv_traj_opt`: projected gradient descent bends the opponent's trajectory until it hits, within physical bounds.

Paper: Zhang et al., "On Adversarial Robustness of Trajectory Prediction for Autonomous Vehicles", CVPR 2022, as SAGE
(appendix B.1) turns it from prediction errors to collisions: 50 steps of projected gradient descent at 0.2.

Cost: Some sixty milliseconds a plan.

Limits: It has no dial. The ego is taken to drive as it did, whatever the opponent does. The search ends where the boxes
first touch, so that its hits graze. Nothing but the choice among restarts keeps it on the road.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from adversaries.common.plans import Bools, Floats, check_context
from adversaries.gradient.bicycle import Start, accelerations, drive, path_curvature
from adversaries.gradient.bounds import Bounds, mean_squared_speed, project_gas, project_turn, widened
from adversaries.gradient.descent import (
    Target,
    base_motion,
    boxes_of,
    contact_steps,
    distance_to_egos,
    earliest,
    futures_of,
    plan_of,
    start_of,
    target_of,
)
from harness.episodes.protocol import Protocol, protocol_of
from harness.errors import ConfigError
from harness.interfaces import AttackContext, AttackPlan
from scenarios.map_index import MapIndex, has_road_edges

ITERATIONS: Final = 50
"""SAGE, appendix B.1."""
LEARNING_RATE: Final = 0.2
"""SAGE, appendix B.1; taken as metres by which a step brings the opponent nearer (to first order)."""
RESTARTS: Final = 10
"""Restarts per attack, as in AdvTrajOpt's published code."""
SPREAD: Final = 1.0
"""Typical displacement at the end of the scene by which the restarts differ at first, m (AdvTrajOpt: up to 1 m)."""
TEMPERATURE: Final = 1.0
"""Width of the soft minimum over time, m: steps at which the two are within a metre of the closest share the push."""
OVERLAP: Final = 0.2
"""Depth that is asked for, m: boxes that merely touch are missed by the published check."""
GENTLE: Final = 1.0
"""Squared speed (m²/s²) below which turning counts no less in the step."""


class Controls(NamedTuple):
    """A trajectory as its accelerations (m/s²) and path curvatures (1/m), each [K, T]: one to one with positions."""

    gas: Tensor
    turn: Tensor


class _Found(NamedTuple):
    """Best controls [K, T] per restart, smallest distance (m; 0 on contact) and when they were found, each [K]."""

    controls: Controls
    distance: Floats
    iteration: Floats


class AdvTrajOptAdversary:
    """Projected gradient descent on the opponent's trajectory, from the log, with random restarts.

    Loss: soft minimum over time of the distance between the boxes (mean over the egos). After each step the
    trajectory is projected onto the physical bounds (speed, longitudinal and lateral acceleration, both jerks,
    curvature), so that every iterate is drivable. A restart that touches an ego is finished. Of the restarts that do,
    one that stays on the road goes before one that does not (without road edges all stay), then the one that moved
    least.

    Our reading, where SAGE says nothing: the trajectory is written as accelerations and curvatures, in which bounds
    are local; the published projection (shrink the whole perturbation of the positions until nothing is violated)
    would leave a waiting car, which cannot step aside, where it is. It is kept for the speed limit. The step is the
    gradient, weighted by what the bounds allow at each speed, in the length that closes 0.2 m to first order.

    `intensity` is not used: the method has no dial.
    """

    name = "adv_traj_opt"

    def __init__(
        self,
        protocol: str | Protocol = "corrected",
        restarts: int = RESTARTS,
        iterations: int = ITERATIONS,
        learning_rate: float = LEARNING_RATE,
        bounds: Bounds | None = None,
    ) -> None:
        """Fix the options.

        Args:
            protocol: `corrected` or `as-published` (how contact is judged, plan headings and velocities).
            restarts: Descents side by side; the first begins at the log itself.
            iterations: Steps of each.
            learning_rate: m per step.
            bounds: What the opponent can do; by default `Bounds()`.

        Raises:
            UnknownNameError: No such protocol.
            ConfigError: An option cannot work.
        """
        if restarts < 1 or iterations < 1 or learning_rate <= 0:
            raise ConfigError(
                "adv_traj_opt: expected restarts >= 1, iterations >= 1 and learning_rate > 0, got "
                f"{restarts}, {iterations}, {learning_rate}."
            )
        self.protocol = protocol_of(protocol)
        self.restarts, self.iterations, self.learning_rate = restarts, iterations, learning_rate
        self.bounds = Bounds() if bounds is None else bounds

    def plan(self, context: AttackContext) -> AttackPlan:
        """Descend (see the class).

        Raises:
            AdversaryError: No opponent, no future or no ego.
        """
        check_context(context)
        dt = context.scenario.dt
        target = target_of(context, self.protocol.check.stride, OVERLAP)
        start = start_of(context, target.origin)
        base, bounds = self._base(context, start)
        found = self._descend(context, start, self._begin(context, start, base, bounds), base, bounds, target)
        path, unprovoked = drive(start, *found.controls, dt), drive(start, *base, dt)
        moved: Floats = (path.points - unprovoked.points).norm(dim=-1).mean(-1).numpy()
        futures = futures_of(context, path, target.origin)
        contact = earliest(contact_steps(context, futures, target, self.protocol))
        first = context.step + 1
        off = np.asarray(MapIndex.of(context.scenario).boxes_cross_edges(futures[:, first:, :3], target.size).any(-1))
        chosen = best_restart(found.distance, off, moved)
        scores = {
            "distance": found.distance,
            "first_step": contact.astype(np.float64),
            "iteration": found.iteration,
            "moved": moved,
        }
        if has_road_edges(context.scenario):
            scores["off_road"] = off.astype(np.float64)
        return plan_of(context, futures, chosen, self.protocol, scores)

    def _base(self, context: AttackContext, start: Start) -> tuple[Controls, Bounds]:
        """The unprovoked drive [1, T] within bounds, and the bounds (whose speed limit admits it)."""
        dt = context.scenario.dt
        motion = base_motion(context)
        gas = project_gas(accelerations(start, motion.speed, dt)[None], start, self.bounds, dt)
        bounds = widened(self.bounds, start, gas, dt)
        turn = path_curvature(start, motion.speed, motion.heading, dt)[None]
        return Controls(gas, project_turn(turn, start, gas, bounds, dt)), bounds

    def _begin(self, context: AttackContext, start: Start, base: Controls, bounds: Bounds) -> Controls:
        """First iterates [K, T]: the unprovoked drive, then constant pushes away from it by `context.rng`."""
        dt, steps = context.scenario.dt, base.gas.shape[-1]
        push = torch.from_numpy(context.rng.normal(size=(2, self.restarts, 1)))
        push[:, 0] = 0.0
        # A constant acceleration a displaces by a t² / 2.
        push *= 2 * SPREAD / (steps * dt) ** 2
        squared = mean_squared_speed(start, base.gas, dt).clamp_min(GENTLE)
        return _project(Controls(base.gas + push[0], base.turn + push[1] / squared), start, base, bounds, dt)

    def _descend(
        self,
        context: AttackContext,
        start: Start,
        now: Controls,
        base: Controls,
        bounds: Bounds,
        target: Target,
    ) -> _Found:
        """All restarts side by side, each until it hits."""
        dt, count = context.scenario.dt, len(now.gas)
        best = Controls(now.gas.clone(), now.turn.clone())
        smallest, when = np.full(count, np.inf), np.zeros(count)
        for iteration in range(self.iterations + 1):
            gas, turn = now.gas.requires_grad_(), now.turn.requires_grad_()
            path = drive(start, gas, turn, dt)
            distance = distance_to_egos(boxes_of(path.points, path.heading, target.size), target)
            futures = futures_of(context, path, target.origin)
            hit = earliest(contact_steps(context, futures, target, self.protocol)) >= 0
            nearest = torch.where(target.weight > 0, distance, torch.inf).amin(-1).mean(-1).detach().numpy()
            _keep(best, smallest, when, now, np.where(hit, 0.0, nearest), iteration)
            if (smallest == 0.0).all() or iteration == self.iterations:
                break
            slopes = torch.autograd.grad(_soft_minimum(distance, target.weight).sum(), (gas, turn))
            now = self._step(Controls(gas.detach(), turn.detach()), Controls(*slopes), start, base, bounds, dt)
        return _Found(best, smallest, when)

    def _step(
        self, now: Controls, slopes: Controls, start: Start, base: Controls, bounds: Bounds, dt: float
    ) -> Controls:
        """One step of `learning_rate` metres and its projection."""
        squared = mean_squared_speed(start, now.gas, dt).clamp_min(GENTLE)
        # Turning in units of what the bounds allow at that speed, so that both controls are pushed alike.
        unit = (bounds.lateral / squared).clamp_max(bounds.curvature) / bounds.acceleration
        turn = slopes.turn * unit.square()
        descent = (slopes.gas.square() + slopes.turn * turn).sum(-1, keepdim=True)
        length = self.learning_rate / descent.clamp_min(1e-9)
        moved = Controls(now.gas - length * slopes.gas, now.turn - length * turn)
        return _project(moved, start, base, bounds, dt)


def best_restart(distance: Floats, off_road: Bools, moved: Floats) -> int:
    """Index of the nearest restart [K]; among those that hit (0 m) one on the road, then the one that moved least.

    On a map without road edges all count as on the road.
    """
    return int(np.lexsort((moved, off_road, distance))[0])


def _project(controls: Controls, start: Start, base: Controls, bounds: Bounds, dt: float) -> Controls:
    gas = project_gas(controls.gas, start, bounds, dt, base.gas)
    return Controls(gas, project_turn(controls.turn, start, gas, bounds, dt))


def _soft_minimum(distance: Tensor, weight: Tensor) -> Tensor:
    """Soft minimum over time, mean over the egos: [K] of `distance` [K, N, T], at steps with `weight` [N, T] > 0."""
    scaled = torch.where(weight > 0, -distance / TEMPERATURE, -torch.inf)
    return -TEMPERATURE * torch.logsumexp(scaled, -1).mean(-1)


def _keep(best: Controls, smallest: Floats, when: Floats, now: Controls, values: Floats, iteration: int) -> None:
    """Remember, in place, what is nearer than before; a restart that has hit is never replaced."""
    better: Bools = values < smallest
    rows = torch.from_numpy(better)
    best.gas[rows], best.turn[rows] = now.gas.detach()[rows], now.turn.detach()[rows]
    smallest[better], when[better] = values[better], iteration

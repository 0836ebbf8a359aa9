"""`king`: gradients through a bicycle model steer the opponent into the ego and keep it on the road.

Paper: Hanselmann et al., "KING: Generating Safety-Critical Driving Scenarios for Robust Imitation via Kinematics
Gradients", ECCV 2022, as SAGE (appendix B.1) re-implements it: 100 iterations of Adam at 0.005.

Cost: A tenth of a second a plan, and more.

Limits: It has no dial. The ego is taken to drive as it did, whatever the opponent does. The search ends where the boxes
first touch, so that its hits graze.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from adversaries.common.drivable import DrivableField, drivable_field
from adversaries.common.plans import Floats, check_context
from adversaries.gradient.bicycle import FULL, KING_THROTTLE_GAIN, THROTTLE_GAIN, Bicycle, Drive, Start
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
from scenarios.map_index import MapIndex

ITERATIONS: Final = 100
"""SAGE, appendix B.1 (KING: 150 for one opponent)."""
LEARNING_RATE: Final = 0.005
"""KING and SAGE. Adam moves every control by about this much per iteration, whatever the time step: a drive can change
as much per second at 10 Hz as at KING's 4 Hz."""
BETAS: Final = (0.8, 0.999)
"""Decay rates of Adam's moments, KING's published setting for one opponent."""
ROAD_WEIGHT: Final = 20.0
"""KING's published w_rd for one opponent."""
ROAD_SPREAD: Final = 1.0
"""Width of KING's Gaussian around each corner, m (5 pixels at 5 pixels a metre)."""
MARGIN: Final = 20.0
"""Room around the unprovoked drive and the egos in which the road is looked up, m."""
RESTARTS: Final = 4
"""Drives optimised side by side (KING: 1); four cost half as much again as one."""
NOISE: Final = 0.03
"""Standard deviation of the constant by which each control of the further restarts differs at first."""


class _Problem(NamedTuple):
    """What stays fixed while the controls are optimised."""

    context: AttackContext
    model: Bicycle
    start: Start
    target: Target
    field: DrivableField | None


class _Found(NamedTuple):
    """Controls [2, K, T] (steering, throttle) kept per restart, their objective and iteration, each [K]."""

    controls: Tensor
    objective: Floats
    iteration: Floats


class KingAdversary:
    """Gradient descent on steering and throttle at every step, through the kinematic bicycle.

    Objective of KING: mean distance of the boxes over the drive + w_rd · mean share of the corners' Gaussian mass
    that lies off the road. Controls pass through tanh, as in KING; they begin as those that follow the log (the lane
    where the log stands still). A drive that touches an ego is finished and not optimised further. Of several, the
    one that needed the fewest iterations is played (the least bent); if none touches, the smallest objective.

    `as-published` has KING's weak engine (0.563 m/s²) and a single drive; `corrected` 3 m/s² and four.

    Our reading, where SAGE says nothing: the ego is fixed (its recorded trajectories, equally weighted; nothing is
    differentiated through the ego); KING's sum over rasterised pixels is taken in closed form, for a straight road
    edge, from the distance of each corner to the edge; its term between several adversaries has nothing to act on.

    `intensity` is not used: KING has no dial.
    """

    name = "king"

    def __init__(
        self,
        protocol: str | Protocol = "corrected",
        restarts: int | None = None,
        iterations: int = ITERATIONS,
        learning_rate: float = LEARNING_RATE,
        road_weight: float = ROAD_WEIGHT,
        throttle_gain: float | None = None,
    ) -> None:
        """Fix the options.

        Args:
            protocol: `corrected` or `as-published` (how contact is judged, plan headings and velocities, defaults).
            restarts: Drives side by side; by default 4, as published 1.
            iterations: Steps of Adam.
            learning_rate: Learning rate of Adam.
            road_weight: w_rd; 0 ignores the road, as does a map without road edges: its term is zero.
            throttle_gain: Acceleration at full throttle, m/s²; by default 3, as published 0.563.

        Raises:
            UnknownNameError: No such protocol.
            ConfigError: An option cannot work.
        """
        self.protocol = protocol_of(protocol)
        published = self.protocol.king_as_written
        self.restarts = (1 if published else RESTARTS) if restarts is None else restarts
        self.throttle_gain = throttle_gain or (KING_THROTTLE_GAIN if published else THROTTLE_GAIN)
        self.iterations, self.learning_rate, self.road_weight = iterations, learning_rate, road_weight
        if self.restarts < 1 or iterations < 1 or learning_rate <= 0 or road_weight < 0 or self.throttle_gain <= 0:
            raise ConfigError(
                "king: expected restarts >= 1, iterations >= 1, learning_rate > 0, road_weight >= 0 and "
                f"throttle_gain > 0, got {restarts}, {iterations}, {learning_rate}, {road_weight}, {throttle_gain}."
            )

    def plan(self, context: AttackContext) -> AttackPlan:
        """Optimise (see the class).

        Raises:
            AdversaryError: No opponent, no future or no ego.
        """
        check_context(context)
        scene = context.scenario
        target = target_of(context)
        start = start_of(context, target.origin)
        model = Bicycle.of_length(target.size[0], scene.dt, self.throttle_gain)
        controls = self._begin(context, model, start)
        unprovoked = model.roll_out(start, controls[0, :1], controls[1, :1]).points[0].numpy() + target.origin
        places = np.concatenate([unprovoked, target.states[target.valid][:, :2]])
        field = drivable_field(MapIndex.of(scene), places, MARGIN) if self.road_weight else None
        found = self._optimise(_Problem(context, model, start, target, field), controls)
        futures = futures_of(context, model.roll_out(start, *found.controls), target.origin)
        contact = earliest(contact_steps(context, futures, target, self.protocol))
        chosen = int(np.lexsort((found.objective, np.where(contact >= 0, found.iteration, np.inf)))[0])
        scores = {
            "objective": found.objective,
            "iteration": found.iteration,
            "first_step": contact.astype(np.float64),
        }
        return plan_of(context, futures, chosen, self.protocol, scores, iterations=int(found.iteration[chosen]))

    def _begin(self, context: AttackContext, model: Bicycle, start: Start) -> Tensor:
        """First controls [2, K, T]: the unprovoked drive, and drives pushed off it by `context.rng`."""
        base = base_motion(context)
        controls = torch.stack(model.controls(start, base.speed, base.heading))[:, None]
        push = torch.from_numpy(context.rng.normal(scale=NOISE, size=(2, self.restarts, 1)))
        push[:, 0] = 0.0
        return (controls + push).clamp(-FULL, FULL)

    def _optimise(self, problem: _Problem, controls: Tensor) -> _Found:
        """All restarts side by side (Adam is elementwise, so they do not mix), each until it hits."""
        raw = torch.atanh(controls).requires_grad_()
        kept, count = controls.clone(), controls.shape[1]
        objective, iteration = np.zeros(count), np.zeros(count)
        done = np.zeros(count, dtype=bool)
        adam = torch.optim.Adam([raw], lr=self.learning_rate, betas=BETAS)
        for number in range(self.iterations + 1):
            squashed = torch.tanh(raw)
            path = problem.model.roll_out(problem.start, squashed[0], squashed[1])
            loss = self._objective(problem, path)
            open_ = ~done
            kept[:, open_] = squashed.detach()[:, open_]
            objective[open_], iteration[open_] = loss.detach().numpy()[open_], number
            futures = futures_of(problem.context, path, problem.target.origin)
            done |= earliest(contact_steps(problem.context, futures, problem.target, self.protocol)) >= 0
            if done.all() or number == self.iterations:
                break
            adam.zero_grad()
            loss.sum().backward()
            adam.step()
        return _Found(kept, objective, iteration)

    def _objective(self, problem: _Problem, path: Drive) -> Tensor:
        """KING's objective [K] of drives: small where they are near the egos and on the road."""
        target = problem.target
        boxes = boxes_of(path.points, path.heading, target.size)
        distance = distance_to_egos(boxes, target)
        loss = (distance * target.weight).sum((-2, -1))
        if problem.field is None:
            return loss
        return loss + self.road_weight * off_road_mass(problem.field, boxes.corners, target.origin).mean(-1)


def off_road_mass(field: DrivableField, corners: Tensor, origin: Floats) -> Tensor:
    """Share [K, T] of Gaussians around corners [K, T, 4, 2] that lies off the road (0 … 1, mean over the corners).

    KING sums a normal density of 1 m over the off-road pixels around each corner, every second pixel in both
    directions, which makes the sum over four corners their mean mass; for a straight edge at distance d it is Φ(-d).
    """
    return torch.special.ndtr(-field.distance(corners + torch.from_numpy(origin)) / ROAD_SPREAD).mean(-1)

"""Speed profiles of candidates, moved by the gradient of R_μ through a bicycle model.

R_μ is that of Nie et al., "Steerable Adversarial Scenario Generation through Test-Time Preference Alignment", section
3.3; the bicycle is that of `king` and `adv_traj_opt`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from adversaries.common.plans import EgoFutures, current_state
from adversaries.gradient.bicycle import Drive, Start, accelerations, drive, integrate_speed, path_curvature
from adversaries.gradient.bounds import Bounds, project_gas, project_turn
from adversaries.gradient.descent import Boxes, box_distance, boxes_of, start_of
from adversaries.prior.kinematics import knot_weights
from harness.geometry import wrap_angle
from harness.interfaces import HEADING, VX, VY, AttackContext
from harness.metrics import realism
from harness.metrics.adversarial import COLLISION_REWARD, PROXIMITY_DECAY, PROXIMITY_REWARD

Floats = NDArray[np.float64]

KNOTS: Final = 9
"""Control points of the change of acceleration, one a second."""
LEARNING_RATE: Final = 0.2
"""Learning rate of Adam at first, falling to 0 evenly: about the change of a control point in a step, m/s²."""
BEST: Final = 4
"""Candidates that are moved, those with the highest R_μ."""
KEPT: Final = 4
"""Drives that are kept of each on the way, evenly over the steps."""
SOFTNESS: Final = 0.5
"""Distance of the boxes, m, at which the smooth R_adv gives a contact the share 1/e."""


class Followed(NamedTuple):
    """M paths of N steps, and the speeds at which they are driven.

    Attributes:
        start: The state before the first step.
        gas: [M, N] accelerations, m/s².
        stations, curvature: [M, N] arc lengths (m) in the middle of the steps, and the path's curvature there, 1/m.
        dt: s.
    """

    start: Start
    gas: Tensor
    stations: Tensor
    curvature: Tensor
    dt: float

    def drive(self, change: Tensor) -> Drive:
        """The paths with accelerations changed by `change` [M, N], within `Bounds`; gradients flow.

        Where the changed speed is too high for a bend, the path is wider than before. Beyond its end it goes on with
        its last curvature.
        """
        gas = project_gas(self.gas + change, self.start, BOUNDS, self.dt)
        travelled = travel(self.start, gas, self.dt)
        middle = torch.cumsum(travelled, -1) - 0.5 * travelled
        curvature = looked_up(self.stations, self.curvature, middle)
        return drive(self.start, gas, project_turn(curvature, self.start, gas, BOUNDS, self.dt), self.dt)


BOUNDS: Final = Bounds()
"""What a vehicle can do."""


class Aim(NamedTuple):
    """What the smooth R_μ looks at: boxes [D, N] of the egos, where they are [D, N], their weights [D], and μ."""

    egos: Boxes
    seen: Tensor
    weight: Tensor
    size: tuple[float, float]
    preference: float


def travel(start: Start, gas: Tensor, dt: float) -> Tensor:
    """Distances [..., N] (m) of the steps under accelerations [..., N]."""
    after = integrate_speed(start.speed, gas, dt)
    before = torch.cat([torch.full_like(after[..., :1], start.speed), after[..., :-1]], -1)
    return 0.5 * (before + after) * dt


def looked_up(places: Tensor, values: Tensor, where: Tensor) -> Tensor:
    """Linear interpolation of `values` [M, N] at increasing `places` [M, N], at `where` [M, N]; ends are held."""
    right = torch.searchsorted(places, where.detach().contiguous()).clamp(1, places.shape[-1] - 1)
    low, high = places.gather(-1, right - 1), places.gather(-1, right)
    share = ((where - low) / (high - low).clamp_min(1e-6)).clamp(0.0, 1.0)
    return (1.0 - share) * values.gather(-1, right - 1) + share * values.gather(-1, right)


def followed(start: Start, states: Tensor, dt: float) -> Followed:
    """Paths and speeds of drives [M, N, 5] about the origin of `start`, headings unwrapped."""
    speed = torch.hypot(states[..., VX], states[..., VY])
    gas = accelerations(start, speed, dt)
    travelled = travel(start, gas, dt)
    stations = torch.cumsum(travelled, -1) - 0.5 * travelled
    return Followed(start, gas, stations, path_curvature(start, speed, states[..., HEADING], dt), dt)


def smooth_realism(path: Drive, start: Start, dt: float) -> Tensor:
    """P_kin + P_beh (eq. 12 and 13) of drives [M, N] from `start` on, [M]; `harness.metrics.realism` with gradients."""
    points = torch.cat([path.points.new_tensor([start.x, start.y]).expand_as(path.points[..., :1, :]), path.points], -2)
    # Standing still has no direction: a micrometre keeps the derivative of the root finite.
    speed = (points.diff(dim=-2).square().sum(-1) + 1e-12).sqrt() / dt
    heading = torch.cat([torch.full_like(path.heading[..., :1], start.heading), path.heading], -1)
    yaw_rate = heading.diff(dim=-1) / dt
    gas = speed.diff(dim=-1) / dt

    def excess(values: Tensor, limit: float) -> Tensor:
        return functional.softplus(values.abs() - limit)

    kinematic = realism.ACCELERATION_WEIGHT * (
        excess(gas, realism.ACCELERATION_LIMIT).mean(-1) + excess(speed * yaw_rate, realism.LATERAL_LIMIT).mean(-1)
    ) + realism.YAW_RATE_WEIGHT * excess(yaw_rate, realism.YAW_RATE_LIMIT).mean(-1)
    turn = realism.TURN_WEIGHT * excess(heading[..., -1] - heading[..., 0], realism.TURN_LIMIT)
    slow = realism.STOP_TURN_WEIGHT * (yaw_rate.abs() / (speed + realism.SPEED_FLOOR)).mean(-1)
    return kinematic + turn + slow


def smooth_threat(path: Drive, aim: Aim, horizon: int) -> Tensor:
    """R_adv (eq. 11) of drives [M, N] with a contact that fades in with the distance of the boxes, [M].

    At distance d a step is a contact by the share e^(-d / `SOFTNESS`), and what is left of no contact goes on. As the
    softness goes to 0 this is the mean of eq. 11 over the egos.
    """
    mine = boxes_of(path.points, path.heading, aim.size)
    lifted = Boxes(mine.centre[:, None], mine.cos[:, None], mine.sin[:, None], mine.size, mine.corners[:, None])
    touching = torch.exp(-box_distance(lifted, aim.egos) / SOFTNESS) * aim.seen
    free = torch.cumprod(1.0 - touching, -1)
    before = torch.cat([torch.ones_like(free[..., :1]), free[..., :-1]], -1)
    elapsed = torch.arange(1, path.heading.shape[-1] + 1, dtype=free.dtype) / horizon
    contact = (COLLISION_REWARD * (1.0 - elapsed) * touching * before).sum(-1)
    offset = mine.centre[:, None] - aim.egos.centre
    apart = (offset.square().sum(-1) + 1e-12).sqrt().where(aim.seen > 0, torch.inf)
    near = PROXIMITY_REWARD * torch.exp(-PROXIMITY_DECAY * apart.amin(-1))
    return ((contact + free[..., -1] * near) * aim.weight).sum(-1)


def refined(
    context: AttackContext, states: Floats, last: int, egos: EgoFutures, preference: float, steps: int
) -> Floats:
    """Drives along the paths of candidates at speeds with a higher smooth R_μ.

    Args:
        context: The attack.
        states: [M, T, 5] candidates by absolute step, valid after the current step up to `last`.
        last: Last absolute step of the candidates.
        egos: Ego trajectories that R_adv looks at.
        preference: μ.
        steps: Steps of Adam.

    Returns:
        [M · P, T, 5], P ≤ `KEPT`: every candidate early and late on its way. They keep the bicycle's `Bounds`; whether
        they are on the road, and better, is left to the judge.
    """
    rows = slice(context.step + 1, last + 1)
    origin = current_state(context)[:2].copy()
    start = start_of(context, origin)
    future = torch.from_numpy(states[:, rows].copy())
    heading = np.concatenate([np.full((len(states), 1), start.heading), states[:, rows, HEADING]], -1)
    future[..., HEADING] = torch.from_numpy(np.unwrap(heading, axis=-1)[:, 1:].copy())
    path = followed(start, future, context.scenario.dt)
    aim = _aim(context, egos, rows, origin, preference)
    horizon = context.scenario.num_steps - context.step - 1
    weights = knot_weights(KNOTS, future.shape[1]).double()
    change = torch.zeros((len(states), KNOTS), dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([change], lr=LEARNING_RATE, maximize=True)
    stops = {-(-steps * part // KEPT) for part in range(1, KEPT + 1)}
    found = []
    for step in range(1, steps + 1):
        driven = path.drive(change @ weights)
        real = smooth_realism(driven, start, context.scenario.dt)
        reward = preference * smooth_threat(driven, aim, horizon) - (1.0 - preference) * real
        adam.param_groups[0]["lr"] = LEARNING_RATE * (1.0 - (step - 1) / steps)
        adam.zero_grad()
        reward.sum().backward()
        adam.step()
        if step in stops:
            found.append(_states(path.drive(change.detach() @ weights), states, rows, origin))
    return np.concatenate(found)


def _aim(context: AttackContext, egos: EgoFutures, rows: slice, origin: Floats, preference: float) -> Aim:
    """The egos about `origin` [2] at the steps `rows`; each distinct one weighs as often as it was driven."""
    centre = torch.from_numpy(egos.states[:, rows, :2] - origin)
    boxes = boxes_of(centre, torch.from_numpy(egos.states[:, rows, HEADING].copy()), context.ego_size)
    count = np.bincount(egos.places, minlength=len(egos.states))
    weight = torch.from_numpy(count / count.sum())
    seen = torch.from_numpy(egos.valid[:, rows].astype(np.float64))
    return Aim(boxes, seen, weight, context.scenario.box(context.opponent), preference)


def _states(path: Drive, states: Floats, rows: slice, origin: Floats) -> Floats:
    """Candidates [M, T, 5] with the future of drives; the last row is repeated after its end."""
    found, future = states.copy(), path.states().detach().numpy()
    future[..., :2] += origin
    future[..., HEADING] = wrap_angle(future[..., HEADING])
    found[:, rows] = future
    found[:, rows.stop :] = found[:, rows.stop - 1, None]
    return found

"""SEAL's reactive part: just before contact, skills chosen for what the ego does now, driven by real controls.

What is SEAL's: the moment of takeover (see `adversary`), skills decoded in a closed loop at every step from what the
driver then sees, a prior over skills learnt from lead-ups to contacts, physics. What is ours: SEAL's policy over skills
is its own TD3 ego policy (ReSkill) with the adversarial prior put in, i.e. one million training steps of another driver
on lidar; and the noise it feeds to the prior was learnt to drive well, not to attack. Here the prior's noise is a fixed
set of points, every one is decoded and rolled out against the ego's extrapolated present motion, and a scorer of SEAL's
own kind, learnt on the same roll-outs of an IDM ego, picks the best. That is deterministic, takes minutes to train, and
asks the question that the attack is about at every decision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm, qmc

from adversaries.common.driving import extrapolate, present_motion
from adversaries.seal.networks import LATENT, SkillModel, SkillPrior, TrackScorer
from adversaries.seal.skills import MAX_CURVATURE, MAX_PUSH, MIN_SPEED, observe
from adversaries.seal.tracks import relative_track
from harness.episodes.tracking import actuate, limited
from harness.geometry import wrap_angle
from harness.interfaces import HEADING, STATE, VX, VY, AttackPlan, ControlContext
from harness.metrics.collision import first_overlap

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

SKILLS: Final = 64
"""Skills among which every decision chooses."""
HORIZON: Final = 20
"""How far they are rolled out, steps: what the reactive scorer was trained on."""
CONTACT_BONUS: Final = 1.0
"""Skills whose box meets the expected ego's come first (ours). The scorer sees centres only, as SEAL's does for whole
candidates; over two seconds the half metre between a hit and a miss decides."""


def noise_points(count: int = SKILLS) -> Singles:
    """[count, 8] evenly spread standard normal points, always the same; the first is the origin, the prior's middle."""
    # Sobol's points are balanced in powers of two only.
    points = qmc.Sobol(LATENT, seed=0).random_base2(math.ceil(math.log2(count)))[:count]
    spread = norm.ppf(np.clip(points, 1e-3, 1 - 1e-3))
    spread[0] = 0.0
    return spread.astype(np.float32)


@dataclass(frozen=True)
class Decision:
    """One choice, for pictures and tests.

    Attributes:
        step: When.
        skills: [N, 8] the candidates.
        paths: [N, H, 5] where they would lead.
        ego: [H, 5] what the ego was expected to do.
        scores: [N]: the reactive scorer's mean, plus the bonus of those that meet the ego.
        chosen: Index.
    """

    step: int
    skills: Singles
    paths: Floats
    ego: Floats
    scores: Floats
    chosen: int


class SkillController:
    """Drives the opponent by skills. Plain data: weights as arrays, so it travels inside its plan."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]], period: int = 2, skills: int = SKILLS) -> None:
        """Keep the weights.

        Args:
            weights: `controller_weights` of a model.
            period: Steps from one decision to the next.
            skills: Choices per decision.
        """
        self.weights, self.period, self.count = dict(weights), period, skills
        self.last: Decision | None = None

    def __getstate__(self) -> dict[str, object]:
        """Nothing of a running episode."""
        return {"weights": self.weights, "period": self.period, "count": self.count, "last": None}

    def reset(self, plan: AttackPlan, context: ControlContext) -> None:
        """Begin an episode: nothing seen yet, no skill chosen."""
        assert plan.takeover_step is not None, "the engine resets controllers of plans that have a takeover"
        self._dt, self._vehicle = context.scenario.dt, context.vehicle
        self._size, self._ego_size = context.opponent_size, context.ego_size
        self._reactive, self._model, self._prior = _networks(self.weights)
        self._noise = torch.as_tensor(noise_points(self.count))
        row = plan.takeover_step - 2
        known = row >= 0 and bool(plan.valid[row])
        self._own: Floats | None = plan.states[row].copy() if known else None
        self._ego: Floats | None = None
        self._skill: torch.Tensor | None = None
        self._decided = -math.inf
        self.last = None

    @torch.inference_mode()
    def act(self, step: int, opponent: Floats, ego: Floats) -> Floats:
        """Follow the skill at hand, or choose a new one first."""
        push, curvature = _last_controls(self._own, opponent, self._dt)
        if self._skill is None or step - self._decided >= self.period:
            self.last = self._decide(step, opponent, ego, push, curvature)
            self._skill, self._decided = torch.as_tensor(self.last.skills[self.last.chosen]), step
        seen = torch.as_tensor(observe(opponent, ego, np.array(push), np.array(curvature)))
        wanted = self._model.decode(seen, self._skill).double().numpy()
        self._own, self._ego = opponent.copy(), ego.copy()
        return actuate(wanted[0] * MAX_PUSH, wanted[1] * MAX_CURVATURE, opponent, self._vehicle)

    def _decide(self, step: int, opponent: Floats, ego: Floats, push: float, curvature: float) -> Decision:
        before = ego if self._ego is None else self._ego
        coming = extrapolate(ego, *present_motion(before, ego, self._dt), HORIZON, self._dt)
        seen = torch.as_tensor(observe(opponent, ego, np.array(push), np.array(curvature)))
        skills = self._prior.skill(self._noise, seen.expand(self.count, -1))
        paths = self._roll_out(skills, opponent, coming, ego, push, curvature)
        alive = np.ones(HORIZON, dtype=bool)
        tracks = relative_track(coming, alive, paths, alive)
        scores = self._reactive(torch.as_tensor(tracks)).mean(-1).double().numpy()
        meets = first_overlap(paths, alive, self._size, coming, alive, self._ego_size) >= 0
        scores = scores + CONTACT_BONUS * meets
        return Decision(step, skills.numpy().copy(), paths, coming, scores, int(scores.argmax()))

    def _roll_out(
        self, skills: torch.Tensor, opponent: Floats, coming: Floats, ego: Floats, push: float, curvature: float
    ) -> Floats:
        """[N, H, 5] where each skill leads if the ego does as expected, within what the car can do."""
        own = np.repeat(opponent[None], self.count, axis=0)
        pushes, curves = np.full(self.count, push), np.full(self.count, curvature)
        paths = np.empty((self.count, HORIZON, STATE))
        for ahead in range(HORIZON):
            other = ego if ahead == 0 else coming[ahead - 1]
            seen = torch.as_tensor(observe(own, other[None], pushes, curves))
            wanted = self._model.decode(seen, skills).double().numpy()
            pushes, curves = limited(wanted[:, 0] * MAX_PUSH, wanted[:, 1] * MAX_CURVATURE, own, self._vehicle)
            own = paths[:, ahead] = _move(own, pushes, curves, self._dt)
        return paths


def controller_weights(tensors: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.float32]]:
    """What a controller needs of a model's tensors (not the encoder, nor the scorer of whole candidates)."""
    wanted = ("reactive.", "skills.decoder.", "prior.")
    return {name: value.numpy().copy() for name, value in tensors.items() if name.startswith(wanted)}


def _networks(weights: Mapping[str, NDArray[np.float32]]) -> tuple[TrackScorer, SkillModel, SkillPrior]:
    # Built without numbers: drawing initial weights would use up randomness that belongs to somebody else.
    with torch.device("meta"):
        reactive, skills, prior = TrackScorer(), SkillModel(), SkillPrior()
    for name, module in (("reactive", reactive), ("skills", skills), ("prior", prior)):
        own = {key[len(name) + 1 :]: torch.as_tensor(v) for key, v in weights.items() if key.startswith(f"{name}.")}
        # The encoder is not needed to drive and does not travel.
        module.load_state_dict(own, strict=name != "skills", assign=True)
        module.eval()
    return reactive, skills, prior


def _last_controls(before: Floats | None, now: Floats, dt: float) -> tuple[float, float]:
    """Acceleration (m/s²) and curvature (1/m) of the last step; zeros where it is not known."""
    if before is None:
        return 0.0, 0.0
    speeds = np.hypot(before[VX], before[VY]), np.hypot(now[VX], now[VY])
    push = float(np.clip((speeds[1] - speeds[0]) / dt, -MAX_PUSH, MAX_PUSH))
    turn = float(wrap_angle(now[HEADING] - before[HEADING])) / dt
    curvature = turn / max(float(speeds[0] + speeds[1]) / 2, MIN_SPEED)
    return push, float(np.clip(curvature, -MAX_CURVATURE, MAX_CURVATURE))


def _move(own: Floats, push: Floats, curvature: Floats, dt: float) -> Floats:
    """States [N, 5] one step on."""
    speed = np.hypot(own[:, VX], own[:, VY])
    after = np.maximum(speed + push * dt, 0.0)
    mean = (speed + after) / 2
    heading = own[:, HEADING] + curvature * mean * dt
    middle = (own[:, HEADING] + heading) / 2
    place = own[:, :2] + (mean * dt)[:, None] * np.stack([np.cos(middle), np.sin(middle)], -1)
    velocity = after[:, None] * np.stack([np.cos(heading), np.sin(heading)], -1)
    return np.concatenate([place, wrap_angle(heading)[:, None], velocity], -1)

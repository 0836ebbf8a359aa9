"""`seal`: the future that a learned objective likes best, and reactive skills just before contact.

Paper: Stoler et al., "SEAL: Towards Safe Autonomous Driving via Skill-Enabled Adversary Learning for Closed-Loop
Scenario Generation", IEEE Robotics and Automation Letters 2025.

Cost: Some twenty milliseconds a plan.

Limits: It has no dial. The weights that come with the package have learnt from procedural scenes: `train_seal` makes
those of recorded scenes. What its controller will do is in no plan, so that the fast engine does not play it.
"""

from __future__ import annotations

from os import PathLike
from typing import Final, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from adversaries.common.candidates import Decode, Drawn, DrawnOnce, Prior, load_prior
from adversaries.common.plans import check_context, ego_futures, plan_rows
from adversaries.seal.controller import SkillController, controller_weights
from adversaries.seal.rollouts import CANDIDATES
from adversaries.seal.tracks import relative_track
from adversaries.seal.weights import SealModel, weights_beside
from harness.episodes.protocol import Protocol, protocol_of
from harness.errors import ConfigError
from harness.interfaces import AttackContext, AttackPlan
from harness.metrics.collision import first_overlap
from scenarios.scenario import Kind

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEAD: Final = 10
"""The plan is followed up to 10 + 1 steps before the expected contact (SEAL's `collision_offset`)."""


class Judged(NamedTuple):
    """Foretold per candidate, averaged over the ego trajectories, each [K]."""

    closeness: Floats
    deviation: Floats
    score: Floats


class SealAdversary:
    """Learned choice, then reactive control.

    A small network that has seen an IDM ego meet every candidate of many scenes foretells, from the undisturbed ego's
    track as the candidate would see it, how close they will come and how much the ego will change its way; the mean
    decides. From 10 steps before the contact that the boxes foretell (before the closest approach of the centres, where
    there is none) `SkillController` drives. The plan's later rows go on along the candidate.

    `as-published` looks for the contact at every fifth step and by edges, and takes headings and velocities from
    positions, as SEAL's code (a fork of CAT's) does; the scorer sees the prior's headings in either case.
    `intensity` is not used: SEAL has no dial.
    """

    name = "seal"

    def __init__(
        self,
        prior: Prior | str | PathLike[str] | None = None,
        weights: SealModel | str | PathLike[str] | None = None,
        protocol: str | Protocol = "corrected",
        candidates: int = CANDIDATES,
        decode: Decode = "nms",
        reactive: bool = True,
        lead: int = LEAD,
        period: int = 2,
        cache_scenes: int = 64,
    ) -> None:
        """Load prior and weights, and fix the options.

        Args:
            prior: A motion prior, the path of its weights, or None for the weights that ship with Gauntlet.
            weights: What `train_seal` learnt, or its file; by default `seal.safetensors` beside `prior`, or else the
                weights that ship with Gauntlet.
            protocol: `corrected` or `as-published`.
            candidates: Futures drawn from the prior.
            decode: How the prior picks its goals.
            reactive: Whether the controller takes over; without it the candidate is followed to its end.
            lead: Steps before the expected contact at which it does.
            period: Steps from one choice of skill to the next.
            cache_scenes: Scenes whose candidates are kept in memory, about 0.12 MB each.

        Raises:
            WeightsError: Weights are missing or of another architecture.
            ConfigError: An option cannot work.
        """
        if candidates < 1 or lead < 0 or period < 1 or cache_scenes < 1:
            raise ConfigError(
                "seal: expected candidates >= 1, lead >= 0, period >= 1 and cache_scenes >= 1, got "
                f"{candidates}, {lead}, {period}, {cache_scenes}."
            )
        if decode not in get_args(Decode):
            raise ConfigError(f"seal: expected decode to be one of {', '.join(get_args(Decode))}, got {decode!r}.")
        self.protocol = protocol_of(protocol)
        self.reactive, self.lead, self.period = reactive, lead, period
        found = weights if weights is not None else weights_beside(prior)
        self.model = found if isinstance(found, SealModel) else SealModel.load(found)
        self._weights = controller_weights(self.model.tensors())
        self._draw = DrawnOnce(load_prior(prior, cache_scenes), candidates, decode, cache_scenes)

    def plan(self, context: AttackContext) -> AttackPlan:
        """Choose among the prior's futures (see the class).

        Raises:
            AdversaryError: No opponent, no future, no ego, or the prior finds no candidate.
        """
        check_context(context)
        drawn = self._draw(context)
        judged = self.judge(context, drawn)
        chosen = int(judged.score.argmax())
        last = int(np.flatnonzero(drawn.valid)[-1])
        rows, valid = plan_rows(context, drawn.states[chosen], last, self.protocol)
        meeting, contact = self._meeting(context, drawn.states[chosen], drawn.valid)
        takeover = max(meeting - self.lead, context.step + 1) if self._takes_over(context) else None
        return AttackPlan(
            rows,
            valid,
            candidates=drawn.states,
            scores={
                "log_prob": drawn.log_prob,
                "closeness": judged.closeness,
                "deviation": judged.deviation,
                "score": judged.score,
            },
            chosen=chosen,
            takeover_step=takeover,
            controller=None if takeover is None else SkillController(self._weights, self.period),
            info={
                "protocol": self.protocol.name,
                "expects_contact": contact,
                "expected_step": meeting,
            },
        )

    @torch.inference_mode()
    def judge(self, context: AttackContext, drawn: Drawn) -> Judged:
        """What the scorer foretells of every candidate, against every recent ego trajectory."""
        ego, ego_valid = ego_futures(context, history=True)
        past = np.arange(len(drawn.valid)) <= context.step
        valid = np.where(past, context.scenario.valid[context.opponent], drawn.valid)
        tracks = relative_track(ego[:, None], ego_valid[:, None], drawn.states[None], valid)
        scores = self.model.scorer(torch.as_tensor(tracks.reshape(-1, *tracks.shape[2:]))).double().numpy()
        mean = scores.reshape(len(ego), len(drawn.states), 2).mean(0)
        return Judged(mean[:, 0], mean[:, 1], mean.mean(-1))

    def _meeting(self, context: AttackContext, states: Floats, valid: Bools) -> tuple[int, bool]:
        """Step of the first contact with the newest ego trajectory, else of the closest approach; and which it is."""
        start, check = context.step + 1, self.protocol.check
        egos, egos_valid = ego_futures(context)
        ego, ego_valid = egos[-1], egos_valid[-1]
        size = context.scenario.box(context.opponent)
        contact = int(first_overlap(states, valid, size, ego, ego_valid, context.ego_size, start, check))
        if contact >= 0:
            return contact, True
        gap = np.hypot(*(states[:, :2] - ego[:, :2]).T)
        checked = valid & ego_valid & ((np.arange(len(valid)) - start) % check.stride == 0)
        return int(np.where(checked, gap, np.inf).argmin()), False

    def _takes_over(self, context: AttackContext) -> bool:
        # Only vehicles have engines; other opponents follow the plan to its end.
        return self.reactive and context.scenario.kinds[context.opponent] == Kind.VEHICLE

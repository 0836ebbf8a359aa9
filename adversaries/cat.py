"""`cat`: the likeliest of the prior's futures that hits the ego's recent trajectories.

Paper: Zhang et al., "CAT: Closed-loop Adversarial Training for Safe End-to-End Driving", CoRL 2023.
"""

from __future__ import annotations

from os import PathLike
from typing import Any, Final, Literal, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from adversaries._plans import check_context, ego_futures, recompute_motion, with_history
from adversaries.protocol import Protocol as AttackProtocol
from adversaries.protocol import protocol_of
from harness.errors import AdversaryError, ConfigError
from harness.interfaces import STATE, AttackContext, AttackPlan
from harness.metrics.collision import closest_approach, first_overlap
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Decode = Literal["nms", "topk"]

CANDIDATES: Final = 32
"""Futures drawn from the prior (CAT)."""
PENALTY: Final = 0.99
"""Factor per checked step before the first contact (CAT's α): sooner is surer."""
HORIZON: Final = 80
"""Future steps that the prior predicts: 8 s at 10 Hz."""


class Prior(Protocol):
    """The part of `adversaries.prior.MotionPrior` that is used here."""

    def candidates(self, scenario: Scenario, agent: int, step: int, num: int, decode: Decode) -> Any:
        """Return `states` [K, T, 5] by absolute step and `log_prob` [K]."""
        ...


class Scored(NamedTuple):
    """Scores per candidate, each [K]; `first` is the earliest contact over all ego trajectories, or -1."""

    probability: Floats
    overlap: Floats
    score: Floats
    first: NDArray[np.intp]
    distance: Floats


class CatAdversary:
    """Resampling by collision: score_j = P_j · Σ_i P_i · 0.99^k_ij, the highest wins.

    P_j is the prior's probability of candidate j, normalised over the candidates; P_i the weight of the i-th
    recent ego trajectory (equal; `corrected` normalises them, `as-published` takes 1 each, which ranks alike);
    k_ij counts the checks up to and with the first contact (no contact adds nothing). If no candidate hits any
    trajectory, the one that comes closest (centres) is chosen.

    Corrected: contact at every step, with the states' own headings and each trajectory's validity.
    `intensity` is not used: CAT has no dial (the choice among futures is fixed by the score above). A curriculum
    can still vary how often it attacks.
    """

    name = "cat"

    def __init__(
        self,
        prior: Prior | str | PathLike[str] | None = None,
        protocol: str | AttackProtocol = "corrected",
        candidates: int = CANDIDATES,
        penalty: float = PENALTY,
        decode: Decode = "nms",
        cache_scenes: int = 64,
    ) -> None:
        """Load the prior and fix the options.

        Args:
            prior: A motion prior, the path of its weights, or None for the weights that ship with Gauntlet.
            protocol: `corrected` or `as-published`.
            candidates: Futures drawn from the prior.
            penalty: Factor per check before the first contact, in (0, 1].
            decode: How the prior picks its goals: `nms` (spread out) or `topk` (the likeliest, as SAGE does).
            cache_scenes: Scenes whose candidates the prior remembers, about 0.2 MB each (they do not depend on the
                ego, so a training run that keeps its scenes in memory saves the prior's time). Used only where
                the prior is loaded here.

        Raises:
            WeightsError: The weights are missing or of another architecture.
            ConfigError: An option cannot work.
        """
        if candidates < 1 or not 0 < penalty <= 1 or cache_scenes < 1:
            raise ConfigError(
                "cat: expected candidates >= 1, 0 < penalty <= 1 and cache_scenes >= 1, got "
                f"{candidates}, {penalty}, {cache_scenes}."
            )
        if decode not in get_args(Decode):
            raise ConfigError(f"cat: expected decode to be one of {', '.join(get_args(Decode))}, got {decode!r}.")
        self.protocol = protocol_of(protocol)
        self.num, self.penalty, self.decode = candidates, penalty, decode
        self._prior: Prior = _load(prior, cache_scenes)

    def plan(self, context: AttackContext) -> AttackPlan:
        """Choose among the prior's futures (see the class).

        Raises:
            AdversaryError: No opponent, no future, no ego, or the prior finds no candidate.
        """
        check_context(context)
        scene = context.scenario
        states, log_prob = self._candidates(context)
        valid = np.zeros(scene.num_steps, dtype=bool)
        last = min(context.step + HORIZON, scene.num_steps - 1)
        valid[context.step + 1 : last + 1] = True
        scored = self._score(context, states, log_prob, valid)
        chosen = int(scored.score.argmax() if scored.score.any() else scored.distance.argmin())
        rows, rows_valid = with_history(context, states[chosen], last)
        if self.protocol.path_headings or self.protocol.forward_velocity:
            rows = recompute_motion(
                rows,
                rows_valid,
                scene.dt,
                headings=self.protocol.path_headings,
                velocity=self.protocol.forward_velocity,
            )
        return AttackPlan(
            rows,
            rows_valid,
            candidates=states,
            scores={
                "log_prob": log_prob,
                "probability": scored.probability,
                "overlap": scored.overlap,
                "score": scored.score,
                "first_step": scored.first.astype(np.float64),
                "distance": scored.distance,
            },
            chosen=chosen,
            info={
                "protocol": self.protocol.name,
                "expects_contact": bool(scored.score.any()),
                "expected_step": int(scored.first[chosen]),
                "colliding_candidates": int((scored.first >= 0).sum()),
            },
        )

    def _candidates(self, context: AttackContext) -> tuple[Floats, Floats]:
        """States [K, T, 5] by absolute step and log-probabilities [K], likeliest first."""
        scene = context.scenario
        found = self._prior.candidates(scene, context.opponent, step=context.step, num=self.num, decode=self.decode)
        log_prob = np.asarray(found.log_prob, dtype=np.float64)
        order = np.argsort(-log_prob, kind="stable")
        log_prob = log_prob[order]
        future = np.asarray(found.states, dtype=np.float64)[order, context.step + 1 :]
        self._check(scene, future, log_prob)
        states = np.zeros((len(future), scene.num_steps, STATE))
        states[:, context.step + 1 :] = future
        seen = scene.valid[context.opponent, : context.step + 1]
        history = scene.states(context.opponent)[: context.step + 1]
        states[:, : context.step + 1] = np.where(seen[:, None], history, 0.0)
        return states, log_prob

    def _check(self, scene: Scenario, future: Floats, log_prob: Floats) -> None:
        horizon = future[:, :HORIZON]
        if len(future) == 0 or not np.isfinite(horizon).all() or not np.isfinite(log_prob).all():
            raise AdversaryError(
                f"scenario {scene.id}: the motion prior gave {len(future)} candidates"
                + (" with numbers that are not finite" if len(future) else "")
                + ". Train it on scenes like this one (python -m harness.train_prior)."
            )

    def _score(self, context: AttackContext, states: Floats, log_prob: Floats, valid: Bools) -> Scored:
        """Scores of candidates `states` [K, T, 5] against every recent ego trajectory."""
        check, start = self.protocol.check, context.step + 1
        ego, ego_valid = ego_futures(context)
        clamped = log_prob.copy()
        if self.protocol.clamp_rank is not None and len(clamped) > self.protocol.clamp_rank:
            clamped[self.protocol.clamp_rank :] = clamped[self.protocol.clamp_rank]
        probability = np.exp(clamped - clamped.max())
        probability /= probability.sum()
        size = context.scenario.box(context.opponent)
        contact = first_overlap(
            states[:, None], valid, size, ego[None], ego_valid[None], context.ego_size, start, check
        )
        weight = 1.0 / len(ego) if self.protocol.normalise_ego else 1.0
        # k counts checks from 1, so a contact at the first checked step still costs one factor.
        k = (contact - start) // check.stride + 1
        overlap = np.where(contact >= 0, weight * self.penalty**k, 0.0).sum(-1)
        first = np.where(contact >= 0, contact, np.iinfo(np.intp).max).min(-1)
        first = np.where((contact >= 0).any(-1), first, -1)
        distance = closest_approach(states[:, None], valid, ego[None], ego_valid[None], start, check.stride).min(-1)
        return Scored(probability, overlap, probability * overlap, first, distance)


def _load(prior: Prior | str | PathLike[str] | None, cache_scenes: int) -> Prior:
    """The prior itself, or the one behind a path (None: shipped weights)."""
    if prior is not None and not isinstance(prior, (str, PathLike)):
        return prior
    # Imported here so that a caller with a prior of their own does not pay for torch.
    from adversaries.prior import MotionPrior

    return MotionPrior.load(prior, cache_scenes)

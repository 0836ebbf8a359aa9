"""`cat`: the likeliest of the prior's futures that hits the ego's recent trajectories.

Paper: Zhang et al., "CAT: Closed-loop Adversarial Training for Safe End-to-End Driving", CoRL 2023.

Cost: Some ten milliseconds for the first plan in a scene, less than one for a later plan.

Limits: It has no dial. It chooses among the futures that the prior draws, and where none of them hits, it only comes
close. Nothing keeps the choice on the road or away from others.
"""

from __future__ import annotations

from os import PathLike
from typing import Final, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from adversaries.common.candidates import Decode, Drawn, DrawnOnce, Prior, load_prior
from adversaries.common.plans import EgoFutures, check_context, distinct_futures, plan_rows
from adversaries.common.speed_profiles import check_profiles
from harness.episodes.protocol import Protocol, protocol_of
from harness.errors import ConfigError
from harness.interfaces import AttackContext, AttackPlan
from harness.metrics.collision import EVERY_STEP, closest_approach, first_overlap
from harness.metrics.meeting import Meetings, meet

Floats = NDArray[np.float64]
CANDIDATES: Final = 32
"""Futures drawn from the prior (CAT)."""
PENALTY: Final = 0.99
"""Factor per checked step before the first contact (CAT's α): sooner is surer."""


class CandidateScores(NamedTuple):
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
        protocol: str | Protocol = "corrected",
        candidates: int = CANDIDATES,
        penalty: float = PENALTY,
        decode: Decode = "nms",
        cache_scenes: int = 64,
        on_disk: bool = False,
        profiles: int = 1,
    ) -> None:
        """Load the prior and fix the options.

        Args:
            prior: A motion prior, the path of its weights, or None for the weights that ship with Gauntlet.
            protocol: `corrected` or `as-published`.
            candidates: Futures drawn from the prior.
            penalty: Factor per check before the first contact, in (0, 1].
            decode: How the prior picks its goals: `nms` (spread out) or `topk` (the likeliest, as SAGE does).
            cache_scenes: Scenes whose candidates are kept in memory, about 0.12 MB each (they do not depend on the
                ego, so that only the choice is left of a second attack on a scene), and scenes that a prior which is
                loaded here remembers, about 0.1 MB each.
            on_disk: Whether candidates are also kept in the user's cache folder, for the next run.
            profiles: Speed profiles for each goal: 1, the prior's own, or 3 (5, 7, 9) with the same path driven up to
                a second sooner and later. Times and memory grow alike.

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
        check_profiles(self.name, profiles)
        self.protocol = protocol_of(protocol)
        self.penalty = penalty
        source = load_prior(prior, cache_scenes)
        self._draw = DrawnOnce(source, candidates, decode, cache_scenes, on_disk=on_disk, profiles=profiles)

    def plan(self, context: AttackContext) -> AttackPlan:
        """Choose among the prior's futures (see the class).

        Raises:
            AdversaryError: No opponent, no future, no ego, or the prior finds no candidate.
        """
        check_context(context)
        drawn = self._draw(context)
        last = int(np.flatnonzero(drawn.valid)[-1])
        scored = self._score(context, drawn)
        chosen = int(scored.score.argmax() if scored.score.any() else scored.distance.argmin())
        rows, rows_valid = plan_rows(context, drawn.states[chosen], last, self.protocol)
        return AttackPlan(
            rows,
            rows_valid,
            candidates=drawn.states,
            scores={
                "log_prob": drawn.log_prob,
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

    def _score(self, context: AttackContext, drawn: Drawn) -> CandidateScores:
        """Scores of candidates against every recent ego trajectory."""
        check, start = self.protocol.check, context.step + 1
        clamped, rank = drawn.log_prob, self.protocol.clamp_rank
        if rank is not None and len(clamped) > rank:
            # The likeliest goals come first, each once, and further speed profiles of them behind all.
            clamped = np.maximum(clamped, clamped[rank])
        probability = np.exp(clamped - clamped.max())
        probability /= probability.sum()
        egos = distinct_futures(context)
        met = self._meet(context, drawn, egos)
        contact = met.first[:, egos.places]
        weight = 1.0 / len(egos.places) if self.protocol.normalise_ego else 1.0
        # k counts checks from 1, so a contact at the first checked step still costs one factor.
        k = (contact - start) // check.stride + 1
        overlap = np.where(contact >= 0, weight * self.penalty**k, 0.0).sum(-1)
        never = np.iinfo(np.intp).max
        first = np.where(met.first >= 0, met.first, never).min(-1)
        first = np.where(first == never, -1, first)
        return CandidateScores(probability, overlap, probability * overlap, first, met.nearest.min(-1))

    def _meet(self, context: AttackContext, drawn: Drawn, egos: EgoFutures) -> Meetings:
        """Contacts and closest approaches, [K, D], as the protocol judges them."""
        check, start, states = self.protocol.check, context.step + 1, drawn.states
        if check == EVERY_STEP:
            return meet(states, drawn.valid, drawn.size, egos.states, egos.valid, context.ego_size, start)
        pair = states[:, None], drawn.valid, drawn.size, egos.states[None], egos.valid[None], context.ego_size
        return Meetings(
            first_overlap(*pair, start, check),
            closest_approach(states[:, None], drawn.valid, egos.states[None], egos.valid[None], start, check.stride),
        )

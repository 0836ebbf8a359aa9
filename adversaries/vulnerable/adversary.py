"""`vulnerable`: a pedestrian or cyclist steps, walks or rides in the ego's way, within what such people can do.

There is no paper behind it. Limits and habits are published numbers (`harness.metrics.road_users`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adversaries.common.plans import check_context, current_state, distinct_futures, with_history
from adversaries.vulnerable.motion import Aims, Whereabouts, all_aims, futures, log_density
from harness.episodes.protocol import Protocol, protocol_of
from harness.errors import AdversaryError, ConfigError
from harness.geometry import boxes_overlap
from harness.interfaces import HEADING, STATE, VX, VY, AttackContext, AttackPlan
from harness.metrics.adversarial import encounter_reward
from harness.metrics.compliance import traffic_contact_steps
from harness.metrics.meeting import meet
from harness.metrics.road_users import HABITS, MOTION_LIMITS, MotionLimits
from scenarios.scenario import FUTURE_STEPS, Kind

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

TURNS: Final = np.deg2rad([0.0, *(sign * turn for turn in range(15, 180, 15) for sign in (1.0, -1.0)), 180.0])
"""Changes of direction that are considered, rad; of equally good ones the smallest is taken."""
SPEEDS: Final = 9
"""Speeds from a stand to the top speed that are considered, beside the present one."""
ONSETS: Final = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0])
"""Moments at which an aim is taken up, s."""
MOVING: Final = 0.3
"""Below it somebody stands, m/s: the direction of so small a velocity is noise."""
STANDING_EGO: Final = 0.5
"""Who walks into an ego that is slower than this, m/s, has not been hit by it: no such contact is looked for."""
CHUNK: Final = 16
"""Candidates that are checked against other traffic at a time, best ones first."""
CANDIDATES: Final = 64
"""Best candidates that a plan lists."""


class AimScores(NamedTuple):
    """Scores per candidate, each [K]; `first` is the earliest contact with an ego on the move, or -1."""

    log_prob: Floats
    reward: Floats
    score: Floats
    first: Ints
    distance: Floats


class VulnerableAdversary:
    """Weighs the ego's danger against what such a person would do: λ R_adv + (1 - λ) log p, the highest wins.

    Candidates are all combinations of a new direction (24), a new speed (10) and a moment at which both are taken up
    (8); how fast they are reached obeys the limits of the kind (`motion.futures`). R_adv is SAGE's equation 11, the
    mean over the ego's recent drives, in which contacts with an ego that stands do not count. log p is a closed-form
    prior over directions and speeds (`motion.log_density`), relative to the likeliest candidate: 1 is worth a factor e.
    So λ = 0 goes on as before, λ = 1 hits as early as the limits allow, and beyond [0, 1] both weights extrapolate.
    The best candidate that meets nobody but the ego (as logged) is chosen; where all of them do, the best.

    No randomness is used. What is not modelled: buildings and fences, which maps do not hold, kerbs, signals, and that
    people look before they step on the road.
    """

    name = "vulnerable"

    def __init__(self, protocol: str | Protocol = "corrected", candidates: int = CANDIDATES) -> None:
        """Fix the options.

        Args:
            protocol: `corrected` or `as-published`; there is no published code, so both plan alike.
            candidates: Best candidates that a plan lists, for pictures.

        Raises:
            UnknownNameError: No such protocol.
            ConfigError: `candidates` is below 1.
        """
        if candidates < 1:
            raise ConfigError(f"vulnerable: expected candidates >= 1, got {candidates}.")
        self.protocol, self.candidates = protocol_of(protocol), candidates

    def plan(self, context: AttackContext) -> AttackPlan:
        """Choose among the candidates (see the class).

        Raises:
            AdversaryError: No future, no ego, or an opponent that is neither a pedestrian nor a cyclist.
        """
        check_context(context)
        scene = context.scenario
        kind = Kind(int(scene.kinds[context.opponent]))
        if kind not in MOTION_LIMITS:
            raise AdversaryError(
                f"scenario {scene.id}: `vulnerable` moves pedestrians and cyclists, but the opponent is a "
                f"{kind.name.lower()}. `attack` and `benchmark` choose one of them by --opponent vulnerable (in code: "
                "scenarios.other_opponents)."
            )
        first = context.step + 1
        last = min(context.step + FUTURE_STEPS, scene.num_steps - 1)
        start, moving = _start(context)
        aims = _aims(start, MOTION_LIMITS[kind])
        states = np.zeros((len(aims.turn), scene.num_steps, STATE))
        states[:, first : last + 1] = futures(start, aims, MOTION_LIMITS[kind], scene.dt, last - context.step)
        scored = _score(context, states, last, log_density(aims, start, moving, HABITS[kind]))
        order = np.argsort(-scored.score, kind="stable")
        place, free = _first_free(context, states[order], last)
        # The chosen one leads the list, whoever had to be passed over for it.
        listed = np.concatenate([order[place : place + 1], np.delete(order, place)])[: self.candidates]
        chosen = int(listed[0])
        rows, valid = with_history(context, states[chosen], last)
        before = slice(None, first)
        candidates = states[listed]
        candidates[:, before] = rows[before]
        return AttackPlan(
            rows,
            valid,
            candidates=candidates,
            scores={
                "log_prob": scored.log_prob[listed],
                "reward": scored.reward[listed],
                "score": scored.score[listed],
                "first_step": scored.first[listed].astype(np.float64),
                "distance": scored.distance[listed],
            },
            chosen=0,
            info={
                "protocol": self.protocol.name,
                "kind": kind.name.lower(),
                "turn": float(aims.turn[chosen]),
                "speed": float(aims.speed[chosen]),
                "onset": float(aims.onset[chosen]),
                "expects_contact": bool(scored.first[chosen] >= 0),
                "expected_step": int(scored.first[chosen]),
                "meets_others": not free,
            },
        )


def _start(context: AttackContext) -> tuple[Whereabouts, bool]:
    """Where the opponent is now, and whether it is on the move; one that stands faces where its box does."""
    now = current_state(context)
    speed = float(np.hypot(now[VX], now[VY]))
    if speed < MOVING:
        return Whereabouts(float(now[0]), float(now[1]), float(now[HEADING]), speed), False
    return Whereabouts(float(now[0]), float(now[1]), float(np.arctan2(now[VY], now[VX])), speed), True


def _aims(start: Whereabouts, limits: MotionLimits) -> Aims:
    """Every aim of somebody at `start`; who is beyond the top speed now may stay there."""
    top = max(limits.speed, start.speed)
    return all_aims(TURNS, np.append(np.linspace(0.0, top, SPEEDS), start.speed), ONSETS)


def _score(context: AttackContext, states: Floats, last: int, log_prob: Floats) -> AimScores:
    """Scores of candidates [K, T, 5] up to step `last` against every recent drive of the ego."""
    scene, first = context.scenario, context.step + 1
    egos = distinct_futures(context)
    valid = np.zeros(scene.num_steps, dtype=bool)
    valid[first : last + 1] = True
    met = meet(states, valid, scene.box(context.opponent), egos.states, egos.valid, context.ego_size, first)
    velocity = egos.states[np.arange(len(egos.states)), met.first][..., VX:]
    hit = (met.first >= 0) & (np.hypot(velocity[..., 0], velocity[..., 1]) >= STANDING_EGO)
    horizon = max(scene.num_steps - first, 1)
    rewards = encounter_reward(hit, (met.first - first + 1) / horizon, met.nearest)
    reward = rewards[:, egos.places].mean(-1)
    log_prob = log_prob - log_prob.max()
    score = context.intensity * reward + (1.0 - context.intensity) * log_prob
    never = np.iinfo(np.intp).max
    earliest = np.where(hit, met.first, never).min(-1)
    return AimScores(log_prob, reward, score, np.where(earliest == never, -1, earliest), met.nearest.min(-1))


def _first_free(context: AttackContext, states: Floats, last: int) -> tuple[int, bool]:
    """Place of the first of these candidates [K, T, 5] that meets nobody but the ego, and whether there is one.

    Whom the opponent touches already, a companion or a wall of parked cars in a rough recording, does not count.
    """
    scene, first = context.scenario, context.step + 1
    valid = np.zeros(states.shape[:2], dtype=bool)
    valid[:, first : last + 1] = True
    size, ignore = scene.box(context.opponent), (context.opponent, scene.ego, *_touched(context))
    for begin in range(0, len(states), CHUNK):
        some = slice(begin, begin + CHUNK)
        meets = traffic_contact_steps(scene, states[some], valid[some], size, ignore, first).any(-1)
        if not meets.all():
            return begin + int(np.argmin(meets)), True
    return 0, False


def _touched(context: AttackContext) -> list[int]:
    """Agents whose box meets the opponent's at the current step."""
    scene, step = context.scenario, context.step
    now = np.array([scene.position[:, step, 0], scene.position[:, step, 1], scene.heading[:, step]]).T
    sizes = np.array([scene.box(agent) for agent in range(scene.num_agents)])
    own = current_state(context)[:3]
    met = boxes_overlap(own, np.array(scene.box(context.opponent)), now, sizes) & scene.valid[:, step]
    return np.flatnonzero(met).tolist()

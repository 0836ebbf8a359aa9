"""Spreading attacks over kinds of encounter, without a memory of other scenes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adversaries.common.candidates import Drawn
from adversaries.common.plans import EgoFutures
from harness.interfaces import AttackContext
from harness.metrics.encounter_kinds import KINDS, NO_ENCOUNTER, encounter_kinds
from harness.metrics.meeting import meet
from scenarios.scenario import name_seed

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


def kinds_met(context: AttackContext, drawn: Drawn, egos: EgoFutures) -> Ints:
    """The kind of encounter of candidates [K] with the latest ego trajectory that each meets, or `NO_ENCOUNTER`."""
    first = meet(
        drawn.states, drawn.valid, drawn.size, egos.states, egos.valid, context.ego_size, context.step + 1
    ).first
    kinds = np.full(len(first), NO_ENCOUNTER, dtype=np.intp)
    for ego in dict.fromkeys(egos.places[::-1].tolist()):
        rows = np.flatnonzero((first[:, ego] >= 0) & (kinds == NO_ENCOUNTER))
        steps = first[rows, ego]
        pair = drawn.states[rows, steps, :3], drawn.size, egos.states[ego, steps, :3], context.ego_size
        kinds[rows] = encounter_kinds(*pair)
    return kinds


def liking(context: AttackContext) -> Floats:
    """How much a scene likes each of `KINDS`, 0 to 1 in an order that is drawn for it.

    The order follows from the scene's name and one number of the context's generator: no attack depends on another, so
    that episodes may be played in any order and by any worker. Over many scenes every kind is liked most equally often.
    """
    drawn = int(context.rng.integers(2**32))
    order = np.random.default_rng([name_seed(context.scenario.id), drawn]).permutation(len(KINDS))
    return order / (len(KINDS) - 1)


def bonus(context: AttackContext, kinds: Ints) -> Floats:
    """`liking` of the kinds [K] of candidates; 0 where there is no encounter."""
    return np.where(kinds == NO_ENCOUNTER, 0.0, liking(context)[kinds])

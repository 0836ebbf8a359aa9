"""Futures of the opponent, drawn from the motion prior: what `cat` and `seal` choose from."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import AdversaryError
from harness.interfaces import STATE, AttackContext
from scenarios.scenario import FUTURE_STEPS, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Decode = Literal["nms", "topk"]


class Futures(Protocol):
    """What a prior returns."""

    @property
    def states(self) -> Floats:
        """Poses and velocities [K, T, 5] by absolute step."""
        ...

    @property
    def log_prob(self) -> Floats:
        """Logarithms of probabilities [K]."""
        ...


class Prior(Protocol):
    """The part of `adversaries.prior.MotionPrior` that is used here."""

    def candidates(self, scenario: Scenario, agent: int, step: int, num: int, decode: Decode) -> Futures:
        """Return `states` [K, T, 5] by absolute step and `log_prob` [K]."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Candidates of every adversary that draws futures; built and read by name, since no order of fields is natural.

    Attributes:
        states: [K, T, 5] by absolute step; the log (zeros where it is invalid) up to the current step.
        valid: [T], True after the current step for as long as the model sees.
        log_prob: [K].
    """

    states: Floats
    valid: Bools
    log_prob: Floats


def draw_candidates(prior: Prior, context: AttackContext, num: int, decode: Decode) -> Drawn:
    """`num` futures of the context's opponent, likeliest first.

    Raises:
        AdversaryError: The prior has none, or none that is finite.
    """
    scene = context.scenario
    found = prior.candidates(scene, context.opponent, step=context.step, num=num, decode=decode)
    log_prob = np.asarray(found.log_prob, dtype=np.float64)
    order = np.argsort(-log_prob, kind="stable")
    log_prob = log_prob[order]
    future = np.asarray(found.states, dtype=np.float64)[order, context.step + 1 :]
    _check(scene, future, log_prob)
    states = np.zeros((len(future), scene.num_steps, STATE))
    states[:, context.step + 1 :] = future
    seen = scene.valid[context.opponent, : context.step + 1]
    history = scene.states(context.opponent)[: context.step + 1]
    states[:, : context.step + 1] = np.where(seen[:, None], history, 0.0)
    valid = np.zeros(scene.num_steps, dtype=bool)
    valid[context.step + 1 : min(context.step + FUTURE_STEPS, scene.num_steps - 1) + 1] = True
    return Drawn(states=states, valid=valid, log_prob=log_prob)


def _check(scene: Scenario, future: Floats, log_prob: Floats) -> None:
    horizon = future[:, :FUTURE_STEPS]
    if len(future) == 0 or not np.isfinite(horizon).all() or not np.isfinite(log_prob).all():
        raise AdversaryError(
            f"scenario {scene.id}: the motion prior gave {len(future)} candidates"
            + (" with numbers that are not finite" if len(future) else "")
            + ". Train it on scenes like this one (python -m harness.train_prior)."
        )


def load_prior(prior: Prior | str | PathLike[str] | None, cache_scenes: int) -> Prior:
    """The prior itself, or the one behind a path (None: shipped weights).

    Raises:
        WeightsError: The file is missing or holds another model.
    """
    if prior is not None and not isinstance(prior, (str, PathLike)):
        return prior
    # Imported here so that a caller with a prior of their own does not pay for torch.
    from adversaries.prior.prior import MotionPrior

    return MotionPrior.load(prior, cache_scenes)

"""Futures of the opponent, drawn from the motion prior: what `cat` and `seal` choose from.

They do not depend on the ego, so they are drawn once per scene (`DrawnOnce`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from adversaries.common.speed_profiles import paced
from adversaries.common.stock import Stock, entry
from harness.caching import Arrays
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


@runtime_checkable
class Recognisable(Protocol):
    """A prior that says when it is the same as before; `adversaries.prior.MotionPrior` is one."""

    @property
    def version(self) -> int:
        """Changes whenever the prior does."""
        ...

    @property
    def identity(self) -> str:
        """Equal for equal priors only, in any process."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Candidates of every adversary that draws futures; built and read by name, since no order of fields is natural.

    Attributes:
        states: [K, T, 5] by absolute step; the log (zeros where it is invalid) up to the current step.
        valid: [T], True after the current step for as long as the model sees.
        log_prob: [K].
        size: Length and width of the opponent's box, m.
    """

    states: Floats
    valid: Bools
    log_prob: Floats
    size: tuple[float, float]


def drawn_of(arrays: Arrays) -> Drawn:
    """The candidates of a stock's entry."""
    length, width = arrays["size"].tolist()
    return Drawn(
        states=arrays["states"],
        valid=arrays["valid"],
        log_prob=arrays["log_prob"],
        size=(length, width),
    )


class DrawnOnce:
    """Candidates of a prior, made once per scene and opponent: what `draw_candidates` gives.

    Args:
        prior: The prior. One that does not say when it changes (`Recognisable`) is asked every time.
        num, decode: See `draw_candidates`.
        cache_scenes: Scenes whose candidates are kept in memory, 0.12 MB each.
        on_disk: Whether they are also kept in the user's cache folder.
        profiles: Speed profiles for each of them (`with_profiles`).
    """

    def __init__(
        self,
        prior: Prior,
        num: int,
        decode: Decode,
        cache_scenes: int,
        *,
        on_disk: bool = False,
        profiles: int = 1,
    ) -> None:
        self._prior, self._num, self._decode, self._profiles = prior, num, decode, profiles
        self._known = prior if isinstance(prior, Recognisable) else None
        self._stock = Stock(cache_scenes, self._maker if on_disk else None)

    def __call__(self, context: AttackContext) -> Drawn:
        """The candidates; read-only arrays.

        Raises:
            AdversaryError: See `draw_candidates`.
        """
        if self._known is None:
            return self._fresh(context)
        return drawn_of(self._stock.get(context, (), lambda: self._draw(context), version=self._known.version))

    def _fresh(self, context: AttackContext) -> Drawn:
        return with_profiles(context, draw_candidates(self._prior, context, self._num, self._decode), self._profiles)

    def _draw(self, context: AttackContext) -> Arrays:
        drawn = self._fresh(context)
        return entry(drawn.states, drawn.valid, drawn.log_prob, drawn.size)

    def _maker(self) -> str:
        return f"{self._num} {self._decode} {self._profiles} {self._known.identity if self._known else ''}"


def with_profiles(context: AttackContext, drawn: Drawn, profiles: int) -> Drawn:
    """Candidates with further speed profiles for each (`speed_profiles.paced`), behind all candidates as they are.

    A profile has its candidate's log-probability: all profiles of a goal are equally likely.
    """
    states, origin = paced(context, drawn.states, drawn.valid, profiles)
    log_prob = np.concatenate([drawn.log_prob, drawn.log_prob[origin]])
    return replace(drawn, states=np.concatenate([drawn.states, states]), log_prob=log_prob)


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
    return Drawn(states=states, valid=valid, log_prob=log_prob, size=scene.box(context.opponent))


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

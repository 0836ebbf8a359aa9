"""Stages by name: which objective, starting from what, with which options; and recipes of several stages."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from harness.errors import UnknownNameError
from harness.traffic.training.closed_loop import STRATEGIES, ClosedLoop
from harness.traffic.training.config import StageOptions
from harness.traffic.training.imitation import BehaviourCloning, MixtureCloning
from harness.traffic.training.objective import Objective
from harness.traffic.training.reinforcement import METHODS, Reinforcement

RECIPES: Final[dict[str, tuple[str, ...]]] = {"sft-rft-sft": ("catk", "mpo", "catk")}
"""Stages that follow one another, each from the weights of the one before (SMART-R1 §3.4)."""

FROM_SCRATCH: Final = ("bc", "gmm")
"""Stages that need no starting weights."""

STAGES: Final = (*FROM_SCRATCH, *STRATEGIES, *METHODS)
"""Every single stage."""


def stages_of(name: str) -> tuple[str, ...]:
    """The single stages of a stage or recipe.

    Raises:
        UnknownNameError: There is neither.
    """
    if name in RECIPES:
        return RECIPES[name]
    if name in STAGES:
        return (name,)
    raise UnknownNameError("stage", name, dict.fromkeys((*STAGES, *RECIPES), ""))


def make_objective(name: str, options: StageOptions) -> Objective:
    """A fresh objective for a single stage.

    Raises:
        UnknownNameError: There is none of this name.
    """
    if name == "bc":
        return BehaviourCloning(options.smoothing, options.width)
    if name == "gmm":
        return MixtureCloning()
    if name in STRATEGIES:
        strategy = STRATEGIES[name]
        if options.k:
            strategy = replace(strategy, k=options.k)
        return ClosedLoop(name, strategy, options.frozen)
    for method in METHODS:
        if name == method:
            objective = Reinforcement(method, options.rl)
            objective.frozen = options.frozen
            return objective
    raise UnknownNameError("stage", name, dict.fromkeys(STAGES, ""))

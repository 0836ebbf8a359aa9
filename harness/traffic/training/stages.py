"""Stages by name: which objective, starting from what, with which options; and recipes of several stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from harness.errors import UnknownNameError
from harness.traffic.training.imitation import BehaviourCloning, MixtureCloning
from harness.traffic.training.objective import Objective


@dataclass(frozen=True)
class StageOptions:
    """Options of the objectives."""

    smoothing: float = 0.1
    """Cloning: label smoothing."""
    width: float = 0.1
    """Cloning: smoothing goes to motions within about this contour distance, m; 0 for evenly, as published."""


OBJECTIVES: Final[dict[str, Callable[[StageOptions], Objective]]] = {
    "bc": lambda options: BehaviourCloning(options.smoothing, options.width),
    "gmm": lambda options: MixtureCloning(),
}
"""Every single stage."""

RECIPES: Final[dict[str, tuple[str, ...]]] = {}
"""Stages that follow one another, each from the weights of the one before."""

FROM_SCRATCH: Final = ("bc", "gmm")
"""Stages that need no starting weights."""


def stages_of(name: str) -> tuple[str, ...]:
    """The single stages of a stage or recipe.

    Raises:
        UnknownNameError: There is neither.
    """
    if name in RECIPES:
        return RECIPES[name]
    if name in OBJECTIVES:
        return (name,)
    raise UnknownNameError("stage", name, {**dict.fromkeys(OBJECTIVES, ""), **dict.fromkeys(RECIPES, "")})


def make_objective(name: str, options: StageOptions) -> Objective:
    """A fresh objective for a single stage."""
    return OBJECTIVES[name](options)

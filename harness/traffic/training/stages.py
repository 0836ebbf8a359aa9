"""Stages by name: which objective, starting from what, with which options; and recipes of several stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from harness.errors import ConfigError, UnknownNameError
from harness.traffic.model.network import SmartNetwork
from harness.traffic.training.closed_loop import STRATEGIES, ClosedLoop
from harness.traffic.training.config import StageOptions
from harness.traffic.training.distillation import DISTIL, Distillation
from harness.traffic.training.imitation import BehaviourCloning
from harness.traffic.training.infgen import InfGenCloning
from harness.traffic.training.mixture import HARD, MIXTURE_STRATEGIES, ClosedLoopMixture, MixtureCloning
from harness.traffic.training.objective import Objective
from harness.traffic.training.policy_losses import METHODS
from harness.traffic.training.reinforcement import Reinforcement
from harness.traffic.training.sequences import SequenceCloning

RECIPES: Final[dict[str, tuple[str, ...]]] = {"sft-rft-sft": ("catk", "mpo", "catk")}
"""Stages that follow one another, each from the weights of the one before (SMART-R1 §3.4)."""

ROSETTA: Final = "rosetta"
"""The stage of traffic that enters and leaves."""
INFGEN: Final = "infgen"
"""The stage of its rival."""

COMES_AND_GOES: Final = (ROSETTA, INFGEN)
"""Stages that train who enters and leaves."""

FROM_SCRATCH: Final = ("bc", "gmm", *COMES_AND_GOES)
"""Stages that need no starting weights."""

OF_MIXTURES: Final = ("gmm", HARD, *MIXTURE_STRATEGIES)
"""Stages that train a mixture head."""

STAGES: Final = (*FROM_SCRATCH, *STRATEGIES, HARD, *MIXTURE_STRATEGIES, *METHODS, DISTIL)
"""Every single stage."""

JUDGED: Final = (*METHODS, DISTIL)
"""Stages whose roll-outs are scored, which takes road edges."""


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


def check_head(stages: Sequence[str], network: SmartNetwork, where: str) -> None:
    """Refuse weights without the head that the stages train.

    Args:
        stages: Names of single stages.
        network: What they would start from.
        where: Its file, for the message.

    Raises:
        ConfigError: A stage of the mixture head and weights with a token head, or the reverse.
    """
    has = network.mixture is not None
    for name in stages:
        if (name in OF_MIXTURES) == has:
            continue
        if has:
            raise ConfigError(
                f"--stage {name} trains a token head, and {where} has a mixture head: give --init weights of --stage "
                f"bc, or one of the stages {', '.join(MIXTURE_STRATEGIES)}."
            )
        scratch = "leave --init out, or " if name in FROM_SCRATCH else ""
        raise ConfigError(
            f"--stage {name} trains a mixture head, and {where} has a token head: {scratch}give --init weights of "
            "--stage gmm."
        )


def make_objective(name: str, options: StageOptions) -> Objective:
    """A fresh objective for a single stage.

    Raises:
        UnknownNameError: There is none of this name.
    """
    if name == "bc":
        return BehaviourCloning(options.smoothing, options.width)
    if name == "gmm":
        return MixtureCloning()
    if name == HARD:
        return MixtureCloning(HARD, frozen=options.frozen, hard=True)
    if name in STRATEGIES:
        strategy = STRATEGIES[name]
        if options.k:
            strategy = replace(strategy, k=options.k)
        return ClosedLoop(name, strategy, options.frozen)
    if name in MIXTURE_STRATEGIES:
        strategy = MIXTURE_STRATEGIES[name]
        if options.k:
            strategy = replace(strategy, k=options.k)
        return ClosedLoopMixture(name, strategy, options.frozen)
    if name == ROSETTA:
        return SequenceCloning(options.decisions, options.observer, options.encoder, zipf=options.zipf)
    if name == INFGEN:
        return InfGenCloning(
            options.decisions, options.observer, options.infgen, options.smoothing, options.width, options.encoder
        )
    if name == DISTIL:
        return Distillation(options)
    for method in METHODS:
        if name == method:
            objective = Reinforcement(method, options.rl)
            objective.frozen = options.frozen
            return objective
    raise UnknownNameError("stage", name, dict.fromkeys(STAGES, ""))

"""What experts prefer, which are made, and how they are aligned.

Paper: section 3.2; constants from appendix B.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from adversaries.sage.groups import Draw
from adversaries.sage.pairs import LIMIT, MARGIN, best_worst, group_pairs
from harness.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    # Judging takes the map, which options can do without.
    from adversaries.sage.objectives import Values

GROUP: Final = 32
"""Candidates per scene, N (appendix B.1)."""
BETA: Final = 0.05
"""Strength of the regularisation towards the reference (appendix B.1)."""
EXTREME: Final = 0.9
"""Weight w* of equation 5 (appendix B.1)."""
MAP_WEIGHT: Final = 0.1
"""Weight w_map of the weighted-penalty ablation, which the paper does not give: a boundary costs 5, an object 1, the
scale of the other terms."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an expert prefers, and how its pairs are made.

    Attributes:
        w_adv, w_real: Weights of eq. 3.
        w_novel: Weight of novelty (see `adversaries.sage.surprise`), which the paper leaves to later work (section 5).
        map_rule: `precondition` (feasibility first), `weighted` (a penalty in the reward, eq. 2), or `none`.
        pairs: `hierarchical` (HGPO: every infeasible candidate loses to a feasible one, and preferences fill the limit)
            or `one` (standard DPO: the best and the worst feasible candidate). `group`, which headers of older weights
            name, shared the limit evenly between the two rules; such an alignment is not continued.
        purpose: One line for people.
    """

    w_adv: float
    w_real: float
    map_rule: Literal["precondition", "weighted", "none"] = "precondition"
    pairs: Literal["hierarchical", "one"] = "hierarchical"
    purpose: str = ""
    w_novel: float = 0.0

    def reward(self, values: Values, novelty: NDArray[np.float64] | float = 0.0) -> NDArray[np.float64]:
        """What pairs are ranked by; `novelty` [K], nats, where there is a weight for it."""
        if self.map_rule == "weighted":
            return values.total(self.w_adv, self.w_real, MAP_WEIGHT) + self.w_novel * novelty
        return values.preference(self.w_adv, self.w_real) + self.w_novel * novelty

    def choose(
        self,
        values: Values,
        rng: np.random.Generator,
        limit: int,
        margin: float,
        novelty: NDArray[np.float64] | float = 0.0,
    ) -> NDArray[np.intp]:
        """Pairs [P, 2] (winner, loser) among judged candidates."""
        feasible = values.feasible if self.map_rule == "precondition" else np.ones_like(values.feasible)
        if self.pairs == "one":
            return best_worst(feasible, self.reward(values, novelty), margin)
        return group_pairs(feasible, self.reward(values, novelty), rng, limit, margin)


RECIPES: Final[dict[str, Recipe]] = {
    "adv": Recipe(EXTREME, 1 - EXTREME, purpose="adversarial expert"),
    "real": Recipe(1 - EXTREME, EXTREME, purpose="realism expert"),
    # As the others have 0.9 for their own end and 0.1 for the other, this has 0.9 for novelty and 0.05 for either.
    "novel": Recipe((1 - EXTREME) / 2, (1 - EXTREME) / 2, w_novel=EXTREME, purpose="novelty expert"),
    "no_map": Recipe(EXTREME, 1 - EXTREME, map_rule="none", purpose="ablation: no map precondition"),
    "weighted_map": Recipe(EXTREME, 1 - EXTREME, map_rule="weighted", purpose="ablation: weighted map penalty"),
    "no_realism": Recipe(EXTREME, 0.0, purpose="ablation: no realism penalty"),
    "dpo": Recipe(EXTREME, 1 - EXTREME, pairs="one", purpose="ablation: DPO, one pair per scene"),
    "scalar_37": Recipe(0.3, 0.7, purpose="separately trained, weights 3 : 7"),
    "scalar_55": Recipe(0.5, 0.5, purpose="separately trained, weights 5 : 5"),
    "scalar_73": Recipe(0.7, 0.3, purpose="separately trained, weights 7 : 3"),
}
"""Experts and the ablations of table 9 and figure 6."""


def recipe_of(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownNameError: There is none.
    """
    try:
        return RECIPES[name]
    except KeyError:
        raise UnknownNameError("expert", name, RECIPES) from None


FREE: Final = frozenset({"epochs", "threads"})
"""Fields of `HgpoConfig` that may differ when alignment goes on."""


@dataclass(frozen=True)
class HgpoConfig:
    """How an expert is aligned."""

    epochs: int = 10
    """Passes over the training scenes (paper: 200, at its lower learning rate)."""
    scenes_per_update: int = 8
    """Number of scenes whose pairs share one update (paper: 1)."""
    learning_rate: float = 5e-4
    """Learning rate of AdamW (paper: 1e-5, for DenseTNT; this prior has 0.2 million weights, and 20 epochs at that rate
    raised its groups' R_adv by a third of what 1e-4 did)."""
    beta: float = BETA
    """Strength of the regularisation towards the prior."""
    group: int = GROUP
    """Number of candidates that are drawn per scene."""
    pairs: int = LIMIT
    """Largest number of preference pairs per scene."""
    margin: float = MARGIN
    """Smallest difference of preference reward between the candidates of a pair."""
    held_out_every: int = 5
    """Number of epochs between evaluations on held-out scenes."""
    seed: int = 0
    """Seed of the order of scenes and of pairs."""
    threads: int = 1
    """Threads of PyTorch; with one the result is the same on every run."""

    def __post_init__(self) -> None:
        """Reject what cannot work."""
        for name in ("epochs", "scenes_per_update", "group", "pairs", "held_out_every", "threads"):
            if getattr(self, name) < 1:
                option = f"--make.alignment.{name.replace('_', '-')}"
                raise ConfigError(f"{option} {getattr(self, name)}: expected at least 1.")
        if self.learning_rate <= 0 or self.beta <= 0 or self.margin < 0:
            raise ConfigError("alignment: learning_rate and beta must be > 0, margin >= 0.")


@dataclass(frozen=True)
class ExpertsConfig:
    """Which experts are made, and how."""

    experts: tuple[str, ...] = ("adv", "real")
    """Experts that are made: `adv` and `real` make the pair that `sage` mixes, `novel` (kinds of encounter that the two
    seldom choose) is a third one for `sage?third=FILE`; the others are the ablations `no_map`, `weighted_map`,
    `no_realism`, `dpo` and the separately trained `scalar_37`, `scalar_55`, `scalar_73`."""
    draw: Draw = field(default_factory=Draw)
    """How groups of candidates are drawn from the goal-conditioned prior."""
    filtered: bool = True
    """Leave out scenes that the paper leaves out (opponent too short-lived or off the road, ego at rest)."""
    alignment: HgpoConfig = field(default_factory=HgpoConfig)
    """Optimisation of every expert."""

    def __post_init__(self) -> None:
        """Reject unknown and repeated names."""
        for name in self.experts:
            recipe_of(name)
        if not self.experts or len(set(self.experts)) != len(self.experts):
            raise ConfigError(f"experts: expected distinct names, at least one, got {self.experts}.")

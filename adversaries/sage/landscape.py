"""Rewards and HGPO's loss of any weights in the plane of two experts: the plane, the segment, and what lies beyond.

Paper: section 3.4 and 4.3, figure 5 (c to e). Everything is judged on prepared scenes against the logged ego.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adversaries.sage.alignment import judged_groups, summary
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.bank import Bank, Entry
from adversaries.sage.config import EXTREME, GROUP, RECIPES, HgpoConfig, Recipe
from adversaries.sage.experts import Experts
from adversaries.sage.fronts import Progress, Row, area, efficient
from adversaries.sage.hgpo import PreferencePairs, draw_pairs, group_loss, hgpo_loss, pair_log_probs
from adversaries.sage.objectives import Values
from adversaries.sage.steering import Dial, extrapolated

Floats = NDArray[np.float64]

NEUTRAL: Final = Recipe(0.5, 0.5)
REWARDS: Final = {"adv": EXTREME, "real": 1 - EXTREME, "even": 0.5}
"""Weight of R_adv in the rewards that are drawn along the segment: those of the two experts, and even ones."""
LOSSES: Final = ("adv", "real")
"""Experts whose loss is measured."""
SCENES: Final = 32
"""Scenes in one forward pass."""


class ScenePairs(NamedTuple):
    """A few scenes and one expert's pairs in them, drawn once from the reference's groups."""

    entries: list[Entry]
    pairs: PreferencePairs


class Probe:
    """What any weight vector does on prepared scenes.

    Args:
        experts: Experts and their prior.
        bank: Scenes, all of whose futures are judged.
    """

    def __init__(self, experts: Experts, bank: Bank) -> None:
        self.vectors, self.bank = experts.vectors, bank
        self.policy = GoalBackbone(experts.prior)
        self._dial = Dial(self.policy.module, self.vectors)
        self.tables = [entry.values(self.policy.vocabulary(entry.case)) for entry in bank.entries]
        self.config = HgpoConfig()
        self._drawn = {name: self._draw(RECIPES[name]) for name in LOSSES}

    def at(self, adv: float, real: float) -> Tensor:
        """Weights θ_ref + φ_adv Δ_adv + φ_real Δ_real [P], eq. 16 from the reference."""
        # Base 0 is the realism expert, so its Δ is taken off again.
        return extrapolated(self.vectors, 0.0, adv, real - 1.0)

    def between(self, place: float) -> Tensor:
        """θ(λ) [P], eq. 6 as it stands, beyond [0, 1] too."""
        return extrapolated(self.vectors, place, 0.0, 0.0)

    def put(self, weights: Tensor) -> GoalBackbone:
        """The policy with these weights [P]."""
        self._dial.put(weights)
        return self.policy

    def groups(self, weights: Tensor) -> list[Values]:
        """The judged group of every scene, drawn as in alignment."""
        return judged_groups(self.put(weights), self.bank, GROUP)

    def __call__(self, weights: Tensor, recipe: Recipe = NEUTRAL) -> dict[str, float]:
        """`alignment.summary` of the weights' groups."""
        return summary(self.groups(weights), recipe)

    @torch.no_grad()
    def log_probs(self, weights: Tensor) -> list[Floats]:
        """Log π of every future of every scene, [V] each."""
        policy, found = self.put(weights), []
        for entries in self.bank.batches(SCENES):
            found += list(policy.distribution([entry.case for entry in entries]).log_probs.double().numpy())
        return found

    @torch.no_grad()
    def losses(self, weights: Tensor) -> dict[str, float]:
        """HGPO's loss of each expert on the same pairs, whatever the weights: those of the reference's groups."""
        policy, found = self.put(weights), {}
        for name in LOSSES:
            parts = []
            for entries, pairs in self._drawn[name]:
                distribution = policy.distribution([entry.case for entry in entries])
                loss = hgpo_loss(*pair_log_probs(distribution, entries, pairs), self.config.beta)
                parts.append((float(loss), pairs.total))
            found[name] = _mean_loss(parts)
        return found

    @torch.no_grad()
    def own_losses(self, weights: Tensor) -> dict[str, float]:
        """HGPO's loss of each expert on pairs of the weights' own groups, as alignment meets it."""
        policy, found = self.put(weights), {}
        for name in LOSSES:
            rng = np.random.default_rng(0)
            parts = [
                group_loss(policy, entries, RECIPES[name], self.config, rng) for entries in self.bank.batches(SCENES)
            ]
            found[name] = _mean_loss([(float(part.loss), part.pairs) for part in parts if part.loss is not None])
        return found

    @torch.no_grad()
    def _draw(self, recipe: Recipe) -> list[ScenePairs]:
        policy, rng, found = self.put(self.vectors.reference), np.random.default_rng(0), []
        for entries in self.bank.batches(SCENES):
            distribution = policy.distribution([entry.case for entry in entries])
            pairs = draw_pairs(distribution, entries, recipe, self.config, rng)
            if pairs.total:
                found.append(ScenePairs(entries, pairs))
        return found


def _mean_loss(parts: Sequence[tuple[float, int]]) -> float:
    """Mean over pairs of losses with their numbers of pairs; NaN without pairs."""
    total = sum(pairs for _, pairs in parts)
    return sum(loss * pairs for loss, pairs in parts) / total if total else float("nan")


def landscape(probe: Probe, low: float, high: float, count: int, tick: Progress) -> Row:
    """Figure 5 (c, e): the grid θ_ref + φ_adv Δ_adv + φ_real Δ_real, both φ from `low` to `high`.

    Returns:
        `axis`, and by rows of φ_adv and columns of φ_real: group means, those of the choice by even rewards, and
        `loss`, the mean of both experts' losses on the reference's pairs.
    """
    axis = np.linspace(low, high, count)
    keys = ("adversarial", "realism", "feasible", "chosen_adversarial", "chosen_realism", "chosen_feasible", "loss")
    grid = {key: np.zeros((count, count)) for key in keys}
    for i, a in enumerate(axis):
        for j, b in enumerate(axis):
            weights = probe.at(a, b)
            row = probe(weights) | {"loss": float(np.mean(list(probe.losses(weights).values())))}
            for key in keys:
                grid[key][i, j] = row[key]
        tick("landscape", i + 1, count)
    return {"axis": axis.tolist(), **{key: values.tolist() for key, values in grid.items()}}


def barrier(losses: Sequence[float], places: Sequence[float]) -> float:
    """By how much losses along a segment exceed the straight line between those of its ends, at most; ≥ 0.

    Paper: the error barrier of Frankle et al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis". Negative
    rewards are losses.

    Args:
        losses: [n], in the order of the places.
        places: [n] λ, the ends first and last.
    """
    return float(np.maximum(np.asarray(losses) - line(losses, places), 0.0).max())


def line(values: Sequence[float], places: Sequence[float]) -> Floats:
    """The straight line [n] between the values of both ends."""
    ends = np.asarray(places)[[0, -1]]
    return np.interp(places, ends, np.asarray(values, dtype=np.float64)[[0, -1]])


def _beside_line(values: Sequence[float], places: Sequence[float], sign: float) -> Row:
    """Measured values beside the straight line; `sign` is 1 for losses and -1 for rewards."""
    shortfall = barrier((sign * np.asarray(values)).tolist(), places)
    span = abs(values[-1] - values[0])
    return {
        "measured": list(values),
        "line": line(values, places).tolist(),
        "shortfall": shortfall,
        "relative": shortfall / span if span > 1e-9 else float("nan"),
    }


def linearity(probe: Probe, count: int = 11) -> Row:
    """Figure 5 (d): rewards and losses along the segment beside the straight line between those of the experts.

    Returns:
        Per reward (`adv`: 0.9/0.1, `real`: 0.1/0.9, `even`: 0.5/0.5) the `measured` group means, the `line`, the
        largest shortfall below the line and that shortfall over the difference of the ends. `losses` holds the same of
        each expert's HGPO loss on the pairs of the reference's groups, where the shortfall is the loss barrier, and
        `own_losses` of those on the mixture's own groups. `groups` holds the group means themselves.
    """
    places = np.linspace(0.0, 1.0, count)
    weights = [probe.between(x) for x in places]
    rows = [probe(vector) for vector in weights]
    adversarial = np.array([row["adversarial"] for row in rows])
    realism = np.array([row["realism"] for row in rows])
    found: Row = {"intensities": places.tolist(), "groups": rows}
    for name, w in REWARDS.items():
        found[name] = _beside_line((w * adversarial - (1 - w) * realism).tolist(), places.tolist(), -1.0)
    for kind, losses in (("losses", probe.losses), ("own_losses", probe.own_losses)):
        measured = [losses(vector) for vector in weights]
        found[kind] = {name: _beside_line([row[name] for row in measured], places.tolist(), 1.0) for name in LOSSES}
    return found


def extrapolation_front(grid: Mapping[str, list], along: Sequence[Mapping[str, float]], prefix: str = "") -> Row:
    """Figure 5 (e): whether preference vectors lead beyond the front between the experts.

    Args:
        grid: As `landscape` returns it.
        along: Group means at λ between 0 and 1, as `linearity` returns them.
        prefix: `chosen_` for the choice, empty for the group.

    Returns:
        `interpolated` and `extrapolated`: points of each front that none of its own beats, as φ_adv, φ_real, R_adv and
        P_real (a mixture at λ has φ = λ, 1 - λ); `hypervolume` of the first alone and of both together, above the worst
        R_adv and P_real of the first; `beaten`: how many of the `points` of the first some point of the grid beats in
        both.
    """
    ours = np.array([(row[f"{prefix}adversarial"], -row[f"{prefix}realism"]) for row in along])
    places = np.linspace(0.0, 1.0, len(along))
    axis = np.array(grid["axis"])
    gains = np.stack([np.ravel(grid[f"{prefix}adversarial"]), -np.ravel(grid[f"{prefix}realism"])], -1)
    phi = np.stack([np.repeat(axis, len(axis)), np.tile(axis, len(axis))], -1)
    corner = ours.min(0)

    def rows(kept: NDArray[np.bool_], phi: Floats, gains: Floats) -> list[Row]:
        order = np.flatnonzero(kept)[np.argsort(gains[kept, 0], kind="stable")]
        return [
            {"phi_adv": a, "phi_real": b, "adversarial": gain, "realism": -cost}
            for (a, b), (gain, cost) in zip(phi[order].tolist(), gains[order].tolist(), strict=True)
        ]

    both = np.concatenate([ours, gains])
    beaten = (gains[None] > ours[:, None]).all(-1).any(-1)
    return {
        "interpolated": rows(efficient(ours), np.stack([places, 1.0 - places], -1), ours),
        "extrapolated": rows(efficient(gains), phi, gains),
        "hypervolume": {
            "interpolated": area(ours - corner),
            "extrapolated": area(np.maximum(both - corner, 0.0)),
        },
        "beaten": int(beaten.sum()),
        "points": len(ours),
    }

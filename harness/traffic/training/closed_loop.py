"""Closed-loop supervised fine-tuning: CAT-K, and the rivals that CAT-K's supplement compares it with (table 5).

They differ in four choices: which K tokens are candidates (most probable, or nearest to the log), which candidate the
roll-out follows, which candidates are dropped for being too far from the log, and what the model has to predict (the
token that leads back to the log, or the token that the roll-out took).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.traffic.model.batch import AgentBatch, LogBatch
from harness.traffic.model.network import MapFeatures, SmartNetwork
from harness.traffic.model.rollout import Rollout, append
from harness.traffic.sampling import cat_k, draw, top_k
from harness.traffic.tokens.scene import CURRENT_TOKEN
from harness.traffic.training.objective import StageLoss, Step, Targets, encode, score, taken


@dataclass(frozen=True)
class Strategy:
    """How a training roll-out picks tokens, and what they are trained towards."""

    criterion: Literal["prob", "distance"] = "prob"
    """Candidates: the k most probable tokens, or the k nearest to the log."""
    k: int = 32
    """Candidates."""
    pick: Literal["closest", "distance", "uniform", "prob"] = "closest"
    """Which candidate is followed: the one nearest to the log, or a sample by negative distance, evenly, by policy."""
    target: Literal["log", "rollout"] = "log"
    """What is learnt: the token nearest to the log, or the token that was followed."""
    reach: float = 0.0
    """Distance filter: candidates farther than this from the log are dropped (the nearest one stays), m; 0 for none."""
    softness: float = 1.0
    """Distance in m that lowers the log-probability of `pick="distance"` by one (our reading: the table's samples by
    negative distance hardly differ from even ones)."""


STRATEGIES: Final[dict[str, Strategy]] = {
    "catk": Strategy(),
    "noisy_tokens": Strategy(criterion="distance", k=5, pick="distance"),
    "noisy_tokens_uniform": Strategy(criterion="distance", k=5, pick="uniform"),
    "noisy_tokens_policy": Strategy(criterion="distance", k=5, pick="prob"),
    "perturbation": Strategy(criterion="distance", k=5, pick="distance", target="rollout"),
    "perturbation_uniform": Strategy(criterion="distance", k=5, pick="uniform", target="rollout"),
    "perturbation_policy": Strategy(criterion="distance", k=5, pick="prob", target="rollout"),
    "top_k": Strategy(k=16, pick="prob"),
    "top_k_filter": Strategy(k=16, pick="prob", reach=1.0),
    "top_k_distance": Strategy(k=16, pick="distance"),
}
"""Rows of table 5 by name, each at the K that did best there."""


def pick_tokens(
    strategy: Strategy, logits: Tensor, distance: Tensor, known: Tensor, generator: torch.Generator
) -> Tensor:
    """Next tokens [...] of a training roll-out.

    Args:
        strategy: How.
        logits: [..., V] of the policy.
        distance: [..., V] m from the log, if the token is taken.
        known: [...] whether the log is known there; a sample of the policy elsewhere.
        generator: Randomness.
    """
    if strategy.criterion == "prob" and strategy.pick == "closest":
        return cat_k(logits, distance, known, strategy.k, generator)
    by = logits if strategy.criterion == "prob" else -distance
    candidates = top_k(by, strategy.k) > -torch.inf
    if strategy.reach > 0:
        near = distance.masked_fill(~candidates, torch.inf)
        candidates = candidates & ((near <= strategy.reach) | (near == near.amin(-1, keepdim=True)))
    weight = {
        "closest": -1e5 * distance,
        "distance": -distance / strategy.softness,
        "uniform": torch.zeros_like(logits),
        "prob": logits,
    }[strategy.pick]
    chosen = draw(weight.masked_fill(~candidates, -torch.inf), 1.0, generator)
    if bool(known.all()):
        return chosen
    return torch.where(known, chosen, draw(top_k(logits, strategy.k), 1.0, generator))


class Unrolled(NamedTuple):
    """A training roll-out: agents [W, A, N] (history, then what was followed), tokens [W, A, S] nearest to the log."""

    agents: AgentBatch
    nearest: Tensor


Picker = Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor]
"""(logits, distance, known, generator) → tokens."""

Sampler = Callable[[Rollout, Tensor, torch.Generator], Tensor]
"""(roll-out, logits, generator) → tokens: a choice that knows nothing of the log."""


@torch.no_grad()
def unroll(
    network: SmartNetwork,
    maps: MapFeatures,
    agents: AgentBatch,
    log: LogBatch,
    pick: Picker | None,
    generator: torch.Generator,
    tokens: int | None = None,
    sample: Sampler | None = None,
) -> Unrolled:
    """Roll out from the current step, to the end of the longest log by default.

    Args:
        network: In evaluation mode.
        maps: Encoded maps.
        agents: Logged tokens; only the history is used.
        log: For distances.
        pick: How tokens are chosen by their distance from the log; None skips distances and asks `sample`.
        generator: Randomness.
        tokens: How many tokens instead; only without `pick`, which needs the log.
        sample: How tokens are chosen without `pick`; None draws from all tokens at temperature 1.
    """
    history = agents.first(CURRENT_TOKEN)
    rollout = Rollout(network, maps, history)
    found, nearest = history, []
    for step in range(CURRENT_TOKEN, agents.token.shape[2] if tokens is None else CURRENT_TOKEN + tokens):
        logits = rollout.logits()
        if pick is None:
            token = draw(logits, 1.0, generator) if sample is None else sample(rollout, logits, generator)
            nearest.append(token)
        else:
            distance = rollout.log_distance(log.goal[:, :, step + 1])
            token = pick(logits, distance, log.goal_valid[:, :, step + 1], generator)
            nearest.append(distance.argmin(-1))
        rollout.advance(token)
        found = append(found, rollout.batch())
    return Unrolled(found, torch.stack(nearest, -1))


def future_targets(unrolled: Unrolled, token: Tensor, mask: Tensor, **extra: Tensor) -> Targets:
    """Targets for the tokens after the current step; `token`, `mask` and extras are [W, A, S, …]."""
    count = unrolled.agents.token.shape[2] - 1

    def padded(values: Tensor) -> Tensor:
        return torch.cat([values.new_zeros(*values.shape[:2], CURRENT_TOKEN - 1, *values.shape[3:]), values], 2)

    return Targets(
        unrolled.agents.first(count),
        padded(token),
        padded(mask),
        {name: padded(value) for name, value in extra.items()},
    )


@dataclass
class ClosedLoop:
    """Supervised fine-tuning on the model's own roll-outs.

    Paper: CAT-K (Zhang et al. 2025), algorithm 2 and table 5. Roll-outs carry no gradient (tokens are constants); the
    batched pass over what was rolled out does, through time as well.
    """

    name: str
    strategy: Strategy
    frozen: bool = True
    updates: int = 1
    module: nn.Module | None = None

    def begin(self, network: SmartNetwork) -> None:
        """Nothing to remember."""

    def prepare(self, network: SmartNetwork, step: Step) -> Targets:
        """Roll out, and find what should have been predicted."""
        maps = encode(network, step.maps, True)

        def pick(logits: Tensor, distance: Tensor, known: Tensor, generator: torch.Generator) -> Tensor:
            return pick_tokens(self.strategy, logits, distance, known, generator)

        unrolled = unroll(network, maps, step.agents, step.log, pick, step.generator)
        future = slice(CURRENT_TOKEN, None)
        own = unrolled.agents.token[:, :, future]
        token = unrolled.nearest if self.strategy.target == "log" else own
        goal_valid = step.log.goal_valid[:, :, CURRENT_TOKEN + 1 :]
        mask = unrolled.agents.valid[:, :, future] & goal_valid & step.log.trained[..., None]
        return future_targets(unrolled, token, mask)

    def loss(self, network: SmartNetwork, step: Step, data: Targets) -> StageLoss:
        """Cross-entropy without smoothing (CAT-K)."""
        scored = score(network, encode(network, step.maps, self.frozen, data.agents), data)
        token = taken(scored, data.token)
        total = F.cross_entropy(scored.logits, token)
        right = (scored.logits.argmax(-1) == token).float().mean()
        return StageLoss(total, {"nll": total.detach(), "top1": right})

    def validate(self, network: SmartNetwork, step: Step) -> float:
        """The same loss on held-out scenes, rolled out by CAT-32 whatever the strategy, so that rivals compare."""
        reference = ClosedLoop(self.name, STRATEGIES["catk"])
        data = reference.prepare(network, step)
        scored = score(network, encode(network, step.maps, True, data.agents), data)
        return float(F.cross_entropy(scored.logits, taken(scored, data.token)))

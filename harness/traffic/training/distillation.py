"""Distillation of the shield: the model learns to choose by itself what the shield makes it choose.

Roll-outs are the model's own behind the shield. Where the shield changed an agent's choice, the token that it chose is
what has to be predicted. With Gumbel noise that token is a sample of the model's distribution among the tokens that the
shield lets through, given what the others chose: so the mean gradient is that of the cross-entropy with this
distribution, and nothing but the roll-out has to be computed. Renormalised probabilities would say the same with less
noise, but take a second look at all candidates of everybody, and are not defined where no candidate is good.

Where the choice was left alone there is nothing to learn: a share of these decisions is held at the whole distribution
of the weights that the stage started from, so that the model forgets nothing.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.caching import Lru
from harness.fitting.task import Numbers
from harness.traffic.model.batch import join_worlds
from harness.traffic.model.network import SmartNetwork
from harness.traffic.model.rollout import Rollout
from harness.traffic.model.shielded import Shield
from harness.traffic.road_sides import RoadSides
from harness.traffic.sampling import Sampling, draw, drawn, top_k
from harness.traffic.tokens.scene import CURRENT_TOKEN
from harness.traffic.tokens.shapes import TOKEN_STEPS
from harness.traffic.training.closed_loop import Unrolled, future_targets, unroll
from harness.traffic.training.config import StageOptions
from harness.traffic.training.objective import StageLoss, Step, Targets, encode, score, taken
from harness.traffic.training.policy_losses import mean
from harness.traffic.training.reinforcement import Reinforcement
from scenarios.scenario import FUTURE_STEPS

DISTIL: Final = "distil"
"""Name of the stage."""
_ROADS: Final = 48
"""Scenes whose road edges are kept, about 1 MB each."""


class ShieldedTokens:
    """Draws tokens of one scene behind a shield, and notes where that made a difference.

    Args:
        shield: The shield of the scene.
        k: Tokens that are drawn from without a shield.
    """

    def __init__(self, shield: Shield, k: int) -> None:
        self._shield, self._k = shield, k
        self.changed: list[Tensor] = []

    def __call__(self, rollout: Rollout, logits: Tensor, generator: torch.Generator) -> Tensor:
        """Tokens [W, A] from logits [W, A, V]."""
        wanted, temperature = top_k(logits, self._k), Sampling().temperature
        same = torch.Generator(generator.device).set_state(generator.get_state())
        token = self._shield.choose(rollout, logits, wanted, temperature, generator)
        self.changed.append(token != draw(wanted, temperature, same))
        return token


class Distillation:
    """The stage: see the module.

    Args:
        options: Roll-outs, the share that is held, candidates; and how held-out scenes are judged (`rl`).
    """

    updates = 1
    module: nn.Module | None = None

    def __init__(self, options: StageOptions) -> None:
        self.name, self.frozen, self.options = DISTIL, options.frozen, options.distil
        self._k = options.k or Sampling().k
        self._plain = Reinforcement("mpo", options.rl)
        self._roads: Lru[tuple[str, bytes], RoadSides] = Lru(_ROADS)

    def begin(self, network: SmartNetwork) -> None:
        """Keep the starting weights as what the model should not forget."""
        self.reference = copy.deepcopy(network).eval().requires_grad_(False)

    def judges(self, count: int) -> AbstractContextManager[None]:
        """Have roll-outs of held-out scenes judged by so many processes."""
        return self._plain.judges(count)

    def shield(self, step: Step, position: int) -> Shield:
        """The shield of a scene of the batch."""
        scenario, frame = step.scenario(position), step.scenes[position].frame
        device = step.agents.pose.device
        # The frame tells scenes of the same name apart.
        key = scenario.id, frame.tobytes()
        return Shield(self._roads.get(key, lambda: RoadSides.of(scenario, frame, device)))

    def prepare(self, network: SmartNetwork, step: Step) -> Targets:
        """Roll out behind the shield; note what it changed, and whom to hold where it changed nothing."""
        maps = encode(network, step.maps, True)
        count, tokens = self.options.rollouts, FUTURE_STEPS // TOKEN_STEPS
        parts: list[Unrolled] = []
        changes: list[Tensor] = []
        for position in range(len(step.scenes)):
            # Scene by scene, as each has a road of its own.
            agents = step.agents.worlds(slice(position, position + 1)).repeat(count)
            sampler = ShieldedTokens(self.shield(step, position), self._k)
            parts.append(unroll(network, maps, agents, step.log, None, step.generator, tokens, sampler))
            changes.append(torch.stack(sampler.changed, -1))
        rolled, changed = join_worlds([part.agents for part in parts]), torch.cat(changes)
        future = slice(CURRENT_TOKEN, None)
        trained = step.log.trained.repeat_interleave(count, 0)[..., None]
        decided = rolled.valid[:, :, future] & trained
        held = drawn(changed.shape, step.generator, changed.device) < self.options.share
        learnt = decided & changed
        return future_targets(
            Unrolled(rolled, rolled.token[:, :, future]),
            rolled.token[:, :, future],
            learnt | (decided & held),
            learnt=learnt,
            decided=decided,
        )

    def loss(self, network: SmartNetwork, step: Step, data: Targets) -> StageLoss:
        """Mean over decisions: cross-entropy with the shield's choice, or divergence from the starting weights.

        Dropout is off, so that the divergence starts at 0.
        """
        network.eval()
        scored = score(network, encode(network, step.maps, self.frozen, data.agents), data)
        learnt, token = taken(scored, data.extra["learnt"]), taken(scored, data.token)
        with torch.no_grad():
            reference = score(self.reference, encode(self.reference, step.maps, True, data.agents), data).logits[
                ~learnt
            ]
        nll = F.cross_entropy(scored.logits[learnt], token[learnt], reduction="none")
        kl = divergence(reference, scored.logits[~learnt])
        share = data.extra["learnt"].sum() / data.extra["decided"].sum().clamp(min=1)
        numbers: Numbers = {"changed": share, "nll": mean(nll).detach(), "kl": mean(kl).detach()}
        return StageLoss(mean(torch.cat([nll, kl])), numbers)

    def validate(self, network: SmartNetwork, step: Step) -> float:
        """Minus the reward of held-out scenes, rolled out without a shield: see `Reinforcement.validate`."""
        return self._plain.validate(network, step)


def divergence(reference: Tensor, logits: Tensor) -> Tensor:
    """KL divergence [n] of distributions with logits [n, V] from those of a reference."""
    before = reference.log_softmax(-1)
    return (before.exp() * (before - logits.log_softmax(-1))).sum(-1)

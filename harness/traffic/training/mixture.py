"""Stages of the Gaussian-mixture ego policy (CAT-K §10.3, table 6): cloning, and fine-tuning on its own roll-outs.

Table 6 calls a policy of the ego alone; here it learns from every trained agent: there are few scenes, and a roll-out
of a whole scene needs somebody to move each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from harness.traffic.model.network import MapFeatures, SmartNetwork
from harness.traffic.model.rollout import Rollout, append
from harness.traffic.tokens.scene import CURRENT_TOKEN
from harness.traffic.tokens.shapes import compose, relative
from harness.traffic.training.closed_loop import ClosedLoop, Strategy, Unrolled, future_targets, pick_tokens
from harness.traffic.training.imitation import log_targets
from harness.traffic.training.objective import StageLoss, Step, Targets, encode

MIXTURE_STRATEGIES: Final[dict[str, Strategy]] = {
    "gmm_catk": Strategy(k=3),
    "gmm_noisy_tokens": Strategy(criterion="distance", k=3, pick="distance"),
    "gmm_perturbation": Strategy(criterion="distance", k=3, pick="uniform", target="rollout"),
    "gmm_top_k": Strategy(k=3, pick="prob"),
    "gmm_top_k_filter": Strategy(k=3, pick="prob", reach=1.0),
    "gmm_top_k_distance": Strategy(k=3, pick="distance"),
}
"""Rows of table 6 by name; candidates are means of components. CAT-3 did best there."""


HARD: Final = "gmm_hard"
"""Cloning in which only the component nearest to the log learns ("hard assignment")."""


def mixture_loss(network: SmartNetwork, maps: MapFeatures, data: Targets, *, hard: bool = False) -> Tensor:
    """Mean negative log-likelihood of the motions `data.extra["motion"]` [W, A, N, 3] where the mask holds.

    Args:
        network: With a mixture head.
        maps: Encoded maps.
        data: Agents, mask and motions.
        hard: See `Mixture.negative_log_likelihood`.
    """
    assert network.mixture is not None
    features, nodes = network(maps, data.agents)
    rows = nodes.take(data.mask).nonzero()[:, 0]
    mixture = network.mixture(features[rows], nodes.take(data.agents.motion)[rows])
    return mixture.negative_log_likelihood(nodes.take(data.extra["motion"])[rows], hard=hard).mean()


@dataclass
class MixtureCloning:
    """Open loop: the next logged pose, after each logged one."""

    name: str = "gmm"
    updates: int = 1
    frozen: bool = False
    module: nn.Module | None = None
    hard: bool = False

    def begin(self, network: SmartNetwork) -> None:
        """Nothing to remember."""

    def prepare(self, network: SmartNetwork, step: Step) -> Targets:
        """The log."""
        targets = log_targets(step)
        motion = relative(step.log.goal[:, :, 2:], step.agents.pose[:, :, :-1])
        return Targets(targets.agents, targets.token, targets.mask, {"motion": motion})

    def loss(self, network: SmartNetwork, step: Step, data: Targets) -> StageLoss:
        """Negative log-likelihood of the mixture, or of its nearest component."""
        total = mixture_loss(network, encode(network, step.maps, self.frozen, data.agents), data, hard=self.hard)
        return StageLoss(total, {"nll": total.detach()})

    def validate(self, network: SmartNetwork, step: Step) -> float:
        """Negative log-likelihood of the whole mixture, held out."""
        data = self.prepare(network, step)
        return float(mixture_loss(network, encode(network, step.maps, True, data.agents), data))


@torch.no_grad()
def unroll_mixture(network: SmartNetwork, maps: MapFeatures, step: Step, strategy: Strategy) -> tuple[Unrolled, Tensor]:
    """Roll out from the current step to the end of the longest log: everybody goes to the mean of a component.

    Args:
        network: In evaluation mode.
        maps: Encoded maps.
        step: The scenes; of their agents only the history is used, and the log for distances and targets.
        strategy: Which component is followed, and what is learnt.

    Returns:
        The roll-out, and the motions [W, A, S, 3] to be predicted.
    """
    history = step.agents.first(CURRENT_TOKEN)
    rollout, found = Rollout(network, maps, history), history
    motions = []
    for number in range(CURRENT_TOKEN + 1, step.log.goal.shape[2]):
        goal, before = step.log.goal[:, :, number], rollout.pose
        mixture = rollout.mixture()
        poses = mixture.poses()
        known = step.log.goal_valid[:, :, number]
        distance = rollout.pose_distance(poses, goal)
        component = pick_tokens(strategy, mixture.logits, distance, known, step.generator)
        motion = poses.gather(2, component[..., None, None].expand(-1, -1, 1, 3))[:, :, 0]
        motions.append(relative(goal, before) if strategy.target == "log" else motion)
        rollout.observe(compose(before, motion), rollout.valid)
        found = append(found, rollout.batch())
    own = found.token[:, :, CURRENT_TOKEN:]
    return Unrolled(found, own), torch.stack(motions, 2)


class ClosedLoopMixture(ClosedLoop):
    """Fine-tuning on the mixture's own roll-outs: CAT-K's, or a rival's.

    Paper: CAT-K (Zhang et al. 2025) §10.3: of the K most probable components the one whose mean is nearest to the log
    is followed, and the logged pose, seen from where the roll-out is, is what the mixture has to predict.
    """

    def prepare(self, network: SmartNetwork, step: Step) -> Targets:
        """Roll out, and find what should have been predicted."""
        unrolled, motion = unroll_mixture(network, encode(network, step.maps, True), step, self.strategy)
        goal_valid = step.log.goal_valid[:, :, CURRENT_TOKEN + 1 :]
        mask = unrolled.agents.valid[:, :, CURRENT_TOKEN:] & goal_valid & step.log.trained[..., None]
        return future_targets(unrolled, unrolled.nearest, mask, motion=motion)

    def loss(self, network: SmartNetwork, step: Step, data: Targets) -> StageLoss:
        """Negative log-likelihood of the mixture."""
        total = mixture_loss(network, encode(network, step.maps, self.frozen, data.agents), data)
        return StageLoss(total, {"nll": total.detach()})

    def validate(self, network: SmartNetwork, step: Step) -> float:
        """The same on held-out scenes, rolled out by CAT-3 whatever the strategy, so that rivals compare."""
        data = ClosedLoopMixture(self.name, MIXTURE_STRATEGIES["gmm_catk"]).prepare(network, step)
        return float(mixture_loss(network, encode(network, step.maps, True, data.agents), data))

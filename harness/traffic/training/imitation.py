"""The open-loop stage: behaviour cloning by next-token prediction."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.fitting.task import Numbers
from harness.traffic.model.network import SmartNetwork
from harness.traffic.tokens.shapes import box_corners_torch, half_diagonals
from harness.traffic.training.objective import StageLoss, Step, Targets, encode, score, taken


def log_targets(step: Step) -> Targets:
    """The log as teacher: every token predicts the next one, for trained agents, where both are known."""
    agents = step.agents
    count = agents.token.shape[2] - 1
    mask = agents.valid[:, :, :-1] & agents.valid[:, :, 1:] & step.log.trained[..., None]
    return Targets(agents.first(count), agents.token[:, :, 1:], mask)


def label_table(network: SmartNetwork, smoothing: float, width: float) -> Tensor:
    """Label distributions [3, V, V] around every token of every kind.

    Args:
        network: For its vocabulary.
        smoothing: Probability that is spread.
        width: Spread over similar motions, by a Gaussian of contour distance of this width (m); 0 spreads evenly over
            the whole vocabulary, as published.
    """
    ends = network.motions[:, :, -1]
    kinds, size = ends.shape[:2]
    hard = torch.eye(size, dtype=ends.dtype, device=ends.device)
    if width == 0:
        return (hard * (1 - smoothing) + smoothing / size).expand(kinds, -1, -1)
    half = half_diagonals(torch.arange(kinds, device=ends.device))[:, None].expand(-1, size, -1)
    corners = box_corners_torch(ends, half).flatten(-2)
    # Root mean square over corners; close enough to the mean distance.
    near = torch.cdist(corners, corners) / 2.0
    spread = torch.softmax(-0.5 * (near / width).square(), -1)
    return hard * (1 - smoothing) + smoothing * spread


@dataclass
class BehaviourCloning:
    """Next-token prediction on logged tokens (SMART-R1 eq. 6; CAT-K algorithm 2)."""

    smoothing: float = 0.1
    """Label smoothing (CAT-K's code: 0.1)."""
    width: float = 0.1
    """Smoothing is spread over motions within about this contour distance, m; 0 for evenly, as published."""
    name: str = "bc"
    updates: int = 1
    frozen: bool = False
    module: nn.Module | None = None
    labels: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    """[3, V, V] label distributions, which depend on the vocabulary alone; None before they are needed."""

    def begin(self, network: SmartNetwork) -> None:
        """Nothing to remember."""

    def prepare(self, network: SmartNetwork, step: Step) -> Targets:
        """The log."""
        return log_targets(step)

    def loss(self, network: SmartNetwork, step: Step, data: Targets) -> StageLoss:
        """Cross-entropy."""
        scored = score(network, encode(network, step.maps, self.frozen, data.agents), data)
        token = taken(scored, data.token)
        kinds = data.agents.kinds.flatten()[scored.nodes.agent][scored.rows]
        return StageLoss(self._cross_entropy(network, scored.logits, token, kinds), _numbers(scored.logits, token))

    def _cross_entropy(self, network: SmartNetwork, logits: Tensor, token: Tensor, kinds: Tensor) -> Tensor:
        """Mean cross-entropy of logits [n, V] with (smoothed) labels."""
        if self.smoothing == 0:
            return F.cross_entropy(logits, token)
        if self.labels is None:
            self.labels = label_table(network, self.smoothing, self.width)
        return F.cross_entropy(logits, self.labels[kinds, token])

    def validate(self, network: SmartNetwork, step: Step) -> float:
        """Negative log-likelihood of logged tokens."""
        data = log_targets(step)
        scored = score(network, encode(network, step.maps, True, data.agents), data)
        return float(F.cross_entropy(scored.logits, taken(scored, data.token)))


def _numbers(logits: Tensor, token: Tensor) -> Numbers:
    with torch.no_grad():
        # How many are more probable, instead of sorting them.
        before = (logits > logits.gather(1, token[:, None])).sum(-1)
        right, near = (before < 1).float().mean(), (before < 5).float().mean()
        return {"nll": F.cross_entropy(logits, token), "top1": right, "top5": near}

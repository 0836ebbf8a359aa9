"""Losses of the reinforcement methods: pure functions of the same sample, and the table of them.

Papers: 'Advancing Multi-agent Traffic Simulation via R1-style Reinforcement Fine-tuning' (SMART-R1, Pei et al. 2026);
'Post-Training and Test-Time Scaling of Generative Agent Behavior Models' (GRBO, Seong et al. 2025: abstract only).
What they leave open (groups, preference pairs, all of GRBO's details) is our reading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.traffic.training.config import ReinforcementOptions

_DECISIONS: Final = 16.0
"""Decisions of an agent in a roll-out of 8 s."""


class Sample(NamedTuple):
    """Sampled tokens that are credited, [n] each.

    Attributes:
        log_prob: Log-probability under the weights that learn.
        old: The same when the token was sampled.
        reference: The same under the weights that the stage started from.
        advantage: Reward of the token's roll-out (or of its agent in it) less what was expected.
        spread: Standard deviation of that reward over the scene's roll-outs.
        pair: Which comparison the token belongs to: a scene, or one agent of a scene, over its roll-outs.
        side: 1 in the roll-out with the pair's highest reward, -1 in the one with the lowest, 0 elsewhere and where
            all rewards are equal.
    """

    log_prob: Tensor
    old: Tensor
    reference: Tensor
    advantage: Tensor
    spread: Tensor
    pair: Tensor
    side: Tensor


Loss = Callable[[Sample, ReinforcementOptions], Tensor]
"""What is minimised, from a sample; 0 where the sample is empty."""


class Method(NamedTuple):
    """A reinforcement method.

    Attributes:
        loss: Its loss.
        repeats: Whether a sample serves several updates (importance ratios against `Sample.old`).
        compares: Whether it compares roll-outs of a scene, which then cannot be scored together.
        human: Whether the likelihood of logged tokens is added.
    """

    loss: Loss
    repeats: bool = False
    compares: bool = False
    human: bool = False


def mean(values: Tensor) -> Tensor:
    """Mean of values [n]; 0 where there are none."""
    return values.sum() / max(values.numel(), 1)


def k3(log_prob: Tensor, reference: Tensor) -> Tensor:
    """Unbiased, non-negative estimate of KL(π‖π_ref) from samples of π: ratio - log ratio - 1, ratio = π_ref/π.

    SMART-R1 prints eq. 4 with the logarithm's ratio inverted, which is not non-negative; we take that as a misprint.
    """
    gap = reference - log_prob
    return gap.exp() - gap - 1.0


def normalised(sample: Sample) -> Tensor:
    """Advantages [n] in standard deviations of the reward over the scene's roll-outs; 0 where all agree."""
    return sample.advantage / (sample.spread + 1e-4)


def policy_gradient(sample: Sample, advantage: Tensor, beta: float) -> Tensor:
    """SMART-R1 eq. 5 for advantages [n]: the ratio to a copy without gradient, held back by the divergence."""
    ratio = (sample.log_prob - sample.log_prob.detach()).exp()
    return -mean(ratio * advantage - beta * k3(sample.log_prob, sample.reference))


def clipped(sample: Sample, advantage: Tensor, options: ReinforcementOptions) -> Tensor:
    """Clipped surrogate of PPO and GRPO for advantages [n], held back by the divergence."""
    ratio = (sample.log_prob - sample.old).exp()
    bounded = ratio.clamp(1 - options.clip, 1 + options.clip)
    gain = torch.minimum(ratio * advantage, bounded * advantage)
    return -mean(gain - options.beta * k3(sample.log_prob, sample.reference))


def mpo_loss(sample: Sample, options: ReinforcementOptions) -> Tensor:
    """Metric-oriented policy optimisation (SMART-R1 eq. 5)."""
    return policy_gradient(sample, sample.advantage, options.beta)


def ppo_loss(sample: Sample, options: ReinforcementOptions) -> Tensor:
    """Proximal policy optimisation: the clipped surrogate."""
    return clipped(sample, sample.advantage, options)


def grpo_loss(sample: Sample, options: ReinforcementOptions) -> Tensor:
    """Group-relative policy optimisation: the clipped surrogate of normalised advantages."""
    return clipped(sample, normalised(sample), options)


def grbo_loss(sample: Sample, options: ReinforcementOptions) -> Tensor:
    """Group-relative behaviour optimisation: the policy gradient of normalised advantages."""
    return policy_gradient(sample, normalised(sample), options.beta)


def dpo_loss(sample: Sample, options: ReinforcementOptions) -> Tensor:
    """Direct preference optimisation on the best and the worst roll-out of every pair.

    A roll-out's score is the mean over its tokens times the number of decisions, so that scenes with many agents do not
    outweigh others. Pairs without a best roll-out are left out.
    """
    gap = sample.log_prob - sample.reference
    pairs = int(sample.pair.max()) + 1 if sample.pair.numel() else 0

    def score(side: int) -> tuple[Tensor, Tensor]:
        mine = sample.side == side
        count = gap.new_zeros(pairs).index_add(0, sample.pair[mine], torch.ones_like(gap[mine]))
        total = gap.new_zeros(pairs).index_add(0, sample.pair[mine], gap[mine])
        return total / count.clamp(min=1) * _DECISIONS, count > 0

    (best, known), (worst, also) = score(1), score(-1)
    return -mean(F.logsigmoid(options.preference * (best - worst))[known & also])


MethodName = Literal["mpo", "ppo", "grpo", "dpo", "grbo"]

METHODS: Final[dict[MethodName, Method]] = {
    "mpo": Method(mpo_loss),
    "ppo": Method(ppo_loss, repeats=True),
    "grpo": Method(grpo_loss, repeats=True, compares=True),
    "dpo": Method(dpo_loss, compares=True),
    "grbo": Method(grbo_loss, compares=True, human=True),
}
"""Every method by name; roll-outs, rewards and baselines are the same for all of them."""

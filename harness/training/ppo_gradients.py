"""The gradients of PPO's loss, written out.

The networks are fixed (two hidden layers), so back-propagation is a dozen matrix products. Written out they need no
graph, and products take most of the time.

Paper: Schulman et al., Proximal Policy Optimization Algorithms (2017), eq. 7 and 9, without the entropy's term: here
the spread of the actions follows a schedule.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

_LOG_2_PI: Final = float(np.log(2 * np.pi))
_through_tanh: Final = torch.ops.aten.tanh_backward
"""Slope at the inputs of tanh, from that at its outputs and the outputs."""


class Minibatch(NamedTuple):
    """B steps that were played.

    Attributes:
        observation: [B, D].
        action: [B, 2], before it was cut at -1 and 1.
        log_probability: [B] logarithm of the action's density when it was drawn.
        advantage: [B] as estimated.
        returns: [B] what the values are to be.
    """

    observation: Tensor
    action: Tensor
    log_probability: Tensor
    advantage: Tensor
    returns: Tensor


def log_density(noise: Tensor, spread: Tensor) -> Tensor:
    """Logarithm [B] of the density of actions that lie `noise` [B, 2] standard deviations `spread` [2] off the mean."""
    return -0.5 * (noise * noise).sum(1) - spread.log().sum() - _LOG_2_PI


@torch.no_grad()
def write_gradients(
    policy: nn.Sequential, value: nn.Sequential, batch: Minibatch, spread: Tensor, clip: float, value_weight: float
) -> Tensor:
    """Put the gradients of the loss of a minibatch into the parameters' `grad`.

    Args:
        policy, value: Networks of three linear layers with tanh between them; the mean action is the tanh of what the
            policy puts out.
        batch: What was played. Its advantages are brought to mean 0 and standard deviation 1 here.
        spread: [2] standard deviation of the actions when they were drawn.
        clip: Bound of the ratio between new and old probabilities.
        value_weight: Weight of the value's squared error in the loss.

    Returns:
        [3] loss of the policy, squared error of the values, and mean distance of the ratio from 1.
    """
    rows = len(batch.advantage)
    first, second, raw = _forward(policy, batch.observation)
    mean = raw.tanh_()
    noise = (batch.action - mean) / spread
    ratio = (log_density(noise, spread) - batch.log_probability).exp_()
    weight = batch.advantage - batch.advantage.mean()
    weight /= weight.std() + 1e-8
    plain, clipped = ratio * weight, ratio.clamp(1 - clip, 1 + clip) * weight
    # Where the clipped term is the smaller one, the loss has no slope.
    slope = torch.where(plain <= clipped, plain, 0.0) / -rows
    _backward(policy, batch.observation, first, second, _through_tanh(slope[:, None] * noise / spread, mean))
    policy_loss = -torch.minimum(plain, clipped).mean()

    first, second, raw = _forward(value, batch.observation)
    error = raw.squeeze(1) - batch.returns
    _backward(value, batch.observation, first, second, (error * (2 * value_weight / rows))[:, None])
    return torch.stack((policy_loss, error.square().mean(), (ratio - 1).abs_().mean()))


def _linear(network: nn.Sequential) -> list[nn.Linear]:
    """Its linear layers."""
    return [layer for layer in network if isinstance(layer, nn.Linear)]


def _forward(network: nn.Sequential, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both hidden activations [B, H] and the outputs [B, out]."""
    before, middle, last = _linear(network)
    first = torch.addmm(before.bias, inputs, before.weight.t()).tanh_()
    second = torch.addmm(middle.bias, first, middle.weight.t()).tanh_()
    return first, second, torch.addmm(last.bias, second, last.weight.t())


def _backward(network: nn.Sequential, inputs: Tensor, first: Tensor, second: Tensor, slope: Tensor) -> None:
    """Put the gradients into the layers, from the loss's slope [B, out] at the outputs."""
    before, middle, last = _linear(network)
    _write(last, slope, second)
    slope = _through_tanh(slope @ last.weight, second)
    _write(middle, slope, first)
    slope = _through_tanh(slope @ middle.weight, first)
    _write(before, slope, inputs)


def _write(layer: nn.Linear, slope: Tensor, inputs: Tensor) -> None:
    """Put the gradients into a layer, from the slope [B, out] at its outputs."""
    if layer.weight.grad is None or layer.bias.grad is None:
        layer.weight.grad, layer.bias.grad = torch.empty_like(layer.weight), torch.empty_like(layer.bias)
    torch.mm(slope.t(), inputs, out=layer.weight.grad)
    torch.sum(slope, 0, out=layer.bias.grad)

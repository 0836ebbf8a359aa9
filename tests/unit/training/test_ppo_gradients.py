"""Gradients that are written out are those of the loss."""

import pytest
import torch

from harness.training.ppo import ActorCritic
from harness.training.ppo_gradients import Minibatch, log_density, write_gradients

ROWS, SPREAD, CLIP, VALUE_WEIGHT = 64, torch.tensor([0.2, 0.4]), 0.2, 0.7


def made():
    torch.manual_seed(0)
    model = ActorCritic(9, 16)
    with torch.no_grad():
        # So that mean actions are not all near 0, where tanh is a straight line.
        model.policy[-1].weight.mul_(100)
    seen, noise = torch.randn(ROWS, 9), torch.randn(ROWS, 2)
    with torch.no_grad():
        action = model.mean(seen) + SPREAD * noise
    # Of the ratios some are within the bounds, some below and some above.
    before = log_density(noise, SPREAD) + 0.3 * torch.randn(ROWS)
    return model, Minibatch(seen, action, before, torch.randn(ROWS), torch.randn(ROWS))


def losses(model, batch):
    mean, value = model(batch.observation)
    density = torch.distributions.Normal(mean, SPREAD).log_prob(batch.action).sum(1)
    ratio = (density - batch.log_probability).exp()
    weight = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
    clipped = ratio.clamp(1 - CLIP, 1 + CLIP) * weight
    policy = -torch.minimum(ratio * weight, clipped).mean()
    return policy, (value - batch.returns).square().mean(), (ratio - 1).abs().mean()


def test_they_are_those_of_autograd():
    model, batch = made()
    expected = losses(model, batch)
    (expected[0] + VALUE_WEIGHT * expected[1]).backward()
    by_graph = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    for _ in range(2):  # The second time they are written over the first.
        found = write_gradients(model.policy, model.value, batch, SPREAD, CLIP, VALUE_WEIGHT)
        assert found.tolist() == pytest.approx([part.item() for part in expected], rel=1e-5)
        for parameter, gradient in zip(model.parameters(), by_graph, strict=True):
            assert gradient.abs().max() > 1e-3
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-7)

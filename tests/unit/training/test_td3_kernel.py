"""Written-out gradients against autograd, Adam against torch's own, and a target by hand."""

import torch

from harness.training.td3_kernel import actor_step, adam, critic_step, head, hidden_layers

FLOAT = torch.float32
BATCH, OBSERVED, ACTED, HIDDEN = 5, 4, 2, 8


def stack(networks: int, inputs: int, outputs: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(HIDDEN, inputs), (1, HIDDEN), (HIDDEN, HIDDEN), (1, HIDDEN), (outputs, HIDDEN), (1, outputs)]
    return [0.5 * torch.randn(networks, *shape, generator=generator) for shape in shapes]


def batch() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    sizes = [(BATCH, OBSERVED), (BATCH, ACTED), (BATCH,), (BATCH,), (BATCH, OBSERVED), (BATCH, ACTED)]
    made = [torch.randn(*size, generator=generator) for size in sizes]
    made[3] = torch.tensor([0.99, 0.0, 0.99, 0.99, 0.0])
    made[5] = made[5].clamp(-2.0, 2.0)
    return made


def output(parameters: list[torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """The plain network: two hidden layers with ReLU, a linear head."""
    for weight, bias in ((0, 1), (2, 3)):
        inputs = torch.relu(inputs @ parameters[weight].transpose(1, 2) + parameters[bias])
    return inputs @ parameters[4].transpose(1, 2) + parameters[5]


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-5)


def test_layers_and_head_are_the_plain_network():
    critics, inputs = stack(2, 6, 1, 0), torch.randn(2, BATCH, 6)
    assert close(head(critics, hidden_layers(critics, inputs)[1]), output(critics, inputs))


def test_critic_gradients_are_autograds():
    critic, target, actor = stack(2, 6, 1, 0), stack(2, 6, 1, 1), stack(1, 4, 2, 2)
    gradients, data = [torch.zeros_like(block) for block in critic], batch()
    loss = critic_step(critic, target, actor, gradients, data, FLOAT)

    learnt = [block.clone().requires_grad_() for block in critic]
    action = (torch.tanh(output(actor, data[4][None])[0]) + data[5]).clamp(-1, 1)
    following = output(target, torch.cat([data[4], action], 1).expand(2, -1, -1)).squeeze(-1).min(0).values
    wanted = data[2] + data[3] * following
    value = output(learnt, torch.cat([data[0], data[1]], 1).expand(2, -1, -1)).squeeze(-1)
    expected = ((value - wanted.detach()) ** 2).mean(1).sum()
    expected.backward()
    assert close(loss, expected)
    assert all(close(ours, theirs.grad) for ours, theirs in zip(gradients, learnt, strict=True))


def test_actor_gradients_are_autograds_against_the_first_critic():
    critic, actor = stack(2, 6, 1, 0), stack(1, 4, 2, 2)
    gradients, observation = [torch.zeros_like(block) for block in actor], batch()[0]
    loss = actor_step(actor, critic, gradients, observation, FLOAT)

    learnt = [block.clone().requires_grad_() for block in actor]
    action = torch.tanh(output(learnt, observation[None])[0])
    expected = -output([block[:1] for block in critic], torch.cat([observation, action], 1)[None]).mean()
    expected.backward()
    assert close(loss, expected)
    assert all(close(ours, theirs.grad) for ours, theirs in zip(gradients, learnt, strict=True))


def test_adam_is_torchs():
    theirs = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimiser = torch.optim.Adam([theirs], lr=0.1)
    ours = torch.tensor([1.0, -2.0, 3.0])
    state = [[ours], [torch.zeros(3)], [torch.zeros(3)], [torch.zeros(3)], [], [torch.zeros([])]]
    for step in range(3):
        theirs.grad = torch.tensor([0.5, -1.0, 0.1]) * (step + 1)
        state[1][0].copy_(theirs.grad)
        optimiser.step()
        adam(state, 0.1)
    assert close(ours, theirs.detach())
    assert state[5][0] == 3

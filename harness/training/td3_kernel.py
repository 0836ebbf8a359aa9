"""One TD3 update with the gradients written out, on flat parameters.

The networks are fixed (multi-layer perceptrons with two hidden layers), so back-propagation is a dozen matrix
products. Writing them out batches both critics into one product per layer, needs no autograd graph, and lets a whole
block of updates run as one TorchScript call.

Paper: Fujimoto et al., Addressing Function Approximation Error in Actor-Critic Methods (2018), algorithm 1.
`dtype` below is the dtype of the hidden layers' products: float32, or bfloat16 (products in bfloat16, accumulated
in float32 by the CPU; master weights, heads, losses, Adam and target networks stay float32).

Shapes: B = batch, O = observation, A = action, H = hidden; K = networks in a stack (2 critics, 1 actor). A stack is
a list of six tensors: weights [K, H, in], biases [K, 1, H], [K, H, H], [K, 1, H], head [K, out, H], [K, 1, out].
"""

from __future__ import annotations

import torch
from torch import Tensor


def hidden_layers(stack: list[Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Both hidden activations [K, B, H] of every network of a stack, for inputs [K, B, in]."""
    first = torch.baddbmm(stack[1], inputs, stack[0].transpose(1, 2)).relu_()
    second = torch.baddbmm(stack[3], first, stack[2].transpose(1, 2)).relu_()
    return first, second


def head(stack: list[Tensor], hidden: Tensor) -> Tensor:
    """Output [K, B, out] in float32: head weights are always float32."""
    return torch.baddbmm(stack[5], hidden.float(), stack[4].transpose(1, 2))


def hidden_gradients(
    stack: list[Tensor],
    inputs: Tensor,
    first: Tensor,
    second: Tensor,
    output_gradient: Tensor,
    gradients: list[Tensor],
) -> None:
    """Back-propagate `output_gradient` [K, B, out] (float32) and write all six gradients of the stack."""
    torch.bmm(output_gradient.transpose(1, 2), second.float(), out=gradients[4])
    torch.sum(output_gradient, [1], True, out=gradients[5])
    delta = torch.bmm(output_gradient, stack[4]).to(second.dtype)
    delta = torch.ops.aten.threshold_backward(delta, second, 0.0)
    gradients[2].copy_(torch.bmm(delta.transpose(1, 2), first))
    gradients[3].copy_(torch.sum(delta, [1], True, dtype=torch.float32))
    delta = torch.ops.aten.threshold_backward(torch.bmm(delta, stack[2]), first, 0.0)
    gradients[0].copy_(torch.bmm(delta.transpose(1, 2), inputs))
    gradients[1].copy_(torch.sum(delta, [1], True, dtype=torch.float32))


def adam(state: list[list[Tensor]], learning_rate: float) -> None:
    """One Adam step (β 0.9 and 0.999, ε 1e-8: torch's defaults).

    Args:
        state: [parameters], [gradients], [first moments], [second moments], [] and [step counts]; float32. They
            must come from outside as lists: TorchScript drops the fused step as dead code if it makes them here.
        learning_rate: Adam's.
    """
    state[5][0].add_(1.0)
    torch._fused_adam_(
        state[0],
        state[1],
        state[2],
        state[3],
        state[4],
        state[5],
        lr=learning_rate,
        beta1=0.9,
        beta2=0.999,
        weight_decay=0.0,
        eps=1e-8,
        amsgrad=False,
        maximize=False,
    )


def target_values(
    critic_target: list[Tensor], actor_target: list[Tensor], batch: list[Tensor], dtype: torch.dtype
) -> Tensor:
    """What the critics should say [B]: reward, and discounted the lesser of both targets' values of the target action.

    Args:
        critic_target, actor_target: Stacks (hidden layers in `dtype`).
        batch: See `critic_step`.
        dtype: Type of the hidden layers' products.
    """
    next_observation = batch[4].to(dtype)
    _, hidden = hidden_layers(actor_target, next_observation.unsqueeze(0))
    next_action = (torch.tanh(head(actor_target, hidden)[0]) + batch[5]).clamp_(-1.0, 1.0)
    next_input = torch.cat([next_observation, next_action.to(dtype)], 1)
    _, hidden = hidden_layers(critic_target, next_input.unsqueeze(0).expand(2, -1, -1))
    next_value = head(critic_target, hidden).squeeze(2).amin(0)
    return batch[2] + batch[3] * next_value


def critic_values(critic: list[Tensor], batch: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Inputs [2, B, O + A], both hidden activations [2, B, H] and values [2, B] of the critics for a batch."""
    inputs = torch.cat([batch[0].to(dtype), batch[1].to(dtype)], 1).unsqueeze(0).expand(2, -1, -1)
    first, second = hidden_layers(critic, inputs)
    return [inputs, first, second, head(critic, second).squeeze(2)]


def critic_gradients(critic: list[Tensor], gradients: list[Tensor], values: list[Tensor], target: Tensor) -> Tensor:
    """Write the gradients of both critics towards `target` [B]; return the loss, a scalar.

    Args:
        critic: Stack (hidden layers in the type of the products).
        gradients: Float32 stack that receives the critics' gradients.
        values: What `critic_values` returned.
        target: What `target_values` returned.
    """
    error = values[3] - target
    output_gradient = (error * (2.0 / error.shape[1])).unsqueeze(2)
    hidden_gradients(critic, values[0], values[1], values[2], output_gradient, gradients)
    return error.square().sum() / error.shape[1]


def critic_step(
    critic: list[Tensor],
    critic_target: list[Tensor],
    actor_target: list[Tensor],
    gradients: list[Tensor],
    batch: list[Tensor],
    dtype: torch.dtype,
) -> Tensor:
    """Write the gradients of both critics.

    Args:
        critic, critic_target, actor_target: Stacks (hidden layers in `dtype`).
        gradients: Float32 stack that receives the critics' gradients.
        batch: Observations [B, O], actions [B, A], rewards [B], discounts [B] (γ, or 0 where the episode truly
            ended), next observations [B, O], clipped target noise [B, A]; all float32.
        dtype: Type of the hidden layers' products.

    Returns:
        The loss (sum of both mean squared errors), a scalar.
    """
    target = target_values(critic_target, actor_target, batch, dtype)
    return critic_gradients(critic, gradients, critic_values(critic, batch, dtype), target)


def actor_step(
    actor: list[Tensor],
    critic: list[Tensor],
    gradients: list[Tensor],
    observation: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """Write the gradients of the actor against the first critic; return the loss, a scalar."""
    return actor_gradients(actor, critic, gradients, observation, actor_actions(actor, observation, dtype), dtype)


def actor_actions(actor: list[Tensor], observation: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Both hidden activations [1, B, H] of the actor, and its actions [B, A] for observations [B, O]."""
    first, second = hidden_layers(actor, observation.to(dtype).unsqueeze(0))
    return [first, second, torch.tanh(head(actor, second)[0])]


def actor_gradients(
    actor: list[Tensor],
    critic: list[Tensor],
    gradients: list[Tensor],
    observation: Tensor,
    actions: list[Tensor],
    dtype: torch.dtype,
) -> Tensor:
    """As `actor_step`, with what `actor_actions` returned."""
    inputs, action = observation.to(dtype), actions[2]
    judge = [block[:1] for block in critic]
    value_first, value_second = hidden_layers(judge, torch.cat([inputs, action.to(dtype)], 1).unsqueeze(0))
    loss = -head(judge, value_second).mean()

    width = observation.shape[1]
    delta = judge[4].expand(-1, observation.shape[0], -1) * (-1.0 / observation.shape[0])
    delta = torch.ops.aten.threshold_backward(delta.to(dtype), value_second, 0.0)
    delta = torch.ops.aten.threshold_backward(torch.bmm(delta, judge[2]), value_first, 0.0)
    action_gradient = torch.mm(delta[0], judge[0][0, :, width:]).float()
    output_gradient = (action_gradient * (1.0 - action.square())).unsqueeze(0)
    hidden_gradients(actor, inputs.unsqueeze(0), actions[0], actions[1], output_gradient, gradients)
    return loss


def update(
    critic: list[list[Tensor]],
    critic_adam: list[list[Tensor]],
    actor: list[list[Tensor]],
    actor_adam: list[list[Tensor]],
    batch: list[Tensor],
    learning_rate: float,
    tau: float,
    update_actor: bool,
    dtype: torch.dtype,
) -> Tensor:
    """One whole TD3 update.

    Args:
        critic, actor: Each [compute stack, target compute stack, gradient stack, flat], where flat is [parameters,
            target parameters, hidden part of the parameters in `dtype`, the same of the target]; the last two are
            empty for float32, where the stacks see the parameters themselves.
        critic_adam, actor_adam: See `adam`.
        batch: See `critic_step`.
        learning_rate: Adam's, for both.
        tau: Polyak factor.
        update_actor: Whether this is a delayed policy update.
        dtype: Type of the hidden layers' products.

    Returns:
        Critic loss and actor loss (0 when the actor rests), [2].
    """
    critic_loss = critic_step(critic[0], critic[1], actor[1], critic[2], batch, dtype)
    actions = actor_actions(actor[0], batch[0], dtype) if update_actor else [batch[0]]
    actor_loss = descend(
        critic, critic_adam, actor, actor_adam, batch[0], actions, learning_rate, tau, update_actor, dtype
    )
    return torch.stack([critic_loss, actor_loss])


def descend(
    critic: list[list[Tensor]],
    critic_adam: list[list[Tensor]],
    actor: list[list[Tensor]],
    actor_adam: list[list[Tensor]],
    observation: Tensor,
    actions: list[Tensor],
    learning_rate: float,
    tau: float,
    update_actor: bool,
    dtype: torch.dtype,
) -> Tensor:
    """The rest of an update (see there) once the critics' gradients are known; return the actor's loss.

    `actions` is what `actor_actions` returned, where the actor is updated.
    """
    adam(critic_adam, learning_rate)
    critic[3][2].copy_(critic[3][0][: critic[3][2].shape[0]])
    actor_loss = torch.zeros([])
    if update_actor:
        actor_loss = actor_gradients(actor[0], critic[0], actor[2], observation, actions, dtype)
        adam(actor_adam, learning_rate)
        for flat in [critic[3], actor[3]]:
            flat[1].lerp_(flat[0], tau)
            flat[3].copy_(flat[1][: flat[3].shape[0]])
        actor[3][2].copy_(actor[3][0][: actor[3][2].shape[0]])
    return actor_loss


def updates(
    critic: list[list[Tensor]],
    critic_adam: list[list[Tensor]],
    actor: list[list[Tensor]],
    actor_adam: list[list[Tensor]],
    batches: list[list[Tensor]],
    learning_rate: float,
    tau: float,
    done: int,
    policy_delay: int,
    dtype: torch.dtype,
) -> Tensor:
    """One `update` per batch; `done` were made before. Returns losses [batches, 2]."""
    losses: list[Tensor] = []
    for batch in batches:
        done += 1
        rests = done % policy_delay != 0
        losses.append(update(critic, critic_adam, actor, actor_adam, batch, learning_rate, tau, not rests, dtype))
    return torch.stack(losses)


def before_update(
    critic: list[list[Tensor]],
    actor: list[list[Tensor]],
    batch: list[Tensor],
    update_actor: bool,
    dtype: torch.dtype,
) -> list[Tensor]:
    """What an update needs that no update changes in which the actor rests: the targets' values [B] and, where the
    actor is updated, what `actor_actions` returns.
    """
    target = target_values(critic[1], actor[1], batch, dtype)
    return [target] + (actor_actions(actor[0], batch[0], dtype) if update_actor else [batch[0]])


def updates_on_two(
    critic: list[list[Tensor]],
    critic_adam: list[list[Tensor]],
    actor: list[list[Tensor]],
    actor_adam: list[list[Tensor]],
    batches: list[list[Tensor]],
    learning_rate: float,
    tau: float,
    done: int,
    policy_delay: int,
    dtype: torch.dtype,
) -> Tensor:
    """As `updates`, to the last bit, with a second thread for `before_update`: three tenths of the work.

    It runs beside the critics' values of its own update or, where the actor rests, beside the whole update before. A
    task of milliseconds is worth the waking of a sleeping thread, which parts of a product are not.
    """
    losses: list[Tensor] = []
    acts = (done + 1) % policy_delay == 0
    ahead = torch.jit.fork(before_update, critic, actor, batches[0], acts, dtype)
    for number in range(len(batches)):
        batch, following = batches[number], batches[min(number + 1, len(batches) - 1)]
        done += 1
        acts, acts_next = done % policy_delay == 0, (done + 1) % policy_delay == 0
        values = critic_values(critic[0], batch, dtype)
        known = torch.jit.wait(ahead)
        if not acts and number + 1 < len(batches):
            ahead = torch.jit.fork(before_update, critic, actor, following, acts_next, dtype)
        critic_loss = critic_gradients(critic[0], critic[2], values, known[0])
        actor_loss = descend(
            critic, critic_adam, actor, actor_adam, batch[0], known[1:], learning_rate, tau, acts, dtype
        )
        if acts and number + 1 < len(batches):
            ahead = torch.jit.fork(before_update, critic, actor, following, acts_next, dtype)
        losses.append(torch.stack([critic_loss, actor_loss]))
    return torch.stack(losses)

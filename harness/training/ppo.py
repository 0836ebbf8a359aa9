"""Proximal policy optimisation over many environments at once (Schulman et al. 2017, with generalised advantages).

What differs from Stable-Baselines3's: environments are stepped and observed as arrays throughout, the spread of the
actions follows a schedule instead of being learned (a wide spread slows a car down, so that the mean action later
drives faster than anything it was trained on), and returns are scaled by their running spread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.fast.compiled import Bools, Singles, kernel

Floats = NDArray[np.float32]

_LOG_2_PI: Final = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class PPOConfig:
    """Numbers of the learner."""

    steps: int = 64
    """Steps of each environment between updates."""
    epochs: int = 3
    """Passes over the collected steps in an update."""
    minibatch: int = 4096
    """Steps per gradient step."""
    learning_rate: float = 6e-4
    """Learning rate of Adam at the start; it falls to 0 in a straight line."""
    gamma: float = 0.995
    """Discount per step of 0.1 s."""
    lam: float = 0.95
    """Weight of longer returns in the advantages."""
    clip: float = 0.2
    """Bound of the ratio between new and old probabilities."""
    value_weight: float = 0.5
    """Weight of the value's error in the loss."""
    max_norm: float = 0.5
    """Bound of the gradient's norm."""
    hidden: int = 128
    """Units in each of the two hidden layers, of the policy and of the value."""
    steering_spread: tuple[float, float] = (0.22, 0.04)
    """Standard deviation of the steering's noise at the start and at the end, in a straight line."""
    throttle_spread: tuple[float, float] = (0.4, 0.15)
    """The same of the throttle's."""


class ActorCritic(nn.Module):
    """Mean action in [-1, 1] and value, by networks of their own."""

    def __init__(self, observation: int, hidden: int) -> None:
        """Two hidden layers each, orthogonal weights, small last layer of the policy."""
        super().__init__()
        self.policy = _network(observation, hidden, 2, 0.01)
        self.value = _network(observation, hidden, 1, 1.0)

    def mean(self, observation: Tensor) -> Tensor:
        """[B, 2]."""
        return torch.tanh(self.policy(observation))

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean actions [B, 2] and values [B]."""
        return self.mean(observation), self.value(observation).squeeze(-1)


def _network(size: int, hidden: int, outputs: int, last_gain: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(((size, hidden), (hidden, hidden), (hidden, outputs))):
        linear = nn.Linear(before, after)
        nn.init.orthogonal_(linear.weight, last_gain if number == 2 else float(np.sqrt(2)))
        nn.init.zeros_(linear.bias)
        layers += [linear] if number == 2 else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


@kernel
def advantages(
    rewards: Singles,
    values: Singles,
    ended: Bools,
    truncated: Bools,
    last_values: Singles,
    final_values: Singles,
    gamma: float,
    lam: float,
) -> Singles:
    """Generalised advantages (Schulman et al. 2016, eq. 16).

    Args:
        rewards, values: [T, N].
        ended, truncated: [T, N] whether an episode ended in a step, and whether only its time was up.
        last_values: [N] values after the last step.
        final_values: [T, N] values of the last observation of episodes whose time was up.
        gamma, lam: Discount and weight.

    Returns:
        [T, N].
    """
    steps, count = rewards.shape
    found = np.zeros((steps, count), np.float32)
    for e in range(count):
        advantage, following = 0.0, last_values[e]
        for t in range(steps - 1, -1, -1):
            if ended[t, e]:
                following = final_values[t, e] if truncated[t, e] else 0.0
                advantage = 0.0
            error = rewards[t, e] + gamma * following - values[t, e]
            advantage = error + gamma * lam * advantage
            found[t, e] = advantage
            following = values[t, e]
    return found


class ReturnScale:
    """Running spread of discounted returns: rewards are divided by it, so that values stay near 1."""

    def __init__(self, environments: int, gamma: float) -> None:
        """Nothing is known yet."""
        self._gamma = gamma
        self.returns = np.zeros(environments)
        self.count, self.mean, self.square = 1e-4, 0.0, 1.0

    def scale(self, rewards: NDArray[np.float64], ended: NDArray[np.bool_]) -> Floats:
        """Rewards [N] of one step, divided by the spread so far."""
        self.returns = self.returns * self._gamma + rewards
        count, mean, spread = len(rewards), float(self.returns.mean()), float(self.returns.var())
        total, gap = self.count + count, mean - self.mean
        # Chan et al. (1979): spreads of two samples as one.
        self.square = (self.square * self.count + spread * count + gap * gap * self.count * count / total) / total
        self.mean += gap * count / total
        self.count = total
        self.returns[ended] = 0.0
        return (rewards / np.sqrt(self.square + 1e-8)).astype(np.float32)


@dataclass(slots=True)
class Collected:
    """Collected steps, [T, N, …]."""

    observation: Floats
    action: Floats
    log_probability: Floats
    advantage: Floats
    value: Floats


class PPO:
    """Learns on a vector environment that begins episodes anew within the step (`AutoresetMode.SAME_STEP`)."""

    def __init__(self, env: VectorEnv[Any, Any, Any], config: PPOConfig, *, total_steps: int, seed: int) -> None:
        """Make the networks; `total_steps` of all environments together end the schedules."""
        self.env, self.config, self.total = env, config, total_steps
        size = int(np.prod(env.single_observation_space.shape or (0,)))
        self._rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            self.model = ActorCritic(size, config.hidden)
        self._optimiser = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate, eps=1e-5)
        self.scale = ReturnScale(env.num_envs, config.gamma)
        self.steps_done = 0
        self._observation: Floats = env.reset(seed=seed)[0]

    @property
    def left(self) -> float:
        """Share of the steps that is left."""
        return max(1.0 - self.steps_done / self.total, 0.0)

    @property
    def spread(self) -> Floats:
        """Present standard deviation of steering and throttle."""
        pairs = (self.config.steering_spread, self.config.throttle_spread)
        return np.array([end + (start - end) * self.left for start, end in pairs], np.float32)

    def learn(self, watch: Callable[[dict[str, float]], None] | None = None) -> None:
        """Collect and update until the steps are spent; `watch` hears of each round."""
        while self.steps_done < self.total:
            batch, report = self.collect()
            report |= self.update(batch)
            if watch is not None:
                watch(report)

    def collect(self) -> tuple[Collected, dict[str, float]]:
        """Play `steps` steps in every environment."""
        config, env, count = self.config, self.env, self.env.num_envs
        spread = self.spread
        shape = (config.steps, count)
        observations = np.empty((*shape, self._observation.shape[-1]), np.float32)
        actions, logs = np.empty((*shape, 2), np.float32), np.empty(shape, np.float32)
        rewards, values, finals = (np.zeros(shape, np.float32) for _ in range(3))
        ended, cut = np.zeros(shape, bool), np.zeros(shape, bool)
        totals = 0.0
        for t in range(config.steps):
            mean, value = self.evaluate(self._observation)
            noise = self._rng.standard_normal((count, 2)).astype(np.float32)
            actions[t] = mean + spread * noise
            logs[t] = -0.5 * (noise * noise).sum(1) - np.log(spread).sum() - _LOG_2_PI
            observations[t], values[t] = self._observation, value
            self._observation, reward, terminated, truncated, info = env.step(np.clip(actions[t], -1, 1))
            ended[t], cut[t] = terminated | truncated, truncated & ~terminated
            totals += float(reward.sum())
            rewards[t] = self.scale.scale(reward, ended[t])
            if cut[t].any():
                finals[t, cut[t]] = self.evaluate(info["final_obs"][cut[t]])[1]
        last = self.evaluate(self._observation)[1]
        found = advantages(rewards, values, ended, cut, last, finals, config.gamma, config.lam)
        self.steps_done += config.steps * count
        report = {"steps": float(self.steps_done), "reward": totals / ended.size, "episodes": float(ended.sum())}
        return Collected(observations, actions, logs, found, values), report

    def evaluate(self, observation: Floats) -> tuple[Floats, Floats]:
        """Mean actions [B, 2] and values [B] of observations [B, D]."""
        with torch.inference_mode():
            mean, value = self.model(torch.from_numpy(observation))
        return mean.numpy(), value.numpy()

    def update(self, batch: Collected) -> dict[str, float]:
        """Gradient steps over a batch; returns mean losses and how far the policy moved."""
        config = self.config
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * self.left
        flat = [torch.from_numpy(part.reshape(-1, *part.shape[2:])) for part in (batch.observation, batch.action)]
        logs, advantage, value = (
            torch.from_numpy(part.ravel()) for part in (batch.log_probability, batch.advantage, batch.value)
        )
        returns = advantage + value
        spread = torch.from_numpy(self._spread_of(batch))
        sums = np.zeros(3)
        count = 0
        for rows in self._minibatches(len(logs)):
            mean, predicted = self.model(flat[0][rows])
            noise = (flat[1][rows] - mean) / spread
            log = -0.5 * (noise * noise).sum(1) - spread.log().sum() - _LOG_2_PI
            ratio = (log - logs[rows]).exp()
            weight = advantage[rows]
            weight = (weight - weight.mean()) / (weight.std() + 1e-8)
            clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
            policy_loss = -torch.minimum(ratio * weight, clipped * weight).mean()
            value_loss = (predicted - returns[rows]).square().mean()
            self._optimiser.zero_grad(set_to_none=True)
            (policy_loss + config.value_weight * value_loss).backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), config.max_norm)
            self._optimiser.step()
            sums += [policy_loss.item(), value_loss.item(), float((ratio - 1).abs().mean())]
            count += 1
        return dict(zip(("policy_loss", "value_loss", "moved"), (sums / count).tolist(), strict=True))

    def _spread_of(self, batch: Collected) -> Floats:
        """The spread with which a batch was collected: before `steps_done` grew."""
        before = self.steps_done - batch.value.size
        left = max(1.0 - before / self.total, 0.0)
        pairs = (self.config.steering_spread, self.config.throttle_spread)
        return np.array([end + (start - end) * left for start, end in pairs], np.float32)

    def _minibatches(self, size: int) -> Iterator[Tensor]:
        for _ in range(self.config.epochs):
            order = torch.from_numpy(self._rng.permutation(size))
            yield from order.split(self.config.minibatch)

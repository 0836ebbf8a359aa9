"""Proximal policy optimisation over many environments at once (Schulman et al. 2017, with generalised advantages).

What differs from Stable-Baselines3's: environments are stepped and observed as arrays throughout, the spread of the
actions follows a schedule instead of being learned (a wide spread slows a car down, so that the mean action later
drives faster than anything it was trained on), and returns are scaled by their running spread.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.errors import ConfigError, PolicyError, WeightsError
from harness.fitting.policy_files import PolicyFile, layers_of
from harness.kernels import Bools, Singles, kernel
from harness.training.config import PPOConfig
from harness.training.ppo_gradients import Minibatch, log_density, write_gradients
from harness.training.vector_learner import generator_tensor, load_optimiser, optimiser_tensors, restore_generator

Floats = NDArray[np.float32]


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


def _aligned(numbers: NDArray[Any], device: torch.device) -> Tensor:
    """A copy in PyTorch's own memory: products of few rows depend, in their last bits, on where numbers lie."""
    return torch.tensor(numbers, device=device)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads for PyTorch's products within."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_of(name: str) -> torch.device:
    """The device of that name; `auto` takes CUDA where it is.

    Raises:
        ConfigError: PyTorch has no such device here.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--ppo.device cuda: PyTorch finds no CUDA here. Use auto or cpu.")
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu"))


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
    """Learns on a vector environment that begins episodes anew within the step (`AutoresetMode.SAME_STEP`).

    A `VectorLearner`. What `act` shows and `save_policy` writes is the average of the policy over the last rounds.
    """

    policy_name = "ppo"
    policy_file = "policy.safetensors"

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        config: PPOConfig,
        *,
        total_steps: int,
        seed: int,
        observation: str = "route",
    ) -> None:
        """Make the networks.

        Args:
            env: Where it learns.
            config: Numbers of the learner.
            total_steps: Steps of all environments together, at which the schedules end.
            seed: Seed of everything random, the environments included.
            observation: Preset of the observation, for the policy's file.
        """
        self.env, self.config, self.total = env, config, total_steps
        self.device = device_of(config.device)
        size = int(np.prod(env.single_observation_space.shape or (0,)))
        self._rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            self.model = ActorCritic(size, config.hidden).to(self.device)
        self._average = copy.deepcopy(self.model.policy).requires_grad_(False)
        self._preset = observation
        self._optimiser = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate, eps=1e-5, fused=True)
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

    def round(self) -> dict[str, float]:
        """Collect and update once.

        Raises:
            PolicyError: Training has diverged.
        """
        # What few rows need, one thread does best: several would mostly wait for one another.
        with _threads(1):
            batch, report = self.collect()
        report |= self.update(batch)
        if not np.isfinite(report["policy_loss"] + report["value_loss"]):
            raise PolicyError(
                f"the losses are not finite after {self.steps_done:,} steps: training has diverged. Start again with a "
                "lower --ppo.learning-rate."
            )
        with torch.no_grad():
            for kept, now in zip(self._average.parameters(), self.model.policy.parameters(), strict=True):
                kept.lerp_(now, 1.0 - self.config.averaging)
        return report

    def act(self, observations: Floats) -> Floats:
        """The averaged policy's mean actions [B, 2] for observations [B, D]."""
        with torch.inference_mode():
            return torch.tanh(self._average(_aligned(observations, self.device))).cpu().numpy()

    def save_policy(self, path: Path) -> None:
        """Write the averaged policy, for the ego policy `ppo`."""
        PolicyFile(self.policy_name, self._preset, "Tanh", squash=True, layers=layers_of(self._average)).save(path)

    def state(self) -> dict[str, Tensor]:
        """Networks, optimiser, spread of the returns, generator and steps."""
        found = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        found |= {f"average.{name}": tensor for name, tensor in self._average.state_dict().items()}
        found |= optimiser_tensors(self._optimiser)
        scale = self.scale
        found["scale.returns"] = torch.from_numpy(scale.returns.copy())
        found["scale.facts"] = torch.tensor([scale.count, scale.mean, scale.square], dtype=torch.float64)
        found["generator"] = generator_tensor(self._rng)
        found["steps"] = torch.tensor([self.steps_done])
        return found

    def load(self, state: dict[str, Tensor], observations: Floats) -> None:
        """Restore `state()`, with the present `observations` [N, D].

        Raises:
            WeightsError: It belongs to another architecture.
        """
        ours = self.state()
        for name in ("scale.returns", "scale.facts", "generator", "steps"):
            if name not in state or (name != "generator" and state[name].shape != ours[name].shape):
                raise WeightsError(f"checkpoint: {name} is missing or of another shape. Start anew.")
        try:
            for prefix, module in (("model.", self.model), ("average.", self._average)):
                found = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
                module.load_state_dict(found)
            load_optimiser(self._optimiser, state)
        except (RuntimeError, KeyError, ValueError, IndexError) as error:
            raise WeightsError(f"checkpoint: the networks have another architecture ({error}). Start anew.") from error
        self.scale.returns = state["scale.returns"].numpy().copy()
        self.scale.count, self.scale.mean, self.scale.square = state["scale.facts"].tolist()
        restore_generator(self._rng, state["generator"])
        self.steps_done = int(state["steps"][0])
        self._observation = observations

    def learn(self, watch: Callable[[dict[str, float]], None] | None = None) -> None:
        """Collect and update until the steps are spent; `watch` hears of each round."""
        while self.steps_done < self.total:
            report = self.round()
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
            logs[t] = log_density(torch.from_numpy(noise), torch.from_numpy(spread)).numpy()
            observations[t], values[t] = self._observation, value
            self._observation, reward, terminated, truncated, info = env.step(np.clip(actions[t], -1, 1))
            ended[t], cut[t] = terminated | truncated, truncated & ~terminated
            totals += float(reward.sum())
            rewards[t] = self.scale.scale(reward, ended[t])
            if cut[t].any() and not config.timeouts_terminal:
                finals[t, cut[t]] = self.evaluate(info["final_obs"][cut[t]])[1]
        last = self.evaluate(self._observation)[1]
        found = advantages(rewards, values, ended, cut, last, finals, config.gamma, config.lam)
        self.steps_done += config.steps * count
        report = {"steps": float(self.steps_done), "reward": totals / ended.size, "episodes": float(ended.sum())}
        return Collected(observations, actions, logs, found, values), report

    def evaluate(self, observation: Floats) -> tuple[Floats, Floats]:
        """Mean actions [B, 2] and values [B] of observations [B, D]."""
        with torch.inference_mode():
            mean, value = self.model(_aligned(observation, self.device))
        return mean.cpu().numpy(), value.cpu().numpy()

    def update(self, batch: Collected) -> dict[str, float]:
        """Gradient steps over a batch; returns mean losses and how far the policy moved."""
        config = self.config
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * self.left
        advantage = batch.advantage
        parts = (batch.observation, batch.action, batch.log_probability, advantage, advantage + batch.value)
        played = Minibatch(*(self._tensor(part.reshape(-1, *part.shape[2:])) for part in parts))
        spread, model = self._tensor(self._spread_of(batch)), self.model
        sums = torch.zeros(3, device=self.device)
        count = 0
        for rows in self._minibatches(advantage.size):
            minibatch = Minibatch(*(part[rows] for part in played))
            sums += write_gradients(model.policy, model.value, minibatch, spread, config.clip, config.value_weight)
            nn.utils.clip_grad_norm_(model.parameters(), config.max_norm)
            self._optimiser.step()
            count += 1
        return dict(zip(("policy_loss", "value_loss", "moved"), (sums / count).tolist(), strict=True))

    def _tensor(self, numbers: Floats) -> Tensor:
        """Numbers where the networks are; on the CPU without a copy."""
        return torch.from_numpy(numbers).to(self.device)

    def _spread_of(self, batch: Collected) -> Floats:
        """The spread with which a batch was collected: before `steps_done` grew."""
        before = self.steps_done - batch.value.size
        left = max(1.0 - before / self.total, 0.0)
        pairs = (self.config.steering_spread, self.config.throttle_spread)
        return np.array([end + (start - end) * left for start, end in pairs], np.float32)

    def _minibatches(self, size: int) -> Iterator[Tensor]:
        for _ in range(self.config.epochs):
            order = torch.from_numpy(self._rng.permutation(size)).to(self.device)
            yield from order.split(self.config.minibatch)

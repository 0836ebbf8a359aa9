"""The learning side of a run: networks, replay memory, exploration and updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from harness.errors import ConfigError, PolicyError
from harness.training.config import TD3Config
from harness.training.replay import ReplayMemory
from harness.training.td3 import FastTD3
from harness.training.worker import InlineUpdater, ThreadedUpdater, Updater

Floats32 = NDArray[np.float32]
LOSS_WINDOW: Final = 1000
"""Updates over which reported losses are averaged."""


class _SpacesOnly(gymnasium.Env[Any, Any]):
    """What Stable-Baselines3 needs of an environment to build its networks."""

    def __init__(self, observation_space: spaces.Box, action_space: spaces.Box) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats32, dict[str, Any]]:
        raise NotImplementedError


class Learner:
    """TD3 with its memory, acting and learning step by step.

    Attributes:
        model: The networks, as a Stable-Baselines3 model.
        memory: Past transitions.
        updates: Updates begun so far.
    """

    def __init__(
        self, observation_space: spaces.Box, action_space: spaces.Box, config: TD3Config, capacity: int, seed: int
    ) -> None:
        """Build networks and memory.

        Args:
            observation_space: Flat box.
            action_space: Box of [-1, 1].
            config: TD3's numbers.
            capacity: Rows of replay memory (see `ReplayMemory`).
            seed: Of the networks' initial weights.

        Raises:
            ConfigError: The action space is not [-1, 1], or the observation is not flat.
        """
        if len(observation_space.shape) != 1 or not (np.all(action_space.low == -1) and np.all(action_space.high == 1)):
            raise ConfigError(
                f"TD3 needs a flat observation and actions in [-1, 1], not {observation_space} and {action_space}."
            )
        # The updates of this size gain nothing from a second core, which the simulator uses.
        torch.set_num_threads(config.threads)
        torch.set_flush_denormal(True)
        self._config = config
        self.model = FastTD3(
            "MlpPolicy",
            _SpacesOnly(observation_space, action_space),
            learning_rate=config.learning_rate,
            # Stable-Baselines3's own buffer is not used.
            buffer_size=1,
            batch_size=config.batch_size,
            tau=config.tau,
            gamma=config.gamma,
            policy_delay=config.policy_delay,
            target_policy_noise=config.target_noise,
            target_noise_clip=config.target_clip,
            policy_kwargs={"net_arch": [config.hidden, config.hidden]},
            device="cpu",
            seed=seed,
            precision=config.precision,
        )
        self._actions = int(action_space.shape[0])
        self.memory = ReplayMemory(capacity, int(observation_space.shape[0]), self._actions)
        self._updater: Updater = (
            ThreadedUpdater(self.model, config.threads) if config.overlap else InlineUpdater(self.model)
        )
        self.updates = 0
        self._losses: list[torch.Tensor] = []
        # Views: they show the networks as they are now, without a copy.
        layers = [layer for layer in self.model.actor.mu if isinstance(layer, torch.nn.Linear)]
        self._layers = [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in layers]

    def close(self) -> None:
        """Finish the pending update and stop its thread."""
        self.conclude()
        self._updater.close()

    def settle(self) -> None:
        """Wait until nothing changes the networks: they may then be read. The last update may still be pending."""
        self._note(self._updater.join())

    def conclude(self) -> None:
        """Settle, and bring the last update to its end: the networks may then be saved."""
        self._note(self._updater.conclude())

    def _note(self, losses: torch.Tensor | None) -> None:
        if losses is not None:
            self._losses.append(losses)
            del self._losses[:-LOSS_WINDOW]

    def losses(self) -> tuple[float, float]:
        """Mean critic and actor loss of the last updates; NaN before the first."""
        if not self._losses:
            return float("nan"), float("nan")
        critic, actor = torch.stack(self._losses).mean(0).tolist()
        return critic, actor * self.model.policy_delay

    def greedy(self, observation: Floats32) -> Floats32:
        """The policy's action [A] for an observation [O].

        Raises:
            PolicyError: It is not finite: training has diverged.
        """
        hidden = observation
        for weight, bias in self._layers[:-1]:
            hidden = np.maximum(hidden @ weight + bias, 0.0)
        weight, bias = self._layers[-1]
        action = np.tanh(hidden @ weight + bias)
        if not np.isfinite(action).all():
            raise PolicyError(
                f"the policy in training returned {action.tolist()} after {self.updates} updates: an observation is "
                "not finite, or training has diverged. Start again with a lower --td3.learning-rate."
            )
        return action

    def explore(self, observation: Floats32, step: int, rng: np.random.Generator) -> Floats32:
        """Action [A] for training at `step`: uniform while warming up, then the policy's with Gaussian noise."""
        if step < self._config.warmup:
            return rng.uniform(-1.0, 1.0, self._actions).astype(np.float32)
        noise = rng.standard_normal(self._actions, np.float32) * np.float32(self._config.exploration)
        return np.clip(self.greedy(observation) + noise, -1.0, 1.0)

    def update(self, rng: np.random.Generator) -> None:
        """Begin one update on a batch out of memory. `settle` before the networks are used."""
        config = self._config
        observation, action, reward, terminal, following = self.memory.sample(config.batch_size, rng)
        noise = rng.standard_normal(action.shape, np.float32) * np.float32(config.target_noise)
        noise = np.clip(noise, -config.target_clip, config.target_clip)
        discount = np.float32(config.gamma) * (1 - terminal)
        batch = [observation, action, reward, discount, following, noise]
        self.updates += 1
        self._updater.submit([torch.from_numpy(array) for array in batch])

    def save_zip(self, path: Path) -> None:
        """Write a Stable-Baselines3 zip, which `TD3.load` reads."""
        self.model.num_timesteps = self.updates
        self.model.save(path)

    def state(self) -> dict[str, torch.Tensor]:
        """Networks and optimisers."""
        self.conclude()
        return self.model.learner_state()

    def load(self, state: dict[str, torch.Tensor], updates: int) -> None:
        """Restore `state()` after `updates` updates.

        Raises:
            WeightsError: It belongs to another architecture.
        """
        self.model.load_learner_state(state)
        self.model._n_updates = updates
        self.updates = updates


class LivePolicy:
    """The policy in training, as an `EgoPolicy` (deterministic)."""

    name = "td3"
    control: Literal["action", "replay"] = "action"
    privileged = False

    def __init__(self, learner: Learner, observation: str) -> None:
        """Show the policy of `learner`; `observation` is the preset it reads."""
        self._learner = learner
        self.observation = observation

    def reset(self, scenario: Any, rng: np.random.Generator) -> None:
        """Nothing to remember between episodes; no update may be under way."""
        self._learner.conclude()

    def act(self, observation: Floats32, view: Any) -> Floats32:
        """The greedy action [2]."""
        return self._learner.greedy(observation)

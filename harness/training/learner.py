"""The learning side of a run: networks, replay memory, exploration and updates."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from harness.errors import ConfigError, WeightsError
from harness.training.actor import Actor
from harness.training.config import TD3Config
from harness.training.replay import ReplayMemory
from harness.training.td3 import FastTD3

Floats32 = NDArray[np.float32]
RECENT: Final = "recent_losses"
"""Name of the tensor of recent losses in a checkpoint."""
LOSS_WINDOW: Final = 1000
"""Updates over which reported losses are averaged."""


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """The processor takes numbers of this thread below 1e-38 (float32) or 2e-308 (float64) for zero, which is faster.

    Only as long as it lasts: other code relies on such numbers. SciPy's k-d tree of equal points recurses without an
    end when the next number after zero is zero.
    """
    before = sys.float_info.min * 0.5 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


class _SpacesOnly(gymnasium.Env[object, object]):
    """What Stable-Baselines3 needs of an environment to build its networks."""

    def __init__(self, observation_space: spaces.Box, action_space: spaces.Box) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Floats32, dict[str, object]]:
        raise NotImplementedError


class Learner:
    """TD3 with its memory, acting and learning step by step.

    Attributes:
        model: The networks, as a Stable-Baselines3 model.
        memory: Past transitions.
        actor: What acts: it shows the networks as they are now.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Box,
        config: TD3Config,
        capacity: int,
        seed: int,
        *,
        two_threads: bool = False,
    ) -> None:
        """Build networks and memory.

        Args:
            observation_space: Flat box.
            action_space: Box of [-1, 1].
            config: TD3's numbers.
            capacity: Rows of replay memory (see `ReplayMemory`).
            seed: Seed of the networks' initial weights.
            two_threads: Use a second thread for three tenths of an update; no number depends on it.

        Raises:
            ConfigError: The action space is not [-1, 1], or the observation is not flat.
        """
        if len(observation_space.shape) != 1 or not (np.all(action_space.low == -1) and np.all(action_space.high == 1)):
            raise ConfigError(
                f"TD3 needs a flat observation and actions in [-1, 1], not {observation_space} and {action_space}."
            )
        torch.set_num_threads(config.threads)
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
            two_threads=two_threads,
        )
        self.memory = ReplayMemory(capacity, int(observation_space.shape[0]), int(action_space.shape[0]))
        self._due = 0
        self._losses = torch.zeros(0, 2)
        # Views: they show the networks as they are now, without a copy.
        layers = [layer for layer in self.model.actor.mu if isinstance(layer, torch.nn.Linear)]
        views = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in layers]
        self.actor = Actor(views, config.warmup, config.exploration)

    def losses(self) -> tuple[float, float]:
        """Mean critic and actor loss of the last updates; NaN before the first."""
        critic, actor = self._losses.mean(0).tolist()
        return critic, actor * self.model.policy_delay

    @property
    def updates(self) -> int:
        """Updates made so far."""
        return self.actor.updates

    def greedy(self, observation: Floats32) -> Floats32:
        """The policy's action [A] for an observation [O].

        Raises:
            PolicyError: It is not finite: training has diverged.
        """
        return self.actor.greedy(observation)

    def explore(self, observation: Floats32, step: int, rng: np.random.Generator) -> Floats32:
        """Action [A] for training at `step` (see `Actor`)."""
        return self.actor.explore(observation, step, rng)

    def update(self, rng: np.random.Generator) -> None:
        """One more update is due; as soon as `update_every` of them are, they are made."""
        self._due += 1
        if self._due >= self._config.update_every:
            self.flush(rng)

    def flush(self, rng: np.random.Generator) -> None:
        """Make every update that is due."""
        config, count = self._config, self._due
        if not count:
            return
        size = config.batch_size
        observation, action, reward, terminal, following = self.memory.sample(count * size, rng)
        noise = rng.standard_normal(action.shape, np.float32) * np.float32(config.target_noise)
        np.clip(noise, -config.target_clip, config.target_clip, out=noise)
        discount = np.float32(config.gamma) * (1 - terminal)
        columns = [
            torch.from_numpy(array).split(size) for array in (observation, action, reward, discount, following, noise)
        ]
        with torch.no_grad(), denormals_as_zero():
            losses = self.model.learn_from([list(batch) for batch in zip(*columns, strict=True)])
        self._losses = torch.cat([self._losses, losses])[-LOSS_WINDOW:]
        self.actor.updates += count
        self._due = 0

    def save_zip(self, path: Path) -> None:
        """Write a Stable-Baselines3 zip, which `TD3.load` reads."""
        self.model.num_timesteps = self.updates
        self.model.save(path)

    def state(self) -> dict[str, torch.Tensor]:
        """Networks and optimisers, and the losses [n, 2] that `losses` is the mean of."""
        return {**self.model.learner_state(), RECENT: self._losses}

    def load(self, state: dict[str, torch.Tensor], updates: int) -> None:
        """Restore `state()` after `updates` updates.

        Raises:
            WeightsError: It belongs to another architecture.
        """
        recent = state.get(RECENT, torch.zeros(0, 2))
        if recent.ndim != 2 or recent.shape[1] != 2 or len(recent) > LOSS_WINDOW or recent.dtype != torch.float32:
            raise WeightsError(f"checkpoint: {RECENT} has shape {tuple(recent.shape)}, expected [n, 2]. Start anew.")
        self.model.load_learner_state({name: tensor for name, tensor in state.items() if name != RECENT})
        self._losses = recent.clone()
        self.model._n_updates = self.actor.updates = updates


class LivePolicy:
    """The policy in training, as an `EgoPolicy` (deterministic)."""

    name = "td3"
    control: Literal["action", "replay"] = "action"
    privileged = False

    def __init__(self, learner: Learner, observation: str) -> None:
        """Show the policy of `learner`; `observation` is the preset it reads."""
        self._learner = learner
        self.observation = observation

    def reset(self, scenario: object, rng: np.random.Generator) -> None:
        """Nothing to remember between episodes."""

    def act(self, observation: Floats32, view: object) -> Floats32:
        """The greedy action [2]."""
        return self._learner.greedy(observation)

"""SAC, TD3 and PPO of Stable-Baselines3 as learners on the fast engine, in rounds that can be resumed exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq
from torch import Tensor, nn

from harness.errors import PolicyError, WeightsError
from harness.fast.sb3_env import FastVecEnv
from harness.fast.vector import FastVectorEnv
from harness.fitting.policy_files import PolicyFile, layers_of
from harness.training.global_randomness import GlobalRandomness
from harness.training.sb3_config import OffPolicyConfig, SACConfig, SB3Config, SB3PPOConfig, SB3TD3Config
from harness.training.vector_learner import generator_tensor, load_optimiser, optimiser_tensors, restore_generator

Floats = NDArray[np.float32]
Model = PPO | SAC | TD3

ALGORITHMS: Final[dict[str, type[SB3Config]]] = {"sac": SACConfig, "td3": SB3TD3Config, "sb3-ppo": SB3PPOConfig}
"""Names of algorithms, and the configurations that make `SB3Learner` learn by them."""
_MEMORY: Final = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
"""Arrays [rows, N, …] of Stable-Baselines3's replay memory."""
_UNTOLD: Final = ("n_updates", "learning_rate", "clip_range")
"""What Stable-Baselines3 logs and is no result of a round."""


class _Kind(NamedTuple):
    """What differs between the algorithms once they are made."""

    name: str
    activation: str
    squash: bool
    actor: Callable[[Any], tuple[nn.Module, ...]]
    optimisers: Callable[[Any], dict[str, torch.optim.Optimizer]]


_KINDS: Final[dict[type[SB3Config], _Kind]] = {
    SB3TD3Config: _Kind(
        "td3",
        "ReLU",
        True,
        lambda model: (model.actor.mu,),
        lambda model: {"actor": model.actor.optimizer, "critic": model.critic.optimizer},
    ),
    SACConfig: _Kind(
        "sac",
        "ReLU",
        True,
        lambda model: (model.actor.latent_pi, model.actor.mu),
        lambda model: {
            "actor": model.actor.optimizer,
            "critic": model.critic.optimizer,
            "entropy": model.ent_coef_optimizer,
        },
    ),
    SB3PPOConfig: _Kind(
        "ppo",
        "Tanh",
        False,
        lambda model: (model.policy.mlp_extractor.policy_net, model.policy.action_net),
        lambda model: {"policy": model.policy.optimizer},
    ),
}


class SB3Learner:
    """An algorithm of Stable-Baselines3 as a `VectorLearner`: it collects and trains by that library's own code.

    That code draws from the global generators of numpy and torch. Each learner has its own sequence of them, which is
    in place during its rounds only; see `GlobalRandomness`.
    """

    policy_file = "policy.safetensors"

    def __init__(
        self,
        env: FastVectorEnv,
        config: SB3Config,
        *,
        total_steps: int,
        seed: int,
        observation: str = "route",
    ) -> None:
        """Make the networks, and begin an episode in every environment.

        Args:
            env: Where it learns.
            config: Which algorithm, and its numbers.
            total_steps: Steps of all environments together: the replay memory need not hold more.
            seed: Seed of everything random, the environments included.
            observation: Preset of the observation, for the policy's file.
        """
        self.config, self.total, self._preset = config, total_steps, observation
        self._kind = _KINDS[type(config)]
        self.policy_name = self._kind.name
        self._randomness, self._watch = GlobalRandomness(), _Sums()
        with self._randomness.in_place():
            self.model = _make(FastVecEnv(env), config, total_steps, seed)
            self.model.set_logger(Logger(None, []))
            self.model._setup_learn(total_steps, self._watch)

    @property
    def steps_done(self) -> int:
        """Environment steps so far, of all environments together."""
        return self.model.num_timesteps

    def round(self) -> dict[str, float]:
        """Collect and update once, as `learn` of the model does; losses are there as soon as there are updates.

        Raises:
            PolicyError: Training has diverged.
        """
        self._watch.begin()
        with self._randomness.in_place():
            if isinstance(self.config, OffPolicyConfig):
                self._replayed(cast(OffPolicyAlgorithm, self.model), self.config)
            else:
                self._rolled_out(cast(PPO, self.model), self.config)
        logged = self.model.logger.name_to_value
        found = {name.removeprefix("train/"): float(value) for name, value in logged.items()}
        logged.clear()
        if np.isnan(found.get("explained_variance", 0.0)):
            del found["explained_variance"]  # All returns were equal: nothing was there to explain.
        losses = {name: value for name, value in found.items() if name not in _UNTOLD}
        if not np.isfinite(list(losses.values())).all():
            raise PolicyError(
                f"the losses are not finite after {self.steps_done:,} steps: training has diverged. Start again with a "
                "lower learning rate."
            )
        return {"steps": float(self.steps_done), **self._watch.report(), **losses}

    def _replayed(self, model: OffPolicyAlgorithm, config: OffPolicyConfig) -> None:
        assert model.env is not None, "made with one"
        assert model.replay_buffer is not None, "made by the model"
        collected = model.collect_rollouts(
            model.env,
            self._watch,
            cast(TrainFreq, model.train_freq),  # The model has made it of the number.
            model.replay_buffer,
            action_noise=model.action_noise,
            learning_starts=config.warmup,
            log_interval=None,
        )
        if model.num_timesteps > config.warmup:
            updates = config.updates if config.updates >= 0 else collected.episode_timesteps
            if updates > 0:
                model.train(gradient_steps=updates, batch_size=config.batch_size)

    def _rolled_out(self, model: PPO, config: SB3PPOConfig) -> None:
        assert model.env is not None, "made with one"
        model.collect_rollouts(model.env, self._watch, model.rollout_buffer, config.steps)
        model._update_current_progress_remaining(model.num_timesteps, self.total)
        model.train()

    def act(self, observations: Floats) -> Floats:
        """Deterministic actions [B, 2] for observations [B, D]."""
        return self.model.predict(observations, deterministic=True)[0]

    def save_policy(self, path: Path) -> None:
        """Write the actor, for the ego policy `policy_name`.

        Raises:
            WeightsError: The weights are not finite: training has diverged.
        """
        kind = self._kind
        layers = layers_of(*kind.actor(self.model))
        PolicyFile(kind.name, self._preset, kind.activation, squash=kind.squash, layers=layers).save(path)

    def state(self) -> dict[str, Tensor]:
        """Networks, optimisers, entropy coefficient, replay memory, generators and counts.

        The tensors are views of what learning goes on to write.
        """
        model = self.model
        counts = [model.num_timesteps, model._n_updates, model._episode_num]
        found = {f"policy.{name}": tensor.detach().cpu() for name, tensor in model.policy.state_dict().items()}
        for name, optimiser in self._kind.optimisers(model).items():
            found |= optimiser_tensors(optimiser, f"{name}.")
        found |= {f"random.{name}": tensor for name, tensor in self._randomness.state().items()}
        found["random.actions"] = generator_tensor(model.action_space.np_random)
        found["starts"] = torch.from_numpy(np.asarray(model._last_episode_starts, np.bool_).copy())
        if isinstance(model, SAC):
            assert model.log_ent_coef is not None, "it is learned"
            found["log_entropy"] = model.log_ent_coef.detach().cpu()
        if isinstance(model, OffPolicyAlgorithm):
            memory = model.replay_buffer
            assert memory is not None, "made by the model"
            counts += [memory.pos, int(memory.full)]
            for name in _MEMORY:
                found[f"memory.{name}"] = torch.from_numpy(getattr(memory, name)[: memory.size()])
        return {**found, "counts": torch.tensor(counts)}

    def load(self, state: dict[str, Tensor], observations: Floats) -> None:
        """Restore `state()`, with the present `observations` [N, D].

        Raises:
            WeightsError: It belongs to another architecture, or to other environments.
        """
        model = self.model
        try:
            self._load_memory(state)
            model.policy.load_state_dict(_below("policy.", state))
            for name, optimiser in self._kind.optimisers(model).items():
                load_optimiser(optimiser, state, f"{name}.")
            if isinstance(model, SAC):
                assert model.log_ent_coef is not None, "it is learned"
                with torch.no_grad():
                    model.log_ent_coef.copy_(state["log_entropy"])
            if state["starts"].shape != (model.n_envs,):
                raise ValueError(f"{len(state['starts'])} environments, expected {model.n_envs}")
            model.num_timesteps, model._n_updates, model._episode_num = state["counts"].tolist()[:3]
        except (RuntimeError, KeyError, ValueError, IndexError) as error:
            raise WeightsError(f"checkpoint: it belongs to another {self._kind.name} ({error}). Start anew.") from error
        self._randomness.load(_below("random.", state))
        restore_generator(model.action_space.np_random, state["random.actions"])
        model._last_episode_starts = state["starts"].numpy().copy()
        model._last_obs = observations.copy()
        model._update_current_progress_remaining(model.num_timesteps, self.total)

    def _load_memory(self, state: dict[str, Tensor]) -> None:
        model = self.model
        if not isinstance(model, OffPolicyAlgorithm):
            return
        memory = model.replay_buffer
        assert memory is not None, "made by the model"
        position, full = state["counts"].tolist()[3:]
        rows = memory.buffer_size if full else position
        if not 0 <= position < memory.buffer_size:
            raise ValueError(f"row {position} of a memory of {memory.buffer_size}")
        for name in _MEMORY:
            kept, found = getattr(memory, name), state[f"memory.{name}"]
            if tuple(found.shape) != (rows, *kept.shape[1:]):
                raise ValueError(f"memory.{name} has shape {tuple(found.shape)}, expected {(rows, *kept.shape[1:])}")
        for name in _MEMORY:
            getattr(memory, name)[:rows] = state[f"memory.{name}"].numpy()
        memory.pos, memory.full = position, bool(full)


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


class _Sums(BaseCallback):
    """Counts what is collected."""

    def begin(self) -> None:
        """Nothing yet in this round."""
        self.steps, self.reward, self.episodes = 0, 0.0, 0

    def _on_step(self) -> Literal[True]:
        rewards, ends = self.locals["rewards"], self.locals["dones"]
        self.steps += len(rewards)
        self.reward += float(rewards.sum())
        self.episodes += int(ends.sum())
        return True

    def report(self) -> dict[str, float]:
        """Mean reward of a step, and the episodes that ended."""
        return {"reward": self.reward / max(self.steps, 1), "episodes": float(self.episodes)}


def _make(env: FastVecEnv, config: SB3Config, total_steps: int, seed: int) -> Model:
    """The model of Stable-Baselines3; it seeds the global generators and the environments."""
    shape: dict[str, Any] = {"net_arch": [config.hidden, config.hidden]}
    shared: dict[str, Any] = {
        "learning_rate": config.learning_rate,
        "gamma": config.gamma,
        "seed": seed,
        "device": config.device,
    }
    if isinstance(config, SB3PPOConfig):
        return PPO(
            "MlpPolicy",
            env,
            n_steps=config.steps,
            batch_size=min(config.minibatch, config.steps * env.num_envs),
            n_epochs=config.epochs,
            gae_lambda=config.lam,
            clip_range=config.clip,
            ent_coef=config.entropy_weight,
            vf_coef=config.value_weight,
            max_grad_norm=config.max_norm,
            policy_kwargs={**shape, "log_std_init": float(np.log(config.spread))},
            **shared,
        )
    shared |= {
        "buffer_size": min(config.buffer_size, total_steps + env.num_envs),
        "learning_starts": config.warmup,
        "batch_size": config.batch_size,
        "tau": config.tau,
        "train_freq": config.steps,
        "gradient_steps": config.updates,
        "policy_kwargs": shape,
    }
    if isinstance(config, SACConfig):
        start = f"auto_{config.entropy_start:g}"
        return SAC("MlpPolicy", env, ent_coef=start, target_entropy=config.target_entropy, **shared)
    actions = int(np.prod(env.action_space.shape or (0,)))
    return TD3(
        "MlpPolicy",
        env,
        policy_delay=config.policy_delay,
        target_policy_noise=config.target_noise,
        target_noise_clip=config.target_clip,
        action_noise=NormalActionNoise(np.zeros(actions), np.full(actions, config.exploration)),
        **shared,
    )

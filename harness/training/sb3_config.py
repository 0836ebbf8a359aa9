"""Numbers of Stable-Baselines3's algorithms on the fast engine. Free of torch, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.errors import ConfigError

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class OffPolicyConfig:
    """What SAC and TD3 have in common; numbers of SAGE table 5 and CAT's script where not said otherwise."""

    gamma: float = 0.99
    """Discount per step of 0.1 s."""
    batch_size: int = 256
    """Transitions per update."""
    learning_rate: float = 3e-4
    """Learning rate of Adam, for actor, critics and SAC's entropy coefficient."""
    tau: float = 0.005
    """Share of the critics that target networks take over at each update."""
    hidden: int = 256
    """Units in each of the two hidden layers."""
    buffer_size: int = 300_000
    """Transitions of the replay memory, of all environments together. One takes 2 kB with the observation `route`, so
    these take 0.6 GB (CAT: 1,000,000, of 112 numbers)."""
    warmup: int = 10_000
    """Steps, of all environments together, of uniformly random actions before the first update."""
    steps: int = 1
    """Steps of each environment between updates."""
    updates: int = 16
    """Updates after them; -1 for as many as there were steps in all environments, as with a single one. Fewer are what
    many environments are for: an update costs as much as some hundred steps of the fast engine."""
    device: Device = "auto"
    """Where networks live and learn: `auto` takes CUDA where it is."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: Names the number and what was expected.
        """
        least = {"batch_size": 1, "hidden": 1, "buffer_size": 1, "warmup": 1, "steps": 1, "updates": -1}
        _check_numbers(self, least, {"gamma": 1.0, "tau": 1.0, "learning_rate": 1_000.0})


@dataclass(frozen=True)
class SB3TD3Config(OffPolicyConfig):
    """TD3 (Fujimoto et al. 2018) by Stable-Baselines3 on many environments."""

    policy_delay: int = 2
    """Updates of the critics per update of the actor."""
    exploration: float = 0.1
    """Standard deviation of the noise on actions while training."""
    target_noise: float = 0.2
    """Standard deviation of the noise on target actions."""
    target_clip: float = 0.5
    """Bound of the noise on target actions."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: Names the number and what was expected.
        """
        OffPolicyConfig.__post_init__(self)
        _check_numbers(self, {"policy_delay": 1}, {"exploration": 10.0, "target_noise": 10.0, "target_clip": 10.0})


@dataclass(frozen=True)
class SACConfig(OffPolicyConfig):
    """Soft actor-critic (Haarnoja et al. 2018) by Stable-Baselines3, its entropy coefficient learned."""

    entropy_start: float = 1.0
    """Entropy coefficient at the start (Stable-Baselines3: 1)."""
    target_entropy: float = -2.0
    """Entropy that the coefficient is learned for, in nats: minus the length of an action (Haarnoja et al.)."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: Names the number and what was expected.
        """
        OffPolicyConfig.__post_init__(self)
        _check_numbers(self, {}, {"entropy_start": 1_000.0})


@dataclass(frozen=True)
class SB3PPOConfig:
    """Stable-Baselines3's PPO (Schulman et al. 2017), with its numbers where not said otherwise."""

    steps: int = 64
    """Steps of each environment between updates (Stable-Baselines3: 2,048, for a single one)."""
    epochs: int = 10
    """Passes over the collected steps in an update."""
    minibatch: int = 4096
    """Steps per gradient step (Stable-Baselines3: 64)."""
    learning_rate: float = 3e-4
    """Learning rate of Adam."""
    gamma: float = 0.99
    """Discount per step of 0.1 s."""
    lam: float = 0.95
    """Weight of longer returns in the advantages."""
    clip: float = 0.2
    """Bound of the ratio between new and old probabilities."""
    value_weight: float = 0.5
    """Weight of the value's error in the loss."""
    entropy_weight: float = 0.0
    """Weight of the entropy in the loss."""
    max_norm: float = 0.5
    """Bound of the gradient's norm."""
    hidden: int = 128
    """Units in each of the two hidden layers, of the policy and of the value (Stable-Baselines3: 64)."""
    spread: float = 0.4
    """Standard deviation of the actions' noise at the start; it is learned (Stable-Baselines3: 1, with which a car gets
    nowhere)."""
    device: Device = "cpu"
    """Where networks live and learn. Stable-Baselines3 advises the processor for networks of this size."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: Names the number and what was expected.
        """
        most = {"gamma": 1.0, "lam": 1.0, "clip": 10.0, "learning_rate": 1_000.0, "spread": 10.0, "max_norm": 1e9}
        _check_numbers(self, {"steps": 2, "epochs": 1, "minibatch": 2, "hidden": 1}, most)


SB3Config = SB3TD3Config | SACConfig | SB3PPOConfig


def _check_numbers(config: object, least: dict[str, int], most: dict[str, float]) -> None:
    """Counts are at least as large as given, other numbers are in (0, the given]."""
    name = type(config).__name__
    for field, bound in least.items():
        if getattr(config, field) < bound:
            raise ConfigError(f"{name}: {field} is {getattr(config, field)}, expected at least {bound}.")
    for field, limit in most.items():
        if not 0.0 < getattr(config, field) <= limit:
            raise ConfigError(
                f"{name}: {field} is {getattr(config, field)}, expected more than 0 and at most {limit:g}."
            )

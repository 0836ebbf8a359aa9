"""What `perf` measures, and on which scenes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.commands.configs import at_least
from harness.commands.options import AllDataOptions
from harness.engine.config import ObservationName


@dataclass(frozen=True)
class PerfConfig(AllDataOptions):
    """What to measure, on which scenes."""

    sample: int = 20
    """Number of scenes for speed, training and memory, spread evenly over the chosen scenes."""
    blocks: int = 5
    """Alternating passes over the scenes for the speed ratios."""
    exact_sample: int = 40
    """Number of scenes for the differences in observation and reward; 0 skips them."""
    horizon: int = 90
    """Steps per episode, 0.1 s each. It does not follow the scene as elsewhere: stock MetaDrive takes one number for
    all scenes, and both must do equal work."""
    fast_sample: int = 40
    """Number of sequences by which the fast engine is compared with MetaDrive, in scenes spread evenly over the chosen
    ones; 0 skips them. The published numbers come from 200."""
    fast_sut: str = ""
    """System under test whose drives are compared as well, such as `td3:FILE` (its observation is then the one that is
    compared); it must look at its observation alone."""
    fast_observation: ObservationName = "cat"
    """Observation that is compared where no system under test is given."""
    fast_traffic: str = "log"
    """Traffic that is compared, and whose rates are measured: `log` or `idm-lane`."""
    fast_blocks: int = 5
    """Alternating passes for the rates of the fast engine; 0 skips them."""
    fast_train_steps: int = 150_000
    """Environment steps of PPO on the fast engine for its training rate; 0 skips it."""
    train_steps: int = 3_000
    """Environment steps (one TD3 update each) for the training rate; 0 skips it."""
    worker_steps: int = 3_000
    """Environment steps of the same training by one worker and by two, for the ratio of their rates; 0 skips it."""
    traffic_updates: int = 20
    """Updates of learned traffic, by cloning and by fine-tuning, for its training rates; 0 skips them."""
    attack_sample: int = 20
    """Number of scenes to attack per adversary; 0 skips the attacks."""
    decision_sample: int = 5
    """Number of scenes in which each system under test and each traffic model is timed; 0 skips them."""
    episodes: int = 2_000
    """Episodes for the memory growth; 0 skips it."""
    episode_steps: int = 20
    """Steps of each of those episodes, 0.1 s each."""
    seed: int = 0
    """Seed of everything random."""
    json: Path | None = None
    """File for the numbers."""

    def __post_init__(self) -> None:
        """Reject counts that cannot work.

        Raises:
            ConfigError: A number is too small.
        """
        at_least(1, sample=self.sample, blocks=self.blocks, horizon=self.horizon, episode_steps=self.episode_steps)
        at_least(0, fast_sample=self.fast_sample, fast_blocks=self.fast_blocks, worker_steps=self.worker_steps)
        at_least(0, fast_train_steps=self.fast_train_steps, traffic_updates=self.traffic_updates)
        at_least(0, exact_sample=self.exact_sample, train_steps=self.train_steps, attack_sample=self.attack_sample)
        at_least(0, decision_sample=self.decision_sample, episodes=self.episodes, seed=self.seed)

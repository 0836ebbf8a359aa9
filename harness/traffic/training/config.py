"""How traffic models are trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from harness.errors import ConfigError
from harness.traffic.infgen.config import InfGenLossOptions
from harness.traffic.observers import Observer

Baseline = Literal["others", "group", "expected", "critic"]
"""See `ReinforcementOptions.baseline`."""

Encoder = Literal["tuned", "frozen"]
"""See `StageOptions.encoder`."""

FREE: Final = frozenset({"epochs", "minutes", "threads", "patience", "device"})
"""Fields of `LoopConfig` that may differ when a stage goes on."""


@dataclass(frozen=True)
class LoopConfig:
    """The training loop, the same for every stage; 0 takes the stage's own default."""

    epochs: int = 40
    """Most passes over the scenes; the learning rate reaches its end at the last."""
    scenes_per_epoch: int = 0
    """Number of scenes drawn per epoch; 0 for all."""
    batch: int = 4
    """Number of scenes per update."""
    learning_rate: float = 0.0
    """Peak learning rate of the cosine schedule (AdamW); 0 takes 1e-3 for cloning, 1e-4 for fine-tuning stages."""
    final_rate: float = 0.01
    """Share of the peak learning rate that is left at the end (CAT-K: 1 % for cloning, 5 % for fine-tuning)."""
    weight_decay: float = 0.02
    """Weight decay of AdamW, on matrices only."""
    clip: float = 0.5
    """Largest norm of a gradient; larger ones are scaled down to it (CAT-K)."""
    warmup: int = 100
    """Number of updates of linear warm-up."""
    average: float = 0.998
    """Decay per update of the moving average of the weights, which is what is validated and kept; 0 for none."""
    patience: int = 12
    """Number of epochs without a better value on validation scenes after which training stops."""
    minutes: float = 0.0
    """Minutes of training after which it stops and keeps the best epoch so far; 0 for no limit."""
    seed: int = 0
    """Seed of everything random."""
    threads: int = 1
    """Threads of PyTorch; with one the result is the same on every run."""
    workers: int = 1
    """Processes that share the work: every batch of cloning and of fine-tuning towards the log, or the judging of
    roll-outs in reinforcement."""
    amp: bool = False
    """Compute in bfloat16 where PyTorch's autocast allows it and the processor multiplies such numbers itself."""
    device: str = "auto"
    """Device of PyTorch (`cpu`, `cuda`, …); `auto` takes a GPU where there is one."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range.
        """
        for name in ("epochs", "batch", "patience", "threads", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--loop.{name} {getattr(self, name)}: expected at least 1.")
        if self.learning_rate < 0 or not 0 <= self.average < 1 or not 0 <= self.final_rate <= 1 or self.clip <= 0:
            raise ConfigError("learning_rate must be >= 0, average in [0, 1), final_rate in [0, 1], clip > 0.")


@dataclass(frozen=True)
class ExampleOptions:
    """What of the logs becomes examples."""

    trained: Literal["all", "near"] = "all"
    """Who has a loss. `all`: everybody with two tokens in a row, whenever and wherever they are there (stages that roll
    out: whoever is there at the current step and later). `near`: as CAT-K has it, the `--scene.trained` best of those
    that are there at the current step within `--scene.train-radius` of the ego; others around them are seen only."""
    agents: int = 256
    """Largest number of agents of a scene with `--examples.trained all`; those nearest to the ego are kept."""
    phases: Literal[1, 2, 3, 4, 5] = 5
    """Number of offsets of the token grid. A token lasts five steps, so the grid begins at step 0, 1, 2, 3 or 4;
    a scene comes with another one in every epoch."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range.
        """
        if self.agents < 1:
            raise ConfigError(f"--examples.agents {self.agents}: expected at least 1.")


@dataclass(frozen=True)
class ReinforcementOptions:
    """Options of reinforcement stages; all of them hold for every method."""

    rollouts: int = 8
    """Number of roll-outs per scene and update."""
    top_k: int = 5
    """Number of most probable tokens that roll-outs draw from, as when the model is used; 0 for all."""
    temperature: float = 1.0
    """Temperature of roll-outs, as when the model is used."""
    agents: Literal["trained", "official"] = "trained"
    """Whose behaviour is judged: every agent with a loss, or those that the official metric looks at (two a scene)."""
    credit: Literal["agent", "scene"] = "agent"
    """What a token is rewarded for: how its own agent did, or (SMART-R1) one number of the scene."""
    baseline: Baseline = "others"
    """What a reward is compared with: the mean of the scene's other roll-outs; the mean of all of them (GRPO); a learnt
    expectation (PPO); or one number for all scenes, `threshold` (MPO), where roll-outs are also scored together."""
    threshold: float = 0.0
    """Expected reward α of the baseline `expected`. SMART-R1 uses 0.77, about the mean reward of its starting model
    over 32 roll-outs; 0 takes the running mean over scenes."""
    realism: float = 1.0
    """Weight of the realism meta metric in the reward."""
    collision: float = 0.0
    """Cost of a collision in the reward, beyond its share of realism (0.25 where nobody collides in the log)."""
    offroad: float = 0.0
    """Cost of leaving the road in the reward, beyond its share of realism."""
    beta: float = 0.04
    """Weight of the divergence from the starting weights (SMART-R1)."""
    clip: float = 0.2
    """Bound at which PPO and GRPO clip the change of the probability ratio."""
    updates: int = 2
    """Number of optimiser steps of PPO and GRPO per sample."""
    preference: float = 0.1
    """Strength β of the regularisation in DPO."""
    human: float = 0.1
    """Weight of the likelihood of logged tokens in GRBO, beside the divergence."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range, or a baseline that the roll-outs do not allow.
        """
        if self.rollouts < 1 or self.updates < 1 or self.top_k < 0 or not self.temperature > 0:
            raise ConfigError("rl: rollouts and updates must be >= 1, top_k >= 0, temperature > 0.")
        if self.baseline == "others" and self.rollouts < 2:
            raise ConfigError("rl.baseline others compares roll-outs of a scene: give --options.rl.rollouts 2 or more.")


PUBLISHED: Final = ReinforcementOptions(top_k=0, agents="official", credit="scene", baseline="expected", threshold=0.77)
"""MPO as SMART-R1 §3.3 has it: the realism metric of the scene, less 0.77, credits every token of every agent."""


@dataclass(frozen=True)
class DistillationOptions:
    """Options of the stage distil."""

    rollouts: int = 2
    """Number of roll-outs behind the shield per scene and update."""
    share: float = 0.1
    """Share of the decisions that the shield leaves alone which are kept as the starting weights have them, 0 to 1."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range.
        """
        if self.rollouts < 1 or not 0 <= self.share <= 1:
            raise ConfigError(f"distil: rollouts must be >= 1, share in [0, 1]; found {self}.")


@dataclass(frozen=True)
class StageOptions:
    """Options of the objectives."""

    smoothing: float = 0.1
    """Share of a label that is smoothed away when cloning (bc), 0 to 1."""
    width: float = 0.1
    """Contour distance of about which other motions share in the smoothing when cloning (bc), m; 0 smooths evenly, as
    published."""
    frozen: bool = True
    """Train only the agents' attention and the head when fine-tuning, as CAT-K does: the map encoder and all embeddings
    (of the map, of agents, of tokens, of relative poses) stay as they are. Without it everything is trained."""
    zipf: float | None = None
    """Exponent of the law of Zipf that motion tokens follow in training of the stage rosetta (RosettaSim, figure 7): 0
    asks for rare ones as often as for frequent ones. None takes them as they come."""
    k: int = 0
    """Number of candidates in closed-loop stages; 0 for the number that did best in CAT-K's tables 5 and 6, and in the
    stage distil for the five that the model draws from when it is used."""
    decisions: int = 0
    """Number of decisions of each scene, drawn at random, that an update of the stages rosetta and infgen learns from;
    0 for all of them."""
    observer: Observer = "ego"
    """Around whom the stages rosetta and infgen learn who enters and leaves: the `ego`, or somebody fixed in the
    `middle` of each scene, as `evaluate_longterm --observer middle` has it, for recordings of cameras that stand."""
    encoder: Encoder = "tuned"
    """Whether the scene encoder learns in the stages rosetta and infgen, too. A frozen one sees each scene once instead
    of in every epoch, without dropout; the vector that stands for newcomers' unknown motion is frozen with it."""
    rl: ReinforcementOptions = field(default_factory=ReinforcementOptions)
    """Options of the reinforcement stages."""
    distil: DistillationOptions = field(default_factory=DistillationOptions)
    """Options of the stage distil."""
    infgen: InfGenLossOptions = field(default_factory=InfGenLossOptions)
    """Weights of the parts of the stage infgen's loss, and shares of classes in them."""

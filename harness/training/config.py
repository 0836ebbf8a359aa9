"""What a training run can be told, and its presets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from harness.commands.options import Data, FitOnly, RunOptions, WhereOption
from harness.engine.config import SENSORS
from harness.episodes.attacks import Attacks
from harness.episodes.ego_buffer import Remembered
from harness.episodes.protocol import ProtocolName
from harness.errors import ConfigError
from harness.fast.made_for import FAST_TRAFFIC
from harness.specs import parse
from harness.training.sb3_config import SACConfig, SB3PPOConfig, SB3TD3Config
from scenarios.opponents import OpponentKind
from scenarios.sources import PROCEDURAL

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class TD3Config:
    """TD3's numbers: SAGE table 5 (which repeats CAT's), the rest from CAT's released training script."""

    gamma: float = 0.99
    """Discount per step (table 5)."""
    batch_size: int = 256
    """Transitions per update (table 5)."""
    learning_rate: float = 3e-4
    """Learning rate of Adam, for actor and critics (table 5)."""
    policy_delay: int = 2
    """Critic updates per actor update (table 5)."""
    tau: float = 0.005
    """Share of the networks that target networks take over at each actor update (table 5)."""
    hidden: int = 256
    """Units in each of the two hidden layers (CAT)."""
    buffer_size: int = 1_000_000
    """Rows of the replay memory, one per step and one per episode (CAT: 1e6 transitions)."""
    warmup: int = 10_000
    """Steps of uniformly random actions before the first update (CAT)."""
    exploration: float = 0.1
    """Standard deviation of the noise on actions while training, of a range of [-1, 1] (CAT)."""
    target_noise: float = 0.2
    """Standard deviation of the noise on target actions (CAT)."""
    target_clip: float = 0.5
    """Bound of the noise on target actions (CAT)."""
    timeouts_terminal: bool = False
    """Store time-outs as true ends of the episode whatever the observation, as CAT's code does. Biased: the value of
    going on is lost. With the observation `route`, which knows how much time is left, they always are."""
    precision: Precision = "auto"
    """Number type of the hidden layers' matrix products: `float32` equals Stable-Baselines3 to rounding; `bfloat16`
    halves the cost on processors that multiply it natively; `auto` picks bfloat16 there and float32 elsewhere."""
    update_every: int = 10
    """Steps between blocks of as many updates; the ratio stays one update per step. CAT and SAGE update after each
    single step (1): simulator and matrix products then push each other out of the processor's caches, so that a
    step with its update takes 1.4 times as long. The price: actions come from an actor that is up to so many steps
    (of 0.1 s) old. A block ends with its episode."""
    threads: int = 1
    """Threads of the matrix products. 2 makes up to 1.4 times as many steps on two cores that are otherwise idle, but a
    fraction of them where anything else runs: the threads wait for each other in loops. Results do not depend on it."""


_PPO_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    **dict.fromkeys(("steps", "epochs", "minibatch"), (1, 1_000_000)),
    "hidden": (1, 4_096),
    **dict.fromkeys(("gamma", "lam"), (0, 1)),
    "averaging": (0, 0.9999),
    **dict.fromkeys(("learning_rate", "clip", "value_weight", "max_norm"), (0, 1_000)),
    **dict.fromkeys(("steering_spread", "throttle_spread"), (1e-4, 10)),
}
"""Smallest and largest numbers of PPO."""


@dataclass(frozen=True)
class PPOConfig:
    """Numbers of proximal policy optimisation on the fast engine."""

    steps: int = 16
    """Steps of each environment between updates."""
    epochs: int = 3
    """Passes over the collected steps in an update."""
    minibatch: int = 512
    """Steps per gradient step."""
    learning_rate: float = 6e-4
    """Learning rate of Adam at the start; it falls to 0 in a straight line."""
    gamma: float = 0.98
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
    """Standard deviation of the throttle's noise at the start and at the end, in a straight line."""
    timeouts_terminal: bool = True
    """Whether an episode whose time is up has ended, instead of being worth what going on would be. It always has with
    the observation `route`, which knows how much time is left; with others this biases values (Pardo et al. 2018)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks live and learn: `auto` takes CUDA where it is."""
    averaging: float = 0.8
    """Share that the averaged policy keeps in each round; the averaged policy is judged and saved. 0 takes the last."""

    def __post_init__(self) -> None:
        """Reject what cannot work.

        Raises:
            ConfigError: Names the option, its value and what was expected.
        """
        for name, (least, most) in _PPO_BOUNDS.items():
            given = getattr(self, name)
            for value in given if isinstance(given, tuple) else (given,):
                if not least <= value <= most:
                    raise ConfigError(f"--ppo.{name.replace('_', '-')} {value}: expected {least:g} to {most:g}.")


_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    **dict.fromkeys(("update_every", "threads", "policy_delay"), (1, 1_000_000)),
    **dict.fromkeys(("gamma", "tau"), (0, 1)),
    **dict.fromkeys(("exploration", "target_noise", "target_clip", "learning_rate"), (0, 1_000)),
    "batch_size": (1, 1_000_000),
    "hidden": (1, 4_096),
    "buffer_size": (2, 100_000_000),
}
"""Smallest and largest numbers of TD3: larger ones need more memory than there is, or are no such number."""


@dataclass(frozen=True)
class TrainConfig(RunOptions):
    """Train an ego with TD3 against attacks, and evaluate it on test scenes as recorded and attacked."""

    data: Data = PROCEDURAL
    fit_only: FitOnly = False
    where: WhereOption = None
    opponent: OpponentKind = "vehicle"
    """Who attacks, in training and evaluation: the `vehicle` in conflict with the ego, or the `pedestrian`, the
    `cyclist`, or either of both (`vulnerable`). Scenes without one are unfit; the adversary `vulnerable` moves them."""
    train_split: str = "train"
    """Split of the folder to train on. Procedural scenes have their own."""
    test_split: str = "test"
    """Split of the folder to evaluate on; must share no scene with the training split."""
    train_scenes: str | None = None
    """Scenes of the training split: `64` for the first 64, `10:20` for a range, `#3` for one, or several with commas;
    all by default."""
    test_scenes: str | None = None
    """Scenes of the test split: `64` for the first 64, `10:20` for a range, `#3` for one, or several with commas; all
    by default."""
    mirror: bool = False
    """Whether every training scene comes a second time, seen in a mirror: left and right are exchanged, and traffic
    keeps to the other side."""
    on_error: Literal["raise", "skip"] = "raise"
    """What happens at a scene that can be read but not simulated: `raise` an error, or `skip` it (counted, and listed
    in the run folder)."""
    adversary: str = "cat"
    """What attacks in training: `NAME[:FILE][?key=value&…]`, as in `cat` or `sage:EXPERTS?spacing=4`, or
    `module:Class`; `none` never attacks. The curriculum sets the intensity."""
    prior: Path | None = None
    """Motion prior (safetensors) of `cat`, in training and evaluation; the shipped one by default."""
    curriculum: str = "dual_axis"
    """Schedule of attacks: `NAME[?key=value&…]`, as in `dual_axis` or `constant?probability=0.3`, or `module:Class`."""
    attacks: Attacks = "all"
    """Which attacks are played in training: `all`; `avoidable`, those that some motion of the ego's car escapes, from
    its newest drive in the scene and from when the attack can be seen on; or `preventable`, those that the careful
    human driver of UN Regulation 157 escapes, who brakes and does not swerve. Others leave the scene as recorded, and
    are counted. The evaluation plays all."""
    co_train: int | None = None
    """Steps of the ego between adaptations of the adversary, on the fast engine: `sage` then goes on learning, by HGPO
    on preferences against the ego's latest drives, and leaves its experts in `co_trained` of the run folder. By default
    the adversary stays as it is. The evaluation's adversary always does."""
    co_train_updates: int = 10
    """Updates of the adversary in each adaptation, of eight scenes each."""
    eval_adversary: str = "cat"
    """What attacks in evaluation, written like `adversary`: the same for every run that is to be compared."""
    eval_intensity: float = 1.0
    """Intensity of the attacks in evaluation, 0 natural … 1 vicious (SAGE B.1: 1)."""
    protocol: ProtocolName = "corrected"
    """Reading of the attacks and of "collision": `corrected` checks contact at every step and counts boxes that
    meet; `as-published` repeats the papers' code, plays plans one step late, aims evaluation at the logged ego and
    counts the engine's contact flag."""
    engine: Literal["metadrive", "fast"] = "metadrive"
    """What plays training episodes: `metadrive`, one environment at about 200 steps a second with its updates, or
    `fast`, many compiled environments at once. Evaluations on test scenes are always MetaDrive's."""
    algorithm: Literal["td3", "ppo", "sac", "sb3-ppo"] = "td3"
    """What learns: `td3` as CAT and SAGE do, on either engine; on the fast engine also `ppo`, and `sac` and `sb3-ppo`
    of Stable-Baselines3."""
    environments: int = 256
    """Environments side by side, on the fast engine. Results depend on it."""
    threads: int = 2
    """Threads of the fast engine and of the matrix products beside it."""
    workers: int = 1
    """Processes that play training episodes on MetaDrive while this one learns. 1: this one plays them, in turn with
    its updates. Results depend on it: of N workers, an episode is played with what was learnt 2 N episodes before."""
    executor: Literal["process", "ray"] = "process"
    """Where several workers run: `process` (here), or `ray` (needs the extra `ray`; the cluster of `RAY_ADDRESS`, or a
    local one)."""
    val_split: str | None = None
    """Split that chooses the policy, on the fast engine: after every `eval_every` steps its scenes are played as
    recorded and attacked, and the policy with the highest completion of episodes without collision and on the road is
    kept. By default the last policy is kept."""
    val_scenes: str | None = None
    """Scenes of `val_split`, written like `train_scenes`. From the training split they are taken out of training."""
    steps: int = 1_000_000
    """Environment steps of 0.1 s in all."""
    seed: int = 0
    """Seed of everything random: networks, exploration, scenes, attacks, evaluation."""
    eval_every: int = 25_000
    """Steps between evaluations (CAT: 25,000); there is always one at the end."""
    checkpoint_every: int = 25_000
    """Steps between checkpoints; there is always one at the end."""
    train_horizon: int = 50
    """Steps of 0.1 s after which a training episode is cut off (CAT and SAGE train with 50)."""
    start_steps: int = 0
    """Training episodes begin at any step of the log up to this one, each as likely, as long as a fifth of the way is
    left; 0 begins all at the first."""
    eval_horizon: int | None = None
    """Steps of 0.1 s after which an evaluation episode is cut off; by default where the scene ends (90 in WOMD)."""
    horizon: int | None = None
    """Steps of 0.1 s after which training and evaluation episodes are cut off alike, in the place of the two options
    before: 311 for half a minute of traffic that goes on beyond the log."""
    eval_also_at: tuple[int, ...] = ()
    """Shorter horizons (steps of 0.1 s) at which every evaluation is judged as well; CAT's and SAGE's scripts evaluate
    at 50. Nothing is played twice for it, unless the presets `route` or `drive` tell the ego how much time is left."""
    eval_crash_ends: bool = True
    """Whether a contact with a vehicle ends an evaluation episode (as CAT's test configuration has it)."""
    observation: Literal["cat", "metadrive", "route"] = "cat"
    """Preset of the observation: `cat` (112 numbers), `metadrive` (MetaDrive's own), or `route` (252 numbers: where the
    route goes, too)."""
    reward: Literal["cat", "metadrive", "drive"] = "cat"
    """Preset of the reward: `cat`, `metadrive` (MetaDrive's own), or `drive` (a sum with a price on contacts, leaving
    the road and speeding; a contact with a vehicle ends the episode)."""
    traffic: str = "log"
    """What moves the background: `log`, `idm-path`, `idm-lane`, `constant_velocity`, `smart` (learned), `smart:FILE`,
    `smart:FILE?temperature=0.9`, or `module:Class`; `idm-flow`, `rosetta` and `infgen:FILE` for traffic that
    enters and leaves. The fast engine plays `log` and `idm-lane`."""
    ego_drives: int = 5
    """Recent ego trajectories per scene that an attack is tailored to (CAT: 5)."""
    remember: Remembered = "all"
    """Which of them: `all`, as CAT does, or `undisturbed`, in which nobody attacked, as the evaluation takes them. A
    drive that evaded an attack says little about how the ego drives before the next one shows."""
    pictures: bool = True
    """Draw the learning curve and play back one benign and one attacked test scene."""
    tensorboard: bool = True
    """Write TensorBoard scalars into the run folder."""
    td3: TD3Config = TD3Config()
    """Options of TD3."""
    ppo: PPOConfig = PPOConfig()
    """Options of PPO."""
    sac: SACConfig = field(default_factory=SACConfig)
    """Options of SAC on the fast engine."""
    sb3_td3: SB3TD3Config = field(default_factory=SB3TD3Config)
    """Options of TD3 on the fast engine."""
    sb3_ppo: SB3PPOConfig = field(default_factory=SB3PPOConfig)
    """Options of Stable-Baselines3's PPO on the fast engine."""

    def __post_init__(self) -> None:
        """Reject what cannot work.

        Raises:
            ConfigError: Names the option, its value and what was expected.
        """
        for name in (
            *("steps", "eval_every", "checkpoint_every", "horizon", "train_horizon", "eval_horizon", "ego_drives"),
            *("environments", "threads", "workers", "co_train", "co_train_updates"),
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: expected at least 1.")
        if self.horizon is not None:
            if self.eval_horizon not in (None, self.horizon):
                raise ConfigError(
                    f"--horizon {self.horizon} and --eval-horizon {self.eval_horizon}: the first stands for both "
                    "horizons. Leave one out."
                )
            for name in ("train_horizon", "eval_horizon"):
                object.__setattr__(self, name, self.horizon)
        for steps in self.eval_also_at:
            if not 1 <= steps < (self.eval_horizon or math.inf):
                raise ConfigError(
                    f"--eval-also-at {steps}: expected at least 1, and less than --eval-horizon where that is given."
                )
        if not self.ppo.timeouts_terminal and SENSORS[self.observation].knows_time and self.algorithm == "ppo":
            raise ConfigError(
                f"--ppo.no-timeouts-terminal: the observation {self.observation} knows how much time is left, so that "
                "nothing can follow. Leave it out, or choose another observation."
            )
        if self.start_steps < 0:
            raise ConfigError(f"--start-steps {self.start_steps}: expected 0 or a later step of the log.")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed {self.seed}: expected 0 to {2**32 - 1:,}.")
        for name, (least, most) in _BOUNDS.items():
            if not least <= getattr(self.td3, name) <= most:
                raise ConfigError(
                    f"--td3.{name.replace('_', '-')} {getattr(self.td3, name)}: expected {least:g} to {most:g}."
                )
        self._check_engine()
        if self.td3.warmup < self.td3.batch_size:
            raise ConfigError(
                f"--td3.warmup {self.td3.warmup} is below --td3.batch-size {self.td3.batch_size}: the first update "
                "needs a batch."
            )

    @property
    def timeouts_end(self) -> bool:
        """Whether TD3 on MetaDrive learns that nothing follows when the time is up."""
        return self.td3.timeouts_terminal or SENSORS[self.observation].knows_time

    def _check_engine(self) -> None:
        """Reject what the engine cannot do, and splits that are one.

        Raises:
            ConfigError: Names the option, its value and what was expected.
        """
        if self.workers > 1 and self.engine != "metadrive":
            raise ConfigError(
                f"--workers {self.workers} --engine {self.engine}: workers play episodes on MetaDrive. Leave one out; "
                "the fast engine has --threads."
            )
        if self.test_split in (self.train_split, self.val_split):
            name = "train" if self.test_split == self.train_split else "val"
            raise ConfigError(f"--{name}-split and --test-split are both {self.test_split!r}. Choose two splits.")
        if self.engine == "metadrive" and self.algorithm != "td3":
            raise ConfigError(f"--algorithm {self.algorithm} learns on many environments: add --engine fast.")
        if self.engine == "fast" and parse(self.traffic).name not in FAST_TRAFFIC:
            raise ConfigError(
                f"--traffic {self.traffic}: the fast engine plays {' and '.join(FAST_TRAFFIC)}. Use one of them, or "
                "--engine metadrive."
            )
        if self.start_steps and self.traffic != "log":
            raise ConfigError(
                f"--start-steps {self.start_steps} --traffic {self.traffic}: only logged traffic can begin at a later "
                "step. Leave one out."
            )
        if self.co_train is not None and (self.engine != "fast" or self.protocol != "corrected"):
            raise ConfigError(
                f"--co-train {self.co_train} --engine {self.engine} --protocol {self.protocol}: the adversary learns "
                "against the ego's drives on the fast engine and in the corrected protocol only. Leave one out."
            )
        if self.engine == "metadrive" and self.val_split is not None:
            raise ConfigError("--val-split: the policy is chosen on validation scenes with --engine fast only.")


MAY_DIFFER: Final = ("on_error", "checkpoint_every", "executor", "pictures", "tensorboard", "td3.threads")
"""Options that change no number of a run, so that a resumed run may have others."""
QUICK: Final = TrainConfig(
    observation="route",
    reward="drive",
    train_horizon=90,
    train_scenes="64",
    test_scenes="16",
    steps=60_000,
    eval_every=15_000,
    checkpoint_every=15_000,
    td3=TD3Config(warmup=2_000, buffer_size=100_000),
)
"""A complete run on procedural scenes in minutes."""
BEST: Final = TrainConfig(
    engine="fast",
    algorithm="ppo",
    observation="route",
    reward="drive",
    adversary="sage?levels=4",
    eval_adversary="sage",
    ego_drives=1,
    remember="undisturbed",
    train_horizon=90,
    steps=3_000_000,
    eval_every=250_000,
    checkpoint_every=1_000_000,
    val_split="val",
)
"""The strongest egos: many environments at once, an observation that shows the route, attacks by `sage`."""
PAPER: Final = TrainConfig(eval_also_at=(50,))
"""The published experiment's size, evaluated to the scenes' ends and, as the papers' scripts do, at 50 steps."""
PRESETS: Final[dict[str, tuple[str, TrainConfig]]] = {
    "best": ("PPO on the fast engine against `sage`: the strongest egos, in minutes.", BEST),
    "quick": ("64 + 16 scenes, 60,000 steps: a complete run in minutes.", QUICK),
    "paper": ("1,000,000 steps, evaluated every 25,000 (CAT, SAGE).", PAPER),
}

"""From a configuration to the parts of a run."""

from __future__ import annotations

from typing import Any, Final

from harness.commands.runs import RunDirectory
from harness.episodes.protocol import protocol_of
from harness.episodes.rules import EndRules, RuledEnv
from harness.episodes.schedules import ChoosingCurriculum
from harness.errors import ConfigError
from harness.files import write_json
from harness.interfaces import Adversary
from harness.specs import build as build_component
from harness.specs import parse
from harness.training.config import TrainConfig
from harness.training.evaluation import Evaluator
from harness.training.learner import Learner, LivePolicy
from harness.training.loop import Parts
from scenarios.mirroring import WithMirrored
from scenarios.scenario import ScenarioSource
from scenarios.selection import left_out, open_scenes, reasons

CACHED_SCENES: Final = 512
"""Scenes kept in memory (about 3 MB each), and scenes whose candidates an adversary with a `cache_scenes` option may
keep: all of a usual experiment."""


def build(config: TrainConfig, run: RunDirectory) -> Parts:
    """Open the scenes, start one engine, and build everything else.

    Raises:
        GauntletError: Unknown names, unusable data or weights, overlapping splits.
    """
    from scenarios.splits import Concat

    curriculum = build_component("curriculum", config.curriculum)
    if config.workers > 1 and isinstance(curriculum, ChoosingCurriculum):
        raise ConfigError(
            f"--curriculum {config.curriculum} --workers {config.workers}: this curriculum chooses scenes by episodes "
            "that workers have not played yet. Use --workers 1 or --engine fast."
        )
    adversary = make_adversary(config.adversary, config)
    shared = config.eval_adversary == config.adversary
    eval_adversary = adversary if shared else make_adversary(config.eval_adversary, config)
    train, test = train_and_test(config)
    check_disjoint(train, test)
    train = training_scenes(train, config)
    source = Concat([train, test])
    env = engine_over(source, config)
    learner = make_learner(config, env)
    evaluator = Evaluator(
        env,
        LivePolicy(learner, config.observation),
        eval_adversary,
        range(len(train), len(source)),
        intensity=config.eval_intensity,
        seed=config.seed,
        protocol=protocol_of(config.protocol),
        also_at=config.eval_also_at,
    )
    write_scene_list(run, train, test)
    return Parts(env, learner, evaluator, adversary, curriculum, range(len(train)))


def engine_over(source: ScenarioSource, config: TrainConfig) -> RuledEnv:
    """One engine, in training rules: a process can have no second."""
    from harness.engine.config import EngineConfig
    from harness.engine.env import GauntletEnv

    options = EngineConfig(
        # Without a horizon the engine ends an episode with its scene, in training as well.
        horizon=None if config.eval_horizon is None else max(config.train_horizon, config.eval_horizon),
        observation=config.observation,
        reward=config.reward,
        traffic=config.traffic,
        cache_scenes=CACHED_SCENES,
        seed=config.seed,
    )
    return RuledEnv(GauntletEnv(source, options), EndRules(config.train_horizon, crash_ends=False))


def make_learner(config: TrainConfig, env: Any) -> Learner:
    """Networks and memory for an environment's spaces."""
    # An episode of n steps takes n + 1 rows; a short run needs no more rows than it can fill.
    rows = min(config.td3.buffer_size, 2 * config.steps + 2 * config.train_horizon)
    # With workers the learner has a processor to itself, and what they leave of another.
    spaces = env.observation_space, env.action_space
    return Learner(*spaces, config.td3, rows, config.seed, two_threads=config.workers > 1)


def make_adversary(name: str, config: TrainConfig) -> Adversary | None:
    """The adversary that a specification names (see `harness.specs`), with those of the run's options that it
    understands; None for `none`.

    Raises:
        ConfigError: The specification sets an intensity, which is the curriculum's (or `--eval-intensity`'s) to set.
    """
    spec = parse(name)
    if spec.head == "none":
        return None
    if spec.intensity is not None:
        raise ConfigError(
            f"adversary {name!r}: the curriculum sets the intensity in training, and --eval-intensity in evaluation. "
            "Leave out what follows @."
        )
    # Candidates on disk spare the next run the networks; plans are the same.
    kept = {"cache_scenes": CACHED_SCENES, "on_disk": True}
    options = {"protocol": config.protocol, "prior": config.prior, **kept}
    adversary: Adversary = build_component("adversary", spec, **options)
    return adversary


def train_and_test(config: TrainConfig) -> tuple[ScenarioSource, ScenarioSource]:
    """Training and test scenes.

    Raises:
        ConfigError: A split is empty, or a selection names no scene.
        ScenarioError: The data cannot be read.
    """
    train = scenes_of(config, config.train_split, config.train_scenes)
    return train, scenes_of(config, config.test_split, config.test_scenes)


def scenes_of(config: TrainConfig, split: str, scenes: str | None) -> ScenarioSource:
    """Some scenes of a split of the run's data; errors as of `train_and_test`."""
    return open_scenes(
        config.data,
        split,
        scenes,
        on_error=config.on_error,
        cache_scenes=CACHED_SCENES,
        fit_only=config.fit_only,
        where=config.where,
        opponent=config.opponent,
    )


def training_scenes(source: ScenarioSource, config: TrainConfig) -> ScenarioSource:
    """What is trained on of the scenes that may be: all of them, and with `--mirror` their mirror images too."""
    return WithMirrored(source, cache_scenes=CACHED_SCENES) if config.mirror else source


def evaluation_env(config: TrainConfig, test: ScenarioSource, seed: int) -> RuledEnv:
    """MetaDrive with the rules of the evaluation, over test scenes."""
    from harness.engine.config import EngineConfig
    from harness.engine.env import GauntletEnv

    options = EngineConfig(
        horizon=config.eval_horizon,
        observation=config.observation,
        reward=config.reward,
        traffic=config.traffic,
        cache_scenes=CACHED_SCENES,
        seed=seed,
    )
    return RuledEnv(GauntletEnv(test, options), EndRules(config.eval_horizon, crash_ends=config.eval_crash_ends))


def check_disjoint(train: ScenarioSource, test: ScenarioSource) -> None:
    """Refuse to judge on what was trained or chosen on.

    Raises:
        ConfigError: A scene is in both.
    """
    both = sorted(set(train.ids) & set(test.ids))
    if both:
        raise ConfigError(
            f"{len(both)} scenes are in two of the splits for training, validation and test, for example {both[0]!r}. "
            "Choose splits that share none."
        )


def write_scene_list(
    run: RunDirectory, train: ScenarioSource, test: ScenarioSource, val: ScenarioSource | None = None
) -> None:
    """Record which scenes were used, and which files were left out and why."""
    rejected: dict[str, str] = {}
    sources = [source for source in (train, val, test) if source is not None]
    for source in sources:
        inner: object = source
        while hasattr(inner, "source"):
            inner = inner.source
        rejected |= {item.path.name: item.reason for item in getattr(inner, "rejected", ())}
    unfit = reasons(item for source in sources for item in left_out(source))
    used = {"train": train.ids, "test": test.ids} | ({} if val is None else {"val": val.ids})
    write_json(run.path / "scenes.json", {**used, "rejected": rejected, "left_out": unfit})

"""Configurations, presets, rules, and what is refused before anything starts."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from harness.commands.configs import rebuild
from harness.commands.runs import RunDirectory
from harness.episodes.rules import EndRules, RuledEnv
from harness.errors import ConfigError, UnknownNameError
from harness.files import plain
from harness.training.config import BEST, PAPER, PRESETS, QUICK, PPOConfig, TD3Config, TrainConfig
from harness.training.learner import Learner
from harness.training.setup import build, check_disjoint, make_adversary, training_scenes
from tests.unit.training.fakes import FakeEnv, FakeSource


def test_presets_are_the_published_numbers() -> None:
    assert PAPER.steps == 1_000_000
    td3 = PAPER.td3
    assert (td3.gamma, td3.batch_size, td3.learning_rate, td3.policy_delay, td3.tau) == (0.99, 256, 3e-4, 2, 0.005)
    assert (td3.hidden, td3.buffer_size, td3.warmup) == (256, 1_000_000, 10_000)
    assert (td3.exploration, td3.target_noise, td3.target_clip) == (0.1, 0.2, 0.5)
    assert (PAPER.train_horizon, PAPER.eval_horizon, PAPER.eval_every) == (50, None, 25_000)
    assert not td3.timeouts_terminal
    assert (QUICK.data, QUICK.train_scenes, QUICK.test_scenes) == ("procedural", "64", "16")
    assert set(PRESETS) == {"best", "quick", "paper"}


def test_a_configuration_survives_its_run_file() -> None:
    config = TrainConfig(out=Path("r"), prior=Path("w"), steps=7, td3=TD3Config())
    stored = json.loads(json.dumps(plain(asdict(config))))
    assert rebuild(TrainConfig, stored) == config
    with pytest.raises(ConfigError, match="another version"):
        rebuild(TrainConfig, {**stored, "stepps": 1})
    for name, value in (("data", None), ("td3", None), ("steps", None), ("eval_intensity", 10**400)):
        with pytest.raises(ConfigError, match="the run's configuration: --"):
            rebuild(TrainConfig, {**stored, name: value})


@pytest.mark.parametrize(
    "options",
    [
        *({"steps": 0}, {"eval_every": 0}, {"ego_drives": 0}, {"seed": -1}, {"seed": 2**32}, {"start_steps": -1}),
        *({"engine": "fast", "val_split": "test"}, {"algorithm": "ppo"}, {"val_split": "val"}),
        *({"td3": TD3Config(**{name: value})} for name, value in (("warmup", 10), ("hidden", 10**7), ("tau", -1))),
    ],
)
def test_impossible_options_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match="--"):
        TrainConfig(**options)


def test_impossible_numbers_of_ppo_are_refused() -> None:
    for name, value in (("steps", 0), ("gamma", 1.5), ("averaging", 1.0), ("steering_spread", (0.1, 0.0))):
        with pytest.raises(ConfigError, match=f"--ppo.{name.replace('_', '-')}"):
            PPOConfig(**{name: value})


def test_train_and_test_must_share_no_scene() -> None:
    with pytest.raises(ConfigError, match="scene-0"):
        check_disjoint(FakeSource(2), FakeSource(1))
    with pytest.raises(ConfigError, match="both"):
        TrainConfig(train_split="test", test_split="test")
    both = TrainConfig(horizon=311)
    assert (both.train_horizon, both.eval_horizon) == (311, 311)
    assert replace(both, seed=1).eval_horizon == 311
    with pytest.raises(ConfigError, match="--horizon 311 and --eval-horizon 90"):
        TrainConfig(horizon=311, eval_horizon=90)
    for horizons in ({"eval_also_at": (50, 0)}, {"eval_also_at": (40,), "eval_horizon": 40}):
        with pytest.raises(ConfigError, match="--eval-also-at"):
            TrainConfig(**horizons)


def test_training_scenes_come_twice_where_they_are_mirrored() -> None:
    assert training_scenes(FakeSource(2), TrainConfig()).ids == ("scene-0", "scene-1")
    mirrored = training_scenes(FakeSource(2), TrainConfig(mirror=True)).ids
    assert mirrored == ("scene-0", "scene-1", "scene-0-mirrored", "scene-1-mirrored")


def test_unknown_names_are_refused_with_a_hint() -> None:
    with pytest.raises(UnknownNameError, match="cat"):
        make_adversary("catt", TrainConfig())
    assert make_adversary("none", TrainConfig()) is None
    assert make_adversary("rule", TrainConfig(protocol="as-published")).name == "rule"
    with pytest.raises(ConfigError, match="the curriculum sets the intensity"):
        make_adversary("rule@0.5", TrainConfig())
    with pytest.raises(ConfigError, match="'rule' has no option 'speed'"):
        make_adversary("rule?speed=3", TrainConfig())


def test_end_rules_change_between_episodes_of_one_environment() -> None:
    env = RuledEnv(FakeEnv(FakeSource(1)), EndRules(3, crash_ends=False))
    still = np.zeros(2, np.float32)
    for horizon in (3, 6):
        env.rules = EndRules(horizon, crash_ends=False)
        env.reset(seed=0, options={"scenario": 0})
        ends = [env.step(still)[2:4] for _ in range(horizon)]
        assert ends == [(False, False)] * (horizon - 1) + [(False, True)]
        # The engine hears of it, so that "time left" is told truly; steps are absolute.
        assert env.until == horizon
    env.reset(seed=0, options={"scenario": 0, "start": 10})
    assert env.until == 16
    assert env.options.ego_box == (4.5, 1.8)


def test_a_learner_refuses_spaces_that_td3_cannot_use() -> None:
    flat, image = spaces.Box(0, 1, (4,), np.float32), spaces.Box(0, 1, (4, 4), np.float32)
    unit, wide = spaces.Box(-1, 1, (2,), np.float32), spaces.Box(-2, 2, (2,), np.float32)
    for observation, action in ((image, unit), (flat, wide)):
        with pytest.raises(ConfigError, match="flat observation"):
            Learner(observation, action, TD3Config(), 100, 0)


def test_exploration_is_uniform_while_warming_up_then_noisy_and_bounded() -> None:
    spaces_ = spaces.Box(-1, 1, (4,), np.float32), spaces.Box(-1, 1, (2,), np.float32)
    learner = Learner(*spaces_, TD3Config(warmup=256, hidden=8), 100, 0)
    rng, observation = np.random.default_rng(0), np.full(4, 0.5, np.float32)
    early = np.array([learner.explore(observation, 0, rng) for _ in range(4000)])
    assert abs(early.mean()) < 0.05
    assert early.std() == pytest.approx(1 / np.sqrt(3), rel=0.05)
    late = np.array([learner.explore(observation, 256, rng) for _ in range(4000)])
    assert late.mean(0) == pytest.approx(learner.greedy(observation), abs=0.01)
    assert late.std(0) == pytest.approx([0.1, 0.1], rel=0.05)
    assert np.abs(late).max() <= 1.0
    predicted = learner.model.predict(observation, deterministic=True)[0]
    assert learner.greedy(observation) == pytest.approx(predicted, abs=1e-6)


@pytest.mark.parametrize("every", [1, 4])
def test_updates_come_in_blocks_one_per_step(every: int) -> None:
    spaces_ = spaces.Box(-1, 1, (4,), np.float32), spaces.Box(-1, 1, (2,), np.float32)
    learner = Learner(*spaces_, TD3Config(warmup=8, batch_size=8, hidden=8, update_every=every), 100, 0)
    rng, observation = np.random.default_rng(0), np.full(4, 0.5, np.float32)
    learner.memory.begin(observation)
    for _ in range(8):
        learner.memory.add(np.zeros(2, np.float32), 1.0, False, observation)
    before = learner.greedy(observation)
    for step in range(1, 7):
        learner.update(rng)
        assert learner.updates == learner.model._n_updates == step // every * every
        # The actor learns at every second update.
        assert np.array_equal(learner.greedy(observation), before) == (learner.updates < 2)
    learner.flush(rng)
    assert learner.updates == learner.model._n_updates == 6, "none is lost at the end of an episode"
    assert np.isfinite(learner.losses()).all()
    # Updates may take tiny numbers for zero, nobody else: k-d trees of equal points would recurse without an end.
    assert sys.float_info.min * 0.5 > 0.0


def test_options_that_cannot_work_are_named() -> None:
    with pytest.raises(ConfigError, match=r"--ppo\.no-timeouts-terminal: the observation route knows"):
        replace(BEST, ppo=PPOConfig(timeouts_terminal=False))
    assert not replace(BEST, observation="cat", ppo=PPOConfig(timeouts_terminal=False)).timeouts_end
    with pytest.raises(ConfigError, match=r"--td3\.update-every 0"):
        TrainConfig(td3=TD3Config(update_every=0))
    with pytest.raises(ConfigError, match=r"--td3\.overlap"):
        rebuild(TrainConfig, {"td3": {"overlap": True}})


def test_workers_cannot_play_what_a_curriculum_has_yet_to_choose(tmp_path):
    config = TrainConfig(curriculum="regret", workers=2)
    with pytest.raises(ConfigError, match="--workers 1"):
        build(config, RunDirectory.create(tmp_path / "run", "train_ego", {}))


@pytest.mark.parametrize("options", [{}, {"engine": "fast", "protocol": "as-published"}])
def test_an_adversary_learns_beside_the_ego_on_the_fast_engine_only(options):
    with pytest.raises(ConfigError, match="--co-train 1000"):
        TrainConfig(co_train=1000, **options)

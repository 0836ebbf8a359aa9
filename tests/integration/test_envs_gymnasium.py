"""The suite under Gymnasium's and Stable-Baselines3's own checkers and vectorisers."""

import multiprocessing as mp
import pickle
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check
from stable_baselines3.common.vec_env import SubprocVecEnv

import harness.envs
from harness.checks import check_env, check_vector_env
from harness.errors import ConfigError, EngineError, PolicyError, UnknownNameError
from tests.sources import tiny_source

VARIANTS = {
    "Gauntlet/LogReplay-v0": {},
    "Gauntlet/Adversary-v0": {"adversary": "rule"},
    "Gauntlet/Curriculum-v0": {"adversary": "rule", "curriculum": "dual_axis", "total_steps": 500},
    "Gauntlet/Reactive-v0": {},
    "Gauntlet/LongTerm-v0": {},
}
STRAIGHT = np.array([0.0, 0.3], np.float32)


def make(name="Gauntlet/LogReplay-v0", **kwargs):
    """Module-level, so that it can be sent to worker processes."""
    return gym.make(name, **{"data": tiny_source(), **VARIANTS[name], **kwargs})


@pytest.fixture
def env():
    made = make("Gauntlet/Adversary-v0", render_mode="rgb_array")
    yield made
    made.close()


def test_all_ids_are_registered_and_registering_twice_is_harmless():
    harness.envs.register_envs()
    assert set(VARIANTS) == set(harness.envs.IDS) <= set(gym.registry)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.filterwarnings("error:.*Box.*:UserWarning")
def test_checkers_accept_every_id(name):
    made = make(name, render_mode="rgb_array")
    try:
        # Gymnasium's render check makes a second environment while the first lives: see the isolated test.
        gymnasium_check(made.unwrapped, skip_render_check=True)
        sb3_check(made.unwrapped)
        check_env(made)
    finally:
        made.close()


@pytest.mark.parametrize("observation", ["cat", "metadrive"])
def test_observations_lie_in_their_space_without_clipping(observation):
    made = make("Gauntlet/Adversary-v0", observation=observation, reward=observation)
    try:
        rng = np.random.default_rng(0)
        for _ in range(4):
            value, _ = made.reset(seed=int(rng.integers(100)))
            done = False
            while not done:
                assert value.dtype == np.float32
                assert value in made.observation_space
                value, _, terminated, truncated, _ = made.step(rng.uniform(-1, 1, 2).astype(np.float32))
                done = terminated or truncated
    finally:
        made.close()


def test_render_shows_the_scene_from_above(env):
    env.reset(seed=0, options={"scenario": "crossing"})
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert picture.std() > 5
    for _ in range(20):
        env.step(STRAIGHT)
    assert (env.render() != picture).any()


def test_horizon_truncates(env):
    env.close()
    short = make(horizon=5)
    short.reset(seed=0, options={"scenario": 0})
    ends = [short.step(STRAIGHT)[2:4] for _ in range(5)]
    short.close()
    assert ends == [(False, False)] * 4 + [(False, True)]


def test_options_choose_scene_and_attack(env):
    _, info = env.reset(seed=0, options={"scenario": "crossing", "intensity": 0.25})
    assert (info["scenario_id"], info["scenario_index"], info["attacked"]) == ("crossing", 1, True)
    assert info["intensity"] == 0.25
    _, info = env.reset(options={"scenario": 0, "attack": False})
    assert (info["scenario_id"], info["attacked"], info["intensity"]) == ("straight_road", False, 0.0)
    _, info = env.reset(options={"scenario": 2})
    assert not info["attacked"]
    assert "no opponent" in info["attack_error"]


# One test for many inputs: every fresh engine costs a second, and the point is that the same one lives on.
def test_bad_options_are_one_clear_error_and_the_environment_lives_on(env):
    for options, message in (
        ({"scene": 0}, "unknown reset option 'scene'"),
        ({"scenario": "nowhere"}, "no scene 'nowhere'"),
        ({"scenario": 99}, "index below 3"),
        ({"scenario": 1.5}, "index below 3"),
        ({"intensity": float("nan")}, "finite number"),
    ):
        with pytest.raises(ConfigError, match=message):
            env.reset(seed=0, options=options)
        env.reset(seed=0)


def test_bad_actions_are_one_clear_error_and_the_environment_lives_on(env):
    for action in ([np.nan, 0.0], [0.0, np.inf], [0.0], [0.0, 0.0, 0.0], [[0.0, 0.0]], "left", None):
        env.reset(seed=0)
        with pytest.raises(PolicyError, match="step 0"):
            env.step(action)
        env.step(STRAIGHT)


def test_unknown_names_are_one_clear_error():
    with pytest.raises(UnknownNameError, match="Did you mean 'rule'"):
        make("Gauntlet/Adversary-v0", adversary="rul")
    with pytest.raises(UnknownNameError, match="curriculum"):
        make("Gauntlet/Curriculum-v0", curriculum="none such")
    with pytest.raises(ConfigError, match="observation"):
        make(observation="camera")
    with pytest.raises(ConfigError, match="render_mode"):
        make(render_mode="depth_array")
    with pytest.raises(ConfigError, match="split"):
        make(split="train")


def test_two_engines_that_may_not_move_out_are_one_clear_error_and_closing_frees_the_place(env):
    env.reset(seed=0)
    second = make(isolated=False)
    with pytest.raises(EngineError, match="already has a MetaDrive engine"):
        second.reset(seed=0)
    env.step(STRAIGHT)
    env.close()
    second.reset(seed=0)
    second.step(STRAIGHT)
    second.close()
    second.close()
    # And the first may come back.
    env.reset(seed=0)
    env.step(STRAIGHT)


def test_isolated_environments_live_side_by_side_and_pass_the_whole_check(env):
    env.reset(seed=3, options={"scenario": 1})
    other = make("Gauntlet/Adversary-v0", isolated=True, render_mode="rgb_array")
    try:
        other.reset(seed=3, options={"scenario": 1})
        for _ in range(5):
            here, there = env.step(STRAIGHT), other.step(STRAIGHT)
            assert np.array_equal(here[0], there[0])
            assert here[1:4] == there[1:4]
        gymnasium_check(other.unwrapped)
        with pytest.raises(PolicyError):
            other.step(np.array([np.nan, 0.0]))
    finally:
        other.close()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_the_check_of_vector_environments_accepts_the_suite(mode):
    """The same check runs over the fast engine (`test_fast_suite.py`)."""
    venv = gym.make_vec(
        "Gauntlet/Adversary-v0",
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        data=tiny_source(),
        adversary="rule",
        horizon=5,
    )
    try:
        check_vector_env(venv, steps=7)
    finally:
        venv.close()


def test_asynchronous_vector_environment():
    venv = gym.make_vec(
        "Gauntlet/Curriculum-v0",
        num_envs=2,
        vectorization_mode="async",
        data=tiny_source(),
        **VARIANTS["Gauntlet/Curriculum-v0"],
    )
    try:
        values, info = venv.reset(seed=5)
        assert values.shape == (2, 112)
        assert len(info["scenario_id"]) == 2
        for _ in range(100):
            values, rewards, terminated, truncated, info = venv.step(np.tile(STRAIGHT, (2, 1)))
        assert np.isfinite(values).all()
        assert rewards.shape == terminated.shape == truncated.shape == (2,)
    finally:
        venv.close()


# Spawning is covered by the isolated environments, forking by the asynchronous vector environment.
def test_sb3_subprocess_environment():
    makers = [partial(make, "Gauntlet/Adversary-v0", seed=index) for index in range(2)]
    pickle.loads(pickle.dumps(makers[0]))
    venv = SubprocVecEnv(makers, start_method="forkserver")
    try:
        values = venv.reset()
        assert values.shape == (2, 112)
        finished = 0
        for _ in range(95):
            values, _, dones, infos = venv.step(np.tile(STRAIGHT, (2, 1)))
            finished += sum(dones)
            assert all("outcome" in info for info, done in zip(infos, dones, strict=True) if done)
        assert finished >= 2
    finally:
        venv.close()
    assert not mp.active_children()

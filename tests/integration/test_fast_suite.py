"""The fast engine under its id and under Stable-Baselines3: the suite's conformance, and exact resumption."""

import warnings
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecCheckNan, VecMonitor, VecNormalize

import harness.envs
from harness.checks import check_vector_env
from harness.envs.fast import FastEnv
from harness.errors import ConfigError, EngineError, GauntletError, PolicyError
from harness.fast.sb3_env import FastVecEnv
from tests.scenes import crossing, straight_road
from tests.sources import ListSource, tiny_source

VARIANTS = {
    "recorded": {},
    "attacked": {"adversary": "rule", "probability": 0.5, "intensity": 0.7},
    "curriculum": {"adversary": "rule", "curriculum": "dual_axis", "total_steps": 300},
    "lanes": {"adversary": "rule", "probability": 0.5, "traffic": "idm-lane?gap=1.2"},
}


def make(num_envs=3, **kwargs):
    return gym.make_vec("Gauntlet/Fast-v0", num_envs=num_envs, **{"data": tiny_source(), "horizon": 15, **kwargs})


def actions_of(steps, count=3, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, count, 2)).astype(np.float32)


def play(env, actions):
    """Everything that comes back, as rows that can be compared."""
    rows = []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        facts = [info[name] for name in ("scene", "attacked", "intensity", "route_completion")]
        rows.append(np.column_stack([observation, reward, terminated, truncated, info["final_obs"], *facts]))
    return np.array(rows)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.filterwarnings("error::UserWarning")
def test_the_check_of_vector_environments_accepts_the_fast_engine(variant):
    """The same check runs over the suite (`test_envs_gymnasium.py`)."""
    assert set(harness.envs.VECTOR_IDS) <= set(gym.registry)
    env = make(**VARIANTS[variant], observation="route" if variant == "recorded" else "cat")
    assert type(env) is FastEnv
    check_vector_env(env, steps=20)
    env.close()


def test_attacks_come_as_often_and_as_hard_as_asked():
    env = make(data=ListSource(tiny_source().scenes[:2]), num_envs=40, adversary="rule@0.25", probability=0.5, seed=3)
    _, info = env.reset()
    assert 8 < info["attacked"].sum() < 32
    assert set(info["intensity"][info["attacked"]]) == {0.25}
    assert set(info["intensity"][~info["attacked"]]) == {0.0}
    assert env.episodes.attacked == info["attacked"].sum()
    assert not make().reset()[1]["attacked"].any()


def test_episodes_begin_at_the_steps_that_were_asked_for():
    env = make(num_envs=30, start_steps=5)
    begun = set(env.reset(seed=0)[1]["step"])
    assert 3 < len(begun)
    assert begun <= {0, 1, 2, 3, 4, 5}
    assert set(make(num_envs=30).reset(seed=0)[1]["step"]) == {0}


def test_a_curriculum_outlives_seeds_until_it_is_restarted():
    env = make(**VARIANTS["curriculum"])
    first, _ = env.reset(seed=0)
    played = play(env, actions_of(25))
    assert env.episodes.scheduler.steps == 15 * 3
    env.reset(seed=0)
    assert env.episodes.scheduler.steps == 25 * 3, "episodes that a reset ends count as far as they were driven"
    env.set_progress(0.5)
    assert env.episodes.scheduler.steps == 150
    env.restart()
    again, _ = env.reset(seed=0)
    assert env.episodes.scheduler.steps == 0
    assert np.array_equal(first, again)
    assert np.array_equal(played, play(env, actions_of(25)))
    with pytest.raises(ConfigError, match="follow no curriculum"):
        make().set_progress(0.5)


@pytest.mark.parametrize("variant", ["attacked", "curriculum", "lanes"])
def test_a_saved_state_goes_on_exactly(variant):
    actions = actions_of(60)
    env = make(**VARIANTS[variant], seed=5)
    env.reset()
    play(env, actions[:20])
    state = env.state_dict()
    expected = play(env, actions[20:])
    assert len(np.unique(expected[:, :, -4])) > 1
    other = make(**VARIANTS[variant])
    observations = other.load_state_dict(state)
    assert np.array_equal(observations, state["fleet.observation"])
    assert np.array_equal(expected, play(other, actions[20:]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 0.5}, "probability is given, but there is no adversary"),
        ({"curriculum": "dual_axis"}, "curriculum is given, but there is no adversary"),
        ({"adversary": "rule@0.5", "curriculum": "dual_axis"}, "Leave out 'adversary@'"),
        ({"adversary": "rule", "intensity": 0.5, "curriculum": "dual_axis"}, "Leave out 'intensity'"),
        ({"adversary": "rule", "probability": 2}, r"\[0, 1\]"),
        ({"adversary": "rul"}, "Did you mean 'rule'"),
        ({"seed": -1}, "seed is -1"),
        ({"start_steps": -1}, "start_steps is -1"),
        ({"traffic": "smart"}, "plays log and idm-lane"),
        ({"fit_only": "no"}, "expected True or False"),
        ({"data": None}, "data: expected"),
        ({"num_envs": 0}, "at least one environment"),
    ],
)
def test_arguments_that_do_not_go_together_are_one_clear_error(options, message):
    with pytest.raises(GauntletError, match=message):
        FastEnv(**{"data": tiny_source(), **options})


def test_wrappers_of_gymnasium_work_on_it():
    env = RecordEpisodeStatistics(make())
    env.reset(seed=0)
    for action in actions_of(15):
        *_, info = env.step(action)
    assert info["episode"]["l"].tolist() == [15] * 3


@pytest.fixture(scope="module")
def venv():
    made = FastVecEnv(make(observation="route", reward="drive"))
    yield made
    made.close()


@pytest.mark.parametrize(("observation", "follows"), [("cat", True), ("route", False)])
def test_something_follows_a_time_out_where_the_time_is_not_known(observation, follows):
    """An observation that knows how much time is left tells that nothing can."""
    env = FastVecEnv(make(observation=observation))
    env.reset()
    outs = 0
    for action in actions_of(40):
        _, _, dones, infos = env.step(action)
        for told in (info for info, done in zip(infos, dones, strict=True) if done):
            ended = told["arrive_dest"] or told["crash_vehicle"] or told["out_of_road"]
            outs += not ended
            assert told["TimeLimit.truncated"] == (follows and not ended)
    env.close()
    assert outs


def test_stable_baselines_sees_what_gymnasium_sees(venv):
    plain = make(observation="route", reward="drive")
    venv.seed(11)
    seen, (expected, _) = venv.reset(), plain.reset(seed=11)
    assert np.array_equal(seen, expected)
    assert seen in plain.observation_space
    ends = 0
    for action in actions_of(40):
        seen, rewards, dones, infos = venv.step(action)
        expected, reward, terminated, truncated, info = plain.step(action)
        assert np.array_equal(seen, expected)
        assert rewards.dtype == np.float32
        assert rewards == pytest.approx(reward, abs=1e-6)
        assert np.array_equal(dones, terminated | truncated)
        for place, told in enumerate(infos):
            assert not told["TimeLimit.truncated"]
            assert ("terminal_observation" in told) == ("is_success" in told) == dones[place]
            assert type(told["scene"]) is int
            assert told["cost"] == info["cost"][place]
            if dones[place]:
                ends += 1
                assert np.array_equal(told["terminal_observation"], info["final_obs"][place])
    assert ends > 3


def test_all_environments_are_one_object_and_say_so(venv):
    assert venv.get_attr("ids", [0, 2]) == [venv.env.ids] * 2
    assert venv.env_is_wrapped(gym.Wrapper) == [False] * 3
    assert venv.env_method("state_dict")[0].keys() == venv.env.state_dict().keys()
    assert venv.has_attr("options")
    assert not venv.has_attr("wheels")
    venv.set_attr("ids", venv.env.ids)
    for ask in (lambda: venv.set_attr("ids", (), 1), lambda: venv.env_method("restart", indices=[0])):
        with pytest.raises(ConfigError, match="share one object"):
            ask()
    with pytest.raises(AttributeError):
        venv.set_attr("wheels", 4)
    venv.set_options([{"episodes": [(0, None)] * 3}, {}, {}])
    with pytest.raises(ConfigError, match="all of them the same"):
        venv.reset()
    venv.set_options({"episodes": [(1, None), (0, None), (2, None)]})
    venv.reset()
    assert [info["scene"] for info in venv.reset_infos] == [1, 0, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert venv.render() is None
    for bad in (np.full((3, 2), np.nan), np.zeros((2, 2))):
        with pytest.raises(PolicyError):
            venv.step(bad)
    with pytest.raises(ConfigError, match="DummyVecEnv"):
        FastVecEnv(gym.make_vec("CartPole-v1", 2))
    with pytest.raises(EngineError, match="reset"):
        FastVecEnv(make(seed=0)).step(np.zeros((3, 2)))


def test_anybodys_ppo_trains_on_it_under_wrappers_of_its_own(venv):
    wrapped = VecCheckNan(VecNormalize(VecMonitor(venv)), raise_exception=True)
    model = PPO("MlpPolicy", wrapped, n_steps=20, batch_size=30, n_epochs=1, seed=0, device="cpu")
    model.learn(60)
    assert model.num_timesteps == 60
    assert [info["l"] for info in model.ep_info_buffer]
    assert len(model.ep_success_buffer) == len(model.ep_info_buffer)


def test_a_scene_that_cannot_be_simulated_is_left_out():
    absent = straight_road(scene_id="absent")
    valid = absent.valid.copy()
    valid[absent.ego, 0] = False
    env = FastEnv(2, ListSource([replace(absent, valid=valid), crossing()]), adversary="rule")
    assert [scene for scene, _ in env.left_out] == ["absent"]
    _, info = env.reset(seed=0)
    assert env.ids == ("crossing",) == env.episodes.source.ids
    assert info["attacked"].all()

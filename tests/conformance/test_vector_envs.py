"""Every way of breaking the contract of many environments at once is caught. (The engines: tests/integration.)"""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper

from harness.checks.vector import check_vector_env
from harness.envs.attacking import AttackingEnv
from harness.errors import ConformanceError
from tests.sources import tiny_source
from tests.unit.envs.fakes import FakeCore, SpyAdversary


def single():
    source = tiny_source()
    return AttackingEnv(FakeCore(source, horizon=4), source, adversary=SpyAdversary())


def sound(mode=AutoresetMode.SAME_STEP):
    return SyncVectorEnv([single] * 3, autoreset_mode=mode)


class Broken(VectorWrapper):
    def __init__(self, spoil, mode=AutoresetMode.SAME_STEP):
        super().__init__(sound(mode))
        self.spoil, self.rng, self.kept = spoil, np.random.default_rng(), None

    def reset(self, *, seed=None, options=None):
        if self.spoil == "ignores options" and options:
            options = None
        if self.spoil == "remembers" and options:
            self.spoil = "another"
        observation, info = super().reset(seed=None if self.spoil == "ignores the seed" else seed, options=options)
        self.kept = observation
        return observation + (self.spoil == "another") * np.float32(1e-3), info

    def step(self, actions):
        if self.spoil == "accepts anything":
            actions = np.zeros((self.num_envs, 2), np.float32)
        result = list(super().step(actions))
        if callable(self.spoil):
            result = self.spoil(self, result) or result
        return tuple(result)


def set_item(index, value):
    def spoil(env, result):
        result[index] = value(result[index])

    return spoil


def reuse(env, result):
    env.kept[:] = result[0]
    result[0] = env.kept


def noise(env, result):
    result[1] = result[1] + env.rng.normal()


def without_mask(env, result):
    result[4].pop("_final_obs", None)


def wrong_mask(env, result):
    if "_final_obs" in result[4]:
        result[4]["_final_obs"] = ~result[4]["_final_obs"]


def doubled(env, result):
    if "final_obs" in result[4]:
        result[4]["final_obs"] = [None if row is None else row * 9 for row in result[4]["final_obs"]]


BROKEN = {
    "float64": (set_item(0, lambda o: o.astype(float)), "float32"),
    "one environment short": (set_item(0, lambda o: o[:2]), r"shape \(3, 112\)"),
    "nan": (set_item(0, lambda o: o * np.nan), "must be finite"),
    "out of bounds": (set_item(0, lambda o: o + 5), "must lie in"),
    "list": (set_item(0, lambda o: o.tolist()), "numpy array"),
    "one reward": (set_item(1, lambda r: r.sum()), "rewards must be"),
    "nan reward": (set_item(1, lambda r: r * np.nan), "rewards must be finite"),
    "flags as numbers": (set_item(2, lambda f: f.astype(int)), "terminated must be of dtype bool"),
    "no end": (set_item(3, lambda f: f & False), "an episode must end|`_final_obs` must say"),
    "four values": (lambda env, result: result[:4], "five values"),
    "info of each": (set_item(4, lambda info: [info] * 3), "info must be a dictionary"),
    "reused": (reuse, "must not change the observations"),
    "not deterministic": (noise, "equal seeds and actions"),
    "ignores the seed": ("ignores the seed", "equal seeds and actions"),
    "no mask": (without_mask, "must hold final_obs and _final_obs"),
    "wrong mask": (wrong_mask, "`_final_obs` must say where"),
    "last observations out of bounds": (doubled, "`final_obs` must hold observations"),
    "accepts bad actions": ("accepts anything", "must raise PolicyError"),
    "accepts bad options": ("ignores options", "options must be refused"),
    "is another afterwards": ("remembers", "live on after bad input"),
}


@pytest.mark.parametrize("mode", AutoresetMode)
def test_sound_environments_pass_whatever_follows_an_end(mode):
    check_vector_env(sound(mode), steps=12)


@pytest.mark.parametrize("case", BROKEN)
def test_broken_environments_are_caught(case):
    spoil, message = BROKEN[case]
    with pytest.raises(ConformanceError, match=message):
        check_vector_env(Broken(spoil), steps=12)


def test_the_step_after_an_end_begins_the_next_episode():
    broken = Broken(set_item(1, lambda r: r + 1), AutoresetMode.NEXT_STEP)
    with pytest.raises(ConformanceError, match="without reward"):
        check_vector_env(broken, steps=12)


def test_spaces_and_metadata_are_those_of_one_environment_n_times():
    for name, value, message in (
        ("single_observation_space", gym.spaces.Box(0.0, 1.0, (112,), np.float64), "must be float32"),
        ("observation_space", gym.spaces.Box(0.0, 1.0, (2, 112), np.float32), "N times"),
        ("single_action_space", gym.spaces.Discrete(3), "action space must be"),
        ("metadata", {}, "autoreset mode"),
    ):
        env = sound()
        setattr(env, name, value)
        with pytest.raises(ConformanceError, match=message):
            check_vector_env(env, steps=12)

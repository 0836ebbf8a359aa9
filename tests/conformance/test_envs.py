"""Every way of breaking an environment's contract is caught. (The registered ids: tests/integration.)"""

import gymnasium as gym
import numpy as np
import pytest

from harness.checks import check_env
from harness.envs.attacking import AttackingEnv
from harness.errors import ConformanceError
from tests.sources import tiny_source
from tests.unit.envs.fakes import FakeCore, SpyAdversary


def sound(**kwargs):
    source = tiny_source()
    return AttackingEnv(FakeCore(source), source, adversary=SpyAdversary(), **kwargs)


class Spoilt(gym.Wrapper):
    def __init__(self, *, step=None, reset=None, space=None):
        super().__init__(sound())
        self._step, self._reset = step, reset
        if space is not None:
            self.observation_space = space
        self.rng = np.random.default_rng()
        self.buffer = None

    def reset(self, *, seed=None, options=None):
        if options and self._reset == "ignores options":
            options = None
        if self._reset == "ignores seed":
            seed = None
        observation, info = super().reset(seed=seed, options=options)
        self.buffer = observation
        return observation, info

    def step(self, action):
        if self._step == "accepts anything":
            action = np.zeros(2, np.float32)
        result = list(super().step(action))
        if callable(self._step):
            result = self._step(self, result)
        return tuple(result)


def set_item(index, value):
    def spoil(env, result):
        result[index] = value(result[index])
        return result

    return spoil


def reuse(env, result):
    env.buffer[:] = result[0]
    result[0] = env.buffer
    return result


def noise(env, result):
    result[1] += env.rng.normal()
    return result


BROKEN = {
    "float64": ({"step": set_item(0, lambda o: o.astype(float))}, "float32"),
    "out of bounds": ({"step": set_item(0, lambda o: o * 3)}, "must lie in"),
    "nan": ({"step": set_item(0, lambda o: o * np.nan)}, "must be finite"),
    "list": ({"step": set_item(0, lambda o: o.tolist())}, "plain numpy"),
    "nan reward": ({"step": set_item(1, lambda r: float("nan"))}, "reward must be finite"),
    "flag": ({"step": set_item(2, int)}, "terminated must be a bool"),
    "four values": ({"step": lambda env, result: result[:4]}, "five values"),
    "reused buffer": ({"step": reuse}, "must not change the observation"),
    "not deterministic": ({"step": noise}, "equal seeds and actions"),
    "ignores the seed": ({"reset": "ignores seed"}, "equal seeds"),
    "accepts bad actions": ({"step": "accepts anything"}, "must raise PolicyError"),
    "accepts bad options": ({"reset": "ignores options"}, "options must be refused"),
    "space": ({"space": gym.spaces.Box(0.0, 1.0, (112,), np.float64)}, "must be float32"),
    "dict space": ({"space": gym.spaces.Dict({})}, "must be a Box"),
}


def test_a_sound_environment_passes():
    check_env(sound())


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_environment_is_caught(case):
    spoil, message = BROKEN[case]
    with pytest.raises(ConformanceError, match=message):
        check_env(Spoilt(**spoil))

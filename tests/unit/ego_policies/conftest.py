import gymnasium as gym
import numpy as np
import pytest


class Plain(gym.Env):
    """A flat-observation environment, only there to build SB3 models on."""

    def __init__(self, size=7, low=-1.0):
        self.observation_space = gym.spaces.Box(0.0, 1.0, (size,), np.float32)
        self.action_space = gym.spaces.Box(low, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.fixture
def plain_env():
    return Plain

"""Proximal policy optimisation: advantages by hand, a task that it must learn, and seeds."""

from dataclasses import replace
from types import MappingProxyType

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

from harness import registry
from harness.errors import ConfigError, WeightsError
from harness.training.config import PPOConfig
from harness.training.ppo import PPO, ReturnScale, advantages, device_of
from harness.training.vector_learner import generator_tensor, restore_generator

SMALL = PPOConfig(steps=32, epochs=4, minibatch=256, hidden=16, learning_rate=3e-3, gamma=0.9, timeouts_terminal=False)


class Targets(VectorEnv):
    """Sees a number; the reward is how near the steering comes to it; ten steps an episode."""

    metadata = MappingProxyType({"autoreset_mode": AutoresetMode.SAME_STEP})

    def __init__(self, count=32):
        self.num_envs = count
        self.single_observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.single_action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def _draw(self):
        self.seen = self.rng.uniform(-0.8, 0.8, (self.num_envs, 1)).astype(np.float32)
        return self.seen

    def reset(self, *, seed=None, options=None):
        self.rng, self.steps = np.random.default_rng(seed), np.arange(self.num_envs) % 10
        return self._draw(), {}

    def step(self, actions):
        reward = 1 - np.abs(actions[:, 0] - self.seen[:, 0])
        self.steps += 1
        cut = self.steps == 10
        self.steps[cut] = 0
        last = self.seen
        return self._draw(), reward, np.zeros(self.num_envs, bool), cut, {"final_obs": last}


def test_advantages_by_hand():
    rewards = np.array([[1.0], [2.0], [3.0], [4.0]], np.float32)
    values = np.array([[0.5], [0.5], [0.5], [0.5]], np.float32)
    ended = np.array([[False], [True], [True], [False]])
    cut = np.array([[False], [False], [True], [False]])
    finals = np.array([[0.0], [0.0], [10.0], [0.0]], np.float32)
    found = advantages(rewards, values, ended, cut, np.array([7.0], np.float32), finals, 0.9, 0.5)
    fourth = 4 + 0.9 * 7 - 0.5
    third = 3 + 0.9 * 10 - 0.5  # Its time was up: the value of going on counts.
    second = 2 - 0.5  # It ended.
    first = 1 + 0.9 * 0.5 - 0.5 + 0.45 * second
    assert found[:, 0] == pytest.approx([first, second, third, fourth])


def test_the_spread_of_returns_is_that_of_all_so_far():
    rng, scale, returns = np.random.default_rng(0), ReturnScale(4, 0.9), []
    total = np.zeros(4)
    for _ in range(50):
        rewards, ended = rng.normal(size=4), rng.random(4) < 0.1
        total = total * 0.9 + rewards
        returns.append(total.copy())
        assert scale.scale(rewards, ended) == pytest.approx(rewards / np.sqrt(scale.square + 1e-8), rel=1e-5)
        total[ended] = 0
    assert scale.square == pytest.approx(np.var(returns), rel=1e-3)


def trained(seed, steps=32 * 32 * 12):
    learner = PPO(Targets(), SMALL, total_steps=steps, seed=seed)
    reports = []
    learner.learn(reports.append)
    return learner, reports


def test_it_learns_and_a_seed_repeats_it():
    learner, reports = trained(3)
    assert reports[0]["reward"] < 0.6
    seen = np.linspace(-0.8, 0.8, 9, dtype=np.float32)[:, None]
    mean, _ = learner.evaluate(seen)
    assert np.abs(mean[:, 0] - seen[:, 0]).mean() < 0.15
    again, more = trained(3)
    assert reports == more
    assert all(
        np.array_equal(a.detach(), b.detach())
        for a, b in zip(learner.model.parameters(), again.model.parameters(), strict=True)
    )


def test_the_spread_of_actions_falls_to_its_end():
    learner = PPO(Targets(), SMALL, total_steps=32 * 32 * 2, seed=0)
    assert learner.spread == pytest.approx((0.22, 0.4))
    learner.learn()
    assert learner.spread == pytest.approx((0.04, 0.15))


class Resumable(Targets):
    """The same, and its state can be taken and put back."""

    def __init__(self, count=32, kept=None):
        super().__init__(count)
        self.kept = kept

    def reset(self, *, seed=None, options=None):
        found = super().reset(seed=seed)
        if self.kept is None:
            return found
        self.rng.bit_generator.state, self.steps, self.seen = self.kept
        return self.seen, {}


def test_a_resumed_run_goes_on_exactly(tmp_path):
    def made(kept=None):
        return PPO(Resumable(kept=kept), SMALL, total_steps=32 * 32 * 6, seed=1, observation="route")

    whole = made()
    reports = [whole.round() for _ in range(2)]
    state = {name: tensor.clone() for name, tensor in whole.state().items()}
    env = whole.env
    kept = (env.rng.bit_generator.state, env.steps.copy(), env.seen.copy())
    reports = [whole.round() for _ in range(3)]
    resumed = made(kept)
    resumed.load(state, kept[2])
    assert [resumed.round() for _ in range(3)] == reports
    seen = np.linspace(-1, 1, 5, dtype=np.float32)[:, None]
    assert np.array_equal(resumed.act(seen), whole.act(seen))
    for name in ("scale.returns", "generator", "model.policy.0.weight", "optimiser.0.exp_avg"):
        with pytest.raises(WeightsError, match=r"checkpoint"):
            resumed.load({**state, name: torch.zeros(3)}, kept[2])
        with pytest.raises(WeightsError, match=r"checkpoint"):
            resumed.load({key: value for key, value in state.items() if key != name}, kept[2])


def test_the_policy_that_is_saved_is_the_one_that_acts(tmp_path):
    class Wide(Targets):
        def __init__(self):
            super().__init__()
            self.single_observation_space = gym.spaces.Box(-1, 1, (252,), np.float32)

        def _draw(self):
            self.seen = self.rng.uniform(-0.8, 0.8, (self.num_envs, 252)).astype(np.float32)
            return self.seen

    learner = PPO(Wide(), SMALL, total_steps=32 * 32 * 2, seed=0, observation="route")
    learner.round()
    learner.save_policy(tmp_path / learner.policy_file)
    policy = registry.make("policy", learner.policy_name, path=tmp_path / learner.policy_file)
    seen = np.random.default_rng(0).uniform(-1, 1, (4, 252)).astype(np.float32)
    assert policy.observation == "route"
    for row, action in zip(seen, learner.act(seen), strict=True):
        assert policy.act(row, None) == pytest.approx(action, abs=1e-6)


def test_only_the_state_of_a_generator_is_put_back():
    rng, other = np.random.default_rng(3), np.random.default_rng(4)
    rng.random(7)
    restore_generator(other, generator_tensor(rng))
    assert other.random() == rng.random()
    for bad in (torch.zeros(5, dtype=torch.uint8), torch.zeros(3), torch.zeros(100_000, dtype=torch.uint8)):
        with pytest.raises(WeightsError, match="generator"):
            restore_generator(rng, bad)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == device_of("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="no CUDA"):
        device_of("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of("auto").type == "cuda"


@pytest.mark.parametrize("terminal", [True, False])
def test_time_that_is_up_may_be_an_end(terminal):
    class Cut(Targets):
        def step(self, actions):
            seen, reward, ended, cut, info = super().step(actions)
            return seen, np.ones_like(reward), ended, cut, info

    learner = PPO(Cut(), replace(SMALL, timeouts_terminal=terminal), total_steps=32 * 32, seed=0)
    with torch.no_grad():
        learner.model.value[-1].bias.fill_(50.0)
    batch, _ = learner.collect()
    # In the step at which the time is up, the value of 50 is what is missing, or not.
    gap = batch.advantage[np.arange(32) % 10 == 9][:, 0]
    assert (gap < -20).any() == terminal

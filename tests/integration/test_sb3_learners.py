"""SAC, TD3 and PPO of Stable-Baselines3 on the fast engine: seeds, exact resumption, and the policies they write."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from harness.envs.fast import FastEnv
from harness.episodes.policies import load_policy
from harness.errors import ConfigError, PolicyError, WeightsError
from harness.training.global_randomness import GlobalRandomness
from harness.training.sb3_config import SACConfig, SB3PPOConfig, SB3TD3Config
from harness.training.sb3_learners import ALGORITHMS, SB3Learner
from tests.sources import tiny_source

N = 4
TINY = {
    "sac": SACConfig(batch_size=16, hidden=8, buffer_size=60, warmup=20, steps=4, updates=3),
    "td3": SB3TD3Config(batch_size=16, hidden=8, buffer_size=60, warmup=20, steps=4, updates=3),
    "sb3-ppo": SB3PPOConfig(steps=8, epochs=2, minibatch=16, hidden=8),
}


def make(name, seed=0, **changes):
    env = FastEnv(N, tiny_source(), horizon=6, observation="route", reward="drive", adversary="rule", probability=0.5)
    return SB3Learner(env, replace(TINY[name], **changes), total_steps=1000, seed=seed)


def rounds(learner, count=3):
    return [learner.round() for _ in range(count)]


def through_a_file(tensors):
    """As a checkpoint would bring them back."""
    return load(save({name: tensor.contiguous() for name, tensor in tensors.items()}))


SEEN = np.random.default_rng(0).uniform(-1, 1, (5, 252)).astype(np.float32)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_seed_decides_everything_and_the_callers_generators_nothing(name):
    first = make(name)
    expected = rounds(first)
    assert expected[-1]["steps"] == first.steps_done == 3 * N * TINY[name].steps
    assert sum(report["episodes"] for report in expected) >= N
    assert any("loss" in key for key in expected[-1])
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    before = np.random.get_state()[1].copy(), torch.get_rng_state(), random.getstate()  # noqa: NPY002
    again = make(name)
    assert rounds(again) == expected
    assert np.array_equal(again.act(SEEN), first.act(SEEN))
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])
    assert random.getstate() == before[2]
    assert rounds(make(name, seed=1)) != expected


@pytest.mark.parametrize(
    ("name", "changes"), [*((name, {}) for name in ALGORITHMS), ("sac", {"warmup": 60}), ("td3", {"warmup": 60})]
)
def test_a_resumed_run_is_the_uninterrupted_one(name, changes):
    """With a memory that is full, or while actions are still random."""
    whole = make(name, **changes)
    rounds(whole)
    learner, world = through_a_file(whole.state()), whole.model.env.env.state_dict()
    expected = rounds(whole)
    resumed = make(name, seed=9, **changes)
    rounds(resumed, 1)
    resumed.load(learner, resumed.model.env.env.load_state_dict(world))
    assert rounds(resumed) == expected
    theirs = through_a_file(resumed.state())
    for key, tensor in whole.state().items():
        assert torch.equal(tensor, theirs[key]), key


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_policy_it_writes_drives_as_it_does(name, tmp_path):
    learner = make(name)
    with torch.no_grad():
        for parameter in learner.model.policy.parameters():
            parameter.add_(0.05)
    learner.save_policy(tmp_path / learner.policy_file)
    policy = load_policy(f"{learner.policy_name}:{tmp_path / learner.policy_file}")
    assert policy.observation == "route"
    assert np.array([policy.act(seen, None) for seen in SEEN]) == pytest.approx(learner.act(SEEN), abs=1e-5)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_checkpoint_of_another_architecture_is_one_clear_error(name):
    learner = make(name)
    rounds(learner, 2)
    state = through_a_file(learner.state())
    moment = next(key for key in state if key.endswith("exp_avg"))
    cases = [make(name, hidden=4).state(), {**state, "starts": torch.zeros(9, dtype=torch.bool)}]
    cases += [{key: state[key] for key in state if key != moment}, {**state, moment: torch.zeros(7)}]
    cases += [{**state, "random.numpy": torch.zeros(3)}]
    if name != "sb3-ppo":
        cases += [make(name, buffer_size=80).state() | {"counts": state["counts"]}]
        cases += [{**state, "counts": torch.tensor([8, 1, 1, 999, 0])}]
    for case in cases:
        with pytest.raises(WeightsError, match="checkpoint"):
            make(name).load(case, SEEN[:N])


def test_training_that_diverges_is_one_clear_error():
    learner = make("td3")
    rounds(learner, 2)
    with torch.no_grad():
        learner.model.critic.qf0[0].weight.fill_(float("nan"))
    with pytest.raises(PolicyError, match="has diverged"):
        rounds(learner)


def test_generators_go_on_where_they_were_left():
    own = GlobalRandomness()
    with own.in_place():
        first = np.random.normal(), torch.rand(1)  # noqa: NPY002
    saved = {name: tensor.clone() for name, tensor in own.state().items()}
    with own.in_place():
        second = np.random.normal(), torch.rand(1)  # noqa: NPY002
    assert first != second
    other = GlobalRandomness()
    other.load(saved)
    with other.in_place():
        assert (np.random.normal(), torch.rand(1)) == second  # noqa: NPY002


@pytest.mark.parametrize(
    ("make_config", "message"),
    [
        (lambda: SACConfig(gamma=1.5), "gamma is 1.5, expected more than 0 and at most 1"),
        (lambda: SB3TD3Config(policy_delay=0), "policy_delay is 0, expected at least 1"),
        (lambda: SB3TD3Config(warmup=0), "warmup is 0"),
        (lambda: SB3PPOConfig(spread=0.0), "spread is 0"),
    ],
)
def test_numbers_that_cannot_work_are_named(make_config, message):
    with pytest.raises(ConfigError, match=message):
        make_config()

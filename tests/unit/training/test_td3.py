"""The fast update equals Stable-Baselines3's, in numbers and in files."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import TD3
from stable_baselines3.common.logger import Logger

from harness.errors import ConfigError, WeightsError
from harness.training.td3 import FastTD3, FlatStack, resolve_precision

OBSERVATION, ACTION, HIDDEN, BATCH = 11, 2, 32, 64


class Nowhere(gymnasium.Env):
    observation_space = spaces.Box(0.0, 1.0, (OBSERVATION,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (ACTION,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros(OBSERVATION, np.float32), {}


def model_with_memories(cls: type[TD3], **options) -> TD3:
    """A model whose replay buffer holds the same 500 transitions every time."""
    model = cls(
        "MlpPolicy",
        Nowhere(),
        policy_kwargs={"net_arch": [HIDDEN, HIDDEN]},
        buffer_size=1000,
        learning_rate=3e-4,
        device="cpu",
        seed=3,
        **options,
    )
    # Without a logger of its own Stable-Baselines3 makes a folder for one in the system's temporary folder.
    model.set_logger(Logger(folder=None, output_formats=[]))
    model._setup_learn(1000, None)
    rng = np.random.default_rng(0)
    for _ in range(500):
        rows = rng.random((2, 1, OBSERVATION), np.float32)
        model.replay_buffer.add(
            rows[0], rows[1], rng.uniform(-1, 1, (1, ACTION)), rng.normal(size=1), rng.random(1) < 0.1, [{}]
        )
    return model


def train(model: TD3, updates: int, seed: int = 0) -> None:
    np.random.seed(seed)  # noqa: NPY002 - the generator that Stable-Baselines3 samples with
    torch.manual_seed(seed)
    model.train(updates, BATCH)


def largest_difference(a: TD3, b: TD3) -> float:
    pairs = zip(a.policy.state_dict().values(), b.policy.state_dict().values(), strict=True)
    return max(float((x - y).abs().max()) for x, y in pairs)


@pytest.mark.parametrize("updates", [1, 2, 20])
def test_updates_equal_stock_td3(updates: int) -> None:
    stock, fast = model_with_memories(TD3), model_with_memories(FastTD3)
    assert largest_difference(stock, fast) == 0.0
    before = {name: value.clone() for name, value in stock.policy.state_dict().items()}
    train(stock, updates)
    train(fast, updates)
    assert largest_difference(stock, fast) < 2e-6
    # Both moved, and by the same rule: critics at once, actor and targets with the second update.
    moved = {name for name, value in fast.policy.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("critic.") for name in moved)
    assert any(name.startswith("actor_target.") for name in moved) == (updates >= 2)
    names = ["train/critic_loss"] + (["train/actor_loss"] if updates == 20 else [])
    for name in names:
        assert fast.logger.name_to_value[name] == pytest.approx(stock.logger.name_to_value[name], rel=1e-5, abs=1e-6)


def test_bfloat16_products_stay_close() -> None:
    exact, rough = model_with_memories(FastTD3), model_with_memories(FastTD3, precision="bfloat16")
    train(exact, 50)
    train(rough, 50)
    loss = [model.logger.name_to_value["train/critic_loss"] for model in (exact, rough)]
    assert loss[1] == pytest.approx(loss[0], rel=0.01)
    assert 0.0 < largest_difference(exact, rough) < 50 * 2 * 3e-4


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("delay", [1, 2, 3])
def test_a_second_thread_changes_no_bit(delay: int, precision: str) -> None:
    models = [
        model_with_memories(FastTD3, policy_delay=delay, precision=precision, two_threads=two) for two in (False, True)
    ]
    states, losses = [], []
    for model in models:
        generator = torch.Generator().manual_seed(1)
        sizes = [(BATCH, OBSERVATION), (BATCH, ACTION), (BATCH,), (BATCH,), (BATCH, OBSERVATION), (BATCH, ACTION)]
        blocks = [[[torch.rand(size, generator=generator) for size in sizes] for _ in range(n)] for n in (1, 5, 10)]
        with torch.no_grad():
            losses.append(torch.cat([model.learn_from(block) for block in blocks]))
        states.append(model.learner_state())
    assert torch.equal(*losses)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_its_zip_is_an_ordinary_stable_baselines_zip(tmp_path) -> None:
    fast = model_with_memories(FastTD3)
    train(fast, 10)
    fast.save(tmp_path / "policy.zip")
    stock = TD3.load(tmp_path / "policy.zip", device="cpu")
    assert largest_difference(stock, fast) == 0.0
    observation = np.random.default_rng(1).random(OBSERVATION, np.float32)
    assert stock.predict(observation)[0] == pytest.approx(fast.predict(observation, deterministic=True)[0])
    # Optimisers travel too: both go on alike.
    stock.replay_buffer, stock._logger = fast.replay_buffer, fast.logger
    train(stock, 10, seed=1)
    train(fast, 10, seed=1)
    assert largest_difference(stock, fast) < 2e-6


def test_it_takes_over_the_optimisers_of_a_stock_zip(tmp_path) -> None:
    stock = model_with_memories(TD3)
    train(stock, 10)
    stock.save(tmp_path / "stock.zip")
    fast = model_with_memories(FastTD3)
    fast.set_parameters(str(tmp_path / "stock.zip"), device="cpu")
    fast._n_updates = stock._n_updates
    assert largest_difference(stock, fast) == 0.0
    train(stock, 10, seed=1)
    train(fast, 10, seed=1)
    assert largest_difference(stock, fast) < 2e-6


def test_learner_state_restores_exactly() -> None:
    first, second = model_with_memories(FastTD3), model_with_memories(FastTD3)
    train(first, 9)
    second.load_learner_state({name: value.clone() for name, value in first.learner_state().items()})
    second._n_updates = first._n_updates
    train(first, 9, seed=1)
    train(second, 9, seed=1)
    assert largest_difference(first, second) == 0.0


def test_state_of_another_architecture_is_refused() -> None:
    model = model_with_memories(FastTD3)
    state = model.learner_state()
    state["actor.parameters"] = state["actor.parameters"][:-1]
    with pytest.raises(WeightsError, match="parameters"):
        model.load_learner_state(state)


def test_other_networks_are_refused() -> None:
    deep = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(4)))
    with pytest.raises(ConfigError, match="two hidden"):
        FlatStack([deep], [deep], torch.float32)


def test_precision_names() -> None:
    assert resolve_precision("float32") is torch.float32
    assert resolve_precision("bfloat16") is torch.bfloat16
    assert resolve_precision("auto") in (torch.float32, torch.bfloat16)

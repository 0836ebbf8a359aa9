"""Every registered policy keeps its contract, and every way of breaking it is caught."""

import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from stable_baselines3 import PPO, SAC, TD3

from ego_policies.idm import IDMPolicy
from harness import registry
from harness.checks import check_policy
from harness.errors import ConformanceError
from tests.scenes import crossing, straight_road

SIZE = 12
ROOT = Path(__file__).resolve().parents[2]


class Ahead:
    """A planner: straight on at 10 m/s for three seconds."""

    name, control, observation, privileged = "ahead", "trajectory", "none", True

    def reset(self, scenario, rng):
        pass

    def act(self, observation, view):
        x, y, heading = view.ego[:3]
        way = np.arange(1, 31)
        return np.stack([x + way * np.cos(heading), y + way * np.sin(heading), np.full(30, heading)], -1)


class Plain(gym.Env):
    observation_space = gym.spaces.Box(0.0, 1.0, (SIZE,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros(SIZE, np.float32), {}

    def step(self, action):
        return np.zeros(SIZE, np.float32), 0.0, False, False, {}


def saved_model(algorithm, folder):
    sizes = {} if algorithm is PPO else {"buffer_size": 10}
    model = algorithm("MlpPolicy", Plain(), policy_kwargs={"net_arch": [8]}, device="cpu", **sizes)
    model.save(folder / "model.zip")
    return {"path": folder / "model.zip"}


def torchscript(folder):
    module = torch.nn.Sequential(torch.nn.Linear(SIZE, 2), torch.nn.Tanh())
    torch.jit.save(torch.jit.trace(module, torch.zeros(1, SIZE)), str(folder / "model.pt"))
    return {"path": folder / "model.pt"}


def onnx_graph(folder):
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["obs", "w"], ["h"]), helper.make_node("Tanh", ["h"], ["action"])],
        "policy",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [None, SIZE])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(np.ones((SIZE, 2), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    return {"path": folder / "model.onnx"}


# What the registered names need to be built.
OPTIONS = {
    "td3": lambda folder: saved_model(TD3, folder),
    "ppo": lambda folder: saved_model(PPO, folder),
    "sac": lambda folder: saved_model(SAC, folder),
    "sb3": lambda folder: saved_model(SAC, folder),
    "torchscript": torchscript,
    "onnx": onnx_graph,
    "external": lambda folder: {"path": f"{sys.executable} {ROOT / 'examples' / 'external_planner.py'}"},
    "tracked": lambda folder: {"planner": Ahead()},
    "sensed": lambda folder: {"policy": IDMPolicy(), "latency": 0.3, "position": 0.5, "drop": 0.2},
    "callable": lambda folder: {"function": lambda observation: np.tanh(observation[:2])},
}


@pytest.mark.parametrize("name", registry.names("policy"))
def test_registered_policy(name, tmp_path):
    policy = registry.resolve("policy", name)(**OPTIONS.get(name, lambda folder: {})(tmp_path))
    size = 0 if policy.observation == "none" else getattr(policy, "observation_size", None) or SIZE
    for scene in (straight_road(), crossing(origin=(7000.0, -12000.0), rotation=0.7)):
        check_policy(policy, scene, observation_size=size)


class Sound:
    name, control, observation, privileged = "sound", "action", "cat", False

    def reset(self, scenario, rng):
        self.memory = 0.0

    def act(self, observation, view):
        self.memory = 0.5 * self.memory + 0.5 * float(observation[0])
        return np.array([self.memory, 0.5], np.float32)


class ForgetsToReset(Sound):
    memory = 0.0

    def reset(self, scenario, rng):
        pass


class Returns(Sound):
    def __init__(self, action):
        self.action = action

    def act(self, observation, view):
        return self.action


class Peeks(Sound):
    def act(self, observation, view):
        return np.array([0.0, np.tanh(view.ego[3] / 10)], np.float32)


class ReadsUndeclared(Sound):
    observation, privileged = "none", True


class ScalesInPlace(Sound):
    def act(self, observation, view):
        observation *= 2.0
        return np.zeros(2, np.float32)


class MovesTheWorld(Sound):
    def act(self, observation, view):
        view.ego[0] += 1.0
        return np.zeros(2, np.float32)


class Dice(Sound):
    def act(self, observation, view):
        return np.random.uniform(-1, 1, 2).astype(np.float32)  # noqa: NPY002


class OwnDice(Sound):
    rng = np.random.default_rng(0)

    def act(self, observation, view):
        return self.rng.uniform(-1, 1, 2).astype(np.float32)


class ModestSeer(Sound):
    sees_futures = True


class Seer(Sound):
    """Knows where the first agent will be."""

    privileged, sees_futures = True, True

    def act(self, observation, view):
        known = view.futures is not None and view.futures.shape[0] and np.isfinite(view.futures[0, :1, 0]).all()
        return np.array([np.tanh(view.futures[0, 0, 0]) if known else 0.0, 0.0], np.float32)


class SecretSeer(Seer):
    """The same, but it does not say so."""

    sees_futures = False


class TrustingSeer(Seer):
    """Takes it that the future is always known."""

    def act(self, observation, view):
        return np.array([np.tanh(view.futures[0, 0, 0]), 0.0], np.float32)


class RewritesTheFuture(Seer):
    def act(self, observation, view):
        view.futures[:] = 0.0
        return np.zeros(2, np.float32)


class VagueSeer(Sound):
    sees_futures = "yes"


class ModestReplay(Sound):
    control = "replay"


class Steers(Sound):
    control = "steer"


class UnknownPreset(Sound):
    observation = "camera"


class Handless:
    name, control, observation, privileged = "x", "action", "cat", False


class Planless(Ahead):
    def act(self, observation, view):
        return np.zeros((5, 4))


BROKEN = {
    "state survives": (ForgetsToReset(), "does state survive the reset"),
    "nan": (Returns(np.array([np.nan, 0.0])), "step 10.*not finite"),
    "shape": (Returns(np.zeros((1, 2))), r"shape \(1, 2\)"),
    "nothing": (Returns(None), "expected an action"),
    "out of range": (Returns(np.array([0.0, 3.0])), r"must lie in \[-1, 1\]"),
    "peeks": (Peeks(), "declare `privileged = True`"),
    "reads undeclared": (ReadsUndeclared(), "must declare which preset"),
    "observation changed": (ScalesInPlace(), "change its observation"),
    "view changed": (MovesTheWorld(), "change its view"),
    "global randomness": (Dice(), "global one"),
    "own randomness": (OwnDice(), "equal actions"),
    "modest seer": (ModestSeer(), "`sees_futures` must declare `privileged = True`"),
    "secret seer": (SecretSeer(), "declare `sees_futures = True`"),
    "trusting seer": (TrustingSeer(), "not finite"),
    "future changed": (RewritesTheFuture(), "change its view"),
    "vague seer": (VagueSeer(), "`sees_futures` must be a bool"),
    "modest replay": (ModestReplay(), "knows the future"),
    "control": (Steers(), "'action', 'replay' or 'trajectory'"),
    "preset": (UnknownPreset(), "`observation` must be in"),
    "no act": (Handless(), "`act`"),
    "trajectory of another shape": (Planless(), "two or more rows"),
}


def test_a_sound_policy_passes():
    check_policy(Sound(), straight_road(), observation_size=SIZE)
    check_policy(Seer(), straight_road(), observation_size=SIZE)
    check_policy(Ahead(), straight_road())


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_policy_is_caught(case):
    policy, message = BROKEN[case]
    with pytest.raises(ConformanceError, match=message):
        check_policy(policy, straight_road(), observation_size=SIZE)
